"""From stored step timings to the numbers and tables of docs/performance.md. No model, no torch.

Work is counted the same for every trainer, whatever it really computes: unique tokens only (a prompt
once per group of samples), 2 operations per parameter and token forwards, 6 in training; the output
head only where a token is predicted; attention scores not at all. Copies, padding, repeated prompts
and second passes over the old policy therefore lower a trainer's share of the peak.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

Record = Mapping[str, Any]
TRAINERS = {
    "ours-detached": "legibility, value head (default)",
    "ours-separate": "legibility, separate critic",
    "ours-plain": "legibility, plain path (value head)",
    "trl-ppo": "TRL 1.12 PPO (separate critic)",
    "trl-grpo": "TRL 1.16 GRPO (no critic)",
    "trl-rloo": "TRL 1.16 RLOO (no critic)",
}
OWN = ("ours-detached", "ours-separate")
OTHERS = ("trl-ppo", "trl-grpo", "trl-rloo", "ours-plain")  # what ours is compared with
CRITIC = ("ours-separate", "trl-ppo")  # these train a second network
PHASES = ("rollout", "scoring", "update")


def operations(step: Record, parameters: Record, epochs: int, critic: bool) -> dict[str, float]:
    """Floating-point operations of one step by phase."""
    tokens = step["prompt_tokens"] + step["generated_tokens"]
    policy = 2 * (parameters["body"] * tokens + parameters["head"] * step["generated_tokens"])
    value = 2 * parameters["body"] * tokens if critic else 0
    return {
        "rollout": policy,
        "scoring": policy + value + 2 * parameters["verifier"] * step["verifier_tokens"],  # reference, values, verifier
        "update": epochs * 3 * (policy + value),
    }


def summarise(records: Sequence[Record], epochs: int, peak_gflops: float) -> dict[str, Any]:
    """Medians over all measured steps of all turns of one trainer on one task."""
    trainer = records[0]["trainer"]
    steps = [step for record in records for step in record["steps"]]
    middle = _median_over(steps)
    work = [operations(step, records[0]["parameters"], epochs, trainer in CRITIC) for step in steps]
    spent = list(zip(work, steps, strict=True))

    def share(*phases: str) -> float:
        rates = [sum(w[p] for p in phases) / sum(s[p] for p in phases) for w, s in spent]
        return statistics.median(rates) / (peak_gflops * 1e9)

    return {
        "seconds": middle(lambda s: s["total"]),
        "fastest": min(s["total"] for s in steps),
        "slowest": max(s["total"] for s in steps),
        "by_turn": [_median_over(record["steps"])(lambda s: s["total"]) for record in records],
        **{phase: middle(lambda s, phase=phase: s[phase]) for phase in PHASES},
        "tokens_per_second": middle(lambda s: s["generated_tokens"] / s["total"]),
        "rollout_tokens_per_second": middle(lambda s: s["generated_tokens"] / s["rollout"]),
        "peak_mb": max(record["peak_mb"] for record in records),
        "loaded_mb": max(record["loaded_mb"] for record in records),
        "matmul_fraction": share(*PHASES),
        "matmul_fraction_by_phase": {phase: share(phase) for phase in PHASES},
        "matmul_fraction_update_and_scoring": share("scoring", "update"),
        "mean_prompt": statistics.mean(s["prompt_tokens"] / s["prompts"] for s in steps),
        "mean_length": statistics.mean(s["generated_tokens"] / s["completions"] for s in steps),
        "longest": max(s["longest"] for s in steps),
        "steps": len(steps),
        "turns": len(records),
        "optimizer_steps": records[0]["optimizer_steps"],
    }


def _median_over(steps: Sequence[Record]) -> Callable[[Callable[[Record], float]], float]:
    return lambda value: statistics.median(value(step) for step in steps)


def summary(result: Record) -> dict[str, dict[str, Any]]:
    """Workload -> trainer -> `summarise`, of everything a run stored."""
    peak = result["matmul_gflops"]
    return {
        name: {t: summarise(records, work["task"]["epochs"], peak) for t, records in work["records"].items()}
        for name, work in result["workloads"].items()
    }


def speedup(summaries: Mapping[str, Record], ours: str, theirs: str) -> dict[str, float] | None:
    """Ratio of median seconds, and its smallest and largest value over turns; None where one did not run.

    A turn that only one of the two made stands beside the other's last.
    """
    if ours not in summaries or theirs not in summaries:
        return None
    a, b = summaries[ours], summaries[theirs]
    last = min(a["by_turn"], b["by_turn"], key=len)[-1]
    turns = [y / x for x, y in zip_longest(a["by_turn"], b["by_turn"], fillvalue=last)]
    return {"value": b["seconds"] / a["seconds"], "low": min(turns), "high": max(turns)}


def derived(result: Record) -> dict[str, Any]:
    """What a result file holds beside the raw steps: the headline, all summaries, speed-ups of every workload."""
    summaries = summary(result)
    ratios = {
        name: {f"{a} vs {b}": found for a in OWN for b in OTHERS if (found := speedup(of, a, b)) is not None}
        for name, of in summaries.items()
    }
    return {**headline(result), "summary": summaries, "speedups": ratios}


def headline(result: Record, workload: str = "nano") -> dict[str, float | None]:
    """The keys other tools read; None where that trainer or workload did not run."""
    summaries = summary(result).get(workload, {})

    def ratio(ours: str, theirs: str) -> float | None:
        found = speedup(summaries, ours, theirs)
        return None if found is None else found["value"]

    own = summaries.get("ours-detached")
    return {
        "speedup_vs_trl_ppo": ratio("ours-detached", "trl-ppo"),
        "speedup_vs_trl_ppo_separate_critic": ratio("ours-separate", "trl-ppo"),
        "speedup_vs_trl_grpo": ratio("ours-detached", "trl-grpo"),
        "speedup_vs_trl_rloo": ratio("ours-detached", "trl-rloo"),
        "matmul_fraction": None if own is None else own["matmul_fraction_update_and_scoring"],
    }


def apart(fast: Sequence[Record], plain: Sequence[Record]) -> list[dict[str, float]]:
    """By seed, how far two trainers' helpful accuracies are apart, averaged over all steps, and the error of that.

    Records are matched by place. The error is that of independent completions; both trainers draw with
    the same random numbers, so as long as their policies agree their text does too.
    """
    found = []
    for one, other in zip(fast, plain, strict=False):
        pairs = list(zip(one["steps"], other["steps"], strict=True))
        both = [(s["accuracy_helpful"], s["completions"] / 2) for pair in pairs for s in pair]
        error = sum(p * (1 - p) / n for p, n in both) ** 0.5 / len(pairs)
        difference = statistics.mean(a["accuracy_helpful"] - b["accuracy_helpful"] for a, b in pairs)
        found.append({"difference": difference, "error": error})
    return found


def learned(steps: Sequence[Record], window: int = 5) -> dict[str, float]:
    """Helpful accuracy over the first and the last steps of one run, and the standard error of its gain.

    The error is that of independent completions, an underestimate: samples of one problem go together.
    """
    window = min(window, len(steps) // 2)

    def part(chosen: Sequence[Record]) -> tuple[float, float]:
        mean = statistics.mean(s["accuracy_helpful"] for s in chosen)
        return mean, mean * (1 - mean) / sum(s["completions"] / 2 for s in chosen)

    (first, first_variance), (last, last_variance) = part(steps[:window]), part(steps[-window:])
    return {"first": first, "last": last, "gain": last - first, "error": (first_variance + last_variance) ** 0.5}
