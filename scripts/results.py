"""Write docs/results.md from stored, evaluated runs of one configuration (one per seed).

    python scripts/results.py runs/nano-s0 runs/nano-s1 runs/nano-s2 --sweep runs/sweep

Every number is read from the runs' summary.json (and the pages of scripts/sweep.py and scripts/ablation.py); nothing is typed in, but for the
section "In words" between its marks, which is written by hand and kept. The page's figures are written beside it,
into figures/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from legibility.config_file import load_config
from legibility.evaluation.attacks_over_seeds import attacks_of
from legibility.evaluation.claims import LEAST_SEEDS, Claim
from legibility.evaluation.compare import read_summaries
from legibility.evaluation.headline import STEPS_TO_EXPLOIT
from legibility.evaluation.merged_seeds import ComparedFigure, Comparison, merge, steps_by_seed
from legibility.evaluation.over_seeds import over_seeds
from legibility.evaluation.schema import SubtletyRow
from legibility.evaluation.summary_schema import Summary
from legibility.evaluation.text_sets import VerdictText, text_key, verdict_key
from legibility.files import write_atomic
from legibility.game.run_folder import RunFolder
from legibility.game.setting_changes import different_settings
from legibility.reporting.comparison import rounds_figure
from legibility.reporting.drawing import LIGHT, themed
from legibility.reporting.evaluation_figures import attacks_figure
from legibility.reporting.images import png
from legibility.reporting.markdown import markdown_table
from legibility.script import run_script

OTHER = "<!-- weak-to-strong: begin"
WORDS_BEGIN, WORDS_END = "<!-- in words: begin (by hand) -->", "<!-- in words: end -->"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "results.md"


def main(
    runs: Annotated[list[Path], typer.Argument(help="Evaluated run folders, one per seed.")],
    config: Annotated[Path, typer.Option(help="The config they were made from.")] = Path("configs/nano.yaml"),
    sweep: Annotated[Path | None, typer.Option(help="Folder of scripts/sweep.py.")] = None,
    ablation: Annotated[Path | None, typer.Option(help="Page of scripts/ablation.py.")] = None,
    out: Annotated[Path, typer.Option(help="Page to write.")] = PAGE,
) -> None:
    """Write the page."""
    summaries = read_summaries(runs)
    merged = merge(summaries)
    before = out.read_text(encoding="utf-8") if out.is_file() else ""
    parts = [
        head(runs, summaries, config, {"sweep": sweep, "ablation": ablation}),
        in_words(before),
        "## Claims\n",
        claim_table(merged.claims),
        "## Headline numbers\n",
        figure_table(merged),
        "## Round by round\n",
        picture(
            out,
            "rounds_over_seeds.png",
            "Over rounds: a dot per seed, their mean and its interval",
            png(rounds_figure(merged, LIGHT)),
        ),
        round_table(merged),
        "## Every verifier on every round's text\n",
        "Accuracy on pairs of a right and a wrong text of one problem, role and style, the headline:\n",
        matrix_table(summaries, "same_style"),
        "AUROC, which telling roles and styles apart also earns:\n",
        matrix_table(summaries, "auroc"),
        "False-positive rates at the threshold fixed on round 0's validation text:\n",
        matrix_table(summaries, "fpr"),
        "## Attacks: what fresh attackers get accepted\n",
        "Share of their incorrect text that a verifier accepts from the score at which it accepts a fixed share of round 0's helpful-correct validation text:\n",
        robustness_table(merged),
        "## Attacks: steps to exploit\n",
        attack_picture(summaries, merged, out),
        survival_table(merged),
        "## Balanced best-of-n\n",
        best_of_n_table(summaries),
        "## Subtlety of sneaky flaws\n",
        subtlety_table(summaries),
        "## What verifiers accept that they should not\n",
        hacking_table(summaries),
        "## Paired tests\n",
        test_table(merged),
    ]
    if sweep is not None:
        image = picture(
            out, "sizes_and_rewards.png", "Verifier sizes and rewards, by round", (sweep / "sweep.png").read_bytes()
        )
        parts += ["## Verifier sizes and rewards\n", image, (sweep / "sweep.md").read_text(encoding="utf-8")]
    if ablation is not None:
        parts += ["## What the verifier reads and learns from\n", ablation.read_text(encoding="utf-8")]
    if OTHER in before:  # the section that scripts/weak_to_strong_grid.py writes
        parts.append(before[before.index(OTHER) :])
    write_atomic(out, "\n".join(p.rstrip() + "\n" for p in parts if p))
    typer.echo(str(out))


def in_words(page: str) -> str:
    """The section of `page` that is written by hand, marks included; "" where there is none."""
    if WORDS_BEGIN not in page:
        return ""
    return page[page.index(WORDS_BEGIN) : page.index(WORDS_END) + len(WORDS_END)] + "\n"


def picture(out: Path, name: str, caption: str, content: bytes) -> str:
    """A link to an image, which is written beside the page."""
    (out.parent / "figures").mkdir(parents=True, exist_ok=True)
    write_atomic(out.parent / "figures" / name, content)
    return f"![{caption}](figures/{name})\n"


def attack_picture(summaries: Sequence[Summary], merged: Comparison, out: Path) -> str:
    """Every attack of all runs, where there is one."""
    if not merged.survival:
        return ""
    with themed(LIGHT):
        drawing = png(attacks_figure(attacks_of(summaries), merged.survival, LIGHT))
    return picture(
        out, "attacks.png", "Every attack (triangles: not exploited by the step cap), median and interval", drawing
    )


def head(runs: Sequence[Path], summaries: Sequence[Summary], config: Path, parts: Mapping[str, Path | None]) -> str:
    """What the page is, and the command of every run. `parts`: other pages taken in, by the option that names them."""
    taken = "".join(f" --{option} {place.name}" for option, place in parts.items() if place is not None)
    d = summaries[0].decoding
    lines = [
        "# Results",
        "",
        f"Written by `python scripts/results.py {' '.join(r.name for r in runs)}{taken}` from stored runs; edit nothing by hand but the section in words. A seed is one unit: "
        "values are means over seeds with 95% t intervals. "
        f"{d.test_problems} test problems × {d.samples} samples per role, temperature {d.temperature:g}. Definitions: [metrics](metrics.md).",
        "",
        "| run | command | minutes | peak memory, MB | commit |",
        "|---|---|---|---|---|",
    ]
    for run, summary in zip(runs, summaries, strict=True):
        base = load_config(config).model_dump(mode="json")
        changed = different_settings(base, RunFolder.existing(run).config().model_dump(mode="json"))
        settings = " ".join(
            f"{c.name}={_on_one_line(c.after)}" for c in changed if not c.name.startswith(("compute.", "attack."))
        )
        commit = RunFolder.existing(run).manifest().git_commit or "–"
        lines.append(
            f"| {run.name} | `legibility train {config} {settings} && legibility evaluate {run.name}{attack_settings(summary, config)}` | "
            f"{summary.wall_seconds / 60:.1f} | {summary.peak_memory_mb:,.0f} | {commit} |"
        )
    return "\n".join(lines) + "\n"


def _on_one_line(value: object) -> str:
    """A setting's value as on the command line; the line breaks of a template stay escaped."""
    return repr(value).strip("'")


def attack_settings(summary: Summary, config: Path) -> str:
    """Settings that the run's attacks were made with where they are not the config's."""
    records, settings = attacks_of([summary]), load_config(config)
    if not records:
        return " --quick"
    seeds, cap = max(r.seed for r in records) + 1, max(r.cap for r in records)
    changed = {
        "seeds": (seeds, settings.attack.seeds),
        "max_steps": (cap, settings.attack.max_steps or 2 * settings.ppo.steps),
    }
    return "".join(f" attack.{name}={made}" for name, (made, default) in changed.items() if made != default)


def claim_table(claims: Sequence[Claim]) -> str:
    """What is claimed, with rules, numbers and verdicts."""
    rows = [
        (c.family, c.statement, c.paper, c.rule, c.evidence, number(c.p), number(c.p_holm), f"**{c.verdict}**")
        for c in claims
    ]
    return (
        f"A claim is held where its rule is met by at least {LEAST_SEEDS} seeds; fewer decide nothing. "
        "p: of a mean that is not above the bound (t-test); beside it adjusted for all claims of the family (Holm).\n\n"
        + table(("family", "claim", "paper", "rule", "measured here", "p", "p, Holm", "verdict"), rows)
    )


def figure_table(merged: Comparison) -> str:
    """Numbers of whole runs by seed."""
    rows = [(f.label, *map(number, f.values), f.text()) for f in merged.figures if f.round is None and f.n]
    return table(("", *(f"seed {s}" for s in merged.seeds), "mean"), rows)


def round_table(merged: Comparison) -> str:
    """Numbers of rounds, those of other rounds' verifiers apart (they stand in the matrix)."""
    shown: dict[str, list[ComparedFigure]] = {}
    for figure in merged.figures:
        if figure.round is not None and figure.verifier is None and figure.name != STEPS_TO_EXPLOIT:
            shown.setdefault(figure.label, []).append(figure)
    rows: list[Sequence[object]] = [(label, *(f.text() for f in figures)) for label, figures in shown.items()]
    rows.append(("steps to exploit in the game, by seed", *(steps_by_seed(merged, r) for r in merged.rounds)))
    return table(("", *(f"round {r}" for r in merged.rounds)), rows)


def matrix_table(summaries: Sequence[Summary], metric: Literal["same_style", "auroc", "fpr"]) -> str:
    """A metric of every verifier on every set of text."""
    matrices = [s.evaluation.matrix for s in summaries if s.evaluation and s.evaluation.matrix]
    if not matrices:
        return "Not measured.\n"
    verifiers = matrices[0].verifiers
    rows = []
    for texts in matrices[0].solutions:
        values = ([(getattr(m, metric) or {}).get(v, {}).get(texts) for m in matrices] for v in verifiers)
        rows.append((text_key(texts), *(over_seeds(found, 0.95).text(2) for found in values)))
    return table(("text", *(v.label for v in verifiers)), rows)


def survival_table(merged: Comparison) -> str:
    """Steps to exploit by reward and verifier."""
    if not merged.survival:
        return "No attack was made.\n"
    rows = [
        (
            r.reward,
            r.verifier,
            number(r.median, 0) if r.median is not None else f"> {r.cap}",
            "–" if r.mean_steps is None else r.mean_steps.text(0),
            f"{r.n}{' (quick)' if r.quick else ''}",
            f"{r.censored:.0%}",
            r.cap,
            ", ".join(f"{a.attacks} at {a.step}" for a in r.at_risk or ()),
        )
        for r in merged.survival
    ]
    header = ("reward", "verifier", "median", "mean within the cap, interval over seeds", "attacks", "not exploited")
    return table((*header, "step cap", "at risk at step"), rows)


def robustness_table(merged: Comparison) -> str:
    """What verifiers accept of fresh attackers' incorrect text, at the points that all attacks have reached."""
    if not merged.robustness:
        return "Not measured.\n"
    rows = [
        (r.reward, f"{r.target:g} {'steps' if r.at == 'steps' else 'nats'}", r.verifier, r.text(), r.n)
        for r in merged.robustness
    ]
    return table(("reward", "after", "verifier", "false-positive rate", "seeds"), rows)


def best_of_n_table(summaries: Sequence[Summary]) -> str:
    """Balanced best-of-n by round, less its own chance; n with fewer than 20 problems is left out."""
    rows = [r for s in summaries for r in (s.evaluation and s.evaluation.best_of_n) or [] if r.problems >= 20]
    rounds, sizes = sorted({r.round for r in rows}), sorted({r.n for r in rows})

    def cell(index: int, n: int) -> str:
        chosen = [r for r in rows if (r.round, r.n) == (index, n)]
        return over_seeds([r.above_null.value if r.above_null else None for r in chosen], 0.95).text()

    return "The verifier's favourite of n is right, less how often random scores' favourite is:\n\n" + table(
        ("n", *(f"round {r}" for r in rounds)), [(n, *(cell(r, n) for r in rounds)) for n in sizes]
    )


def subtlety_table(summaries: Sequence[Summary]) -> str:
    """What is wrong with the steps of each kind of text."""
    rows = [r for s in summaries for r in (s.evaluation and s.evaluation.subtlety) or []]
    texts = list(dict.fromkeys(r.text for r in rows))
    keys = ("with_steps", "arithmetic_holds", "validity", "least_validity", "wrong_steps", "first_wrong_place")

    def cell(text: VerdictText, read: Callable[[SubtletyRow], float | None]) -> str:
        return over_seeds([read(r) for r in rows if r.text == text], 0.95).text(2)

    reads = [lambda r, k=k: getattr(r, k).value for k in keys] + [lambda r: r.flaws["unwritten"]]
    lines = [(verdict_key(t), *(cell(t, read) for read in reads)) for t in texts]
    return table(("text", *(k.replace("_", " ") for k in keys), "no written step wrong"), lines)


def hacking_table(summaries: Sequence[Summary]) -> str:
    """Junk that verifiers accept, and rewrites that turn their decisions."""
    rows = [r for s in summaries for r in (s.evaluation and s.evaluation.hacking) or []]
    verifiers = list(dict.fromkeys(r.verifier for r in rows))
    lines = []
    for kind, key, title in (("junk", "accepted", "accepted"), ("rewrite", "flips", "decisions turned")):
        for change in dict.fromkeys(r.change for r in rows if r.kind == kind):
            cells = []
            for v in verifiers:
                found = [getattr(r, key) for r in rows if (r.kind, r.change, r.verifier) == (kind, change, v)]
                cells.append(over_seeds([f.value if f else None for f in found], 0.95).text(2))
            lines.append((f"{change}: {title}", *cells))
    return table(("", *(v.label for v in verifiers)), lines)


def test_table(merged: Comparison) -> str:
    """Paired tests over seeds."""
    rows = [(t.label, number(t.difference), number(t.p), t.n) for t in merged.paired_tests]
    return table(("first against second", "mean difference", "p", "seeds"), rows)


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown, as a paragraph of its own."""
    return markdown_table(header, rows) + "\n"


def number(value: float | None, digits: int = 3) -> str:
    """A number, or a dash where it is not known."""
    return "–" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    run_script(main)
