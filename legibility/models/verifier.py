"""The verifier: a small language model with one scalar score V(x, z) per solution.

Kirchner et al. 2024, Sec. 3.2. It reads problem and solution as text, never the role and never the
gold answer, through its own tokenizer. `score` is the one scoring function of the package: training
metrics, rewards and evaluation all call it. Scores are raw and unbounded.

`verifier.score` says what a score is made of. `last_token` is the paper's: a sequence classifier. `likelihood`
and `token` (`legibility.models.score_heads`) are a causal language model with a small head beside it, saved as
an ordinary causal-LM folder with the head in a file of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from legibility import sharding
from legibility.config import VerifierSettings
from legibility.errors import UserError
from legibility.models.control_tokens import ControlTokens
from legibility.models.flat import packed_hidden
from legibility.models.language import causal_logprobs
from legibility.models.loading import (
    check_ids,
    check_vocabulary,
    keep_layers,
    load_causal,
    load_classifier,
    load_tokenizer,
    resolve,
    surplus_start,
    usable_pad,
)
from legibility.models.own_pooling import ScoreReading, longest_text, own_scores
from legibility.models.pretrained import commit_of
from legibility.models.routes import Route, attention_window
from legibility.models.saving import save_model
from legibility.models.score_heads import (
    HEAD_SETTINGS,
    LikelihoodHead,
    Reading,
    TokenHead,
    load_head,
    new_head,
    save_head,
)
from legibility.models.self_check import causal_route, check_longest, classifier_reading, reads_left_to_right
from legibility.models.verifier_text import EncodedText, covered, filled, pieces_of, shortened, without_middle
from legibility.packing import pack
from legibility.problems.records import Problem
from legibility.sharding import Holder, gathered, through
from legibility.team import Team, team_of

CHECK_QUESTIONS = ("Tom has 3 pens and Ann has 4. How many have they?", "2 + 2?")
CHECK_SOLUTIONS = ("3 + 4 = 7\n#### 7", "#### 5", "They have 3 pens and 4 pens, so 8 pens.\n#### 8")


@dataclass(frozen=True)
class TokenShare:
    """What one token adds to a score. `start` and `end`: its characters in the solution (none: the token after it)."""

    text: str
    start: int
    end: int
    share: float


@dataclass(frozen=True)
class Explanation:
    """A score taken apart: `score` = `rest` (the last token's say) + the shares of `tokens`."""

    score: float
    rest: float
    tokens: list[TokenShare]


class Verifier:
    """`model`, `tokenizer`, the text `template`; `head` where the score is made outside the model (None: last token)."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        template: str,
        max_length: int,
        device: str,
        batch: int = 256,
        head: LikelihoodHead | TokenHead | None = None,
    ) -> None:
        self.model, self.tokenizer, self.template = model, tokenizer, template
        self.device, self.batch, self.head = device, batch, head
        self.max_length = longest_text(model, max_length)
        self.window = attention_window(model.config)
        # A decoder's score is read at the last real token by length, not by comparing with the pad id
        # (which may equal the end token); encoders bring their own pooling.
        self.reads_last_token = hasattr(model, "score") and isinstance(model.score, torch.nn.Linear)
        self.commit: str | None = None  # of a model from the hub
        self.pad_id = usable_pad(model, tokenizer)
        self._vocabulary = check_vocabulary(model, tokenizer, "verifier")
        self._surplus = surplus_start(tokenizer, template)
        self.control = ControlTokens.of(tokenizer)
        if head is not None and not tokenizer.is_fast:
            raise UserError(
                f"verifier.score: {head.kind} finds the solution's tokens by their offsets, which this tokenizer does not "
                "give; use last_token, or a model with a fast tokenizer"
            )
        self.reading = ScoreReading(causal_route(model, "verifier")) if head is not None else self._classifier_reading()
        check_longest(model, self.max_length, *self.encode([Problem("check", CHECK_QUESTIONS[0], "7")], ["7"]))

    def _classifier_reading(self) -> ScoreReading:
        """How scores are read, so that a text's company does not change them (`legibility.models.self_check`)."""
        problems = [
            Problem(str(k), question, "0") for k, question in enumerate(CHECK_QUESTIONS) for _ in CHECK_SOLUTIONS
        ]
        texts = self.encode(problems, [s for _ in CHECK_QUESTIONS for s in CHECK_SOLUTIONS])
        groups = [texts[: len(CHECK_SOLUTIONS)], texts[len(CHECK_SOLUTIONS) :]]

        def in_company(how: ScoreReading) -> torch.Tensor:
            self.reading = how
            return self.forward(groups)

        return classifier_reading(self.model, texts, in_company, last_token=self.reads_last_token)

    @classmethod
    def load(
        cls,
        settings: VerifierSettings,
        device: str,
        *,
        seed: int = 0,
        source: str | None = None,
        batch: int = 256,
        base_dir: Path | None = None,
    ) -> Verifier:
        """Load a base (fresh head drawn from `seed`) or, with `source`, a saved verifier, which knows its own kind.

        Raises UserError where the model cannot be loaded or cannot give the score asked for.
        """
        place = source or resolve(settings.model, "verifier", base_dir)
        revision = settings.revision if source is None else None
        commit = commit_of(place, revision, "verifier")
        tokenizer = load_tokenizer(place, "verifier", commit)
        saved = source is not None and (Path(source) / HEAD_SETTINGS).is_file()
        head = None
        if saved or (source is None and settings.score != "last_token"):
            model = load_causal(place, settings.dtype, device, settings.attention, "verifier", commit)
            if not reads_left_to_right(model, "verifier"):
                raise UserError(
                    f"verifier.score: {settings.score} needs a causal language model, and {place} reads both ways; "
                    "use last_token, or another verifier.model"
                )
            if source is None and settings.layers is not None:
                keep_layers(model, settings.layers)
            hidden = model.get_output_embeddings().weight.shape[1]
            head = load_head(Path(place)) if saved else new_head(settings.score, hidden, settings.pooling, seed)
            head = head.to(device)
        else:
            model = load_classifier(place, settings.dtype, device, seed, settings.attention, commit)
            if source is None and settings.layers is not None:
                keep_layers(model, settings.layers)
        verifier = cls(
            model,
            tokenizer,
            template=settings.template,
            max_length=settings.max_length,
            device=device,
            batch=batch,
            head=head,
        )
        verifier.commit = commit
        return verifier

    def text(self, problem: Problem, solution: str) -> str:
        """What the verifier reads: the template, filled in. Never the role or the gold answer, nor control tokens but the template's."""
        return self.control.plain_in(*pieces_of(self.template, problem.question, solution))

    def encode(self, problems: Sequence[Problem], solutions: Sequence[str]) -> list[EncodedText]:
        """Token ids of every (problem, solution); a text that is too long loses its middle."""
        if not problems:
            return []
        texts = [self.text(p, s) for p, s in zip(problems, solutions, strict=True)]
        made = self.tokenizer(texts, truncation=False, verbose=False, return_offsets_mapping=self.head is not None)
        rows = [ids[self._surplus :] for ids in made["input_ids"]]
        for ids in rows if self._vocabulary is not None else ():
            check_ids(ids, self._vocabulary, self.tokenizer, "verifier")
        if self.head is None:
            return [shortened(EncodedText(ids), self.max_length) for ids in rows]
        spans = [self._solution_span(p, s) for p, s in zip(problems, solutions, strict=True)]
        return [
            shortened(EncodedText(ids, covered(offsets[self._surplus :], span)), self.max_length)
            for ids, offsets, span in zip(rows, made["offset_mapping"], spans, strict=True)
        ]

    @torch.no_grad()
    def explain(self, problem: Problem, solution: str) -> Explanation:
        """The score of one solution taken apart by token; the parts add up to it.

        Raises UserError where the score is a head on the last token, which has no parts.
        """
        if self.head is None:
            raise UserError("verifier.score: last_token has no parts to explain a score by; use likelihood or token")
        was_training = self.model.training
        self.model.eval()
        (text,) = self.encode([problem], [solution])
        parts = self.head.explain(self.read([[text]]))
        self.model.train(was_training)
        start, end = self._solution_span(problem, solution)
        made = self.tokenizer(self.text(problem, solution), verbose=False, return_offsets_mapping=True)
        offsets = without_middle(made["offset_mapping"][self._surplus :], self.max_length)
        tokens = []
        for place, share in zip(text.predicted, parts.shares.tolist(), strict=True):
            first, last = (min(max(x, start), end) - start for x in offsets[place])
            tokens.append(TokenShare(solution[first:last], first, last, share))
        return Explanation(float(parts.rest.sum() + parts.shares.sum()), float(parts.rest.sum()), tokens)

    def _solution_span(self, problem: Problem, solution: str) -> tuple[int, int]:
        """Characters of the text that are the solution (its last place, where the template has several)."""
        before = self.template.rpartition("{solution}")[0]
        start = len(filled(before, problem.question, solution))  # control tokens that are none keep their length
        return start, start + len(solution)

    def forward(self, groups: Sequence[Sequence[EncodedText]]) -> torch.Tensor:
        """Scores in float32 of encoded texts, grouped by problem and flat in that order, with gradients.

        A decoder reads the tokens that the texts of a group begin with only once (see `legibility.packing`).
        """
        if self.head is not None:
            return self.head(self.read(groups))
        if self.reading.route is None:  # through the model's own forward
            return own_scores(self.model, [t for group in groups for t in group], self.reading.padding, self.pad_id)
        last = [[len(t) - 1] for group in groups for t in group]
        return through(self.model, lambda: self.model.score(self._hidden(groups, last)).float().squeeze(-1))

    def read(self, groups: Sequence[Sequence[EncodedText]], *, logprobs: bool = False) -> Reading:
        """What the head asks for of every text, flat in order; `logprobs`: the solutions' log-probs in any case."""
        assert self.head is not None
        texts = [t for group in groups for t in group]
        wants_logprobs = logprobs or self.head.reads_logprobs
        # a token is predicted one place before it; the head may also read the token itself, and the text's last
        before = [range(t.predicted.start - 1, t.predicted.stop - 1) if wants_logprobs else range(0) for t in texts]
        at = [t.predicted if self.head.reads_tokens else range(0) for t in texts]
        places = [[*b, *a, len(t) - 1] for b, a, t in zip(before, at, texts, strict=True)]
        sizes = [n for b, a in zip(before, at, strict=True) for n in (len(b), len(a), 1)]
        kind = np.repeat(np.tile([0, 1, 2], len(texts)), sizes)
        rows = [torch.from_numpy(np.flatnonzero(kind == k)).to(self.device) for k in range(3)]

        def forward() -> tuple[torch.Tensor, torch.Tensor | None]:
            states = self._hidden(groups, places)
            if not wants_logprobs:
                return states, None
            target = torch.tensor([t[k] for t in texts for k in t.predicted], dtype=torch.long, device=self.device)
            return states, causal_logprobs(self.model, states[rows[0]], target)

        hidden, found = through(self.model, forward)
        return Reading(
            last=hidden[rows[2]],
            counts=[len(t.predicted) for t in texts],
            tokens=hidden[rows[1]] if self.head.reads_tokens else None,
            logprobs=found,
        )

    def _hidden(self, groups: Sequence[Sequence[EncodedText]], places: Sequence[Sequence[int]]) -> torch.Tensor:
        """Last hidden states (sum of places, hidden) at the given places of every text, text by text."""
        texts = [t for group in groups for t in group]
        if self.window is not None and max(map(len, texts)) > self.window:
            ids, lengths = self._padded(texts)
            mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
            hidden = self.model.base_model(
                input_ids=ids.to(self.device), attention_mask=mask.to(self.device), use_cache=False
            ).last_hidden_state
            rows = torch.tensor([i for i, wanted in enumerate(places) for _ in wanted])
            return hidden[rows, torch.tensor([k for wanted in places for k in wanted])]
        earliest = iter([min(wanted) for wanted in places])
        prefixes = [min(_common_prefix(group) - 1, *(next(earliest) for _ in group)) + 1 for group in groups]
        # one token more, so that the text's own last token keeps its place; its hidden state may be read
        suffixes = [[[*t[n:], 0] for t in group] for group, n in zip(groups, prefixes, strict=True)]
        packed = pack([group[0][:n] for group, n in zip(groups, prefixes, strict=True)], suffixes).to(self.device)
        begins = [n for group, n in zip(groups, prefixes, strict=True) for _ in group]
        starts = np.cumsum([0, *(len(suffix) for group in suffixes for suffix in group)])
        # place k of a text is the k - (n - 1)th of those that its suffix is predicted from
        chosen = [s + k - n + 1 for s, n, wanted in zip(starts[:-1], begins, places, strict=True) for k in wanted]
        packed.chosen = packed.chosen[torch.tensor(chosen, device=packed.chosen.device)]
        return packed_hidden(self.model, packed, "verifier", self.reading.route or Route.SHARED)

    def _padded(self, texts: Sequence[EncodedText]) -> tuple[torch.Tensor, torch.Tensor]:
        """Texts as a rectangle of ids (n, longest), and their lengths (n,)."""
        lengths = torch.tensor([len(t) for t in texts])
        ids = torch.full((len(texts), int(lengths.max())), self.pad_id, dtype=torch.long)
        for i, row in enumerate(texts):
            ids[i, : len(row)] = torch.tensor(row)
        return ids, lengths

    def score(self, problems: Sequence[Problem], solutions: Sequence[str], team: Team | None = None) -> np.ndarray:
        """Raw scores V, float32 (n,), in the order given. Equal texts are scored once; a `team` that has this verifier shares them.

        Raises UserError for a score that is not finite.
        """
        if len(problems) == 0:
            return np.zeros(0, dtype=np.float32)
        encoded = self.encode(problems, solutions)
        index: dict[tuple[EncodedText, range], int] = {}
        place = np.array([index.setdefault((row, row.solution), len(index)) for row in encoded], dtype=np.int64)
        unique = [row for row, _ in index]
        owner: dict[str, list[int]] = {}
        for problem, k in dict.fromkeys(zip((p.id for p in problems), place.tolist(), strict=True)):
            owner.setdefault(problem, []).append(k)
        groups = [part for members in owner.values() for part in _split(sorted(set(members)), 16)]
        groups.sort(key=lambda g: (sum(len(unique[k]) for k in g), g[0]))  # similar sizes together
        team = team_of(team, self)
        scores = np.zeros(len(unique), dtype=np.float32)
        for chosen, found in team.run(_score_share, team, self, unique, groups):
            scores[chosen] = found
        if not np.isfinite(scores).all():
            raise UserError(
                f"the verifier gave {int((~np.isfinite(scores[place])).sum())} of {len(place)} texts no finite score; its "
                "training may have diverged, or its numbers overflow: lower verifier.learning_rate, or set verifier.dtype to float32"
            )
        return scores[place]

    @property
    def members(self) -> tuple[Verifier, ...]:
        """The verifiers that are trained one by one: this one alone, unless it is an ensemble."""
        return (self,)

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Everything that training changes."""
        head = [] if self.head is None else self.head.parameters()
        return [p for p in (*self.model.parameters(), *head) if p.requires_grad]

    def parameter_count(self) -> int:
        """Weights of the model, and of the head beside it."""
        head = [] if self.head is None else self.head.parameters()
        return sum(p.numel() for p in (*self.model.parameters(), *head))

    def holders(self) -> list[Holder]:
        """The network, to be spread over ranks where it is large enough for that to pay."""
        return [Holder(self, "model")] if self.parameter_count() >= sharding.SMALL else []

    def frozen(self) -> Verifier:
        """This verifier, not to be trained any more."""
        for parameter in self.parameters:
            parameter.requires_grad_(False)
        return self

    def let_go(self) -> None:
        """Nothing refers to the weights."""

    def take_up(self, device: str) -> None:
        """The weights are on another device now."""
        self.device = device
        if self.head is not None:
            self.head.to(device)

    def save(self, folder: Path) -> None:
        """Write model and tokenizer, loadable with transformers alone, and the head beside them."""
        self.model.config.pad_token_id = self.tokenizer.pad_token_id
        save_model(self.model, folder)
        self.tokenizer.save_pretrained(folder)
        if self.head is not None:
            save_head(self.head, folder)


@torch.no_grad()
def _score_share(
    team: Team, verifier: Verifier, texts: Sequence[EncodedText], groups: Sequence[list[int]]
) -> tuple[list[int], np.ndarray]:
    """This process's groups of texts: which texts they are, and their scores."""
    was_training = verifier.model.training
    verifier.model.eval()
    chosen: list[int] = []
    scores: list[np.ndarray] = []
    with gathered(*(member.model for member in verifier.members)):  # ranks may have unequal numbers of batches
        for batch in _fill(team.share(groups), verifier.batch):
            chosen += [k for group in batch for k in group]
            scores.append(verifier.forward([[texts[k] for k in group] for group in batch]).cpu().numpy())
    verifier.model.train(was_training)
    return chosen, np.concatenate(scores) if scores else np.zeros(0, dtype=np.float32)


def _common_prefix(texts: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all texts share (perhaps none), leaving every text at least one of its own."""
    shortest = min(map(len, texts)) - 1
    first = texts[0]
    return next((i for i in range(shortest) if any(t[i] != first[i] for t in texts)), shortest)


def _split(items: list[int], size: int) -> list[list[int]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _fill(groups: list[list[int]], size: int) -> Iterator[list[list[int]]]:
    """Consecutive groups whose texts number about `size` together."""
    batch: list[list[int]] = []
    for group in groups:
        if batch and sum(map(len, batch)) + len(group) > size:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch
