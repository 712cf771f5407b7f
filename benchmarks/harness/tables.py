"""Markdown tables of stored results, and the places in docs/performance.md they belong to."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import results
from legibility.errors import UserError
from legibility.files import write_atomic

Record = Mapping[str, Any]


def rows(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table; every column but the first is right-aligned."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def workload(summaries: Mapping[str, Record]) -> str:
    """One workload: seconds per step by phase, tokens, memory, share of the peak, lengths."""
    header = ["trainer", "s / step", "rollout", "scoring", "update", "tokens/s", "peak MB", "above start MB", "of matmul peak",
              "update + scoring", "length mean / longest", "steps (turns)"]  # fmt: skip
    body = [
        [
            results.TRAINERS[name], f"{s['seconds']:.2f} [{s['fastest']:.2f}–{s['slowest']:.2f}]",
            *(f"{s[phase]:.2f}" for phase in results.PHASES), f"{s['tokens_per_second']:,.0f}", f"{s['peak_mb']:,.0f}",
            f"{s['peak_mb'] - s['loaded_mb']:,.0f}", _percent(s["matmul_fraction"]),
            _percent(s["matmul_fraction_update_and_scoring"]), f"{s['mean_length']:.1f} / {s['longest']}",
            f"{s['steps']} ({s['turns']})",
        ]
        for name, s in summaries.items()
    ]  # fmt: skip
    return rows(header, body)


def speedups(summaries: Mapping[str, Record]) -> str:
    """How many times faster each of ours is than each of theirs."""
    others = [name for name in results.OTHERS if name in summaries]
    body = []
    for own in results.OWN:
        found = [results.speedup(summaries, own, other) for other in others]
        if found and all(found):
            body.append(
                [results.TRAINERS[own], *(f"{f['value']:.1f}× [{f['low']:.1f}–{f['high']:.1f}]" for f in found)]
            )
    return rows(["times faster than", *(results.TRAINERS[o] for o in others)], body) if body else ""


def learning(runs: Mapping[str, Sequence[Record]]) -> str:
    """What every trainer learns in the same number of steps, over seeds; and whether the engine changes it."""
    body = []
    for name, records in runs.items():
        got = [results.learned(record["steps"]) for record in records]
        first, last, gain = (statistics.mean(g[key] for g in got) for key in ("first", "last", "gain"))
        seconds = statistics.mean(sum(s["total"] for s in record["steps"]) for record in records)
        body.append(
            [results.TRAINERS[name], f"{first:.3f}", f"{last:.3f}",
             f"{gain:+.3f} [{min(g['gain'] for g in got):+.3f}, {max(g['gain'] for g in got):+.3f}]",
             f"{sum(g['gain'] > 2 * g['error'] for g in got)} of {len(got)}", f"{len(records[0]['steps'])}", f"{seconds:.0f}"]
        )  # fmt: skip
    header = ["trainer", "helpful accuracy, first 5 steps", "last 5", "gain [range over seeds]", "seeds that gain over 2 errors",
              "steps", "seconds"]  # fmt: skip
    table = rows(header, body)
    if found := results.apart(runs.get("ours-detached", ()), runs.get("ours-plain", ())):
        listed = ", ".join(f"{d['difference']:+.4f} ± {d['error']:.4f}" for d in found)
        table += f"\n\nDefault less plain path, helpful accuracy averaged over all steps, by seed (± standard error): {listed}."
    return table


def versus(result: Record) -> str:
    """Everything `ppo_vs_trl.py` measured, as Markdown."""
    machine = result["machine"]
    parts = [
        f"{machine['processor']}, {result['threads']} threads, {machine['memory_gb']:.0f} GB; "
        + ", ".join(f"{k} {v}" for k, v in result["versions"].items() if v)
        + f"; commit {result['commit']}; matmul peak in this run {result['matmul_gflops']:.0f} GFLOP/s"
        + (" (quick mode)." if result["quick"] else ".")
    ]
    for name, summaries in results.summary(result).items():
        task, some = result["workloads"][name]["task"], next(iter(summaries.values()))
        size = next(iter(result["workloads"][name]["records"].values()))[0]["parameters"]
        parts += [
            f"**{name}**: {(size['body'] + size['head']) / 1e6:.2f} M parameters, {task['prompts']} prompts × {task['samples']}, "
            f"prompts of {some['mean_prompt']:.0f} tokens, at most {task['max_new_tokens']} new; {task['epochs']} epochs in "
            f"minibatches of {task['minibatch']}" + _processes(task),
            workload(summaries),
            speedups(summaries),
        ]
    if result.get("learning"):
        parts += ["**Learning**, same problems and learning rate in every trainer:", learning(result["learning"])]
    parts += [f"Skipped: {why}." for why in result["skipped"]]
    return "\n\n".join(p for p in parts if p)


def _processes(task: Record) -> str:
    """How the trainers of a workload were run, where not as one process."""
    if task.get("ranks", 1) > 1:
        return f"; every trainer as {task['ranks']} ranks of torchrun, {task['threads']} thread{'s' * (task['threads'] > 1)} each."
    return f"; this package in {task['workers']} processes of one thread." if task.get("workers", 1) > 1 else "."


def scaling(result: Record) -> str:
    """Everything `scaling.py` measured, as Markdown."""
    header = ["sweep", "parameters (M)", "completions", "samples a prompt", "mean length", "tokens a step", "s / step",
              "rollout", "scoring", "update", "peak MB", "of matmul peak"]  # fmt: skip
    body = [
        [
            p["sweep"], f"{p['parameters'] / 1e6:.2f}", f"{p['completions']}", f"{p['samples']}", f"{p['mean_length']:.1f}",
            f"{p['tokens']:,.0f}", f"{p['seconds']:.2f}", *(f"{p[phase]:.2f}" for phase in results.PHASES),
            f"{p['peak_mb']:,.0f}", _percent(p["matmul_fraction"]),
        ]
        for p in result["points"]
    ]  # fmt: skip
    laws = [
        [name, f"{law['coefficient']:.3g}", _interval(law["parameters"]), _interval(law["tokens"]), f"{law['r2']:.3f}",
         _percent(law["largest_error"])]
        for name, law in result["laws"].items()
    ]  # fmt: skip
    fitted = rows(["seconds = c · (N / 1 M)^a · (T / 10,000)^b", "c", "a", "b", "R²", "largest error"], laws)
    return rows(header, body) + "\n\n" + fitted


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _interval(estimate: Record) -> str:
    return f"{estimate['value']:.2f} [{estimate['low']:.2f}, {estimate['high']:.2f}]"


def fill(page: str, made: Mapping[str, Callable[[], str]], file: str = "docs/performance.md") -> str:
    """The page with what stands between `<!-- NAME -->` and `<!-- /NAME -->` made anew. file: what errors call it.

    Raises UserError where a pair of marks is missing.
    """
    for name, make in made.items():
        pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
        if not pattern.search(page):
            raise UserError(f"{file}: no place for {name}; add <!-- {name} --> and <!-- /{name} -->")
        text = make()
        page = pattern.sub(lambda match, text=text: f"{match[1]}\n{text}\n\n{match[2]}", page)
    return page


def fill_file(file: Path, name: str, text: str) -> None:
    """Put a text between a page's marks of a name. Raises UserError where they are missing, and writes nothing then."""
    write_atomic(file, fill(file.read_text(encoding="utf-8"), {name: lambda: text}, file.name))
