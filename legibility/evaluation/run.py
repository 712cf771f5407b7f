"""A run opened for evaluation: its finished rounds, their text, and scores that are computed once.

Only test problems are reported on; thresholds are fixed on validation problems. A verifier is never
evaluated on the problems verifiers learn from: asking for that is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from legibility.config import Config
from legibility.config_file import override_config
from legibility.errors import UserError
from legibility.evaluation.finished_attacks import attacker_texts
from legibility.evaluation.intervals import Resamples, shared_resamples
from legibility.evaluation.schema import Decoding
from legibility.evaluation.scores import Scorer
from legibility.evaluation.text_sets import Attackers
from legibility.evaluation.texts import helpful_correct, test_texts, valid, validation_texts
from legibility.game.condition import GAME, Condition, Judge, helpful, judges_of, readers_of, sneaky
from legibility.game.prover_plan import phase_name
from legibility.game.reopen import reopen
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import Solution, SolutionPhase, read_solutions, write_solutions
from legibility.models.prover import Prover
from legibility.progress import Progress
from legibility.prompts import HELPFUL

QUICK_POOL = 50, 32
"""Problems and completions of each that a quick evaluation draws for best-of-n at most."""

CHANGEABLE = ("evaluation", "attack", "compute", "tracking", "sampling.evaluation_temperature")
"""Settings an evaluation may give anew; the others are the run's."""


class EvaluationRun:
    """A run opened for evaluation.

    `folder`: the run folder. `rounds`: finished rounds. `config`: the run's settings; `settings`: the same with
    `overrides`. `game`: the run reopened, for sampling and training. `problems`: every problem by id. `quick`:
    whether less is drawn and rewritten where that was not done before (`pool_size`, the section hacking).
    """

    def __init__(
        self, path: Path | str, overrides: Sequence[str] = (), progress: Progress | None = None, *, quick: bool = False
    ) -> None:
        """Raises UserError where there is no run, no finished round, a changed file or a bad override."""
        self.overrides, self.quick = tuple(overrides), quick
        self.folder = RunFolder.existing(path)
        self.rounds = self.folder.rounds()
        if not self.rounds:
            raise UserError(
                f"{path}: no finished round yet, so there is nothing to evaluate; go on with: {self.folder.resume_command}"
            )
        self.progress = progress or Progress(quiet=True)
        self.config: Config = self.folder.config()
        self.settings = override_config(self.config, overrides, CHANGEABLE)
        self.game = reopen(self.folder, config=self.settings, progress=self.progress)
        self.problems = self.game.problems
        self._learnt_from = {p.id for part in (self.game.splits.verifier, self.game.splits.judge) for p in part}
        self._scorers: dict[Judge, Scorer] = {}

    @cached_property
    def texts(self) -> dict[Condition, pd.DataFrame]:
        """Test completions by who wrote them."""
        return test_texts(self.folder)

    @cached_property
    def attackers(self) -> dict[Attackers, pd.DataFrame]:
        """Test text of finished attacks."""
        return attacker_texts(self.folder)

    @cached_property
    def resamples(self) -> Resamples:
        """Bootstrap weights of the test problems."""
        settings = self.settings.evaluation
        ids = [p.id for p in self.game.splits.test]
        return shared_resamples(self.config, ids, settings.bootstrap, settings.confidence_level)

    @cached_property
    def judges(self) -> list[Judge]:
        """Everything that scores: each round's verifier, and the held-out judge where there is one."""
        return judges_of(self.folder, self.rounds)

    @cached_property
    def readers(self) -> list[Judge]:
        """The arms' readers (`game.readers`)."""
        return readers_of(self.folder)

    def scorer(self, judge: Judge) -> Scorer:
        """Raises UserError where the judge's phase is not finished or its files were changed."""
        if judge not in self._scorers:
            scorer = Scorer(self.folder, judge, self.settings, self.game.device, self.problems)
            if judge.round in self.rounds and not scorer.known:  # the run has scored its own text already
                own = pd.concat([*self._round_texts(judge.round), validation_texts(self.folder, judge.round)])
                own = own[own.score.notna()]
                scorer.learn(own, own.score.to_numpy())
            self._scorers[judge] = scorer
        return self._scorers[judge]

    def scores(self, judge: Judge, frame: pd.DataFrame, done: Callable[[int], None] | None = None) -> np.ndarray:
        """Raw scores (n,). Raises UserError for text of problems the verifiers were trained on. done: as in `Scorer`."""
        learnt = self._learnt_from.intersection(frame.problem_id)
        if learnt:
            raise UserError(
                f"{judge.label}: problem {min(learnt)} is one the verifiers were trained on; "
                "evaluate on validation or test problems"
            )
        return self.scorer(judge)(frame, done)

    def threshold(self, judge: Judge, text_of: int = 0) -> float:
        """The score from which a judge accepts: it takes `evaluation.recall` of a round's helpful-correct validation text.

        text_of: the round; 0's is one text for all judges. nan where there is no such text.
        """
        return self.accepts_from(judge, helpful_correct(self.folder, text_of))

    def accepts_from(self, judge: Judge, frame: pd.DataFrame) -> float:
        """The score from which a judge accepts the share `evaluation.recall` of some text; nan without text."""
        if not len(frame):
            return float("nan")
        return float(np.quantile(self.scores(judge, frame), 1 - self.settings.evaluation.recall, method="lower"))

    def round_read_by(self, judge: Judge) -> int:
        """The round whose text a judge is measured on: a verifier's own, the last one for the held-out judge."""
        return self.rounds[-1] if judge.round is None else judge.round

    def own_text(self, index: int) -> pd.DataFrame:
        """Valid test text of a round, both roles."""
        return valid(pd.concat(self._round_texts(index)))

    @cached_property
    def pool_size(self) -> tuple[int, int]:
        """Problems and completions of each of a round's pool for best-of-n.

        Those of the settings; a quick evaluation draws less, unless such pools are there or a size was asked for.
        """
        settings = self.settings.evaluation
        problems, samples = min(settings.best_of_n_problems, len(self.game.splits.test)), settings.best_of_n_samples
        asked = any(override.startswith("evaluation.best_of_n") for override in self.overrides)
        if asked or not self.quick or all(self.folder.is_done(self._pool(i, problems, samples)) for i in self.rounds):
            return problems, samples
        return min(problems, QUICK_POOL[0]), min(samples, QUICK_POOL[1])

    @property
    def completions_to_draw(self) -> int:
        """How many completions the pools lack."""
        lacking = [i for i in self.rounds if not self.folder.is_done(self._pool(i, *self.pool_size))]
        return len(lacking) * math.prod(self.pool_size)

    def _pool(self, index: int, problems: int, samples: int) -> str:
        """The phase of a round's pool."""
        return f"evaluation/pools/{index:02d}_{problems}x{samples}_t{self.settings.sampling.evaluation_temperature:g}"

    def pool(self, index: int) -> pd.DataFrame:
        """Many helpful completions of some test problems by a round's final prover, sampled when first asked for."""
        temperature, (count, samples) = self.settings.sampling.evaluation_temperature, self.pool_size
        problems, phase = self.game.splits.test[:count], self._pool(index, count, samples)
        if not self.folder.is_done(phase):
            self.progress.phase(f"round {index} pool for best-of-n", 1)
            with self.folder.phase(phase) as work:
                prover = self.game.saved_prover(self.folder.verified(phase_name(GAME, index)))
                drawn = self.game.draw(
                    prover,
                    problems,
                    (HELPFUL,),
                    samples,
                    arm=GAME,
                    round_index=index,
                    phase="pool",
                    split="test",
                    step=0,
                    temperature=temperature,
                )
                write_solutions(work / "solutions.parquet", drawn.rows)
            self.progress.done(f"{len(drawn.rows)} completions")
        return read_solutions(self.folder.verified(phase) / "solutions.parquet")

    def last_text(
        self, role: str, *, arm: str, round_index: int, phase: SolutionPhase, step: int | None = None
    ) -> Callable[[Prover, int, bool], list[Solution]]:
        """What a prover that is trained here writes for the test problems when its training ends (`Plan.extra`).

        arm, round_index, phase: what the text is stored under. step: likewise (None: the step at which it ended).
        """

        def extra(prover: Prover, at: int, last: bool) -> list[Solution]:
            if not last:
                return []
            return self.game.draw(
                prover,
                self.game.splits.test,
                (role,),
                self.settings.evaluation.samples,
                arm=arm,
                round_index=round_index,
                phase=phase,
                split="test",
                step=at if step is None else step,
                temperature=self.settings.sampling.evaluation_temperature,
            ).rows

        return extra

    def decoding(self, samples: int | None = None, problems: int | None = None) -> Decoding:
        """How the text behind a figure was sampled; by default the run's own test text."""
        settings = self.config if samples is None else self.settings
        return Decoding(
            temperature=settings.sampling.evaluation_temperature,
            samples=self.config.evaluation.samples if samples is None else samples,
            problems=len(self.game.splits.test) if problems is None else problems,
        )

    def _round_texts(self, index: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        return self.texts[helpful(index)], self.texts[sneaky(index)]
