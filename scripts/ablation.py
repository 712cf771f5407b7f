"""Compare games that differ in their settings, a row a variant: what fresh attackers get accepted, what verifiers tell.

    python scripts/ablation.py runs/*-s? --out runs/ablation.md

Runs are grouped by their settings, the seed and what only evaluates set aside; a row is named by the settings in
which the groups differ. A seed is one unit. Rates are those of `evaluation.robustness` (docs/metrics.md): false
positives at fixed recall after as many steps of a fresh attacker as all runs share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from legibility.errors import UserError
from legibility.evaluation.attacks_over_seeds import accepted, attacks_of, common_target
from legibility.evaluation.over_seeds import over_seeds
from legibility.evaluation.summary_schema import SUMMARY, RoundSummary, Summary, read_summary
from legibility.files import write_atomic
from legibility.game.run_folder import RunFolder
from legibility.game.setting_changes import different_settings
from legibility.reporting.markdown import markdown_table
from legibility.script import run_script

LEFT_OUT = ("seed", "compute.", "attack.", "evaluation.", "tracking.", "game.correctness_arm", "game.held_out_judge")
"""Settings, or sections of them, that change neither a game's verifiers nor its provers."""


class Variant(NamedTuple):
    """Runs of the same settings. `name`: those in which it differs from other variants."""

    name: str
    runs: list[Summary]


def main(
    runs: Annotated[list[Path], typer.Argument(help="Run folders with attacks, of several settings and seeds.")],
    out: Annotated[Path | None, typer.Option(help="New file for the table (default: print it).")] = None,
    confidence_level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Level of the intervals.")] = 0.95,
) -> None:
    """Print or write the table."""
    if out is not None and out.exists():
        raise UserError(f"{out}: exists already; give a new file or move it away")
    page = render(variants(runs), confidence_level)
    if out is None:
        typer.echo(page)
    else:
        write_atomic(out, page)


def variants(runs: Sequence[Path]) -> list[Variant]:
    """The runs by settings, in the order given. Raises UserError where a seed occurs twice in a variant."""
    settings = {run: RunFolder.existing(run).config().model_dump(mode="json") for run in runs}
    groups: list[list[Path]] = []
    for run in runs:
        same = next((g for g in groups if not _differences(settings[g[0]], settings[run])), None)
        if same is None:
            groups.append([run])
        else:
            same.append(run)
    keys = sorted({name for g in groups for name in _differences(settings[groups[0][0]], settings[g[0]])})
    found = []
    for group in groups:
        seeds = [settings[run]["seed"] for run in group]
        if len(set(seeds)) < len(seeds):
            raise UserError(f"{group[0]}: runs of the same settings need different seeds; found {seeds}")
        name = ", ".join(f"{key}={_value(settings[group[0]], key)}" for key in keys) or "all runs"
        found.append(Variant(name, [read_summary(run / SUMMARY) for run in group]))
    return found


def _differences(one: dict[str, object], other: dict[str, object]) -> list[str]:
    changed = different_settings(one, other)
    return [c.name for c in changed if not c.name.startswith(LEFT_OUT)]


def _value(settings: dict[str, object], key: str) -> object:
    value: object = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def render(rows: Sequence[Variant], confidence_level: float) -> str:
    """One table of what attackers get accepted, one of what the last verifier tells of its own round's text."""
    everything = [s for row in rows for s in row.runs]
    parts = []
    for reward in sorted({a.reward for a in attacks_of(everything)}):
        attacked = [{a.verifier for a in attacks_of(row.runs) if a.reward == reward} for row in rows]
        shared = sorted(set.intersection(*attacked))
        steps = common_target(everything, reward, shared, "steps") if len(shared) > 1 else None
        if steps is None:
            continue
        first, last = shared[0], shared[-1]
        cells = [["settings", "seeds", f"verifier {first}", f"verifier {last}", f"verifier {first} − verifier {last}"]]
        for row in rows:
            rates = {v: [accepted(s, reward, v, "steps", steps) for s in row.runs] for v in (first, last)}
            gaps = [None if None in pair else pair[0] - pair[1] for pair in zip(*rates.values(), strict=True)]
            shown = [over_seeds(values, confidence_level).text(2) for values in (*rates.values(), gaps)]
            cells.append([row.name, str(sum(gap is not None for gap in gaps)), *shown])
        parts += [
            f"Wrong text accepted from a fresh {reward.upper()} attacker after {steps:.0f} steps, at fixed recall:\n",
            markdown_table(*_headed(cells)) + "\n",
        ]
    read: dict[str, Callable[[RoundSummary], float | None]] = {
        "AUROC, pooled": lambda r: r.verifier.auroc_own_round.pooled,
        "inside roles": lambda r: r.verifier.auroc_own_round.within_role,
        "same-style accuracy": lambda r: r.verifier.same_style and r.verifier.same_style.value,
        "helpful accuracy": lambda r: r.helpful_accuracy,
    }
    cells = [["settings", *(f"{name}, round 0 → last" for name in read)]]
    for row in rows:
        ends = [(s.arms.game.rounds[0], s.arms.game.rounds[-1]) for s in row.runs]
        shown = [
            " → ".join(over_seeds([figure(end[k]) for end in ends], confidence_level).text(2) for k in (0, 1))
            for figure in read.values()
        ]
        cells.append([row.name, *shown])
    return (
        "\n".join([*parts, "Each round's verifier on the text of its own round:\n", markdown_table(*_headed(cells))])
        + "\n"
    )


def _headed(cells: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    return cells[0], cells[1:]


if __name__ == "__main__":
    run_script(main)
