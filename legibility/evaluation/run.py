"""A run opened for evaluation: its finished rounds, their text, and scores that are computed once.

Only test problems are reported on; thresholds are fixed on validation problems. A verifier is never
evaluated on the problems verifiers learn from: asking for that is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from legibility.config_file import override_config
from legibility.errors import UserError
from legibility.evaluation.intervals import Resamples
from legibility.evaluation.scores import Scorer
from legibility.evaluation.texts import test_texts, valid, validation_texts
from legibility.game.condition import GAME
from legibility.game.prover_phase import phase_name
from legibility.game.reopen import reopen
from legibility.game.run_folder import RunFolder, round_name
from legibility.game.solutions import read_solutions, write_solutions
from legibility.progress import Progress
from legibility.prompts import HELPFUL
from legibility.randomness import stream

JUDGE = "judge"
CHANGEABLE = ("evaluation", "attack", "compute", "sampling.evaluation_temperature")


class Study:
    """`rounds`: finished rounds; `texts`: test completions by name; `settings`: the run's, with `overrides`."""

    def __init__(self, path: Path | str, overrides: Sequence[str] = (), progress: Progress | None = None) -> None:
        """Raises UserError where there is no run, no finished round, a changed file or a bad override."""
        self.overrides = tuple(overrides)
        self.run = RunFolder.existing(path)
        self.rounds = self.run.rounds()
        if not self.rounds:
            raise UserError(
                f"{path}: no finished round yet, so there is nothing to evaluate; go on with train --resume"
            )
        self.progress = progress or Progress(quiet=True)
        self.config = self.run.config()
        self.settings = override_config(self.config, overrides, CHANGEABLE)
        self.game = reopen(self.run, config=self.settings, progress=self.progress)
        self.problems = self.game.problems
        self._learnt_from = {p.id for p in self.game.splits.verifier}
        self._scorers: dict[str, Scorer] = {}

    @cached_property
    def texts(self) -> dict[str, pd.DataFrame]:
        return test_texts(self.run)

    @cached_property
    def attackers(self) -> dict[str, pd.DataFrame]:
        """Test text of finished attacks: "attack REWARD VERIFIER" → completions."""
        from legibility.evaluation.attacks.attack import attack_texts  # which needs a Study

        return attack_texts(self)

    @cached_property
    def resamples(self) -> Resamples:
        """Bootstrap weights of the test problems."""
        settings = self.settings.evaluation
        return Resamples(
            [p.id for p in self.game.splits.test],
            resamples=settings.bootstrap,
            confidence=settings.confidence_level,
            rng=stream(self.config.seed, "bootstrap", "evaluation"),
        )

    @property
    def judges(self) -> list[str]:
        """Names of everything that scores: each round's verifier, and the held-out judge where there is one."""
        return [f"verifier {i}" for i in self.rounds] + ([JUDGE] if self.run.is_done(JUDGE) else [])

    def scorer(self, judge: str) -> Scorer:
        """Raises UserError where the verifier's phase is not finished or its files were changed."""
        if judge not in self._scorers:
            index = int(judge.split()[1]) if judge != JUDGE else None
            phase = JUDGE if index is None else f"{round_name(index)}/verifier"
            scorer = Scorer(self.run, phase, self.settings, self.game.device, self.problems)
            if index in self.rounds and not scorer.known:  # the run has scored its own text already
                own = pd.concat(
                    [self.texts[f"game {index}"], self.texts[f"sneaky {index}"], validation_texts(self.run, index)]
                )
                own = own[own.score.notna()]
                scorer.learn(own, own.score.to_numpy())
            self._scorers[judge] = scorer
        return self._scorers[judge]

    def scores(self, judge: str, frame: pd.DataFrame) -> np.ndarray:
        """Raw scores (n,). Raises UserError for text of problems the verifiers were trained on."""
        learnt = self._learnt_from.intersection(frame.problem_id)
        if learnt:
            raise UserError(
                f"{judge}: problem {min(learnt)} is one the verifiers were trained on; evaluate on validation or test problems"
            )
        return self.scorer(judge)(frame)

    def threshold(self, judge: str) -> float:
        """The score from which a judge accepts: it takes `evaluation.recall` of round 0's helpful-correct validation text.

        nan where there is no such text.
        """
        frame = validation_texts(self.run, 0)
        frame = frame[(frame.role == HELPFUL) & (frame.verdict == "correct")]
        if not len(frame):
            return float("nan")
        return float(np.quantile(self.scores(judge, frame), 1 - self.settings.evaluation.recall, method="lower"))

    def own_text(self, index: int) -> pd.DataFrame:
        """Valid test text of a round, both roles."""
        return valid(pd.concat([self.texts[f"game {index}"], self.texts[f"sneaky {index}"]]))

    def pool(self, index: int) -> pd.DataFrame:
        """Many helpful completions of some test problems by a round's final prover, sampled when first asked for."""
        settings, temperature = self.settings.evaluation, self.settings.sampling.evaluation_temperature
        problems = self.game.splits.test[: settings.best_of_n_problems]
        phase = f"evaluation/pools/{index:02d}_{len(problems)}x{settings.best_of_n_samples}_t{temperature:g}"
        if not self.run.is_done(phase):
            self.progress.phase(f"round {index} pool for best-of-n", 1)
            with self.run.phase(phase) as work:
                prover = self.game.saved_prover(self.run.verified(phase_name(GAME, index)))
                drawn = self.game.draw(
                    prover,
                    problems,
                    (HELPFUL,),
                    settings.best_of_n_samples,
                    arm=GAME,
                    round_index=index,
                    phase="pool",
                    split="test",
                    step=0,
                    temperature=temperature,
                )
                write_solutions(work / "solutions.parquet", drawn.rows)
            self.progress.done(f"{len(drawn.rows)} completions")
        return read_solutions(self.run.verified(phase) / "solutions.parquet")

    def decoding(self, samples: int | None = None, problems: int | None = None) -> dict[str, Any]:
        """How the text behind a figure was sampled; by default the run's own test text."""
        own = samples is None
        return {
            "temperature": (self.config if own else self.settings).sampling.evaluation_temperature,
            "samples": self.config.evaluation.samples if own else samples,
            "problems": len(self.game.splits.test) if problems is None else problems,
        }
