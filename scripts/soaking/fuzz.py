"""Random input (hypothesis) for everything that reads what a user wrote: an answer, or one line for the user.

A target that raises anything but UserError (or OSError), says more than one line, or takes too long has fallen. Hypothesis
would stop at the first failure; here every input is tried, and faults are counted by where they come from.
"""

from __future__ import annotations

import contextlib
import signal
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as fixed_seed
from hypothesis import strategies as st

from soaking.world import World

SECONDS = 10
"""An input that takes more time on the processor counts as hanging."""


@dataclass(frozen=True)
class Target:
    """What is fuzzed: `read` gets an input and a folder to write it to."""

    name: str
    inputs: st.SearchStrategy[Any]
    read: Callable[[Any, Path], object]
    share: int = 1


@dataclass
class Fuzzed:
    """What became of a target's inputs. faults: by exception and line that raised it, with how often."""

    name: str
    inputs: int = 0
    refused: int = 0
    hangs: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, object] = field(default_factory=dict)
    slowest: float = 0.0

    @property
    def fell(self) -> int:
        return sum(self.faults.values()) + self.hangs


class _Enough(KeyboardInterrupt):
    """Ends a target's inputs when its time is up: hypothesis lets this one kind of error through at once."""


class _Hangs(BaseException):
    """Raised by the alarm; nothing catches it."""


def targets(world: World) -> list[Target]:
    """Everything that reads user input, with what to feed it."""
    from legibility.config import Config
    from legibility.config_file import load_config, override_config
    from legibility.evaluation.summary_schema import read_summary
    from legibility.game.run_folder import RunFolder
    from legibility.game.run_records import Done, Manifest
    from legibility.grading import grade
    from legibility.grading.arithmetic import check_steps
    from legibility.judging.protocol import read_protocol
    from legibility.judging.study_folder import StudyFolder
    from legibility.problems.storage import read_splits
    from legibility.prompts import load_prompts
    from legibility.stored import read_stored
    from legibility.weak_to_strong.experiment_settings import ExperimentSettings
    from tests.fuzzing import judging
    from tests.fuzzing.problem_input import CHECKS
    from tests.fuzzing.settings_input import FILES, JSON_FILES, OVERRIDES, SOLUTIONS, mutated, put

    def stored(name: str, model: Any) -> Target:
        good = (world.finished / name).read_bytes()
        return Target(
            f"stored record ({name})",
            st.one_of(JSON_FILES, mutated(good)),
            lambda data, folder: read_stored(put(folder / "record.json", data), model, fix="delete it"),
        )

    def config_of_run(data: bytes, folder: Path) -> None:
        put(folder / "config.yaml", data)
        RunFolder(folder).config()

    study = StudyFolder.open(world.study)
    scratch = world.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    exports = judging.tool_files(judging.good_files(study, scratch))
    good_config = (world.finished / "config.yaml").read_bytes()
    return [
        Target("config file", FILES, lambda d, f: load_config(put(f / "c.yaml", d)), 2),
        Target(
            "experiment file", FILES, lambda d, f: load_config(put(f / "e.yaml", d), (), ExperimentSettings)
        ),
        Target("config of a run", st.one_of(FILES, mutated(good_config)), config_of_run),
        Target("overrides", OVERRIDES, lambda o, f: load_config(world.config, [o]), 2),
        Target("overrides of an evaluation", OVERRIDES, lambda o, f: override_config(Config(), [o], ("ppo", "seed"))),
        Target("prompt set", FILES, lambda d, f: load_prompts(str(put(f / "p.yaml", d)))),
        Target("name of a prompt set", st.text(max_size=300), lambda name, f: load_prompts(name, f)),
        Target("protocol of a study", FILES, lambda d, f: read_protocol(put(f / "s.yaml", d))),
        stored("manifest.json", Manifest),
        stored("base/DONE", Done),
        Target(
            "summary",
            st.one_of(JSON_FILES, mutated((world.finished / "summary.json").read_bytes())),
            lambda d, f: read_summary(put(f / "summary.json", d)),
        ),
        Target(
            "problems of a run",
            st.one_of(JSON_FILES, mutated((world.finished / "problems.jsonl").read_bytes()[:2000])),
            lambda d, f: read_splits(put(f / "problems.jsonl", d)),
        ),
        Target("exports of judging tools", exports, lambda pair, f: judging.check_import(study, f, *pair), 3),
        Target("grader", st.tuples(SOLUTIONS, st.one_of(st.text(max_size=12), st.integers().map(str))),
               lambda pair, f: grade(pair[0], pair[1])),
        Target("step checker", SOLUTIONS, lambda text, f: check_steps(text)),
        *(Target(check.name, check.inputs, check.read, 2) for check in CHECKS),
    ]  # fmt: skip


def run(chosen: list[Target], *, inputs: int, seed: int, until: float) -> list[Fuzzed]:
    """Feed about `inputs` inputs to the targets, shared out as they say, until the moment `until` (monotonic)."""
    total, found = sum(t.share for t in chosen), []
    for k, target in enumerate(chosen):
        left = sum(t.share for t in chosen[k:])
        deadline = time.monotonic() + (until - time.monotonic()) * target.share / left
        found.append(_fuzz(target, -(-inputs * target.share // total), seed, deadline))
    return found


def _fuzz(target: Target, count: int, seed: int, deadline: float) -> Fuzzed:
    result = Fuzzed(target.name)
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)

        @fixed_seed(seed)
        @settings(
            max_examples=count, database=None, deadline=None, derandomize=False, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(target.inputs)
        def feed(value: object) -> None:
            if result.inputs and time.monotonic() > deadline:
                raise _Enough
            attempt(target, value, folder, result)

        with contextlib.suppress(_Enough):
            feed()
    return result


def attempt(target: Target, value: object, folder: Path, result: Fuzzed) -> None:
    """Feed one input to a target and count what became of it."""
    from legibility.errors import UserError

    result.inputs += 1
    before, began = signal.signal(signal.SIGVTALRM, _alarm), time.monotonic()
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)  # its own time: others may be at work
    fault = None
    try:
        target.read(value, folder)
    except (UserError, OSError) as error:  # which the command line turns into a line
        result.refused += 1
        fault = _unfit(error)
    except _Hangs:
        result.hangs += 1
        result.examples.setdefault("hangs", value)
    except Exception as error:  # the search is for these
        frames = [
            f
            for f in traceback.extract_tb(error.__traceback__)
            if "/legibility/" in f.filename or "/tests/fuzzing/" in f.filename
        ]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "a library"
        fault = f"{type(error).__name__} at {place}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    if fault is not None:
        result.faults[fault] += 1
        result.examples.setdefault(fault, value)
    result.slowest = max(result.slowest, time.monotonic() - began)


LONGEST = 1500
"""Characters of a message that still reads as one line."""


def _unfit(error: Exception) -> str | None:
    """What is wrong with an error's line on the terminal; None: nothing."""
    from legibility.errors import as_line

    line = as_line(error)
    if line is None:
        return "an error that gets no line"
    if len(line) > LONGEST:
        return "a line without end"
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:
        return "a line that no terminal can show"
    return "a line that is none" if len(line.splitlines()) != 1 else None


def _alarm(*_: object) -> None:
    raise _Hangs


def table(rows: list[Fuzzed]) -> str:
    """The rows as markdown, with their sum and every fault."""
    lines = [
        "| what reads it | inputs | refused with one line | tracebacks and unfit messages | hangs | slowest, s |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.name} | {r.inputs:,} | {r.refused:,} | {sum(r.faults.values())} | {r.hangs} | {r.slowest:.2f} |"
        for r in rows
    ]
    lines.append(
        f"| **all** | **{sum(r.inputs for r in rows):,}** | **{sum(r.refused for r in rows):,}** | "
        f"**{sum(sum(r.faults.values()) for r in rows)}** | **{sum(r.hangs for r in rows)}** | "
        f"**{max(r.slowest for r in rows):.2f}** |"
    )
    faults = [f"- {r.name}: {n} × {fault}" for r in rows for fault, n in r.faults.items()]
    return "\n".join(["", *lines, *(["", *faults] if faults else []), ""])
