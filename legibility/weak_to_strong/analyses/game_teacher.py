"""Does playing the game make a better weak supervisor? The run's first and last verifier as teachers.

Not in any paper. Both label the same half B: text of the run's *prover* half, which no verifier was
trained on (their own half would make the labels near ground truth). It is of the kinds that are tested:
near-base text (the first PPO steps), and both roles' text of both rounds. A student learns from each, and
from the truth; all are judged on base text and on adversarial (sneaky) text of the test half. Verifier
scores have no absolute zero (the pairwise loss leaves it free), so each verifier is calibrated on the
run's validation text first (base, and both roles of both rounds).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from legibility.errors import UserError
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import round_solutions
from legibility.models.verifier import Verifier
from legibility.problems.records import Problem
from legibility.randomness import stream
from legibility.weak_to_strong.analyses.auto_aligner import calibrate
from legibility.weak_to_strong.cells import Cell, Result, load_or
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.experiment_settings import GameTeacherSettings
from legibility.weak_to_strong.items import Item, balanced, labels
from legibility.weak_to_strong.pgr import crossed_bootstrap, pgr_estimate

SETS = ("base", "sneaky")


def game_teacher_summary(experiment: Experiment) -> dict[str, Any]:
    """Accuracy of both verifiers, their students and the ceiling on base and sneaky test text, with PGR and paired differences."""
    settings = experiment.config.game_teacher
    assert settings is not None and experiment.texts is not None
    _, rounds, held_out = check_run(experiment)
    results = {s: game_teacher_cell(experiment, s) for s in experiment.config.seeds}
    truth = {name: labels(held_out[name]) for name in SETS}
    groups = {name: [x.group for x in held_out[name]] for name in SETS}
    resampling = {"resamples": experiment.config.bootstrap, "confidence": experiment.config.confidence_level}

    def right(model: str, name: str) -> np.ndarray:
        return np.stack([(r.arrays[f"{model} {name}"][-1] > 0) == truth[name] for r in results.values()])

    def interval(name: str, tables: dict[str, np.ndarray], statistic) -> dict[str, float | None]:
        return crossed_bootstrap(tables, groups[name], statistic, **resampling, rng=stream("study bootstrap"))[0]

    entries = []
    for name in SETS:
        ceiling = right("ceiling", name)
        entry: dict[str, Any] = {
            "text": name,
            "items": len(truth[name]),
            "ceiling": interval(name, {"x": ceiling}, lambda m: m["x"]),
            "teachers": [],
        }
        for index in rounds:
            weak, student = right(f"verifier {index}", name), right(f"student {index}", name)
            entry["teachers"].append(
                {
                    "round": index,
                    "teacher_accuracy": interval(name, {"x": weak}, lambda m: m["x"]),
                    "student_accuracy": interval(name, {"x": student}, lambda m: m["x"]),
                    "pgr": pgr_estimate(
                        weak, student, ceiling, groups[name], **resampling, rng=stream("study bootstrap")
                    ),
                }
            )
        pair = {"last": right(f"student {rounds[1]}", name), "first": right(f"student {rounds[0]}", name)}
        entry["student_last_minus_first"] = interval(name, pair, lambda m: m["last"] - m["first"])
        pair = {"last": right(f"verifier {rounds[1]}", name), "first": right(f"verifier {rounds[0]}", name)}
        entry["teacher_last_minus_first"] = interval(name, pair, lambda m: m["last"] - m["first"])
        entries.append(entry)
    label_accuracy = {
        str(i): float(np.mean([r.info["label_accuracy"][str(i)] for r in results.values()])) for i in rounds
    }
    return {
        "rounds": list(rounds),
        "student": settings.student,
        "objective": settings.objective,
        "student_items": next(iter(results.values())).info["items"],
        "label_accuracy": label_accuracy,
        "sets": entries,
    }


def check_run(experiment: Experiment) -> tuple[RunFolder, tuple[int, int], dict[str, list[Item]]]:
    """The run, its first and last round, and the test items. Raises UserError where the run does not serve."""
    run = RunFolder.existing(
        (experiment.base_dir or Path()) / Path(experiment.config.task.run).expanduser()
    )  # the config checked it is set
    rounds = run.rounds()
    if len(rounds) < 2:
        raise UserError(
            f"game_teacher: {run.path} has {len(rounds)} finished rounds; comparing teachers needs at least two"
        )
    return run, (rounds[0], rounds[-1]), _held_out(experiment, (rounds[0], rounds[-1]))


def _held_out(experiment: Experiment, rounds: tuple[int, int]) -> dict[str, list[Item]]:
    """Balanced test items, base text and sneaky text of the last round; and validation text of all kinds to calibrate on."""
    assert experiment.texts is not None
    frame = experiment.texts.frame[experiment.texts.frame.verdict != "invalid"]
    base, ours = frame[frame.role == "base"], frame[frame["round"].isin(rounds) & (frame.role != "base")]
    sneaky = ours[(ours.role == "sneaky") & (ours["round"] == rounds[1])]
    wanted = {
        "base": (base, "test"),
        "sneaky": (sneaky, "test"),
        "calibration": (pd.concat([base, ours]), "validation"),
    }
    found = {}
    for name, (rows, split) in wanted.items():
        items = _items(rows[rows.split == split], experiment.texts.problems)
        found[name] = balanced(items, experiment.config.parts.test, stream("game test", name), within_source=True)
        if not found[name]:
            raise UserError(
                f"game_teacher: the run's {split} part has no {name} text with both right and wrong solutions; use a run with more of it"
            )
    return found


def _items(frame: pd.DataFrame, problems: dict[str, Problem]) -> list[Item]:
    return [
        Item(
            f"{r.problem_id}/{r.round}/{r.role}/{r.step}/{r.sample}",
            r.problem_id,
            problems[r.problem_id],
            (r.text,),
            r.verdict == "correct",
            f"{r.role} {r.round}",
        )
        for r in frame.drop_duplicates(["problem_id", "text"]).itertuples()
    ]


def game_teacher_cell(experiment: Experiment, seed: int) -> Result:
    """Log-odds of one seed on the test texts: arrays "verifier R base", "student R sneaky", "ceiling base", …"""
    settings = experiment.config.game_teacher
    assert settings is not None and experiment.texts is not None
    run, rounds, held_out = check_run(experiment)
    problems = experiment.texts.problems

    def compute() -> Result:
        items = _student_half(run, rounds, problems, settings, seed)
        truth = labels(items)
        tested = {name: held_out[name] for name in SETS}
        arrays: dict[str, np.ndarray] = {}
        label_accuracy = {}
        cell = Cell("student", seed, (settings.student,))
        for index in rounds:
            verifier = Verifier.load(
                run.config().verifier, experiment.device, source=str(run.verified(f"rounds/{index:02d}/verifier"))
            )
            parts = {"student": items, "trusted": held_out["calibration"], **tested}
            raw = {
                n: verifier.score([x.problem for x in p], [x.texts[0] for x in p]).astype(float)
                for n, p in parts.items()
            }
            calibrated = calibrate(raw, labels(parts["trusted"]))
            label_accuracy[str(index)] = float(((calibrated["student"] > 0) == truth).mean())
            trained = experiment.train(cell, items, expit(calibrated["student"]), tested, objective=settings.objective)
            for name in SETS:
                arrays[f"verifier {index} {name}"] = calibrated[name][None]
                arrays[f"student {index} {name}"] = trained.logits[name]
        trained = experiment.train(cell, items, truth.astype(float), tested)
        arrays.update({f"ceiling {name}": trained.logits[name] for name in SETS})
        return Result(arrays, {"items": len(items), "label_accuracy": label_accuracy})

    return load_or(experiment.run, f"cells/seed-{seed}/game-teacher", compute)


def _student_half(
    run: RunFolder, rounds: tuple[int, int], problems, settings: GameTeacherSettings, seed: int
) -> list[Item]:
    """Text PPO sampled on prover-half problems in the first and the last round, balanced inside role and round, early text apart."""
    items = []
    for index in rounds:
        frame: pd.DataFrame = round_solutions(run, index)
        frame = frame[(frame.phase == "ppo") & (frame.split == "prover") & (frame.verdict != "invalid")]
        if index == rounds[0]:
            early = (frame.step <= settings.early_steps) & (frame.role == "helpful")
            items += [replace(x, source="early") for x in _items(frame[early], problems)]
            frame = frame[~early]
        items += _items(frame, problems)
    return balanced(items, settings.items, stream(seed, "game student half"), within_source=True)
