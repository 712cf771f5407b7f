"""Does playing the game make a better weak supervisor? The run's first and last verifier as teachers.

Not in any paper. Both label the same half B: text of the run's *prover* half, which no verifier was
trained on (their own half would make the labels near ground truth). A student learns from each, and
from the truth; all are judged on base text and on adversarial (sneaky) text of the test half. Verifier
scores have no absolute zero (the pairwise loss leaves it free), so each verifier is calibrated on the
run's validation text first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from legibility.errors import UserError
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import round_solutions
from legibility.models.verifier import Verifier
from legibility.randomness import stream
from legibility.weak_to_strong.auto_aligner import calibrate
from legibility.weak_to_strong.cells import Cell, Result, load_or
from legibility.weak_to_strong.items import Item, balanced, labels
from legibility.weak_to_strong.pgr import crossed_bootstrap, pgr_estimate
from legibility.weak_to_strong.study import Study

SETS = ("base", "sneaky")


def game_teacher_summary(study: Study) -> dict[str, Any]:
    """Accuracy of both verifiers, their students and the ceiling on base and sneaky test text, with PGR and paired differences."""
    settings = study.config.game_teacher
    assert settings is not None and study.texts is not None
    run, rounds, held_out = check_run(study)
    results = {s: _seed(study, run, s, rounds, held_out) for s in study.config.seeds}
    truth = {name: labels(items) for name, items in held_out.items()}
    groups = {name: [x.group for x in items] for name, items in held_out.items()}
    resampling = {"resamples": study.config.bootstrap, "confidence": study.config.confidence_level}

    def right(model: str, name: str) -> np.ndarray:
        return np.stack([(r.arrays[f"{model} {name}"][-1] > 0) == truth[name] for r in results.values()])

    def interval(name: str, tables: dict[str, np.ndarray], statistic) -> dict[str, float | None]:
        return crossed_bootstrap(tables, groups[name], statistic, **resampling, rng=stream("study bootstrap"))[0]

    entries = []
    for name in SETS:
        ceiling = right("ceiling", name)
        entry: dict[str, Any] = {
            "text": name, "items": len(truth[name]), "ceiling": interval(name, {"x": ceiling}, lambda m: m["x"]), "teachers": [],
        }
        for index in rounds:
            weak, student = right(f"verifier {index}", name), right(f"student {index}", name)
            entry["teachers"].append({
                "round": index,
                "teacher_accuracy": interval(name, {"x": weak}, lambda m: m["x"]),
                "student_accuracy": interval(name, {"x": student}, lambda m: m["x"]),
                "pgr": pgr_estimate(weak, student, ceiling, groups[name], **resampling, rng=stream("study bootstrap")),
            })
        pair = {"last": right(f"student {rounds[1]}", name), "first": right(f"student {rounds[0]}", name)}
        entry["student_last_minus_first"] = interval(name, pair, lambda m: m["last"] - m["first"])
        pair = {"last": right(f"verifier {rounds[1]}", name), "first": right(f"verifier {rounds[0]}", name)}
        entry["teacher_last_minus_first"] = interval(name, pair, lambda m: m["last"] - m["first"])
        entries.append(entry)
    label_accuracy = {str(i): float(np.mean([r.info["label_accuracy"][str(i)] for r in results.values()])) for i in rounds}
    return {
        "rounds": list(rounds), "student": settings.student, "objective": settings.objective,
        "student_items": next(iter(results.values())).info["items"], "label_accuracy": label_accuracy, "sets": entries,
    }


def check_run(study: Study) -> tuple[RunFolder, tuple[int, int], dict[str, list[Item]]]:
    """The run, its first and last round, and the test items. Raises UserError where the run does not serve."""
    run = RunFolder.existing((study.base_dir or Path()) / Path(study.config.task.run).expanduser())  # the config checked it is set
    rounds = run.rounds()
    if len(rounds) < 2:
        raise UserError(f"game_teacher: {run.path} has {len(rounds)} finished rounds; comparing teachers needs at least two")
    return run, (rounds[0], rounds[-1]), _held_out(study, rounds[-1])


def _held_out(study: Study, last: int) -> dict[str, list[Item]]:
    """Balanced test items: base text, and sneaky text of the last round."""
    pool = study.pools["test"]
    wanted = {"base": lambda s: s == "base", "sneaky": lambda s: s == f"sneaky {last}"}
    found = {
        name: balanced([x for x in pool if keep(x.source)], study.config.parts.test, stream("game test", name))
        for name, keep in wanted.items()
    }
    for name, items in found.items():
        if not items:
            raise UserError(f"game_teacher: the run's test half has no {name} text with both right and wrong solutions (task.sources must list it)")
    return found


def _seed(study: Study, run: RunFolder, seed: int, rounds: tuple[int, int], held_out: dict[str, list[Item]]) -> Result:
    settings = study.config.game_teacher
    assert settings is not None and study.texts is not None
    problems = study.texts.problems

    def compute() -> Result:
        items = _student_half(run, rounds, problems, settings.items, seed)
        truth = labels(items)
        arrays: dict[str, np.ndarray] = {}
        label_accuracy = {}
        cell = Cell("student", seed, (settings.student,))
        for index in rounds:
            verifier = Verifier.load(run.config().verifier, study.device, source=str(run.verified(f"rounds/{index:02d}/verifier")))
            parts = {"student": items, "trusted": study.parts(seed).validation, **held_out}
            raw = {n: verifier.score([x.problem for x in p], [x.texts[0] for x in p]).astype(float) for n, p in parts.items()}
            calibrated = calibrate(raw, labels(parts["trusted"]))
            label_accuracy[str(index)] = float(((calibrated["student"] > 0) == truth).mean())
            trained = study.train(cell, items, expit(calibrated["student"]), held_out, objective=settings.objective)
            for name in SETS:
                arrays[f"verifier {index} {name}"] = calibrated[name][None]
                arrays[f"student {index} {name}"] = trained.logits[name]
        trained = study.train(cell, items, truth.astype(float), held_out)
        arrays.update({f"ceiling {name}": trained.logits[name] for name in SETS})
        return Result(arrays, {"items": len(items), "label_accuracy": label_accuracy})

    return load_or(study.run, f"cells/seed-{seed}/game-teacher", compute)


def _student_half(run: RunFolder, rounds: tuple[int, int], problems, count: int, seed: int) -> list[Item]:
    """Text PPO sampled on prover-half problems in the first and the last round, balanced inside role and round."""
    items = []
    for index in rounds:
        frame: pd.DataFrame = round_solutions(run, index)
        frame = frame[(frame.phase == "ppo") & (frame.split == "prover") & (frame.verdict != "invalid")]
        items += [
            Item(f"{r.problem_id}/{index}/{r.role}/{r.step}/{r.sample}", r.problem_id, problems[r.problem_id], (r.text,),
                 r.verdict == "correct", f"{r.role} {index}")
            for r in frame.drop_duplicates(["problem_id", "text"]).itertuples()
        ]
    return balanced(items, count, stream(seed, "game student half"), within_source=True)
