"""Step metrics of every phase that trains, finished or under way, from its metrics.jsonl."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from legibility.errors import UserError
from legibility.game.condition import ARMS, GAME
from legibility.game.phases import JUDGE, METRICS_LOG, arm_prover, arm_reader, round_prover, round_verifier
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import TRAINING, TRAININGS, ProverTraining
from legibility.stored import read_stored
from legibility.viewing.run_files import phase_folders


@dataclass(frozen=True)
class Curve:
    """The step metrics of one phase.

    title: for people. role: "prover" or "verifier", which have metrics of their own. arm, round: of its completions
    (provers). live: it is under way. exploited: step at which the verifier was fooled. steps: every metric has a value, or
    None, for each of them.
    """

    phase: str
    title: str
    role: str
    arm: str
    round: int
    live: bool
    exploited: int | None
    steps: list[int]
    metrics: dict[str, list[float | None]]


def curves(run: RunFolder, wanted: Collection[str] | None = None) -> list[Curve]:
    """The curves of a run in the order of the game. wanted: these metrics only (None: all)."""
    found = []
    for phase, folder, live in phase_folders(run.path):
        if (folder / METRICS_LOG).is_file():
            found += _curve(phase, folder, live, wanted)
    return sorted(found, key=lambda c: (c.arm != GAME, c.arm == "", c.arm, c.round, c.phase))


def metric_names(found: Collection[Curve]) -> dict[str, list[str]]:
    """By role, the metrics that any of its curves has a number of, in the order of the files."""
    names: dict[str, dict[str, None]] = {}
    for curve in found:
        kept = [n for n, values in curve.metrics.items() if any(v is not None for v in values)]
        names.setdefault(curve.role, {}).update(dict.fromkeys(kept))
    return {role: list(kept) for role, kept in names.items()}


def _curve(phase: str, folder: Path, live: bool, wanted: Collection[str] | None) -> list[Curve]:
    steps: list[int] = []
    metrics: dict[str, list[float | None]] = {}
    try:
        lines = (folder / METRICS_LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # the phase has ended this moment; the next look finds it
        return []
    for line in lines:
        try:
            values = json.loads(line)
            step = int(values.pop("step"))
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):  # the last line may be half written
            continue
        for name in values:
            if wanted is None or name in wanted:
                metrics.setdefault(name, [None] * len(steps))
        steps.append(step)
        for name, column in metrics.items():
            column.append(_number(values.get(name)))
    title, role, arm, index = _who(phase)
    exploited = None
    if role == "prover" and not live:
        try:
            facts = read_stored(folder / TRAINING, TRAININGS.get(arm, ProverTraining), fix="") if arm else None
            exploited = facts.steps_to_exploit if facts else None
        except UserError:  # of another version
            exploited = None
    return [Curve(phase, title, role, arm, index, live, exploited, steps, metrics)]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _who(phase: str) -> tuple[str, str, str, int]:
    """Title, role, arm and round of a phase's curve."""
    parts = phase.split("/")
    if len(parts) == 3 and parts[0] == "rounds" and parts[1].isdigit():
        index = int(parts[1])
        if phase == round_prover(index):
            return f"round {index}", "prover", GAME, index
        if phase == round_verifier(index):
            return f"round {index} verifier", "verifier", GAME, index
    if parts[0] == "arms" and len(parts) > 2 and parts[1] in ARMS:
        arm, title = parts[1], ARMS[parts[1]]
        if parts[2] == "rounds" and len(parts) == 5 and parts[3].isdigit():
            arm_round = int(parts[3])
            return f"{title}, round {arm_round}", "prover" if parts[4] == "prover" else "verifier", arm, arm_round
        if phase in (arm_prover(arm), arm_reader(arm)):
            return (title, "prover", arm, 0) if phase == arm_prover(arm) else (f"reader of {title}", "verifier", "", 0)
    if phase == JUDGE:
        return "held-out judge", "verifier", "", 0
    return parts[-1].replace("_", " "), "prover", "", 0
