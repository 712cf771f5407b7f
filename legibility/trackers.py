"""Experiment trackers of a run, TensorBoard and Weights & Biases, through accelerate: numbers, completions, the report.

They are started before the run folder is made, so that one that cannot start leaves nothing behind. Later a tracker
that fails never stops a game: the run folder has everything it was to show.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from legibility.errors import UserError
from legibility.printable import printable

TRACKERS = "trackers"
"""Where trackers write, inside the run folder."""
CURES = {
    "wandb": "run wandb login, set WANDB_MODE=offline, or take it out of tracking.trackers",
    "tensorboard": "take it out of tracking.trackers",
}


@dataclass(frozen=True)
class TrackedTable:
    """Rows of text and numbers under a name that stays the same from round to round."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


class Trackers:
    """The trackers of one session of a run; without any, every method does nothing. A `with` block closes them."""

    def __init__(self, accelerator: Any = None, warn: Callable[[str], None] = lambda line: None) -> None:
        self.accelerator, self.warn, self.step = accelerator, warn, 0

    @classmethod
    def start(
        cls,
        names: Sequence[str],
        project: str,
        run: Path,
        settings: Mapping[str, Any],
        warn: Callable[[str], None] = lambda line: None,
    ) -> Trackers:
        """Start trackers that write into the folder of a run, which need not be there.

        warn: told of what goes wrong later. Raises UserError where one cannot start; nothing is left of it then.
        """
        if not names:
            return cls(warn=warn)
        for name in names:
            if find_spec(name) is None:
                raise UserError(
                    f'tracking.trackers: {name} is not installed; pip install "legibility[{name}]", or remove it'
                )
        from accelerate import Accelerator  # slow to import; few runs have trackers

        folder, made = run / TRACKERS, [p for p in (run / TRACKERS, run, *run.parents) if not p.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            accelerator = Accelerator(log_with=list(names), project_dir=str(folder), cpu=True)
            options = {"wandb": {"dir": str(folder), "name": run.resolve().name}} if "wandb" in names else {}
            accelerator.init_trackers(project, config=flat(settings), init_kwargs=options)
        except BaseException as error:
            _forget_accelerator()
            for place in made:
                shutil.rmtree(place) if place == folder else place.rmdir()
            if not isinstance(error, Exception):
                raise
            reason = printable(" ".join(str(error).split()))[:200] or type(error).__name__
            cures = "; ".join(CURES[name] for name in names)
            raise UserError(f"tracking.trackers: {', '.join(names)} cannot start ({reason}); {cures}") from None
        return cls(accelerator, warn)

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self.accelerator is not None

    def close(self) -> None:
        """End the session: what is on its way is sent."""
        if self.accelerator is not None:
            self._try(self.accelerator.end_training)
            self.accelerator = None
            _forget_accelerator()

    def numbers(self, values: Mapping[str, float]) -> None:
        """The next step's numbers; what is not finite is left out."""
        if self.accelerator is not None:
            self.step += 1
            finite = {name: value for name, value in values.items() if math.isfinite(value)}
            self._try(lambda: self.accelerator.log(finite, step=self.step))

    def table(self, table: TrackedTable) -> None:
        """A table at the step reached: W&B gets it as one, TensorBoard as text."""
        if self.accelerator is not None:
            self._try(lambda: self._table(table))

    def report(self, page: Path, figures: Iterable[Path]) -> None:
        """The report at the end: W&B gets page and figures as an artifact, TensorBoard the figures."""
        if self.accelerator is not None:
            self._try(lambda: self._report(page, sorted(figures)))

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:
            self.warn(f"tracking: {' '.join(str(error).split())[:200] or type(error).__name__}")

    def _table(self, table: TrackedTable) -> None:
        for tracker in self.accelerator.trackers:
            if tracker.name == "wandb":
                rows = [list(row) for row in table.rows]
                tracker.log_table(table.name, columns=list(table.columns), data=rows, step=self.step)
            else:
                tracker.writer.add_text(table.name, as_markdown(table), global_step=self.step)
                tracker.writer.flush()

    def _report(self, page: Path, figures: Sequence[Path]) -> None:
        for tracker in self.accelerator.trackers:
            if tracker.name == "wandb":
                import wandb

                artifact = wandb.Artifact(f"report-{tracker.run.id}", type="report")
                for file in (page, *figures):
                    artifact.add_file(str(file), name=file.relative_to(page.parent).as_posix())
                tracker.run.log_artifact(artifact)
            else:
                from matplotlib.image import imread  # reporting has loaded it

                for file in figures:
                    tracker.writer.add_image(f"report/{file.stem}", imread(file), self.step, dataformats="HWC")
                tracker.writer.flush()


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, int | float | str | bool]:
    """Nested settings as `section.key` with plain values; what is no number and no text is written out."""
    found: dict[str, int | float | str | bool] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, (int, float, str, bool)) else str(value)
    return found


def as_markdown(table: TrackedTable) -> str:
    """A table as Markdown in which a cell's text is text: nothing in it is markup."""
    lines = [table.columns, ["---"] * len(table.columns), *([_cell(value) for value in row] for row in table.rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}"
    return "".join(
        f"&#{ord(c)};" if c in "\\`*_{}[]<>()#+-.!|&~$:/@" else c for c in printable(str(value).replace("\n", " ⏎ "))
    )


def _forget_accelerator() -> None:
    """accelerate's state is shared by the whole process; the next run begins anew."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
