"""Does playing the game make a better weak supervisor? The run's first and last verifier as teachers.

Not in any paper. Both label the same half B: text of the run's *prover* half, which no verifier was
trained on (their own half would make the labels near ground truth). It is of the kinds that are tested:
near-base text (the first PPO steps), and both roles' text of both rounds. A student learns from each, and
from the truth; all are tested on base text and on adversarial (sneaky) text of the test half. Verifier
scores have no absolute zero (the pairwise loss leaves it free), so each verifier is calibrated on the
run's validation text first (base, and both roles of both rounds).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field
from scipy.special import expit

from legibility.errors import UserError
from legibility.game.condition import BASE_ROLE
from legibility.game.phases import round_verifier
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import round_solutions
from legibility.models.verifier_ensemble import load_verifier
from legibility.problems.records import Problem
from legibility.prompts import HELPFUL, SNEAKY
from legibility.randomness import stream
from legibility.weak_to_strong.analyses.auto_aligner import calibrate
from legibility.weak_to_strong.cells import Cell, CellInfo, CellResult, load_or
from legibility.weak_to_strong.estimates import Estimator
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.experiment_schema import GameTeacherRound, GameTeacherSection, GameTeacherText
from legibility.weak_to_strong.experiment_settings import GameTeacherSettings
from legibility.weak_to_strong.items import Item, balanced, labels
from legibility.weak_to_strong.teachers import Logits

SETS = ("base", "sneaky")


@dataclass(frozen=True)
class Labeller:
    """Who labels test text: a round's verifier, the student it taught, or the ceiling, which has no round."""

    kind: Literal["verifier", "student", "ceiling"]
    round: int | None = None

    def array(self, text: str) -> str:
        """Name of the cell's array of log-odds (1, items) on one kind of test text."""
        return " ".join([self.kind, *([] if self.round is None else [str(self.round)]), text])


class GameTeacherInfo(CellInfo):
    """cell.json: what the game's verifiers as teachers note."""

    items: int = Field(description="Solutions the verifiers labelled.")
    label_accuracy: dict[int, float] = Field(description="By round, share of right labels.")


@dataclass(frozen=True)
class GameRun:
    """The run whose verifiers teach: its first and last round, and balanced items of its stored text.

    tested: items of "base" and "sneaky" text of the test half. calibration: items of all kinds of validation text.
    """

    run: RunFolder
    rounds: tuple[int, int]
    tested: dict[str, list[Item]]
    calibration: list[Item]


def game_teacher_summary(experiment: Experiment) -> GameTeacherSection:
    """Accuracy of both verifiers, their students and the ceiling on base and sneaky test text, with PGR and paired differences."""
    settings = _settings(experiment)
    game = check_run(experiment)
    results = [game_teacher_cell(experiment, seed) for seed in experiment.config.seeds]
    return GameTeacherSection(
        rounds=game.rounds,
        student=settings.student,
        objective=settings.objective,
        student_items=results[0].info.items,
        label_accuracy={i: float(np.mean([r.info.label_accuracy[i] for r in results])) for i in game.rounds},
        sets=[_text_entry(experiment, game, name, results) for name in SETS],
    )


def _text_entry(
    experiment: Experiment, game: GameRun, name: str, results: Sequence[CellResult[GameTeacherInfo]]
) -> GameTeacherText:
    """Both verifiers as teachers, on one kind of test text."""
    items, (first, last) = game.tested[name], game.rounds
    truth, estimator = labels(items), Estimator.of(experiment.config, [x.group for x in items])

    def right(who: Labeller) -> np.ndarray:
        return np.stack([(r.last(who.array(name)) > 0) == truth for r in results])

    ceiling = right(Labeller("ceiling"))
    taught = {index: right(Labeller("student", index)) for index in game.rounds}
    teacher = {index: right(Labeller("verifier", index)) for index in game.rounds}
    return GameTeacherText(
        text=name,
        items=len(items),
        ceiling=estimator.accuracy(ceiling),
        teachers=[
            GameTeacherRound(
                round=index,
                teacher_accuracy=estimator.accuracy(teacher[index]),
                student_accuracy=estimator.accuracy(taught[index]),
                pgr=estimator.pgr(teacher[index], taught[index], ceiling),
            )
            for index in game.rounds
        ],
        student_last_minus_first=estimator.difference(taught[last], taught[first]),
        teacher_last_minus_first=estimator.difference(teacher[last], teacher[first]),
    )


def check_run(experiment: Experiment) -> GameRun:
    """The run and the items. Raises UserError where the run does not serve."""
    texts, place = experiment.texts, experiment.config.run
    assert texts is not None and place is not None  # the settings ask for task.run
    run = RunFolder.existing((experiment.base_dir or Path()) / Path(place).expanduser())
    found = run.rounds()
    if len(found) < 2:
        raise UserError(
            f"game_teacher: {run.path} has {len(found)} finished rounds; comparing teachers needs at least two"
        )
    rounds = (found[0], found[-1])
    frame = texts.frame[texts.frame.verdict != "invalid"]
    base, ours = frame[frame.role == BASE_ROLE], frame[frame["round"].isin(rounds) & (frame.role != BASE_ROLE)]
    sneaky = ours[(ours.role == SNEAKY) & (ours["round"] == rounds[1])]

    def items(name: str, rows: pd.DataFrame, split: str) -> list[Item]:
        chosen = balanced(
            _items(rows[rows.split == split], texts.problems),
            experiment.config.parts.test,
            stream("game test", name),
            within_source=True,
        )
        if not chosen:
            raise UserError(
                f"game_teacher: the run's {split} part has no {name} text with both right and wrong solutions; "
                "use a run with more of it"
            )
        return chosen

    tested = {"base": items("base", base, "test"), "sneaky": items("sneaky", sneaky, "test")}
    return GameRun(run, rounds, tested, items("calibration", pd.concat([base, ours]), "validation"))


def _items(frame: pd.DataFrame, problems: Mapping[str, Problem]) -> list[Item]:
    """One item per distinct completion of a problem; its source is its role and round."""
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


def game_teacher_cell(experiment: Experiment, seed: int) -> CellResult[GameTeacherInfo]:
    """Log-odds of one seed on the test texts, an array (1, items) for every `Labeller` and kind of text."""
    settings = _settings(experiment)
    game, texts = check_run(experiment), experiment.texts
    assert texts is not None  # the settings ask for task.run

    def compute() -> CellResult[GameTeacherInfo]:
        items = _student_half(game, texts.problems, settings, seed)
        truth = labels(items)
        arrays: dict[str, np.ndarray] = {}
        label_accuracy = {}
        cell = Cell("student", seed, (settings.student,))
        for index in game.rounds:
            calibrated = calibrate(_scores(experiment, game, index, items), labels(game.calibration))
            label_accuracy[index] = float(((calibrated["student"] > 0) == truth).mean())
            target = expit(calibrated["student"])
            trained = experiment.train(cell, items, target, game.tested, objective=settings.objective)
            for name in SETS:
                arrays[Labeller("verifier", index).array(name)] = calibrated[name][None]
                arrays[Labeller("student", index).array(name)] = trained.logits[name]
        trained = experiment.train(cell, items, truth.astype(float), game.tested)
        arrays.update({Labeller("ceiling").array(name): trained.logits[name] for name in SETS})
        return CellResult(arrays, GameTeacherInfo(items=len(items), label_accuracy=label_accuracy))

    return load_or(experiment.run, f"cells/seed-{seed}/game-teacher", GameTeacherInfo, compute)


def _scores(experiment: Experiment, game: GameRun, index: int, items: Sequence[Item]) -> Logits:
    """Raw scores of a round's verifier by part; the calibration items stand for the trusted part."""
    folder = game.run.verified(round_verifier(index))
    model = load_verifier(game.run.config().verifier, experiment.device, source=str(folder))
    parts = {"student": items, "trusted": game.calibration, **game.tested}
    return {
        name: model.score([x.problem for x in part], [x.texts[0] for x in part]).astype(float)
        for name, part in parts.items()
    }


def _student_half(
    game: GameRun, problems: Mapping[str, Problem], settings: GameTeacherSettings, seed: int
) -> list[Item]:
    """Text PPO sampled on prover-half problems in the first and the last round, balanced inside role and round, early text apart."""
    items: list[Item] = []
    for index in game.rounds:
        frame = round_solutions(game.run, index)
        frame = frame[(frame.phase == "ppo") & (frame.split == "prover") & (frame.verdict != "invalid")]
        if index == game.rounds[0]:
            early = (frame.step <= settings.early_steps) & (frame.role == HELPFUL)
            items += [replace(x, source="early") for x in _items(frame[early], problems)]
            frame = frame[~early]
        items += _items(frame, problems)
    return balanced(items, settings.items, stream(seed, "game student half"), within_source=True)


def _settings(experiment: Experiment) -> GameTeacherSettings:
    assert experiment.config.game_teacher is not None  # only called where the section is there
    return experiment.config.game_teacher
