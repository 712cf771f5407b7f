"""When ranks pay: seconds of a PPO step against the number of ranks, the size of the model and the speed of the link.

    T(n) = W(n) + u (2 (n - 1) a + 2 (n - 1) / n B / b)

W(n) is the work that one rank of n has, counted by `legibility.planning`: its share of products and of the operations
started, and the reading of all weights at every decoding step, which no number of ranks shortens. u sums a step (one an
optimizer step) have B bytes of gradients each, over a ring of latency a and bandwidth b (Patarasuk & Yuan 2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from legibility.config import Config
from legibility.planning.amounts import GamePartSizes, Lengths
from legibility.planning.devices import Device
from legibility.planning.footprint import Models
from legibility.planning.phase_times import Clock, Rank


@dataclass(frozen=True)
class Link:
    """Between two ranks. latency in seconds a message, bandwidth in bytes/s."""

    latency: float
    bandwidth: float


@dataclass(frozen=True)
class Step:
    """A PPO step of a game: what is worked and what is sent."""

    config: Config
    models: Models
    lengths: Lengths
    device: Device
    utilization: float | None = None

    def work(self, ranks: int) -> float:
        """W(n): seconds of one rank's share, nothing sent."""
        ppo = self.config.ppo
        rank = Rank(self.config, self.models, self.lengths, GamePartSizes(1, 1, 1, 1), self.device, ranks)
        clock = Clock(self.device, self.device.utilization if self.utilization is None else self.utilization, 1)
        texts = 2 * ppo.problems_per_step * ppo.samples_per_role
        prover, verifier = self.config.prover.dtype, self.config.verifier.dtype
        parts = (
            (rank.draw(2 * ppo.problems_per_step, ppo.samples_per_role), prover),
            (rank.judge_texts(self.models.verifier, self.config.verifier, texts, 2 * ppo.samples_per_role), verifier),
            (rank.score(), prover),
            (rank.update(), prover),
        )
        return sum(clock.record("part", 1, work, dtype).seconds for work, dtype in parts)

    @property
    def sums(self) -> int:
        """u: optimizer steps a PPO step."""
        ppo = self.config.ppo
        completions = 2 * ppo.problems_per_step * ppo.samples_per_role
        return ppo.epochs * -(-completions // ppo.minibatch_size)

    @property
    def sent(self) -> float:
        """u B: bytes of gradients a PPO step."""
        sizes = GamePartSizes(1, 1, 1, 1)
        return Rank(self.config, self.models, self.lengths, sizes, self.device, 1).gradient_bytes

    def seconds(self, ranks: int, link: Link) -> float:
        """T(n)."""
        return self.work(ranks) + sending(ranks, self.sums, self.sent, link)

    def speedup(self, ranks: int, link: Link) -> float:
        """T(1) / T(n)."""
        return self.work(1) / self.seconds(ranks, link)

    def slowest_link(self, ranks: int, latency: float, speedup: float = 1.0) -> float:
        """The bandwidth, bytes/s, at which n ranks are `speedup` times as fast as one; inf where none is enough."""
        left = self.work(1) / speedup - self.work(ranks) - 2 * (ranks - 1) * self.sums * latency
        return 2 * (ranks - 1) / ranks * self.sent / left if left > 0 else float("inf")


def sending(ranks: int, sums: int, sent: float, link: Link) -> float:
    """Seconds of `sums` sums of `sent` bytes together over a ring of ranks."""
    return 2 * (ranks - 1) * sums * link.latency + 2 * (ranks - 1) / ranks * sent / link.bandwidth


def fitted(ranks: int, points: Sequence[tuple[float, float]]) -> Link:
    """The link through measured (bytes, seconds) of sums: latency from the smallest, bandwidth from the largest.

    Raises ValueError below two points, or where the largest took no longer than the smallest.
    """
    if len(points) < 2:
        raise ValueError("a link is fitted to at least two sizes")
    (small, quick), (large, slow) = min(points), max(points)
    if slow <= quick:
        raise ValueError("the largest sum took no longer than the smallest: nothing is told about bandwidth")
    bandwidth = 2 * (ranks - 1) / ranks * (large - small) / (slow - quick)
    latency = max(0.0, quick - 2 * (ranks - 1) / ranks * small / bandwidth) / (2 * (ranks - 1))
    return Link(latency, bandwidth)
