"""The command line: one thin function per command, each of which calls the public function of its name.

Imports inside commands keep `legibility --help` and usage errors fast: torch loads only where it is used.
Errors made for people, and what the operating system refuses, print one line; `main` has the exit codes.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

import legibility
from legibility.command_output import LogFile, Quiet, command_output
from legibility.errors import Interrupted, UserError, as_line
from legibility.judging.commands import add_commands
from legibility.launch import launch
from legibility.pasted import own_command
from legibility.process_end import interruptible, ranks_go_home
from legibility.script import end_with_line
from legibility.shipped_configs import SHIPPED, find_config

app = typer.Typer(
    help="Prover-verifier legibility games: train, evaluate and report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


SHARED = ("train",)
"""Commands whose work the ranks of a launcher share."""


def _config_names(start: str) -> list[tuple[str, str]]:
    """Shell completion of a CONFIG. Where no name begins like that the shell offers files."""
    return [(c.name, c.shows) for c in SHIPPED if c.name.startswith(start)]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"legibility {legibility.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Prover-verifier legibility games."""
    place = launch()
    if place is not None and context.invoked_subcommand not in SHARED:
        raise UserError(
            f"{context.invoked_subcommand}: runs in one process, and was started as {place.size} ranks; start it without "
            "torchrun"
        )


@app.command()
def train(
    config: Annotated[
        Path,
        typer.Argument(
            help="A shipped config by name (nano; legibility configs lists them), or a YAML file of settings.",
            autocompletion=_config_names,
        ),
    ],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings to change, as section.key=value.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder (default runs/<config name>).")] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run folder if it exists; with a larger game.rounds it gets more rounds."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Go on when a gate is closed.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Play everything small, in about a minute: one round, to look at.")
    ] = False,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html at the end.")] = True,
    quiet: Quiet = False,
    log_file: LogFile = None,
) -> None:
    """Play a whole game: all rounds, the correctness-only arm, summary and report."""
    from legibility.game.run_folder import base_dir_of_run
    from legibility.quick_game import quick_game

    small = quick_game(config, overrides or ()) if quick else None
    settings = small.settings if small else legibility.load_config(config, overrides or ())
    folder = out or Path("runs") / (config.stem + ("-quick" if quick else ""))
    with command_output(quiet, log_file) as progress:
        run = legibility.train(
            settings,
            folder,
            resume=resume,
            force=force,
            quick=small.made_smaller if small else None,
            base_dir=base_dir_of_run(config) or find_config(config).base_dir,
            progress=progress,
        )
        if report and not _newer(run.path / "report.html", run.path / "summary.json"):
            progress.result(f"report: {legibility.report(run.path)}")
        if quick:
            whole = own_command("train", config)
            progress.note(f"quick: a small game, its numbers measure nothing; the whole one: {whole}")


def _newer(page: Path, source: Path) -> bool:
    """Whether a page is there and was made after what it tells of."""
    return page.exists() and source.exists() and page.stat().st_mtime_ns >= source.stat().st_mtime_ns


@app.command()
def plan(
    config: Annotated[
        Path, typer.Argument(help="A shipped config by name, or a YAML file of settings.", autocompletion=_config_names)
    ],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings to change, as section.key=value.")] = None,
    gpus: Annotated[int, typer.Option(help="Ranks that share the game, a GPU (or CPU) each.", min=1)] = 1,
    gpu: Annotated[str, typer.Option(help="Kind of GPU: h100, a100, l4, … (a wrong name lists them).")] = "h100",
    cpu: Annotated[bool, typer.Option("--cpu", help="This machine's processor, measured now, instead.")] = False,
    utilization: Annotated[
        float | None,
        typer.Option(
            help="Share of the device's matrix-product rate that is reached (default: the device's).", min=0.001, max=1
        ),
    ] = None,
    prompt_tokens: Annotated[
        float | None, typer.Option(help="Tokens of a prompt, on average (default: by its characters).", min=1)
    ] = None,
    answer_tokens: Annotated[
        float | None, typer.Option(help="Tokens of an answer, on average (default: half of what it may have).", min=1)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Memory of every rank and time of every phase, counted before anything is loaded; exit code 2 where it cannot fit."""
    from legibility.planning.devices import gpu as known_gpu
    from legibility.planning.devices import this_cpu
    from legibility.planning.game_plan import check_fit, plan_game
    from legibility.planning.plan_text import plan_text
    from legibility.stored import stored_text

    settings, base_dir = legibility.load_config(config, overrides or ()), find_config(config).base_dir
    device = this_cpu(settings.compute.threads) if cpu else known_gpu(gpu)
    made = plan_game(
        settings,
        str(config),
        device,
        ranks=gpus,
        utilization=utilization,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        base_dir=base_dir,
    )
    typer.echo(stored_text(made) if as_json else plan_text(made), nl=not as_json)
    check_fit(made, settings, device, base_dir)


@app.command()
def configs(
    name: Annotated[str | None, typer.Argument(help="Print this one's file.", autocompletion=_config_names)] = None,
) -> None:
    """The configs that come with the package: what each shows and needs, and how long it takes."""
    if name is not None:
        typer.echo(find_config(name).file.read_text(encoding="utf-8"), nl=False)
        return
    for known in SHIPPED:
        typer.echo(
            f"{known.name}\n  {known.line}\n  shows  {known.shows}\n  needs  {known.needs}\n  takes  {known.takes}"
        )
    typer.echo(
        "\nlegibility configs NAME prints one; legibility new MY-GAME --from NAME writes it as a file to change."
    )


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the config; it is written to NAME.yaml in this folder.")],
    base: Annotated[
        str, typer.Option("--from", help="Shipped config to start from.", autocompletion=_config_names)
    ] = "nano",
    every: Annotated[bool, typer.Option("--all", help="Write every setting, those at their defaults too.")] = False,
) -> None:
    """Write a config of your own: a shipped one as a file with a comment on every setting. Overwrites nothing."""
    from legibility.new_config import new_config

    file, known = new_config(name, base, every=every)
    typer.echo(f"{file}: {known.name} as it is; change it, then: {own_command(known.command, file)}")


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Run folder.")]) -> None:
    """Write the run's HTML report and figures."""
    typer.echo(str(legibility.report(run)))


@app.command()
def view(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Run folders, finished or being played.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port (0: any free one).", min=0, max=65535)] = 8766,
) -> None:
    """Read every completion of runs on a local page, with steps, doubts and scores, while they play and after."""
    from legibility.viewing import view as view_runs

    view_runs(runs, host, port)


@app.command()
def ask(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    question: Annotated[str, typer.Argument(help="A word problem, or the id of one of the run's problems.")],
    round_index: Annotated[
        int | None, typer.Option("--round", help="Round whose prover answers (default: the last).")
    ] = None,
    samples: Annotated[int, typer.Option(help="Solutions per role.", min=1)] = 2,
    answer: Annotated[str | None, typer.Option(help="The gold answer of your own question, to grade against.")] = None,
    seed: Annotated[int, typer.Option(help="Sampling seed.", min=0)] = 0,
) -> None:
    """Helpful and sneaky solutions of one problem, with every verifier's score and the step check."""
    from legibility.ask import ask as ask_provers

    ask_provers(run, question, round_index=round_index, samples=samples, answer=answer, seed=seed)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings of evaluation, attack, compute or tracking, as section.key=value."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Train nothing, draw and rewrite less: under two minutes.")
    ] = False,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html at the end.")] = True,
    quiet: Quiet = False,
    log_file: LogFile = None,
) -> None:
    """Robustness, legibility tax and probes of a run: evaluation/*.json, summary.json and the report."""
    with command_output(quiet, log_file) as progress:
        legibility.evaluate(run, quick=quick, overrides=overrides or (), progress=progress)
        if report:
            progress.result(f"report: {legibility.report(run)}")


@app.command()
def attack(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings of attack, compute or tracking, as section.key=value.")
    ] = None,
    verifier: Annotated[
        int | None, typer.Option(help="Round whose verifier is attacked (default: every round's).", min=0)
    ] = None,
    reader: Annotated[
        str | None, typer.Option(help="Arm whose reader is attacked instead (game.readers); all: every arm's.")
    ] = None,
    reward: Annotated[
        Literal["src", "cgc", "goodhart"] | None,
        typer.Option(help="What the attacker is paid (default: attack.rewards)."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One seed, SRC and CGC, half the step cap.")] = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
) -> None:
    """Train sneaky-only provers against frozen verifiers and record how many steps each exploit takes."""
    with command_output(quiet, log_file) as progress:
        legibility.attack(
            run,
            verifier=verifier,
            reader=reader,
            reward=reward,
            quick=quick,
            overrides=overrides or (),
            progress=progress,
        )


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Finished run folders.")],
    out: Annotated[Path, typer.Option(help="Folder for compare.html and compare.json.")] = Path("runs/compare"),
) -> None:
    """Runs side by side: seeds of one setting merged (mean, interval, paired tests), different settings compared."""
    from legibility.reporting import write_comparison

    compared = legibility.compare(runs, out)
    if compared.quick:
        typer.echo(
            f"quick: small games to look at, their numbers measure nothing: {', '.join(compared.quick)}", err=True
        )
    typer.echo(f"report: {write_comparison(compared, out)}")


@app.command()
def frontier(
    runs: Annotated[list[Path], typer.Argument(help="Evaluated run folders: seeds of one game with arms.")],
    out: Annotated[Path, typer.Option(help="Folder for frontier.html and frontier.json.")] = Path("runs/frontier"),
) -> None:
    """Accuracy against every measure of legibility, for all arms (game.arms), over seeds and at equal cost."""
    from legibility.frontier.frontier import frontier as merge
    from legibility.frontier.frontier_page import write_frontier

    merged = merge(runs, out)
    if merged.quick:
        typer.echo(f"quick: small games to look at, their numbers measure nothing: {', '.join(merged.quick)}", err=True)
    typer.echo(f"report: {write_frontier(merged, out)}")


@app.command("weak-to-strong")
def weak_to_strong(
    config: Annotated[
        Path,
        typer.Argument(
            help="A shipped config by name (weak-to-strong-nano), or a YAML file of an experiment.",
            autocompletion=_config_names,
        ),
    ],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings to change, as section.key=value.")] = None,
    out: Annotated[Path | None, typer.Option(help="Experiment's folder (default runs/<config name>).")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed, two sizes, everything once, under 3 minutes.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the experiment's folder if it exists.")] = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
) -> None:
    """Strong students of weak teachers: performance gap recovered by objective, teacher and oversight."""
    from legibility.config_file import load_config
    from legibility.game.run_folder import base_dir_of_run
    from legibility.weak_to_strong.experiment_page import write_report
    from legibility.weak_to_strong.experiment_run import weak_to_strong as run_experiment
    from legibility.weak_to_strong.experiment_settings import ExperimentSettings
    from legibility.weak_to_strong.quick_experiment import quick_experiment

    given = overrides or ()
    settings = quick_experiment(config, given) if quick else load_config(config, given, ExperimentSettings)
    folder = out or Path("runs") / (config.stem + ("-quick" if quick else ""))
    with command_output(quiet, log_file) as progress:
        run = run_experiment(
            settings,
            folder,
            resume=resume,
            base_dir=base_dir_of_run(config) or find_config(config).base_dir,
            progress=progress,
        )
        progress.result(f"report: {write_report(run)}")


add_commands(app)


def main() -> None:
    """Entry point: run the app, turning errors made for people and what the system refuses into one line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a character never stops a run
    try:
        place = launch()
    except UserError as error:
        end_with_line(error)
    if place is not None and place.rank > 0:
        from legibility.launched_team import LaunchedTeam

        # it has nothing to finish, and a broken group's threads could not be joined
        os._exit(LaunchedTeam.serve(place))
    try:
        with interruptible(), ranks_go_home():
            app(prog_name=own_command())
    except Interrupted as stop:
        for number in (signal.SIGINT, signal.SIGTERM):  # who presses Ctrl-C twice wants no traceback of the farewell
            signal.signal(number, signal.SIG_IGN)
        # a launcher whose rank was killed may end this one before it has missed the other
        launcher = " (the launcher's report says whether a rank ended early)" if place and stop.by_system else ""
        print(f"{as_line(stop)}{launcher}; go on with: {_again(sys.argv[1:])}", file=sys.stderr)
        sys.exit(stop.exit_code)
    except BrokenPipeError:  # whoever read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        end_with_line(error)


def as_command(name: str) -> None:
    """Be `python -m legibility NAME` with this process's arguments: what the scripts of these commands are.

    What it prints to be pasted begins like that too, since there is not a script for every command.
    """
    sys.argv = [str(Path(legibility.__file__).with_name("__main__.py")), name, *sys.argv[1:]]
    main()


def _again(arguments: list[str]) -> str:
    """The command that goes on with one that was stopped."""
    resumes = arguments[:1] in (["train"], ["weak-to-strong"]) and "--resume" not in arguments
    return own_command(*arguments, *(["--resume"] if resumes else []))


if __name__ == "__main__":
    main()
