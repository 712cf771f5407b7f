"""The plan of a game on some devices: `plan_game`, and what refuses a game that does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from legibility.config import Config
from legibility.errors import UserError
from legibility.game.condition import HELD_OUT_JUDGE
from legibility.models.loading import FLEX
from legibility.planning.amounts import Lengths, part_sizes, text_lengths
from legibility.planning.devices import Device
from legibility.planning.footprint import Models, PhaseMemory, prover_memory, verifier_memory
from legibility.planning.phase_times import Clock, PhaseTime, Rank, phase_times, total_seconds
from legibility.planning.shapes import prover_shape, verifier_shape
from legibility.player_settings import LoraSettings
from legibility.stored import Stored

SCHEMA_VERSION = 1


class GamePlan(Stored):
    """What `legibility plan --json` prints. Bytes, seconds and FLOPs of one rank; times are at most, if the lengths hold."""

    schema_version: int = SCHEMA_VERSION
    config: str
    device: str
    device_source: str
    ranks: int
    utilization: float
    prompt_tokens: float
    answer_tokens: float
    prover_parameters: int
    trained_parameters: int
    verifier_parameters: int
    usable_bytes: float
    memory: list[PhaseMemory]
    times: list[PhaseTime]
    seconds: float
    not_counted: list[str]

    @property
    def tightest(self) -> PhaseMemory:
        """The phase that needs most memory."""
        return max(self.memory, key=lambda m: m.peak)


def plan_game(
    config: Config,
    name: str,
    device: Device,
    *,
    ranks: int = 1,
    utilization: float | None = None,
    prompt_tokens: float | None = None,
    answer_tokens: float | None = None,
    base_dir: Path | None = None,
) -> GamePlan:
    """Memory and time of a game, whether it fits or not (`check_fit`).

    Raises UserError where models or problems cannot be counted, and where there are more ranks than work for them.
    """
    models = shapes(config, base_dir)
    lengths = text_lengths(config, prompt_tokens, answer_tokens, base_dir)
    share = device.utilization if utilization is None else utilization
    if ranks > config.ppo.minibatch_size // config.ppo.samples_per_role:
        raise UserError(
            f"--gpus: {ranks} ranks share minibatches of {config.ppo.minibatch_size // config.ppo.samples_per_role} prompts "
            "(ppo.minibatch_size over ppo.samples_per_role), so some would idle; take fewer, or raise ppo.minibatch_size"
        )
    rank = Rank(config, models, lengths, part_sizes(config, base_dir), device, ranks)
    times = phase_times(rank, Clock(device, share, ranks))
    return GamePlan(
        config=name,
        device=device.name,
        device_source=device.source,
        ranks=ranks,
        utilization=share,
        prompt_tokens=lengths.prompt,
        answer_tokens=lengths.answer,
        prover_parameters=models.prover.parameters,
        trained_parameters=models.prover.trained,
        verifier_parameters=models.verifier.parameters,
        usable_bytes=device.usable,
        memory=memory_of(config, models, lengths, device, ranks),
        times=times,
        seconds=total_seconds(times),
        not_counted=_not_counted(config),
    )


def _not_counted(config: Config) -> list[str]:
    """What the plan leaves out, a line each."""
    trainer, found = config.prover.trainer, []
    if "decoupled" in config.game.played:
        found.append(
            "decoupled: counted like the game's rounds; its prompts hold a solution too, its solver writes them, and its warm start is left out"
        )
    if "tandem" in config.game.played:
        found.append(
            "tandem: counted like the correctness-only arm; what the weak model writes, and what is read again at every change of hands, is left out"
        )
    if trainer == "ppo":
        return found
    return [
        *found,
        f"prover.trainer: prover phases are counted as if PPO trained them. With {trainer} TRL samples with transformers, a "
        "step's completions at once, and reads every completion padded and behind its own prompt: expect several times the "
        "time (4 to 5 on a CPU, docs/trl.md), and more memory for the cache, activations and logits",
    ]


def shapes(config: Config, base_dir: Path | None = None) -> Models:
    """The game's models, from their config.json files. Raises UserError where one cannot be read."""
    prover, verifier = prover_shape(config.prover, base_dir), verifier_shape(config.verifier, base_dir)
    if not config.game.held_out_judge:
        return Models(prover, verifier, None)
    return Models(prover, verifier, verifier_shape(HELD_OUT_JUDGE.settings(config), base_dir))


def memory_of(config: Config, models: Models, lengths: Lengths, device: Device, ranks: int) -> list[PhaseMemory]:
    """Memory of the phases that need most: training the verifier, the prover and the judge."""
    found = [
        verifier_memory(
            "verifier training", config.verifier, models.verifier, lengths, device, ranks, config.compute.shard
        ),
        prover_memory(config, models, lengths, device, ranks),
    ]
    if models.judge is not None:
        settings = HELD_OUT_JUDGE.settings(config)
        found.append(
            verifier_memory("held-out judge", settings, models.judge, lengths, device, ranks, config.compute.shard)
        )
    return found


def check_fit(plan: GamePlan, config: Config, device: Device, base_dir: Path | None = None) -> None:
    """Raises UserError, with the settings that would make it fit, for a plan that needs more than a device has."""
    worst = plan.tightest
    if worst.peak <= plan.usable_bytes:
        return
    need, have = f"{worst.peak / 1e9:.1f} GB", f"{plan.usable_bytes / 1e9:.1f} of {device.memory / 1e9:.0f} GB"
    raise UserError(
        f"{plan.config} does not fit: its {worst.phase} needs {need} a rank, and of {device.name} a plan may use {have}; "
        + _advice(plan, config, device, base_dir)
    )


def _advice(plan: GamePlan, config: Config, device: Device, base_dir: Path | None) -> str:
    """The one setting that would do, or several where one does not."""

    models, lengths = shapes(config, base_dir), text_lengths(config, plan.prompt_tokens, plan.answer_tokens, base_dir)

    def peak(changed: Config) -> float:
        lora = changed.prover.lora is not None and config.prover.lora is None
        own = replace(models, prover=prover_shape(changed.prover, base_dir)) if lora else models
        return max(m.peak for m in memory_of(changed, own, lengths, device, plan.ranks))

    taken: list[str] = []
    best = peak(config)
    for ladder in _LADDERS if device.is_cpu else (*_LADDERS, *_GPU_LADDERS):
        last = config
        for setting, changed in ladder(config):
            if peak(changed) <= plan.usable_bytes:
                return f"{' '.join([*taken, setting])} would make it fit"
            last, named = changed, setting
        if last is not config and peak(last) < 0.98 * best:
            config, best = last, peak(last)
            taken.append(named)
    return "no setting makes it fit; take a smaller model or a larger device"


def _changed(config: Config, section: str, changes: Mapping[str, Any]) -> Config:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=changes)})


Ladder = Callable[[Config], Iterator[tuple[str, Config]]]


def _halving(section: str, name: str, multiple: Callable[[Config], int]) -> Ladder:
    """Half of a setting, a quarter, … as long as it stays a multiple of what it has to be."""

    def steps(config: Config) -> Iterator[tuple[str, Config]]:
        value, least = getattr(getattr(config, section), name), multiple(config)
        while value % 2 == 0 and value // 2 >= least and (value // 2) % least == 0:
            value //= 2
            yield f"{section}.{name}={value}", _changed(config, section, {name: value})

    return steps


def _switch(section: str, name: str, value: Any, written: str, wanted: Callable[[Config], bool]) -> Ladder:
    """Another value of a setting, where that is one."""

    def steps(config: Config) -> Iterator[tuple[str, Config]]:
        if wanted(config):
            yield f"{section}.{name}={written}", _changed(config, section, {name: value})

    return steps


def _micro_batches(config: Config) -> Iterator[tuple[str, Config]]:
    """Fewer and fewer of a verifier step's texts in memory at once."""
    settings = config.verifier
    size = settings.micro_batch_size or settings.batch_problems * settings.solutions_per_problem
    while size > 1:
        size //= 2
        yield f"verifier.micro_batch_size={size}", _changed(config, "verifier", {"micro_batch_size": size})


def _lora(config: Config) -> Iterator[tuple[str, Config]]:
    if config.prover.lora is None:
        yield "prover.lora.r=16", _changed(config, "prover", {"lora": LoraSettings()})


def _samples(config: Config) -> int:
    return config.ppo.samples_per_role


def _one(_: Config) -> int:
    return 1


_LADDERS: tuple[Ladder, ...] = (
    # what changes no result comes first, then what does
    _halving("ppo", "micro_batch_size", _samples),
    _halving("compute", "rollout_batch", _samples),
    _halving("compute", "score_batch", _one),
    _micro_batches,
    _switch("prover", "gradient_checkpointing", True, "true", lambda c: not c.prover.gradient_checkpointing),
    _halving("verifier", "batch_problems", _one),
    _switch("ppo", "critic", "detached", "detached", lambda c: c.ppo.critic == "separate"),
    _lora,
    _switch("prover", "dtype", "bfloat16", "bfloat16", lambda c: c.prover.dtype == "float32"),
    _switch("verifier", "dtype", "bfloat16", "bfloat16", lambda c: c.verifier.dtype == "float32"),
)
_GPU_LADDERS: tuple[Ladder, ...] = (
    _switch("verifier", "attention", FLEX, FLEX, lambda c: c.verifier.attention is None),
    _switch("prover", "attention", FLEX, FLEX, lambda c: c.prover.attention is None),
)
"""FlexAttention keeps no attention probabilities; it has not met a GPU here (docs/performance.md)."""
