"""A plan as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from legibility.planning.game_plan import GamePlan


def plan_text(plan: GamePlan) -> str:
    """What stands where in memory, how long each phase takes, and what was assumed."""
    lines = [
        f"{plan.config} on {plan.ranks} x {plan.device} ({plan.device_source})",
        f"prover {_count(plan.prover_parameters)} weights, {_count(plan.trained_parameters)} trained; "
        f"verifier {_count(plan.verifier_parameters)}",
        f"prompts of {plan.prompt_tokens:.0f} tokens and answers of {plan.answer_tokens:.0f} on average "
        "(--prompt-tokens, --answer-tokens)",
        "",
        f"memory of a rank, of {plan.usable_bytes / 1e9:.1f} GB that may be used",
    ]
    for phase in plan.memory:
        lines.append(f"  {phase.phase:<34}{phase.peak / 1e9:8.2f} GB")
        for item in phase.items:
            note = "  comes and goes" if item.transient else ""
            lines.append(f"    {item.name:<32}{item.bytes / 1e9:8.2f}{note}")
    rows = [["time", "times", "at most", "products", "memory traffic", "starting"]]
    for time in plan.times:
        rows.append(
            [
                f"  {time.phase}",
                str(time.count),
                duration(time.seconds),
                *(f"{share:.0%}" for share in (time.products, time.traffic, time.starting)),
            ]
        )
    rows.append(["  the whole game", "", duration(plan.seconds), "", "", ""])
    lines += ["", *_aligned(rows), "", f"products at {plan.utilization:.0%} of the device's rate (--utilization)"]
    if plan.ranks > 1:
        lines.append("every rank holds all weights; ranks share rows and add up gradients")
    return "\n".join([*lines, *plan.not_counted])


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _count(weights: int) -> str:
    return f"{weights / 1e9:.2f} B" if weights >= 1e9 else f"{weights / 1e6:.1f} M"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    ]
