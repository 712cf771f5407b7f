"""How much a device has to do: FLOPs of matrix products, bytes that everything else moves, operations started.

Products: 2 FLOPs a weight and token forwards, twice that backwards (Kaplan et al. 2020, Sec. 2.1), attention 4 FLOPs a
score and channel forwards, and five products of scores instead of two backwards, since fused kernels make the scores
again (Dao 2023; torch.utils.flop_counter counts alike). A group of texts shares its prompt and is one sequence under a
mask (legibility.packing); scores that the mask hides are made all the same.

What moves and how often an operation starts is counted of this package's own forward and backward pass
(legibility.models.flat) by tests/planning/counting.py, per token and layer, as a sum of widths: `Streams`.
"""

from __future__ import annotations

from dataclasses import dataclass

from legibility.models.logprobs import KEEP_ELEMENTS
from legibility.planning.devices import Device
from legibility.planning.shapes import ModelShape
from legibility.rollouts.completion import LARGE_VOCABULARY


@dataclass(frozen=True)
class Work:
    """flops of products; scores: FLOPs of attention's, stepping: those of its decoding steps, whose queries are few;
    traffic in bytes; calls: operations started."""

    flops: float = 0.0
    scores: float = 0.0
    traffic: float = 0.0
    calls: float = 0.0
    stepping: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.flops + other.flops,
            self.scores + other.scores,
            self.traffic + other.traffic,
            self.calls + other.calls,
            self.stepping + other.stepping,
        )

    def times(self, n: float) -> Work:
        """The same work n times."""
        return Work(n * self.flops, n * self.scores, n * self.traffic, n * self.calls, n * self.stepping)


@dataclass(frozen=True)
class Widths:
    """Bytes per token and layer as a sum over the model's widths: hidden (and query) size, key size, MLP size."""

    hidden: float
    key: float
    intermediate: float

    def of(self, shape: ModelShape) -> float:
        """Bytes of one token in one layer."""
        return self.hidden * shape.hidden + self.key * shape.key + self.intermediate * shape.intermediate


@dataclass(frozen=True)
class Streams:
    """What one token costs in one layer beside products: bytes moved forwards and backwards, bytes kept between
    them; operations started a layer."""

    forward: Widths
    backward: Widths
    kept: Widths
    forward_calls: float
    backward_calls: float


FULL = Streams(Widths(96, 27, 20), Widths(200, 83, 36), Widths(28, 8, 16), 36, 58)
FULL_BF16 = Streams(Widths(100, 14, 10), Widths(248, 42, 18), Widths(22, 4, 8), 38, 76)
LORA = Streams(Widths(156, 67, 60), Widths(284, 91, 64), Widths(28, 9, 16), 64, 88)
LORA_BF16 = Streams(Widths(208, 62, 64), Widths(362, 78, 70), Widths(36, 5, 10), 80, 125)


def streams(dtype: str, adapters: bool) -> Streams:
    """The counts for a type of weights, with adapters (in float32, as peft keeps them) or without."""
    return {
        ("float32", False): FULL,
        ("bfloat16", False): FULL_BF16,
        ("float32", True): LORA,
        ("bfloat16", True): LORA_BF16,
    }[dtype, adapters]


def width(dtype: str) -> int:
    """Bytes of a number."""
    return 2 if dtype == "bfloat16" else 4


@dataclass(frozen=True)
class Packed:
    """Tokens of packed texts: all of them, those that are read or predicted at the end, and scores of each."""

    groups: float
    length: float
    read: float

    @classmethod
    def of(cls, groups: float, prompt: float, samples: float, answer: float, read: float | None = None) -> Packed:
        """`groups` prompts with `samples` answers each; the last token of an answer predicts nothing and is left out.

        read: tokens read of each answer (None: all, as log-probs need).
        """
        return cls(groups, prompt + samples * (answer - 1), samples * (answer if read is None else read))

    @property
    def tokens(self) -> float:
        """Tokens of all groups."""
        return self.groups * self.length

    @property
    def chosen(self) -> float:
        """Read tokens of all groups."""
        return self.groups * self.read

    def scores(self, layers: int) -> float:
        """Attention scores of one head in all layers; the last layer asks for read tokens alone."""
        return self.groups * self.length * ((layers - 1) * self.length + self.read)


def forward(shape: ModelShape, packed: Packed, dtype: str) -> Work:
    """One pass through the layers, without the output layer."""
    counts = streams(dtype, shape.adapters > 0)
    products = 2 * ((shape.linear - shape.last_linear) * packed.tokens + shape.last_linear * packed.chosen)
    scores = 4 * shape.query * packed.scores(shape.layers)
    adapters = 2 * shape.adapters * packed.tokens
    return Work(
        products + adapters,
        scores,
        counts.forward.of(shape) * packed.tokens * (shape.layers - 1 + packed.chosen / packed.tokens),
        counts.forward_calls * shape.layers,
    )


def backward(shape: ModelShape, packed: Packed, dtype: str, *, recompute: bool = False) -> Work:
    """The gradients of `forward`. With adapters none of the model's own weights gets one, so its products are made once.

    recompute: gradient checkpointing, which goes forward once more.
    """
    counts = streams(dtype, shape.adapters > 0)
    products = 2 * ((shape.linear - shape.last_linear) * packed.tokens + shape.last_linear * packed.chosen)
    scores = 10 * shape.query * packed.scores(shape.layers)
    adapters = 4 * shape.adapters * packed.tokens
    own = Work(
        products * (1 if shape.adapters else 2) + adapters,
        scores,
        counts.backward.of(shape) * packed.tokens * (shape.layers - 1 + packed.chosen / packed.tokens),
        counts.backward_calls * shape.layers,
    )
    return own + forward(shape, packed, dtype) if recompute else own


def logprobs(shape: ModelShape, tokens: float, dtype: str, device: str, *, train: bool) -> Work:
    """Log-probs of tokens and, to train, their gradients (legibility.models.logprobs).

    Where the logits are too many to be kept they are made a second time.
    """
    logits = tokens * shape.vocabulary
    product = 2 * logits * shape.hidden
    cast = 0 if dtype == "float32" else 6
    if not train:
        return Work(product, 0, logits * (8 + cast), 4)
    kept = logits <= KEEP_ELEMENTS[device]
    gradients = 1 if shape.adapters else 2
    again = Work() if kept else Work(product, 0, logits * (16 + cast), 4)
    return Work(product * (1 + gradients), 0, logits * (24 + 2 * cast), 12) + again


def decode(
    shape: ModelShape,
    *,
    rows: float,
    prompts: float,
    prompt: float,
    answer: float,
    steps: float,
    dtype: str,
    shared: int = 1,
    waits: float = 1.0,
) -> Work:
    """Drawing one chunk: `prompts` read once, then `rows` answers of `answer` tokens on average, in `steps` steps.

    Every step reads the weights once, and keys and values of every live row; finished rows are dropped. shared: rows of a
    prompt that attend together (legibility.rollouts.cache.group_width), each with scores on the others' tokens too, and
    until the last of them has finished: `waits` times as long as an answer on average.
    """
    size = width(dtype)
    plain = Packed(prompts, prompt, 1)
    drawn = rows * answer
    context = prompt + shared * answer * waits / 2
    cast = 0 if dtype == "float32" else 6
    pick = (60 if shape.vocabulary > LARGE_VOCABULARY else 32) + cast
    counts = streams(dtype, shape.adapters > 0)
    weights = shape.linear + shape.adapters + shape.vocabulary * shape.hidden
    return (
        forward(shape, plain, dtype)
        + Work(
            2 * drawn * weights,
        0,
            steps * weights * size
            + drawn * waits * context / shared * 2 * shape.key * shape.layers * size
            + drawn * (counts.forward.of(shape) * shape.layers + pick * shape.vocabulary),
            steps * ((counts.forward_calls + 8) * shape.layers + 30),
        4 * shape.query * shape.layers * drawn * waits * context,
        )
    )  # fmt: skip


def adam(weights: float, dtype: str, *, fused: bool, clipped: bool = True) -> Work:
    """One step of AdamW: fused, weights, gradients and two moments are read and three of them written, once;
    otherwise about three times as much moves. Clipping reads the gradients, and reads and writes them."""
    return Work(0, 0, weights * width(dtype) * ((7 if fused else 21) + (3 if clipped else 0)), 20)


def seconds(work: Work, device: Device, utilization: float, dtype: str) -> tuple[float, float, float]:
    """Seconds of products, of what moves and of what starts, on a device that reaches a share of its product rate.

    They add up, as if a device did one after another. Where they overlap, as on a GPU that is ahead of its Python, it is
    faster.
    """
    rate = device.rate(dtype) * utilization
    products = work.flops + work.scores / device.attention_share + work.stepping / device.stepping_share
    products /= rate
    return products, work.traffic / (device.bandwidth * device.bandwidth_share), work.calls * device.call_seconds
