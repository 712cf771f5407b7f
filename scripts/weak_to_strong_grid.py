"""Run several weak-to-strong experiments, resumable, into one table and one figure (PGR against size ratio).

    python scripts/weak_to_strong_grid.py configs/weak-to-strong-nano.yaml --out runs/w2s
    python scripts/weak_to_strong_grid.py A.yaml B.yaml --out runs/w2s --set seeds=[0,1] --set parallel=4
    python scripts/weak_to_strong_grid.py --experiments runs/w2s/weak-to-strong-nano --results docs/results.md

Each config runs in OUT/<its name> and goes on where it was; OUT/table.md and OUT/pgr.png join all of
them. With --results the tables replace the section between the markers of that page, and the figure
goes to its folder `figures`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.game.run_folder import RunFolder
from legibility.reporting.images import png
from legibility.script import run_script
from legibility.weak_to_strong.experiment_figures import pgr_figure
from legibility.weak_to_strong.experiment_page import write_report
from legibility.weak_to_strong.experiment_run import weak_to_strong
from legibility.weak_to_strong.experiment_schema import ExperimentSummary, read_summary
from legibility.weak_to_strong.experiment_settings import ExperimentSettings
from legibility.weak_to_strong.experiment_tables import experiment_tables
from legibility.weak_to_strong.quick_experiment import quick_experiment

BEGIN, END = "<!-- weak-to-strong: begin (scripts/weak_to_strong_grid.py) -->", "<!-- weak-to-strong: end -->"
FIGURE = "weak_to_strong.png"


def main(
    configs: Annotated[list[Path] | None, typer.Argument(help="Experiment configs to run.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of all experiments, the table and the figure.")] = Path(
        "runs/weak-to-strong"
    ),
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Setting to change in all of them, as section.key=value.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Every experiment at its smallest.")] = False,
    experiments: Annotated[list[Path] | None, typer.Option(help="Finished experiment folders to show too.")] = None,
    results: Annotated[Path | None, typer.Option(help="Page whose weak-to-strong section is rewritten.")] = None,
) -> None:
    """Run the configs, then join their tables and figures with those of finished experiments."""
    folders = list(experiments or ())
    for config in configs or ():
        given = settings or ()
        experiment = quick_experiment(config, given) if quick else load_config(config, given, ExperimentSettings)
        run = weak_to_strong(experiment, out / config.stem, resume=True, base_dir=config.resolve().parent)
        write_report(run)
        folders.append(run.path)
    if not folders:
        raise UserError("nothing to do: give configs to run or --experiments to show")
    summaries = [read_summary(f) for f in folders]
    out.mkdir(parents=True, exist_ok=True)
    text = "\n".join(
        f"### {s.name}\n\n{cost(f, s)}\n\n{experiment_tables(s)}" for f, s in zip(folders, summaries, strict=True)
    )
    (out / "table.md").write_text(text, encoding="utf-8")
    figure = pgr_figure([x for s in summaries for x in s.students], [c for s in summaries for c in s.ceiling])
    image = png(figure)
    (out / "pgr.png").write_bytes(image)
    if results is not None:
        page = results.read_text(encoding="utf-8") if results.exists() else "# Results\n"
        before, _, rest = page.partition(BEGIN)
        after = rest.partition(END)[2]
        place = results.parent / "figures" / FIGURE
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(image)
        lead = f"![Accuracy by student size, and PGR against size ratio](figures/{FIGURE})\n\nDefinitions and commands: [weak-to-strong](weak-to-strong.md)."
        section = f"{BEGIN}\n\n## Weak-to-strong\n\n{lead}\n\n{text.rstrip()}\n\n{END}"
        results.write_text(f"{before.rstrip()}\n\n{section}\n\n{after.strip()}".rstrip() + "\n", encoding="utf-8")
    print(out / "table.md")


def cost(folder: Path, summary: ExperimentSummary) -> str:
    """What an experiment took, and where it comes from."""
    manifest = RunFolder.existing(folder).manifest()
    return (
        f"{summary.cpu_seconds / 60:.1f} CPU-minutes in all cells, peak memory {summary.peak_memory_mb:,.0f} MB, "
        f"commit {manifest.git_commit or 'not known'}."
    )


if __name__ == "__main__":
    run_script(main)
