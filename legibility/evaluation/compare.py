"""Several runs of one configuration (seeds side by side) merged: mean, interval over seeds, paired test between arms.

A seed is one unit: intervals are Student's t over seeds, and arms are compared by a paired t-test over
the seeds that have both. Attacks of all runs are pooled before the Kaplan–Meier estimate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from legibility.errors import UserError
from legibility.evaluation.attacks.survival import median_steps
from legibility.evaluation.schema import AttackRecord
from legibility.files import write_json
from legibility.game.run_folder import RunFolder, different_settings
from legibility.metrics import number

SCHEMA = 1
Summary = Mapping[str, Any]


def compare(paths: Sequence[Path], out: Path, confidence: float = 0.95) -> dict[str, Any]:
    """Merge finished runs into `out`/compare.json and return it.

    Raises UserError for fewer than two runs, one that is not finished, two of one seed, or an `out` that exists.
    """
    summaries = read_summaries(paths)
    if out.exists():
        raise UserError(f"{out}: exists already; choose another --out")
    result = merge(summaries, confidence)
    result["settings_differ"] = _settings_differ(paths)
    out.mkdir(parents=True)
    write_json(out / "compare.json", result)
    return result


def read_summaries(paths: Sequence[Path]) -> list[Summary]:
    """summary.json of every run. Raises UserError as `compare` does."""
    if len(paths) < 2:
        raise UserError("compare needs at least two run folders")
    summaries = []
    for path in paths:
        file = RunFolder.existing(path).path / "summary.json"
        if not file.is_file():
            raise UserError(
                f"{path}: this run is not finished (no summary.json); go on with legibility train … --resume"
            )
        try:
            summaries.append(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            raise UserError(f"{file}: cannot be read; legibility evaluate {path} --quick writes it again") from None
    seeds = [s["seed"] for s in summaries]
    if len(set(seeds)) < len(seeds):
        raise UserError(
            f"compare: two runs have the same seed ({', '.join(map(str, seeds))}); they are not independent"
        )
    return summaries


def merge(summaries: Sequence[Summary], confidence: float = 0.95) -> dict[str, Any]:
    """Every headline number by seed with its mean and interval, paired tests, pooled survival."""
    figures = {name: over_seeds([read(s) for s in summaries], confidence) for name, read in headline(summaries).items()}
    tests = {
        name: paired_test([first(s) for s in summaries], [second(s) for s in summaries])
        for name, (first, second) in contrasts(summaries).items()
    }
    return {
        "schema": SCHEMA,
        "runs": [s["run"] for s in summaries],
        "seeds": [s["seed"] for s in summaries],
        "confidence": confidence,
        "figures": figures,
        "paired_tests": tests,
        "survival": pooled_survival(summaries, confidence),
    }


def over_seeds(values: Sequence[float | None], confidence: float) -> dict[str, Any]:
    """Values by seed, their mean and its t interval; the interval needs two seeds that have the number."""
    known = np.array([v for v in values if v is not None], dtype=float)
    low = high = float("nan")
    if len(known) > 1:
        half = stats.t.ppf((1 + confidence) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
        low, high = known.mean() - half, known.mean() + half
    mean = float(known.mean()) if len(known) else float("nan")
    return {"values": list(values), "mean": number(mean), "low": number(low), "high": number(high), "n": len(known)}


def paired_test(first: Sequence[float | None], second: Sequence[float | None]) -> dict[str, Any]:
    """Paired t-test of first - second over the seeds that have both: mean difference, two-sided p (null below two seeds)."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if len(pairs) < 2:
        return {"difference": None, "p": None, "n": len(pairs)}
    a, b = np.array(pairs, dtype=float).T
    spread = (a - b).std()
    p = stats.ttest_rel(a, b).pvalue if spread > 1e-12 else (1.0 if abs((a - b).mean()) <= 1e-12 else 0.0)
    return {"difference": float((a - b).mean()), "p": number(float(p)), "n": len(pairs)}


def steps_by_seed(figures: dict[str, dict[str, Any]], index: int) -> str:
    """Steps in the game until round `index`'s verifier was fooled, by seed; "> n" where it was not within its n steps."""
    fooled, steps = (
        figures[f"round {index}: {name}"]["values"] for name in ("steps to exploit in the game", "PPO steps")
    )
    return ", ".join(f"{f:.0f}" if f is not None else f"> {n:.0f}" for f, n in zip(fooled, steps, strict=True))


def headline(summaries: Sequence[Summary]) -> dict[str, Callable[[Summary], float | None]]:
    """Name → how to read the number from a summary (None where a run lacks it)."""
    rounds = min(len(s["arms"]["game"]["rounds"]) for s in summaries)
    found: dict[str, Callable[[Summary], float | None]] = {
        "start accuracy": lambda s: s["arms"]["init"]["accuracy"],
        "correctness-only accuracy": lambda s: s["arms"].get("correctness", {}).get("accuracy"),
        "legibility tax": lambda s: s["legibility_tax"]["value"],
        "retained gain": lambda s: s["retained_gain"]["value"],
        "legibility tax at equal length": lambda s: dig(s, "evaluation", "tax", "tax_matched", "correctness", "value"),
        "legibility tax against the length-penalised arm": lambda s: dig(
            s, "evaluation", "tax", "tax", "correctness short", "value"
        ),
    }
    arms = {
        "start": "start",
        "last round": None,
        "correctness-only": "correctness",
        "length-penalised": "correctness short",
    }
    for title, arm in arms.items():
        found[f"length in tokens, {title}"] = lambda s, a=arm: dig(
            s, "evaluation", "tax", "arms", a or dig(s, "evaluation", "tax", "reference"), "mean_length"
        )
    for judge in ("held_out_judge", "last_verifier", "step_validity"):
        for title, arm in arms.items():
            for form in ("raw", "matched"):
                name = (
                    f"checkability, {judge.replace('_', ' ')}, {title}{', equal length' if form == 'matched' else ''}"
                )
                found[name] = lambda s, j=judge, a=arm, f=form: dig(
                    s,
                    "evaluation",
                    "tax",
                    "arms",
                    a or dig(s, "evaluation", "tax", "reference"),
                    "checkability",
                    j,
                    f,
                    "value",
                )
    for r in range(rounds):
        line = f"round {r}: "
        found[line + "helpful accuracy"] = lambda s, r=r: _round(s, r)["helpful_accuracy"]
        found[line + "sneaky accuracy"] = lambda s, r=r: _round(s, r)["sneaky_accuracy"]
        found[line + "PPO steps"] = lambda s, r=r: _round(s, r)["steps"]
        found[line + "steps to exploit in the game"] = lambda s, r=r: _round(s, r)["steps_to_exploit"]
        for part, suffix in (("pooled", ""), ("within helpful", " helpful"), ("within sneaky", " sneaky")):
            for v in (r, r + 1):
                if v < rounds:
                    found[f"{line}AUROC {part}, verifier {v}"] = lambda s, r=r, v=v, x=suffix: dig(
                        s, "evaluation", "matrix", "auroc", f"verifier {v}", f"round {r}{x}"
                    )
        found[line + "false-positive rate of its verifier"] = lambda s, r=r: dig(
            s, "evaluation", "matrix", "fpr", f"verifier {r}", f"round {r}"
        )
        for n in (4, 16):
            found[f"{line}balanced best-of-{n}"] = lambda s, r=r, n=n: best_of(s, r, n)
        found[line + "role probe AUC at the end"] = lambda s, r=r: probe_end(s, r)
        found[line + "validity of sneaky-incorrect steps"] = lambda s, r=r: subtlety_of(
            s, f"round {r} sneaky incorrect", "validity"
        )
    return found


def contrasts(
    summaries: Sequence[Summary],
) -> dict[str, tuple[Callable[[Summary], float | None], Callable[[Summary], float | None]]]:
    """Name → the two numbers a paired test compares."""
    read, last = headline(summaries), min(len(s["arms"]["game"]["rounds"]) for s in summaries) - 1
    pairs = {
        "correctness-only against the game: accuracy": ("correctness-only accuracy", f"round {last}: helpful accuracy"),
        "game against the start: accuracy": (f"round {last}: helpful accuracy", "start accuracy"),
        "game against correctness-only: checkability, held-out judge": (
            "checkability, held out judge, last round",
            "checkability, held out judge, correctness-only",
        ),
        "game against correctness-only: checkability, held-out judge, equal length": (
            "checkability, held out judge, last round, equal length",
            "checkability, held out judge, correctness-only, equal length",
        ),
        "last round against round 0: steps to exploit in the game": (
            f"round {last}: steps to exploit in the game",
            "round 0: steps to exploit in the game",
        ),
        "last round against round 0: balanced best-of-16": (
            f"round {last}: balanced best-of-16",
            "round 0: balanced best-of-16",
        ),
    }
    for r in range(last):
        for part in ("pooled", "within helpful", "within sneaky"):
            pairs[f"verifier {r + 1} against {r} on round {r}: AUROC {part}"] = (
                f"round {r}: AUROC {part}, verifier {r + 1}",
                f"round {r}: AUROC {part}, verifier {r}",
            )
    return {name: (read[a], read[b]) for name, (a, b) in pairs.items()}


def pooled_survival(summaries: Sequence[Summary], confidence: float) -> list[dict[str, Any]]:
    """Kaplan–Meier over the attacks of all runs, per verifier and reward; quick attacks are left out where full ones exist."""
    records = [r for s in summaries for r in dig(s, "evaluation", "attacks") or []]
    rows = []
    for reward, verifier in sorted({(r["reward"], r["verifier"]) for r in records}):
        chosen = [r for r in records if (r["reward"], r["verifier"]) == (reward, verifier)]
        chosen = [r for r in chosen if not r["quick"]] or chosen
        made = [AttackRecord.model_construct(**r) for r in chosen]
        rows.append(median_steps(made, confidence).model_dump())
    return rows


def dig(data: Any, *keys: str) -> Any:
    """data[k1][k2]…, None where a key is missing."""
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def best_of(summary: Summary, index: int, n: int) -> float | None:
    rows = dig(summary, "evaluation", "best_of_n") or []
    return next((r["value"] for r in rows if (r["round"], r["n"]) == (index, n)), None)


def probe_end(summary: Summary, index: int) -> float | None:
    rows = [r for r in dig(summary, "evaluation", "separability") or [] if r["round"] == index and r["all"]]
    return max(rows, key=lambda r: r["step"])["all"]["value"] if rows else None


def subtlety_of(summary: Summary, text: str, figure: str) -> float | None:
    rows = dig(summary, "evaluation", "subtlety") or []
    return next((r[figure]["value"] for r in rows if r["text"] == text), None)


def _round(summary: Summary, index: int) -> Summary:
    return summary["arms"]["game"]["rounds"][index]


def _settings_differ(paths: Sequence[Path]) -> list[str]:
    """Settings other than the seed in which the runs differ from the first."""
    first, *others = (RunFolder.existing(p).config().model_dump(mode="json") for p in paths)
    found = {d for other in others for d in different_settings(first, other) if not d.startswith("seed:")}
    return sorted(found)
