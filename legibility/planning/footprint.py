"""Memory of one rank in every phase: what stays, and the largest of what comes and goes.

A rank holds every weight, or with `compute.shard` its part of them and what is gathered for a moment
(`legibility.planning.shared`). Activations are what autograd keeps for the backward pass, counted like
`legibility.planning.work`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from legibility.config import Config, VerifierSettings
from legibility.models.logprobs import KEEP_ELEMENTS, PIECE_ELEMENTS
from legibility.planning.amounts import Lengths
from legibility.planning.devices import Device
from legibility.planning.shapes import ModelShape
from legibility.planning.shared import passing, shared_state, whole_copy
from legibility.planning.work import Packed, streams, width
from legibility.rollouts.cache import group_width
from legibility.sharding import SMALL
from legibility.stored import Stored


class MemoryItem(Stored):
    """Bytes of one thing. transient: it comes and goes, so of these only the largest counts."""

    name: str
    bytes: float
    transient: bool = False


class PhaseMemory(Stored):
    """What a rank holds in a phase. peak: all that stays and the largest that does not."""

    phase: str
    items: list[MemoryItem]
    peak: float

    @classmethod
    def of(cls, phase: str, items: list[MemoryItem]) -> PhaseMemory:
        """The phase of some items; those of nothing are left out."""
        kept = [item for item in items if item.bytes]
        largest = max((i.bytes for i in kept if i.transient), default=0.0)
        return cls(phase=phase, items=kept, peak=sum(i.bytes for i in kept if not i.transient) + largest)


@dataclass(frozen=True)
class Models:
    """The shapes of a game's models."""

    prover: ModelShape
    verifier: ModelShape
    judge: ModelShape | None


def optimizer_state(shape: ModelShape, dtype: str) -> tuple[float, float, float]:
    """Bytes of weights, gradients and AdamW's two moments. Adapters are float32, whatever the model is."""
    own = shape.parameters * width(dtype) + shape.adapters * 4
    trained = shape.trained * (4 if shape.adapters else width(dtype))
    return own, trained, 2 * trained


def activations(shape: ModelShape, packed: Packed, dtype: str, *, recompute: bool, scores: bool) -> float:
    """Bytes kept for the backward pass of packed texts; with `recompute` every layer's input and one layer whole.

    scores: attention keeps its probabilities in float32, and in the weights' type where that is another.
    """
    size = width(dtype)
    layer = streams(dtype, shape.adapters > 0).kept.of(shape) * packed.tokens
    probabilities = shape.heads * packed.groups * packed.length**2 * (4 + size % 4) if scores else 0.0
    masks = packed.groups * packed.length * (packed.length + packed.read) * size
    if recompute:
        return shape.layers * shape.hidden * packed.tokens * size + layer + probabilities + masks
    return shape.layers * (layer + probabilities) + masks


def keeps_scores(shape: ModelShape, attention: str | None, device: Device) -> bool:
    """Whether attention keeps its probabilities: on a GPU, under a mask and with grouped key heads, where torch's
    scaled_dot_product_attention has its plain kernel only (its documentation, `enable_gqa`). FlexAttention keeps none."""
    return not device.is_cpu and attention is None and shape.key < shape.query


def logits(shape: ModelShape, tokens: float, dtype: str, device: str) -> float:
    """Bytes of the logits behind some tokens, at the moment when there are most of them: as made, in float32, and as
    log-probs. Of too many to keep a piece at a time."""
    made = tokens * shape.vocabulary
    return (made if made <= KEEP_ELEMENTS[device] else PIECE_ELEMENTS[device]) * (width(dtype) + 8)


def cache(shape: ModelShape, *, rows: int, samples: int, prompt: float, limit: int, dtype: str, is_cpu: bool) -> float:
    """Bytes of keys and values of a chunk's rows; on a CPU rows of a prompt share theirs in groups."""
    together = group_width(samples, limit) if is_cpu else 1
    places = rows / together * (prompt + together * limit)
    return 2 * shape.layers * shape.key * places * width(dtype)


def picking(shape: ModelShape, rows: int, dtype: str) -> float:
    """Bytes of a decoding step's logits and their distribution function (legibility.rollouts.completion.pick)."""
    return rows * shape.vocabulary * (width(dtype) + 28)


def reading(shape: ModelShape, tokens: float, dtype: str) -> float:
    """Bytes of the widest place of a forward pass without gradients: a few hidden states and three MLP widths a token."""
    return tokens * (6 * shape.hidden + 3 * shape.intermediate) * width(dtype)


def prover_memory(config: Config, models: Models, lengths: Lengths, device: Device, ranks: int) -> PhaseMemory:
    """The prover phase: two or three networks and their optimizer stay; sampling, scoring and updates take turns."""
    prover, verifier, ppo, compute = models.prover, models.verifier, config.ppo, config.compute
    dtype, kind = config.prover.dtype, "cpu" if device.is_cpu else "cuda"
    shard = config.compute.shard and ranks > 1
    weights, gradients, moments = shared_state(prover, dtype, ranks) if shard else optimizer_state(prover, dtype)
    reference = 0.0 if prover.adapters else prover.parameters * width(dtype) / (ranks if shard else 1)
    critic = weights + gradients + moments if ppo.critic == "separate" else 0.0
    samples = ppo.samples_per_role
    rows = max(samples, min(compute.rollout_batch, math.ceil(2 * ppo.problems_per_step * samples / ranks)))
    per_minibatch = math.ceil(max(1, ppo.minibatch_size // samples) / ranks)
    groups = min(max(1, ppo.micro_batch_size // samples), per_minibatch)
    # the longest texts that may come, not the mean: memory has to last for them
    packed = Packed.of(groups, lengths.prompt, samples, config.sampling.max_new_tokens)
    scores = keeps_scores(prover, config.prover.attention, device)
    twice = 2 if critic else 1
    sampling = cache(
        prover, rows=rows, samples=samples, prompt=lengths.prompt, limit=config.sampling.max_new_tokens, dtype=dtype, is_cpu=device.is_cpu
    ) + picking(prover, rows, dtype)  # fmt: skip
    judges = verifier.parameters * width(config.verifier.dtype) * config.verifier.ensemble
    judged = shard and verifier.parameters >= SMALL
    update = twice * activations(
        prover, packed, dtype, recompute=config.prover.gradient_checkpointing, scores=scores
    ) + logits(prover, packed.chosen, dtype, kind)
    if shard:
        sampling += whole_copy(prover, dtype)
        update += twice * passing(prover, dtype)
    items = [
        MemoryItem(name="prover's weights", bytes=weights),
        MemoryItem(name="reference", bytes=reference),
        MemoryItem(name="gradients", bytes=gradients),
        MemoryItem(name="AdamW's moments", bytes=moments),
        MemoryItem(name="critic of its own", bytes=critic),
        MemoryItem(name="verifier", bytes=judges / ranks if judged else judges),
        MemoryItem(
            name="vLLM's share",
            bytes=compute.vllm.memory * device.memory
            if compute.engine == "vllm" and compute.vllm.server is None
            else 0,
        ),
        MemoryItem(
            name="sampling: cache and logits", bytes=0 if compute.engine == "vllm" else sampling, transient=True
        ),
        MemoryItem(name="update: activations and logits", bytes=update, transient=True),
        MemoryItem(
            name="verifier reading",
            bytes=reading(verifier, compute.score_batch * lengths.verifier_text / samples, config.verifier.dtype)
            + compute.score_batch * verifier.hidden * 4
            + (judges if judged else 0.0),
            transient=True,
        ),
    ]
    return PhaseMemory.of("prover phase", items)


def verifier_memory(
    phase: str,
    settings: VerifierSettings,
    shape: ModelShape,
    lengths: Lengths,
    device: Device,
    ranks: int,
    shard: bool = False,
) -> PhaseMemory:
    """Training a verifier: the texts of a micro-batch in one pass, which has no gradient checkpointing.

    shard: whether ranks share the weights of large ones.
    """  # fmt: skip
    dtype, kind = settings.dtype, "cpu" if device.is_cpu else "cuda"
    shared = shard and ranks > 1 and shape.parameters >= SMALL
    weights, gradients, moments = shared_state(shape, dtype, ranks) if shared else optimizer_state(shape, dtype)
    packed = verifier_texts(settings, lengths, math.ceil(settings.batch_problems / ranks), longest=True)
    scores = keeps_scores(shape, settings.attention, device)
    update = activations(shape, packed, dtype, recompute=False, scores=scores)
    update += passing(shape, dtype) if shared else 0.0
    predicted = packed.chosen if reads_tokens(settings) else 0.0
    items = [
        MemoryItem(name="weights", bytes=weights * settings.ensemble),
        MemoryItem(name="gradients", bytes=gradients),
        MemoryItem(name="AdamW's moments", bytes=moments),
        MemoryItem(name="activations and logits", bytes=update + logits(shape, predicted, dtype, kind), transient=True),
    ]
    return PhaseMemory.of(phase, items)


def verifier_texts(settings: VerifierSettings, lengths: Lengths, problems: float, *, longest: bool) -> Packed:
    """The texts of some problems as a verifier is taught them, behind their shared prompts: as many as are read at once."""
    answer = min(lengths.longest if longest else lengths.answer, settings.max_length - 1)
    read = answer if reads_tokens(settings) else 1
    solutions, at_once = settings.solutions_per_problem, settings.micro_batch_size
    if at_once is not None:  # whole problems, or a part of one
        problems, solutions = min(problems, max(1, at_once // solutions)), min(solutions, at_once)
    return Packed.of(problems, lengths.prompt_for_verifier, solutions, answer + 1, read)


def reads_twice(settings: VerifierSettings) -> bool:
    """Whether not even one problem's texts are read at once: their scores are then known before gradients are made."""
    return settings.micro_batch_size is not None and settings.micro_batch_size < settings.solutions_per_problem


def reads_tokens(settings: VerifierSettings) -> bool:
    """Whether a score is made of every solution token, and not of the last one."""
    return settings.score != "last_token"
