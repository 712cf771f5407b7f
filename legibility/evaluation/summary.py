"""summary.json: every headline number of a run, computed from its stored completions and verifiers.

Legibility tax (Kirchner et al. 2024, Fig. 1 and Sec. 1, no formula given there):
    tax = Acc(correctness-only) - Acc(game), retained gain = (Acc_game - Acc_init) / (Acc_corr - Acc_init)
with Acc_game the last round's helpful accuracy and the correctness-only arm read at the same number
of steps, all on test problems. Intervals are percentile bootstraps over problems, paired across arms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from legibility.config import Config
from legibility.errors import UserError
from legibility.evaluation.intervals import Resamples, bootstrap_stream, share, shared_resamples
from legibility.evaluation.judge_reading import read_judge
from legibility.evaluation.schema import SECTION_FILES, read_evaluation, section_file
from legibility.evaluation.scores import Scorer
from legibility.evaluation.summary_schema import (
    SUMMARY,
    Arms,
    CorrectnessSummary,
    GameSummary,
    JudgeSummary,
    PolicySummary,
    RoundSummary,
    SameStyleFigure,
    StartSummary,
    Summary,
    SummaryDecoding,
    VerifierSummary,
    read_summary,
)
from legibility.evaluation.texts import by_problem, test_texts, valid
from legibility.game.condition import (
    CORRECTNESS,
    CORRECTNESS_HALFWAY,
    CORRECTNESS_ONLY,
    GAME,
    HALFWAY,
    HELD_OUT_JUDGE,
    INIT,
    START,
    Condition,
    helpful,
    sneaky,
    verifier,
)
from legibility.game.discrimination import discrimination, role_and_style, same_style
from legibility.game.prover_phase import load_training
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import RESOURCES, TRAINING, Resources, VerifierTraining
from legibility.metrics import bootstrap, number
from legibility.problems.storage import read_problems
from legibility.stored import Interval, read_stored, write_stored
from legibility.team import Team

Texts = Mapping[Condition, pd.DataFrame]
Checked = Mapping[Condition, dict[str, Interval]]
"""Checkability by condition and judge; empty where it was not computed."""


def write_summary(run: RunFolder, device: str = "cpu", team: Team | None = None) -> Summary:
    """Compute and write summary.json; a `team` shares the scoring. Raises UserError for unfinished or changed phases."""
    summary = summarise(run, device=device, team=team)
    write_stored(run.path / SUMMARY, summary)
    return summary


def check_readable(run: RunFolder, *, sections: bool) -> None:
    """Raises UserError for what the summary will be made of and cannot be read: before the work, not after it.

    sections: those of the evaluation too, which an evaluation writes again and an attack does not.
    """
    _peak_memory(run)
    if sections:
        read_evaluation(run)


def _peak_memory(run: RunFolder) -> float:
    resources = run.path / RESOURCES
    return read_stored(resources, Resources, fix="delete it").peak_memory_mb if resources.exists() else 0.0


def lost_sections(run: RunFolder) -> list[Path]:
    """Files of sections that summary.json has and evaluation/ has no more. None for a summary that cannot be read."""
    try:
        evaluation = read_summary(run.path / SUMMARY).evaluation
    except UserError:  # it is about to be written anew
        return []
    known = [] if evaluation is None else [name for name in SECTION_FILES if getattr(evaluation, name) is not None]
    return [file for name in known if not (file := section_file(run, name)).is_file()]


def summarise(run: RunFolder, *, device: str = "cpu", checked: bool = True, team: Team | None = None) -> Summary:
    """What summary.json holds, from what is finished.

    checked=False leaves out what needs a model (checkability): a run that is going is not loaded.
    Raises UserError for files that were changed.
    """
    config: Config = run.config()
    rounds, texts = run.rounds(), test_texts(run)
    settings, test_problems = config.evaluation, list(texts[START].problem_id.unique())
    resamples = shared_resamples(config, test_problems, settings.bootstrap, settings.confidence_level)
    judged = _Checked({c: {} for c in texts})
    if checked:
        judged = _check(run, config, texts, rounds[-1], device, team, resamples)
    check, describe = judged.checkability, _Describer(config, resamples)
    last, accuracies = helpful(rounds[-1]), {c: by_problem(frame) for c, frame in texts.items()}
    rows = [_round(run, index, describe, texts, check) for index in rounds]
    init = StartSummary(**dict(describe(texts[START])), **_checkability(check[START]))
    game = GameSummary(rounds=rows, accuracy=rows[-1].helpful_accuracy, interval=rows[-1].helpful_interval)
    correctness: dict[str, CorrectnessSummary] = {}
    tax = tax_halfway = retained = Interval()
    equal_samples: dict[str, Interval] = {}

    def kept(start: float, corner: float, own: float) -> Any:
        return share(own - start, corner - start)

    if CORRECTNESS_ONLY in texts:
        correctness["correctness"] = _correctness(run, describe, texts, check)
        tax = describe.paired(accuracies, (CORRECTNESS_ONLY, last), lambda corner, own: corner - own)
        retained = describe.paired(accuracies, (START, CORRECTNESS_ONLY, last), kept)
        if HALFWAY in texts:
            tax_halfway = describe.paired(accuracies, (HALFWAY, last), lambda corner, own: corner - own)
            found = describe.paired(accuracies, (START, HALFWAY, last), kept)
            equal_samples["retained_gain_equal_helpful_samples"] = found
    known = (INIT, GAME, CORRECTNESS, CORRECTNESS_HALFWAY)
    others = {c: describe(frame) for c, frame in texts.items() if c.arm not in known and len(frame)}
    done = [run.done_record(p) for p in run.finished_phases() if not p.startswith("evaluation/")]
    peak = _peak_memory(run)
    evaluation = read_evaluation(run)
    return Summary(
        run=run.path.name,
        seed=config.seed,
        **({"quick": True} if run.is_quick else {}),
        wall_seconds=float(sum(d.seconds for d in done)),
        peak_memory_mb=max([peak, *(d.peak_memory_mb for d in done)]),
        decoding=SummaryDecoding(
            temperature=config.sampling.evaluation_temperature,
            samples=config.evaluation.samples,
            test_problems=int(texts[START].problem_id.nunique()),
        ),
        reward=config.reward.kind,
        arms=Arms(init=init, game=game, **correctness, **({"others": others} if others else {})),
        legibility_tax=tax,
        legibility_tax_equal_helpful_samples=tax_halfway,
        retained_gain=retained,
        **equal_samples,
        **({} if judged.judge is None else {"held_out_judge": judged.judge}),
        **({} if evaluation is None else {"evaluation": evaluation}),
    )


def checkability(
    frame: pd.DataFrame, judges: Mapping[str, Callable[[pd.DataFrame], np.ndarray]], resamples: Resamples
) -> dict[str, Interval]:
    """Same-problem pairwise accuracy of each judge on one policy's valid text; a judge maps text to scores (n,)."""
    frame = valid(frame)
    correct, problems = (frame.verdict == "correct").to_numpy(), list(frame.problem_id)
    return {name: resamples.pairwise(judge(frame), correct, problems).interval() for name, judge in judges.items()}


def _checkability(found: Mapping[str, Interval]) -> dict[str, Any]:
    """The two fields of a summary that hold a policy's checkability."""
    return {
        "checkability": {name: e.value for name, e in found.items()},
        "checkability_interval": {name: (e.low, e.high) for name, e in found.items()},
    }


@dataclass(frozen=True)
class _Checked:
    """What judges say of the run's text. `checkability`: by condition. `judge`: how well the held-out judge reads."""

    checkability: Checked
    judge: JudgeSummary | None = None


def _check(
    run: RunFolder, config: Config, texts: Texts, last: int, device: str, team: Team | None, resamples: Resamples
) -> _Checked:
    """Checkability of every honest text by the run's last verifier and the held-out judge, and what that judge can read."""
    problems = read_problems(run.problems_file)
    named = {"last_verifier": verifier(last), "held_out_judge": HELD_OUT_JUDGE}
    judges = {
        name: Scorer(run, judge, config, device, problems, team)
        for name, judge in named.items()
        if run.is_done(judge.phase)
    }
    scored = pd.concat([texts[c] for c in (helpful(last), CORRECTNESS_ONLY) if c in texts])  # when they were written
    judges["last_verifier"].learn(scored, scored.score.to_numpy())
    shown = {c: texts[c] for c in texts if c in (START, CORRECTNESS_ONLY) or c == helpful(c.round)}
    for judge in judges.values():
        judge(valid(pd.concat(shown.values())))  # all at once
    found: dict[Condition, dict[str, Interval]] = {c: {} for c in texts}
    found |= {c: checkability(frame, judges, resamples) for c, frame in shown.items() if len(frame)}
    if "held_out_judge" not in judges:
        return _Checked(found)
    base_text = valid(texts[START])
    return _Checked(found, read_judge(run, config, judges["held_out_judge"], base_text, problems, resamples))


class _Describer:
    """Accuracy, length and invalid share of one policy's text, with a bootstrap interval."""

    def __init__(self, config: Config, resamples: Resamples) -> None:
        self.config, self.resamples = config, resamples

    def __call__(self, frame: pd.DataFrame) -> PolicySummary:
        accuracy = self.paired({START: by_problem(frame)}, (START,), lambda own: own)
        return PolicySummary(
            accuracy=accuracy.value,
            interval=(accuracy.low, accuracy.high),
            mean_length=number(frame.completion_tokens.mean()),
            invalid=number((frame.verdict == "invalid").mean()),
        )

    def paired(
        self, accuracies: Mapping[Condition, pd.Series], names: tuple[Condition, ...], statistic: Callable[..., Any]
    ) -> Interval:
        """Bootstrap `statistic(mean accuracy of each condition)` over the problems.

        accuracies: by condition, each (problems,) over the same problems in the same order.
        """
        table = np.stack([accuracies[n].to_numpy() for n in names])  # (conditions, problems)
        settings = self.config.evaluation
        found = bootstrap(
            lambda index: statistic(*table[:, index].mean(1)),
            table.shape[1],
            resamples=settings.bootstrap,
            confidence_level=settings.confidence_level,
            rng=bootstrap_stream(self.config),
        )
        return Interval(**found)

    def same_style(self, frame: pd.DataFrame, scores: np.ndarray) -> SameStyleFigure:
        """Same-style accuracy of scores (n,) on valid test text (n rows), with its interval."""
        problems = list(frame.problem_id)
        correct = np.asarray(frame.verdict == "correct")
        found = self.resamples.pairwise(scores, correct, problems, within=role_and_style(frame)).interval()
        return SameStyleFigure(**same_style(frame, scores).model_dump(), low=found.low, high=found.high)


def _correctness(run: RunFolder, describe: _Describer, texts: Texts, check: Checked) -> CorrectnessSummary:
    halfway = {}
    if HALFWAY in texts:
        halfway["accuracy_at_half_steps"] = number(by_problem(texts[HALFWAY]).mean())
    return CorrectnessSummary(
        **dict(describe(texts[CORRECTNESS_ONLY])),
        steps=load_training(run, CORRECTNESS, 0).steps,
        **_checkability(check[CORRECTNESS_ONLY]),
        **halfway,
    )


def _round(run: RunFolder, index: int, describe: _Describer, texts: Texts, check: Checked) -> RoundSummary:
    training = load_training(run, GAME, index)
    trained = run.stored(verifier(index).phase, TRAINING, VerifierTraining)
    ours, theirs = texts[helpful(index)], texts[sneaky(index)]
    own = valid(pd.concat([ours, theirs]))
    scores = own.score.to_numpy(dtype=float)
    h, s = describe(ours), describe(theirs)
    return RoundSummary(
        round=index,
        steps=training.steps,
        stopped=training.stopped,
        steps_to_exploit=training.steps_to_exploit,
        score_scale=training.score_scale,
        helpful_accuracy=h.accuracy,
        helpful_interval=h.interval,
        helpful_length=h.mean_length,
        helpful_invalid=h.invalid,
        sneaky_accuracy=s.accuracy,
        sneaky_interval=s.interval,
        sneaky_length=s.mean_length,
        sneaky_invalid=s.invalid,
        score_helpful_correct=number(ours.score[ours.verdict == "correct"].mean()),
        score_sneaky_incorrect=number(theirs.score[theirs.verdict == "incorrect"].mean()),
        **_checkability(check[helpful(index)]),
        verifier=VerifierSummary(
            parameters=trained.parameters,
            texts=trained.texts,
            auroc_base=trained.on(None),
            auroc_previous_round=trained.on(index - 1 if index else None),
            auroc_own_round=discrimination(own, scores),
            same_style=describe.same_style(own, scores),
        ),
    )
