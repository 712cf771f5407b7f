"""The judging commands of the command line: export, judge, import, analyze, simulate-raters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from legibility.errors import UserError
from legibility.pasted import own_command
from legibility.printable import printable

StudyPath = Annotated[Path, typer.Argument(metavar="STUDY", help="Study folder, made by legibility export.")]


def add_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(export)
    app.command()(judge)
    app.command("import")(import_)
    app.command()(analyze)
    app.command("simulate-raters")(simulate_raters)


def _say(line: str, *, err: bool = False) -> None:
    """Print a line; names and paths in it are other people's text."""
    typer.echo(printable(line), err=err)


def _typed_options(context: typer.Context) -> set[str]:
    """Names of the options that were typed, not left at their default."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def export(
    context: typer.Context,
    run: Annotated[
        Path,
        typer.Argument(
            help="Run folder; or a JSONL file of problems with worked solutions (they are judged beside corrupted twins)."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder to make; a study's is given (default: RUN-inspect or RUN-hub).")
    ] = None,
    format: Annotated[
        Literal["study", "inspect", "hub"],
        typer.Option(
            help="study: for human raters; inspect: eval logs of the test text for inspect view; "
            "hub: a data set of all completions and a card for every model (docs/sharing.md)."
        ),
    ] = "study",
    weights: Annotated[bool, typer.Option("--weights", help="hub: copy the models beside their cards.")] = False,
    conditions: Annotated[str | None, typer.Option(help="ARM:ROUND:ROLE,… (default: all the run has).")] = None,
    per_condition: Annotated[
        int, typer.Option(help="Solutions per condition; half correct, half incorrect (sneaky: all incorrect).")
    ] = 40,
    raters: Annotated[int, typer.Option(help="Rater slots; raters claim one on arrival.")] = 10,
    per_rater: Annotated[
        int | None, typer.Option(help="Items per rater (default: one per problem, at most 60).")
    ] = None,
    attention: Annotated[int, typer.Option(help="Attention checks every rater gets.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the choice of solutions.", min=0)] = 0,
    length_match: Annotated[
        bool, typer.Option("--length-match", help="Same distribution of lengths in all conditions.")
    ] = False,
    assisted: Annotated[
        Literal["item", "rater"] | None,
        typer.Option(
            help="Show half of every rater's items (item), or half of the raters (rater), the verifier's doubts."
        ),
    ] = None,
    doubts_of: Annotated[int | None, typer.Option(help="Round of that verifier (default: the last).")] = None,
    protocol: Annotated[
        Path | None, typer.Option(help="YAML file of study settings to change (docs/judging.md).")
    ] = None,
) -> None:
    """Make a blinded study for human raters from a run; or write the run for other tools. Other options are a study's."""
    if weights and format != "hub":
        raise UserError(f"--weights: goes with --format hub, not with {format}")
    if format != "study":
        from legibility.sharing import share

        if given := sorted(_typed_options(context) - {"run", "out", "format", "weights"}):
            option = f"--{given[0].replace('_', '-')}"
            raise UserError(f"{option}: goes with --format study, not with {format}; leave it out")
        beside = run if run.name not in ("", "..") else run.resolve()
        for line in share(run, out or beside.with_name(f"{beside.name}-{format}"), format, weights=weights):
            _say(line)
        return
    if out is None:
        raise UserError("--out: name the folder to make for the study, such as --out study")
    from legibility.judging.candidates import candidates_of
    from legibility.judging.export import export_study

    made = export_study(
        candidates_of(run, seed),
        out,
        conditions=conditions.split(",") if conditions else None,
        per_condition=per_condition,
        raters=raters,
        per_rater=per_rater,
        attention=attention,
        seed=seed,
        length_match=length_match,
        protocol=protocol,
        assisted=assisted,
        doubts_of=doubts_of,
    )
    _say(
        f"study: {made.path}  {made.items} items (checks included), {len(made.slots)} raters × {max(map(len, made.slots))} items at most"
    )
    for note in made.notes:
        _say(f"note: {note}")
    _say(made.power.sentence(made.planned))
    _say(
        f"next: {own_command('judge', made.path)}   # or {made.path}/formats; keep key.jsonl and provenance.json to yourself"
    )


def judge(
    study: StudyPath,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port (0: any free one).", min=0, max=65535)] = 8765,
    invites: Annotated[
        bool, typer.Option("--invites", help="Let in only who has a link of STUDY/invites.jsonl, made on first use.")
    ] = False,
    url: Annotated[str | None, typer.Option(help="Address raters open, for the links (default: this one).")] = None,
    start_limit: Annotated[
        int | None, typer.Option(help="Most slots that one network address may take (default: any number).", min=1)
    ] = None,
) -> None:
    """Serve the judging page in the browser; every judgment is stored before the next item shows."""
    from legibility.judging.server import serve
    from legibility.judging.study_folder import StudyFolder

    serve(StudyFolder.open(study), host, port, invites=invites, url=url, start_limit=start_limit)


def import_(
    study: StudyPath,
    file: Annotated[Path, typer.Argument(help="What the tool exported (server: the study's server.jsonl).")],
    source: Annotated[str, typer.Option("--from", help="html, server, label-studio, doccano, argilla or csv.")],
    rater: Annotated[str | None, typer.Option(help="Who judged, where the file does not say.")] = None,
) -> None:
    """Read judgments into the study's one long table, judgments.csv; safe to repeat."""
    from legibility.judging.importing import import_judgments
    from legibility.judging.study_folder import StudyFolder

    done = import_judgments(StudyFolder.open(study), file, source, rater=rater)
    for refusal in done.refused:
        _say(f"refused {refusal.where}: {refusal.reason}", err=True)
    for remark in done.remarks:
        _say(f"note on {remark.where}: {remark.text}", err=True)
    _say(
        f"{file}: {done.added} judgments added, {done.known} known already, {len(done.refused)} refused; {done.total} in {done.table}"
    )


def analyze(
    study: StudyPath,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Analyse the simulated raters' table instead of people's.")
    ] = False,
    run: Annotated[
        Path | None,
        typer.Option(help="Run folder that gets human.json (default: the one exported from, if it is there)."),
    ] = None,
) -> None:
    """Open the sealed key and analyse the judgments: tables, figures, an HTML page."""
    from legibility.judging.analysis import analyze_study
    from legibility.judging.study_folder import StudyFolder

    for line in analyze_study(StudyFolder.open(study), simulated=simulated, run=run).lines():
        _say(line)


def simulate_raters(
    study: StudyPath,
    accuracy: Annotated[
        str,
        typer.Option(
            help="0.8, or per condition: game:0:helpful=0.7,game:1:helpful=0.8 (a number among them is the default)."
        ),
    ] = "0.75",
    gain: Annotated[
        float, typer.Option(help="How much more accurate raters are where doubts are shown.", min=-1, max=1)
    ] = 0.0,
    lapse: Annotated[float, typer.Option(help="Share of judgments that are coin flips.", min=0, max=1)] = 0.02,
    careless: Annotated[
        float, typer.Option(help="Share of raters who flip a coin for everything, fast.", min=0, max=1)
    ] = 0.0,
    raters: Annotated[int | None, typer.Option(help="How many raters come (default: every slot).", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Seed.", min=0)] = 0,
    repeats: Annotated[
        int,
        typer.Option(
            help="Also simulate and analyse this many studies: coverage of the intervals, exclusion rates.", min=0
        ),
    ] = 0,
) -> None:
    """Fill STUDY/simulation with judgments of made-up raters, to plan a study and try the analysis."""
    from legibility.judging.simulate import simulate_study
    from legibility.judging.study_folder import StudyFolder

    made = simulate_study(
        StudyFolder.open(study),
        accuracy=accuracy,
        gain=gain,
        lapse=lapse,
        careless=careless,
        raters=raters,
        seed=seed,
        repeats=repeats,
    )
    for line in made.lines():
        _say(line)
