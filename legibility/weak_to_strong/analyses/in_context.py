"""In-context weak-to-strong: no training, only demonstrations that the weak model labelled (Sang et al. 2024).

The strong model reads a few items with the weak model's verdicts, optionally with its confidence, and
is asked for the verdict of the next one: log-odds of " yes" against " no". Demonstrations come from
half B: at random, by similarity to the query, or the Top-K most confident ones (half of them "yes", so
that the prompt does not fix the answer).

A small model favours one of the two words whatever it reads. The log-odds of the same prompt around a
content-free item are therefore subtracted (contextual calibration, Zhao et al. 2021; no labels needed).
A model that never saw such a prompt can be shown the form first: `lessons` are prompts made of the
trusted set alone. They teach the balance of the answers too, and the log-odds are then read as they are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from scipy.special import expit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import linear_kernel

from legibility.config import ProverSettings
from legibility.errors import UserError
from legibility.models.loading import encode_prompt, resolve
from legibility.models.prover import Prover
from legibility.models.warm_start import warm_start
from legibility.problems.records import Problem
from legibility.randomness import derive_seed, stream
from legibility.weak_to_strong.cells import Cell, CellInfo, CellResult, load_or
from legibility.weak_to_strong.estimates import Estimator
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.experiment_schema import InContextRow, InContextSection, OtherReading
from legibility.weak_to_strong.experiment_settings import InContextSettings
from legibility.weak_to_strong.items import Item, labels

ANSWERS = (" no", " yes")
CONTENT_FREE = Item("content-free", "", Problem("content-free", "N/A", ""), ("N/A",), False)


def choose(
    how: str, labelled: Sequence[Item], weak: np.ndarray, queries: Sequence[Item], count: int, rng: np.random.Generator
) -> list[list[int]]:
    """Indices of each query's demonstrations among the labelled items, the best last (next to the query).

    weak: log-odds (labelled,).
    """
    if how == "none":
        return [[] for _ in queries]
    if how == "random":
        return [rng.choice(len(labelled), min(count, len(labelled)), replace=False).tolist() for _ in queries]
    if how == "confident":
        order = np.argsort(-np.abs(weak), kind="stable")
        yes = [int(i) for i in order if weak[i] > 0][: (count + 1) // 2]
        no = [int(i) for i in order if weak[i] <= 0][: count // 2]
        return [rng.permutation([*yes, *no]).astype(int).tolist() for _ in queries]
    vectors = TfidfVectorizer(token_pattern=r"\S+").fit([text_of(x) for x in labelled])
    near = linear_kernel(
        vectors.transform([text_of(x) for x in queries]), vectors.transform([text_of(x) for x in labelled])
    )
    return [np.argsort(row, kind="stable")[-count:].tolist() for row in near]


def text_of(item: Item) -> str:
    """What similarity is measured on."""
    return f"{item.problem.question}\n{item.texts[0]}"


def demonstration(item: Item, log_odds: float | None, confidence: bool) -> str:
    """An item with its (weak) verdict; without log_odds, the open question."""
    asked = f"Question: {item.problem.question}\nSolution: {item.texts[0]}\nIs the solution right?"
    if log_odds is None:
        return asked
    stated = f" (Confidence: {expit(abs(log_odds)):.2f})" if confidence else ""
    return f"{asked}{ANSWERS[int(log_odds > 0)]}{stated}\n\n"


def lessons(
    trusted: Sequence[Item], shown: np.ndarray, count: int, number: int, rng: np.random.Generator
) -> list[tuple[str, str]]:
    """`number` (prompt, answer) pairs that teach the form: trusted items asked after 0 to `count` others, all with true answers.

    shown: log-odds (trusted,) to state confidence from; their sign is the truth's. Confidence is shown in half of the prompts.
    """
    pairs = []
    for _ in range(number):
        asked, *picked = rng.choice(len(trusted), min(int(rng.integers(1, count + 2)), len(trusted)), replace=False)
        confidence = bool(rng.integers(2))
        before = "".join(demonstration(trusted[i], float(shown[i]), confidence) for i in picked)
        pairs.append((before + demonstration(trusted[asked], None, confidence), ANSWERS[int(shown[asked] > 0)]))
    return pairs


@torch.no_grad()
def answer(
    prover: Prover,
    labelled: Sequence[Item],
    weak: np.ndarray,
    queries: Sequence[Item],
    chosen: Sequence[Sequence[int]],
    confidence: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds of " yes" against " no" for every query, float32 (queries,): calibrated by the content-free query, and raw."""
    raw = _log_odds(prover, labelled, weak, queries, chosen, confidence)
    # one content-free prompt serves all queries with the same demonstrations
    places: dict[tuple[int, ...], int] = {}
    of = [places.setdefault(tuple(c), len(places)) for c in chosen]
    prior = _log_odds(prover, labelled, weak, [CONTENT_FREE] * len(places), list(places), confidence)
    return raw - prior[of], raw


def _log_odds(
    prover: Prover,
    labelled: Sequence[Item],
    weak: np.ndarray,
    queries: Sequence[Item],
    chosen: Sequence[Sequence[int]],
    confidence: bool,
    batch: int = 16,
) -> np.ndarray:
    """Log-odds (queries,) as the model says them. Prompts too long for it lose their first demonstrations."""
    tokenizer, limit = prover.tokenizer, _longest(prover)
    endings = [tokenizer(a, add_special_tokens=False)["input_ids"][0] for a in ANSWERS]
    if endings[0] == endings[1]:
        raise UserError('in_context.model: its tokenizer begins " yes" and " no" with one token; choose another model')
    start, prompts = encode_prompt(tokenizer, ""), []
    for item, picked in zip(queries, chosen, strict=True):
        texts = [
            *(demonstration(labelled[i], float(weak[i]), confidence) for i in picked),
            demonstration(item, None, confidence),
        ]
        pieces = tokenizer([prover.control.plain(t) for t in texts], add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        while len(pieces) > 1 and len(start) + sum(map(len, pieces)) > limit:
            pieces.pop(0)
        prompts.append((start + [i for piece in pieces for i in piece])[-limit:])
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    result = np.zeros(len(prompts), dtype=np.float32)
    for first in range(0, len(order), batch):
        part = order[first : first + batch]
        result[part] = _last_logits(prover, [prompts[i] for i in part], endings)
    return result


def _last_logits(prover: Prover, prompts: Sequence[Sequence[int]], endings: Sequence[int]) -> np.ndarray:
    """Logit of the second ending less that of the first, after every prompt: (prompts,)."""
    lengths = torch.tensor([len(p) for p in prompts])
    ids = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long)
    for i, prompt in enumerate(prompts):
        ids[i, : len(prompt)] = torch.tensor(prompt)
    mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
    out = prover.causal.get_decoder()(
        input_ids=ids.to(prover.device), attention_mask=mask.to(prover.device), use_cache=False
    )
    logits = prover.logits(out.last_hidden_state[torch.arange(len(prompts)), lengths - 1])
    difference: np.ndarray = (logits[:, endings[1]] - logits[:, endings[0]]).cpu().numpy()
    return difference


def _longest(prover: Prover) -> int:
    """Tokens the model can read."""
    return getattr(prover.causal.config, "max_position_embeddings", None) or 10**9


# ---- in an experiment -------------------------------------------------------------------------

Reading = Literal["raw", "calibrated"]


class InContextInfo(CellInfo):
    """cell.json: what in-context supervision notes."""

    rows: list[str] = Field(description="The ways of choosing and showing demonstrations, as arrays are named.")


@dataclass(frozen=True)
class Showing:
    """One way of choosing demonstrations, with the weak model's confidence or without."""

    select: str
    confidence: bool

    @property
    def name(self) -> str:
        """As the cell's arrays are named."""
        return f"{self.select} {'confidence' if self.confidence else 'plain'}"

    def array(self, reading: Reading) -> str:
        """Name of the cell's array of log-odds (1, queries)."""
        return f"{self.name} {reading}"


def showings(settings: InContextSettings) -> list[Showing]:
    """Every way the settings ask for; without demonstrations there is no confidence to show."""
    return [
        Showing(select, confidence)
        for select in settings.select
        for confidence in ([False] if select == "none" else settings.confidence)
    ]


def in_context_cell(experiment: Experiment, seed: int) -> CellResult[InContextInfo]:
    """Log-odds of one seed for every way of choosing and showing, read both ways: arrays (1, queries)."""
    settings = _settings(experiment)

    def compute() -> CellResult[InContextInfo]:
        parts, weak = experiment.parts(seed), experiment.cell(Cell("weak", seed, (settings.weak,)))
        log_odds, queries = weak.last("student").astype(float), [parts.test[i] for i in _asked(experiment)]
        prover = _prover(experiment, seed, weak.last("trusted").astype(float))
        picked: dict[str, list[list[int]]] = {
            how: choose(how, parts.student, log_odds, queries, settings.demonstrations, stream(seed, "in-context", how))
            for how in settings.select
        }
        arrays = {}
        for way in showings(settings):
            calibrated, raw = answer(prover, parts.student, log_odds, queries, picked[way.select], way.confidence)
            arrays.update({way.array("calibrated"): calibrated[None], way.array("raw"): raw[None]})
        return CellResult(arrays, InContextInfo(rows=[way.name for way in showings(settings)]))

    return load_or(experiment.run, f"cells/seed-{seed}/in-context", InContextInfo, compute)


def in_context_summary(experiment: Experiment) -> InContextSection:
    """Accuracy and AUROC of every way of choosing demonstrations, against the weak model on the same queries.

    The headline is of calibrated log-odds, but of raw ones after lessons: those teach how often the
    answer is " yes", and a content-free item is like nothing in them. `otherwise` is the other reading.
    """
    config, settings = experiment.config, _settings(experiment)
    reading: Reading = "raw" if settings.format_steps else "calibrated"
    other: Reading = "calibrated" if settings.format_steps else "raw"
    asked, first = _asked(experiment), experiment.parts(config.seeds[0])
    truth = labels(first.test)[asked]
    estimator = Estimator.of(config, [first.test[i].group for i in asked])
    answers = [in_context_cell(experiment, seed) for seed in config.seeds]
    weak = np.stack([r.last("test")[asked] for r in experiment.results(Cell("weak", 0, (settings.weak,)))])

    def row(way: Showing) -> InContextRow:
        said, said_otherwise = (np.stack([r.last(way.array(x)) for r in answers]) for x in (reading, other))
        return InContextRow(
            select=way.select,
            confidence=way.confidence,
            accuracy=estimator.accuracy((said > 0) == truth),
            says_right=float((said > 0).mean()),
            auroc=_mean_auroc(truth, said),
            otherwise=OtherReading(
                accuracy=float(((said_otherwise > 0) == truth).mean()), says_right=float((said_otherwise > 0).mean())
            ),
        )

    return InContextSection(
        model=settings.model,
        weak=settings.weak,
        demonstrations=settings.demonstrations,
        queries=len(asked),
        reading=reading,
        format_steps=settings.format_steps,
        trusted=len(first.trusted),
        weak_accuracy=estimator.accuracy((weak > 0) == truth),
        weak_auroc=_mean_auroc(truth, weak),
        rows=[row(way) for way in showings(settings)],
    )


def _mean_auroc(truth: np.ndarray, said: np.ndarray) -> float:
    """AUROC of log-odds (seeds, queries), mean over seeds."""
    return float(np.mean([roc_auc_score(truth, x) for x in said]))


def _asked(experiment: Experiment) -> np.ndarray:
    """Indices of the test items that are asked, the same for every seed."""
    count = len(experiment.parts(experiment.config.seeds[0]).test)
    return np.sort(stream("in-context queries").permutation(count)[: _settings(experiment).queries])


def _prover(experiment: Experiment, seed: int, weak: np.ndarray) -> Prover:
    """The model, after its lessons in the form where the settings ask for them. weak: log-odds of the trusted part."""
    settings = _settings(experiment)
    role = "verifier" if settings.model.startswith("nano-") else "prover"
    place = resolve(settings.model, role, experiment.base_dir)
    prover = Prover.load(ProverSettings(), experiment.device, source=place)
    if settings.format_steps == 0:
        return prover
    trusted, batch = experiment.parts(seed).trusted, 8
    shown = np.where(labels(trusted), 1, -1) * np.maximum(np.abs(weak), 1e-6)
    pairs = lessons(
        trusted, shown, settings.demonstrations, settings.format_steps * batch, stream(seed, "in-context lessons")
    )
    with tempfile.TemporaryDirectory() as folder:
        warm_start(
            prover.model,
            prover.tokenizer,
            pairs,
            out=Path(folder) / "model",
            steps=settings.format_steps,
            batch_size=batch,
            learning_rate=settings.format_learning_rate,
            max_length=_longest(prover),
            seed=derive_seed(seed, "in-context lessons") % 2**31,
            device=experiment.device,
        )
        return Prover.load(ProverSettings(), experiment.device, source=str(Path(folder) / "model"))


def _settings(experiment: Experiment) -> InContextSettings:
    assert experiment.config.in_context is not None  # only called where the section is there
    return experiment.config.in_context
