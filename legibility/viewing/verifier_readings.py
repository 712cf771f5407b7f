"""What a run's verifiers and its held-out judge make of a text: scores that are stored, and scores and doubts asked for now.

Stored scores are an evaluation's (evaluation/scores). A judge is loaded only to read one text, from the run's own
folder, after its hashes were checked; small ones are read as soon as an item is opened, larger ones at the press of
a button. Nothing is written back.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from legibility.config import Config
from legibility.errors import UserError
from legibility.evaluation.doubts import Doubt, read_doubts
from legibility.evaluation.scores import scores_file, stored_scores, text_key
from legibility.game.condition import Judge, verifier
from legibility.game.phases import round_verifier
from legibility.game.run_folder import RunFolder
from legibility.models.loading import pick_device
from legibility.models.verifier import Verifier
from legibility.models.verifier_ensemble import load_verifier
from legibility.problems.records import Problem

LIGHT = 256 * 2**20
"""Bytes of weights up to which a judge is asked as soon as an item is opened, and up to which loaded ones are kept."""


@dataclass(frozen=True)
class KnownScores:
    """Stored scores of a judge by text, and in order."""

    by_text: dict[str, float]
    ordered: np.ndarray  # (n,) ascending

    def below(self, score: float) -> float | None:
        """Share of the stored scores that are lower, ties half; None where there are none."""
        if not len(self.ordered):
            return None
        both = np.searchsorted(self.ordered, score, "left") + np.searchsorted(self.ordered, score, "right")
        return float(both) / 2 / len(self.ordered)


@dataclass(frozen=True)
class JudgeReading:
    """What a judge says of one text. `doubt` is None where the score has no parts; `note` says why something is missing."""

    judge: Judge
    score: float | None
    below: float | None
    doubt: Doubt | None
    note: str = ""


class VerifierReadings:
    """The judges of one run."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self._lock = threading.Lock()
        self._known: dict[Judge, tuple[int, KnownScores]] = {}
        self._loaded: OrderedDict[Judge, tuple[int, Verifier]] = OrderedDict()

    @cached_property
    def config(self) -> Config:
        """The run's settings. Raises UserError where they cannot be read."""
        return self.run.config()

    def judges(self) -> list[Judge]:
        """Every verifier that is trained by now, the held-out judge last."""
        found: list[Judge] = []
        while self.run.is_done(round_verifier(len(found))):
            found.append(verifier(len(found)))
        held_out = Judge("held_out_judge")
        return found + ([held_out] if self.run.is_done(held_out.phase) else [])

    def known(self, judge: Judge) -> KnownScores:
        """The judge's stored scores, read again when they have changed. Empty where there are none or they are damaged."""
        file = scores_file(self.run, judge)
        stamp = file.stat().st_mtime_ns if file.is_file() else 0
        if judge not in self._known or self._known[judge][0] != stamp:
            try:
                scores = stored_scores(self.run, judge, self.config)
            except UserError:
                scores = {}
            self._known[judge] = stamp, KnownScores(scores, np.sort(np.array(list(scores.values()))))
        return self._known[judge][1]

    @property
    def evaluated(self) -> tuple[tuple[Judge, int], ...]:
        """The verifiers with stored scores, and how many there are of each: what disagreement is taken among."""
        known = [(j, len(self.known(j).by_text)) for j in self.judges() if j.round is not None]
        return tuple((j, count) for j, count in known if count)

    def disagreement(self, frame: pd.DataFrame) -> np.ndarray:
        """Of each row (columns problem_id, text): highest less lowest share of stored scores below it, over the verifiers.

        (n,) float, from 0 (all rank it alike) to 1; nan where fewer than two verifiers' scores are stored. Shares, since
        scores of different verifiers have no common scale.
        """
        keys = [text_key(p, t) for p, t in zip(frame.problem_id, frame.text, strict=True)]
        ranks = []
        for judge, _ in self.evaluated:
            known = self.known(judge)
            scores = np.array([known.by_text.get(k, np.nan) for k in keys], dtype=float)
            both = np.searchsorted(known.ordered, scores, "left") + np.searchsorted(known.ordered, scores, "right")
            ranks.append(np.where(np.isnan(scores), np.nan, both / 2 / max(1, len(known.ordered))))
        if len(ranks) < 2 or not len(keys):
            return np.full(len(keys), np.nan)
        table = np.stack(ranks)  # (verifiers, n)
        enough = (~np.isnan(table)).sum(0) >= 2
        spread = np.full(len(keys), np.nan)
        spread[enough] = np.nanmax(table[:, enough], 0) - np.nanmin(table[:, enough], 0)
        return spread

    def stored(self, judge: Judge, problem_id: str, text: str) -> float | None:
        """The judge's stored score of a text, or None."""
        return self.known(judge).by_text.get(text_key(problem_id, text))

    def size(self, judge: Judge) -> int:
        """Bytes of the judge's weights; 0 where they are gone."""
        return sum(p.stat().st_size for p in self.run.folder(judge.phase).rglob("*.safetensors"))

    def read(self, judge: Judge, problem: Problem, text: str) -> JudgeReading:
        """Load the judge, unless it is, and have it read the text. What stands in the way is the reading's note."""
        doubt = self._stored_doubt(judge, problem, text)
        if doubt is not None:
            return JudgeReading(judge, doubt.score, self.known(judge).below(doubt.score), doubt)
        with self._lock:
            try:
                reader = self._reader(judge)
                if reader.head is None and len(reader.members) == 1:
                    score = float(reader.score([problem], [text])[0])
                    note = "its score is a head on the last token, which no token has a share of"
                    return JudgeReading(judge, score, self.known(judge).below(score), None, note)
                explained = reader.explain(problem, text)
            except UserError as error:
                return JudgeReading(judge, None, None, None, str(error))
        index = -1 if judge.round is None else judge.round
        doubt = Doubt.of(explained, round_index=index, role="", problem_id=problem.id, text=text)
        return JudgeReading(judge, doubt.score, self.known(judge).below(doubt.score), doubt)

    def _stored_doubt(self, judge: Judge, problem: Problem, text: str) -> Doubt | None:
        if judge.arm is not None:  # doubts are kept of the game's judges
            return None
        try:
            return read_doubts(self.run).get(-1 if judge.round is None else judge.round, {}).get((problem.id, text))
        except UserError:
            return None

    def _reader(self, judge: Judge) -> Verifier:
        """The judge, loaded. Raises UserError where its phase is unfinished, or its files are gone or changed."""
        if judge in self._loaded:
            self._loaded.move_to_end(judge)
            return self._loaded[judge][1]
        place = self.run.verified(judge.phase)
        size = self.size(judge)
        while self._loaded and sum(s for s, _ in self._loaded.values()) + size > LIGHT:
            self._loaded.popitem(last=False)
        made = load_verifier(judge.settings(self.config), pick_device(self.config.compute.device), source=str(place))
        self._loaded[judge] = size, made
        return made
