"""Time of every phase of a game, for the work that one rank of several has."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from legibility.config import Config, VerifierSettings
from legibility.game.collection import collection_sizes
from legibility.game.condition import ARM_OF, ARMS, HELD_OUT_JUDGE, ROUND_ARMS
from legibility.planning.amounts import GamePartSizes, Lengths
from legibility.planning.devices import Device
from legibility.planning.footprint import Models, reads_tokens, reads_twice, verifier_texts
from legibility.planning.shapes import ModelShape
from legibility.planning.shared import pass_bytes
from legibility.planning.work import Packed, Work, adam, backward, decode, forward, logprobs, seconds, width
from legibility.rollouts.cache import group_width
from legibility.sharding import SMALL
from legibility.stored import Stored

LAST_OF_A_GROUP = 1.5
"""The longest of a few answers to one prompt over their mean: 1.46 for four of the nano prover's."""
READ_TOGETHER = 16  # texts of a problem that a verifier scores behind one prompt


class PhaseTime(Stored):
    """A phase, or a part of one (a name that begins with two spaces belongs to the phase above).

    count: how often it comes; seconds: of all of them; products, traffic, starting: what the seconds go to, as shares.
    """

    phase: str
    count: int
    seconds: float
    flops: float
    products: float
    traffic: float
    starting: float


@dataclass(frozen=True)
class Clock:
    """Turns the work of a rank into time."""

    device: Device
    utilization: float
    ranks: int

    def record(self, phase: str, count: int, work: Work, dtype: str, sent: float = 0.0) -> PhaseTime:
        """A phase of that work, `count` times; sent: bytes of gradients that all ranks add up in one of them."""
        work = work.times(count)
        parts = seconds(work, self.device, self.utilization, dtype)
        total = sum(parts)
        # a ring sends every number twice but for one rank's part (Patarasuk & Yuan 2009)
        sending = count * sent * 2 * (self.ranks - 1) / self.ranks / self.device.link
        products, traffic, starting = (part / total if total else 0.0 for part in parts)
        return PhaseTime(
            phase=phase, count=count, seconds=total + sending, flops=work.flops + work.scores + work.stepping, products=products, traffic=traffic, starting=starting
        )  # fmt: skip


@dataclass(frozen=True)
class Rank:
    """What one rank of `ranks` has to do."""

    config: Config
    models: Models
    lengths: Lengths
    sizes: GamePartSizes
    device: Device
    ranks: int

    def draw(self, prompts: float, samples: int) -> Work:
        """Drawing `samples` completions of every prompt of all ranks'."""
        mine, compute, shape = math.ceil(prompts / self.ranks), self.config.compute, self.models.prover
        if compute.engine == "vllm":  # adapters are merged, and vLLM keeps as many rows as it has room for
            shape, together = replace(shape, adapters=0), mine
        else:
            together = max(1, compute.rollout_batch // samples)
        limit = self.config.sampling.max_new_tokens
        chunk = min(together, mine)
        shared = group_width(samples, limit) if self.device.is_cpu else 1
        one = decode(
            shape,
            rows=chunk * samples,
            prompts=chunk,
            prompt=self.lengths.prompt,
            answer=self.lengths.answer,
            steps=limit,  # of many rows one goes on to the end
            dtype=self.config.prover.dtype,
            shared=shared,
            waits=min(LAST_OF_A_GROUP, limit / self.lengths.answer) if shared > 1 else 1.0,
        )
        return one.times(mine / chunk)

    def judge_texts(self, shape: ModelShape, settings: VerifierSettings, texts: float, per_problem: float) -> Work:
        """Scores of texts, behind the prompts they share."""
        mine, together = texts / self.ranks, min(per_problem, READ_TOGETHER)
        batch = min(self.config.compute.score_batch, mine)
        read = self.lengths.answer if reads_tokens(settings) else 1
        packed = Packed.of(batch / together, self.lengths.prompt_for_verifier, together, self.lengths.answer + 1, read)
        work = forward(shape, packed, settings.dtype)
        if reads_tokens(settings):
            work += logprobs(shape, packed.chosen, settings.dtype, self._kind, train=False)
        return work.times(mine / batch * settings.ensemble)

    def score(self) -> Work:
        """One step's reference log-probs, and the policy's and values where the sampler's do not stand for them."""
        ppo, shape, dtype = self.config.ppo, self.models.prover, self.config.prover.dtype
        groups = 2 * ppo.problems_per_step / self.ranks
        packed = self._groups(min(max(1, ppo.micro_batch_size // ppo.samples_per_role), groups))
        reference = replace(shape, adapters=0)
        work = forward(reference, packed, dtype) + logprobs(reference, packed.chosen, dtype, self._kind, train=False)
        if self._scores_policy:
            work += forward(shape, packed, dtype) + logprobs(shape, packed.chosen, dtype, self._kind, train=False)
        if ppo.critic == "separate":
            work += forward(shape, packed, dtype)
        return work.times(groups / packed.groups)

    def update(self) -> Work:
        """One step's epochs of minibatches."""
        ppo, shape, dtype = self.config.ppo, self.models.prover, self.config.prover.dtype
        groups = 2 * ppo.problems_per_step
        per_minibatch = max(1, ppo.minibatch_size // ppo.samples_per_role)
        mine = min(per_minibatch, groups) / self.ranks
        packed = self._groups(min(max(1, ppo.micro_batch_size // ppo.samples_per_role), mine))
        networks = 2 if ppo.critic == "separate" else 1
        again = self.config.prover.gradient_checkpointing
        work = (forward(shape, packed, dtype) + backward(shape, packed, dtype, recompute=again)).times(networks)
        work += logprobs(shape, packed.chosen, dtype, self._kind, train=True)
        stepped = adam(networks * shape.trained, self._trained_dtype, fused=True)
        minibatches = math.ceil(groups / per_minibatch)
        return (work.times(mine / packed.groups) + stepped).times(minibatches * ppo.epochs)

    def teach(self, shape: ModelShape, settings: VerifierSettings) -> Work:
        """Training a verifier."""
        problems = settings.batch_problems / self.ranks
        packed = verifier_texts(settings, self.lengths, problems, longest=False)
        at_once = settings.micro_batch_size
        micro_batches = problems / packed.groups
        read = forward(shape, packed, settings.dtype)
        if reads_twice(settings):
            assert at_once is not None
            micro_batches *= settings.solutions_per_problem / at_once
            if settings.score == "likelihood":  # which has no score without log-probs
                read += logprobs(shape, packed.chosen, settings.dtype, self._kind, train=False)
            read += forward(shape, packed, settings.dtype)
        work = read + backward(shape, packed, settings.dtype)
        if reads_tokens(settings):
            work += logprobs(shape, packed.chosen, settings.dtype, self._kind, train=True)
        work = work.times(micro_batches) + adam(shape.parameters, settings.dtype, fused=False)
        return work.times(settings.updates * settings.ensemble)

    def warm_start(self) -> Work:
        """The warm start, which every rank but the first waits for."""
        settings, shape = self.config.prover.warm_start, self.models.prover
        packed = Packed.of(settings.batch_size, min(self.lengths.prompt, settings.max_length), 1, self.lengths.answer)
        work = forward(shape, packed, "float32") + backward(shape, packed, "float32")
        work += logprobs(shape, packed.chosen, "float32", self._kind, train=True)
        return (work + adam(shape.trained, "float32", fused=False)).times(settings.steps)

    def teaching_bytes(self, shape: ModelShape, settings: VerifierSettings) -> float:
        """What goes round while a verifier is trained: gradients, or with shared weights all that its passes gather."""
        steps = settings.updates * settings.ensemble
        if not (self.shares and shape.parameters >= SMALL):
            return steps * shape.parameters * width(settings.dtype)
        packed = verifier_texts(settings, self.lengths, settings.batch_problems / self.ranks, longest=False)
        passes = math.ceil(settings.batch_problems / self.ranks / packed.groups)
        once = pass_bytes(shape, settings.dtype, train=True)
        if reads_twice(settings):
            assert settings.micro_batch_size is not None
            passes *= math.ceil(settings.solutions_per_problem / settings.micro_batch_size)
            once += pass_bytes(shape, settings.dtype, train=False)
        return steps * passes * once

    @property
    def shares(self) -> bool:
        """Whether the ranks share the weights."""
        return self.config.compute.shard and self.ranks > 1

    @property
    def sampling_bytes(self) -> float:
        """What goes round before a step's text is drawn: with shared weights a gathering of them."""
        return pass_bytes(self.models.prover, self.config.prover.dtype, train=False) if self.shares else 0.0

    @property
    def scoring_bytes(self) -> float:
        """What goes round while a step is scored: with shared weights a gathering a micro-batch and network."""
        if not self.shares:
            return 0.0
        ppo, dtype = self.config.ppo, self.config.prover.dtype
        networks = 1 + (ppo.critic == "separate") + self._scores_policy
        buckets = math.ceil(2 * ppo.problems_per_step / max(1, ppo.micro_batch_size // ppo.samples_per_role))
        return buckets * networks * pass_bytes(self.models.prover, dtype, train=False)

    @property
    def update_bytes(self) -> float:
        """What goes round in a PPO step's updates: gradients, or with shared weights all that its passes gather."""
        ppo = self.config.ppo
        if not self.shares:
            return self.gradient_bytes
        minibatch = max(1, ppo.minibatch_size // ppo.samples_per_role)
        micro = max(1, ppo.micro_batch_size // ppo.samples_per_role)
        passes = ppo.epochs * math.ceil(2 * ppo.problems_per_step / minibatch)
        passes *= math.ceil(math.ceil(minibatch / self.ranks) / micro) * (2 if ppo.critic == "separate" else 1)
        return passes * pass_bytes(self.models.prover, self.config.prover.dtype, train=True)

    @property
    def gradient_bytes(self) -> float:
        """Gradients that a PPO step adds up over all ranks."""
        ppo, shape = self.config.ppo, self.models.prover
        steps = ppo.epochs * math.ceil(2 * ppo.problems_per_step / max(1, ppo.minibatch_size // ppo.samples_per_role))
        return steps * shape.trained * width(self._trained_dtype) * (2 if ppo.critic == "separate" else 1)

    @property
    def _scores_policy(self) -> bool:
        """Whether the old policy's log-probs are computed anew."""
        ppo, dtype = self.config.ppo, self.config.prover.dtype
        own = ppo.old_logprobs == "recomputed" or (ppo.old_logprobs == "auto" and dtype == "bfloat16")
        return own or self.config.compute.engine != "fast"

    @property
    def _trained_dtype(self) -> str:
        return "float32" if self.models.prover.adapters else self.config.prover.dtype

    @property
    def _kind(self) -> str:
        return "cpu" if self.device.is_cpu else "cuda"

    def _groups(self, groups: float) -> Packed:
        return Packed.of(groups, self.lengths.prompt, self.config.ppo.samples_per_role, self.lengths.answer)


def phase_times(rank: Rank, clock: Clock) -> list[PhaseTime]:
    """Every phase of the game in order, prover phases at the most steps that they may take."""
    config, models, sizes = rank.config, rank.models, rank.sizes
    ppo, game, dtype = config.ppo, config.game, config.prover.dtype
    verifier, taught = config.verifier, config.verifier.dtype
    rounds, samples = game.rounds, config.evaluation.samples
    reported = sizes.validation + sizes.test
    base = game.base_samples or max(verifier.solutions_per_problem, game.collection_samples)
    completions = 2 * ppo.problems_per_step * ppo.samples_per_role
    times = []
    if config.prover.warm_start.steps:
        times.append(clock.record("warm start", 1, rank.warm_start(), "float32"))
    judged = sizes.judge if game.held_out_judge else 0
    drawn = rank.draw(sizes.verifier + judged, base) + rank.draw(2 * reported, samples)
    times.append(clock.record("base policy text", 1, drawn, dtype))

    sent = rank.teaching_bytes(models.verifier, verifier)
    times.append(clock.record("verifier training", rounds, rank.teach(models.verifier, verifier), taught, sent))

    steps = rounds * ppo.steps
    parts = [
        clock.record(
            "  sampling", steps, rank.draw(2 * ppo.problems_per_step, ppo.samples_per_role), dtype, rank.sampling_bytes
        ),
        clock.record(
            "  verifier", steps, rank.judge_texts(models.verifier, verifier, completions, 2 * ppo.samples_per_role), taught
        ),
        clock.record("  scoring", steps, rank.score(), dtype, rank.scoring_bytes),
        clock.record("  update", steps, rank.update(), dtype, rank.update_bytes),
    ]  # fmt: skip
    times += [_sum("prover phase", rounds, parts), *parts]
    round_parts = [_again(part, "  prover") for part in parts]

    collected = [
        sum((rank.draw(sizes.verifier, n) for n in collection_sizes(config, index).values()), Work())
        for index in range(rounds)
    ]
    reports = rank.draw(2 * reported, samples)
    read = rank.judge_texts(models.verifier, verifier, 2 * reported * samples, 2 * samples)
    parts = [
        clock.record("  sampling", rounds, sum(collected, Work()).times(1 / rounds) + reports, dtype),
        clock.record("  verifier", rounds, read, taught),
    ]
    times += [_sum("collection", rounds, parts), *parts]
    round_parts += [_again(part, "  collection") for part in parts]
    drawing = rank.draw(2 * ppo.problems_per_step, ppo.samples_per_role)
    scored = rank.judge_texts(models.verifier, verifier, completions, 2 * ppo.samples_per_role)
    for arm in game.played:
        if ARM_OF[arm] in ROUND_ARMS:
            taught_again = clock.record(
                "  verifier training", rounds - 1, rank.teach(models.verifier, verifier), taught, sent
            )
            parts = [*([taught_again] if rounds > 1 else []), *round_parts]
        elif arm != "game":
            step, bytes_sent = drawing + rank.score() + rank.update(), rank.sampling_bytes + rank.scoring_bytes
            if arm == "rft":  # one pass over a text of every problem
                share = 1 / config.rivals.rft.samples * config.rivals.rft.epochs / ppo.epochs
                step = drawing + rank.update().times(share)
            parts = [clock.record("  prover", ppo.steps, step, dtype, bytes_sent + rank.update_bytes)]
            if arm in ("rft", "consultancy"):
                parts.append(clock.record("  its verifier", ppo.steps, scored, taught))
            roles = 2 if arm == "consultancy" else 1
            mine = rank.draw(roles * reported, samples)
            if game.readers:
                mine += rank.draw(roles * sizes.verifier, game.collection_samples)
            parts += [
                clock.record("  collection", 1, mine, dtype),
                clock.record(
                    "  verifier",
                    1,
                    rank.judge_texts(models.verifier, verifier, roles * reported * samples, roles * samples),
                    taught,
                ),
            ]
        else:
            continue
        times += [_sum(f"{ARMS[ARM_OF[arm]]} arm", 1, parts), *parts]
    if game.readers:
        count = len(game.played)
        times.append(clock.record("readers", count, rank.teach(models.verifier, verifier), taught, sent))
    if models.judge is not None:
        settings = HELD_OUT_JUDGE.settings(config)
        sent = rank.teaching_bytes(models.judge, settings)
        times.append(clock.record("held-out judge", 1, rank.teach(models.judge, settings), settings.dtype, sent))
    return times


def _again(part: PhaseTime, of: str) -> PhaseTime:
    """A part under the name of what it is a part of in an arm with rounds of its own."""
    return part.model_copy(update={"phase": f"{of}, {part.phase.strip()}"})


def _sum(phase: str, count: int, parts: list[PhaseTime]) -> PhaseTime:
    """A phase of several parts."""
    total = sum(part.seconds for part in parts)

    def share(name: str) -> float:
        return sum(getattr(part, name) * part.seconds for part in parts) / total

    return PhaseTime(
        phase=phase, count=count, seconds=total, flops=sum(part.flops for part in parts),
        products=share("products"), traffic=share("traffic"), starting=share("starting"),
    )  # fmt: skip


def total_seconds(times: list[PhaseTime]) -> float:
    """Seconds of all phases, their parts counted once."""
    return sum(time.seconds for time in times if not time.phase.startswith(" "))
