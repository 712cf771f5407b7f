"""`legibility ask`: one problem, both roles of a finished round, every round's verifier.

Samples helpful and sneaky solutions from the chosen round's prover, marks their steps, and shows what
each round's verifier (and the held-out judge) makes of them: the quickest way to see whether later
verifiers catch what fooled earlier ones. Model text is printed as plain text, never as markup.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from legibility.errors import UserError
from legibility.evaluation.doubts import Doubt
from legibility.game.condition import GAME, HELD_OUT_JUDGE, Judge, verifier
from legibility.game.context import Game
from legibility.game.prover_plan import phase_name
from legibility.game.reopen import reopen
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import Solution
from legibility.game.verifier_phase import load_judge
from legibility.grading import agrees, parse_number
from legibility.models.verifier import Verifier
from legibility.problems import ProblemSplits
from legibility.problems.records import Problem
from legibility.problems.storage import read_problems
from legibility.prompts import ROLES
from legibility.reporting.marked_solution import Line, doubt_line, printable, show

ROLE_STYLES = {"helpful": "bold blue", "sneaky": "bold dark_orange"}
NO_GOLD = "0"  # graded against, never shown: the answer of the question is not known


@dataclass(frozen=True)
class Reply:
    """One sampled solution. verdict: None where the gold answer is not known. scores: of every judge of the run.

    doubts: the last verifier's score taken apart by token; None where it reads the last token only.
    """

    role: str
    text: str
    verdict: str | None
    lines: list[Line]
    note: str
    scores: dict[Judge, float]
    doubts: Doubt | None = None


def ask(
    path: Path | str,
    question: str,
    *,
    round_index: int | None = None,
    samples: int = 2,
    answer: str | None = None,
    seed: int = 0,
    console: Console | None = None,
) -> list[Reply]:
    """Print (and return) helpful and sneaky solutions with marked steps and every verifier's score.

    path: the run folder. question: a problem id of the run, or any word problem. round_index: whose prover
    answers (default the last finished round's). samples: solutions per role. answer: the gold answer of an own
    question. console: where to print (default the terminal).
    Raises UserError for an empty question, an unknown id or round, a run without a finished round, a
    changed file, or an answer that is no number.
    """
    if samples < 1:
        raise UserError(f"--samples {samples}: ask for at least one solution per role")
    run = RunFolder.existing(path)
    problem = _find_problem(run, question, answer)
    rounds = run.rounds()
    if not rounds:
        raise UserError(
            f"{run.path}: no finished round yet, so there is no prover to ask; go on with: {run.resume_command}"
        )
    if round_index is None:
        round_index = rounds[-1]
    if round_index not in rounds:
        finished = ", ".join(map(str, rounds))
        raise UserError(f"--round {round_index}: choose one of the finished rounds {finished} of {run.path}")
    known = bool(problem.answer)
    asked = problem if known else replace(problem, answer=NO_GOLD)
    game = reopen(run, splits=ProblemSplits([], [], [], [asked]))
    rows = _draw(game, round_index, samples, seed)
    verifiers = {i: game.saved_verifier(i) for i in rounds}
    scores = _scores(game, rows, verifiers)
    last = verifiers[rounds[-1]]
    replies = []
    for i, row in enumerate(rows):
        shown = show(problem, row.text, row.verdict)
        replies.append(
            Reply(
                row.role,
                row.text,
                row.verdict if known else None,
                shown.lines,
                shown.note,
                {judge: values[i] for judge, values in scores.items()},
                _doubt(last, asked, row, rounds[-1]),
            )
        )
    _print(console or Console(highlight=False), problem, round_index, replies, verifier(rounds[-1]))
    return replies


def _find_problem(run: RunFolder, question: str, answer: str | None) -> Problem:
    """A problem of the run by id or by its exact text, or the question as a new problem."""
    question = question.strip()
    if not question:
        raise UserError("the question is empty; give a word problem or the id of one of the run's problems")
    if answer is not None and parse_number(answer) is None:
        raise UserError(f"--answer {answer!r} is not a number; give one, for example 42")
    problems = read_problems(run.problems_file)
    found = problems.get(question) or next((p for p in problems.values() if p.question == question), None)
    if found is not None:
        if answer is not None and not agrees(parse_number(answer), found.answer):
            raise UserError(
                f"--answer {answer}: problem {found.id} has the gold answer {found.answer}; leave --answer out"
            )
        return found
    if len(question.split()) == 1:
        raise UserError(f"{question!r} is no problem id of this run; ids are in {run.path / 'problems.jsonl'}")
    return Problem(id="question", question=question, answer=answer or "")


def _draw(game: Game, round_index: int, samples: int, seed: int) -> list[Solution]:
    """Graded solutions of the game's one test problem by a round's prover, `samples` of each role."""
    prover = game.saved_prover(game.run.verified(phase_name(GAME, round_index)))
    return game.draw(
        prover,
        game.splits.test,
        ROLES,
        samples,
        arm=GAME,
        round_index=round_index,
        phase="ask",
        split="test",
        step=seed,
        temperature=game.config.sampling.evaluation_temperature,
    ).rows


def _scores(game: Game, rows: list[Solution], verifiers: dict[int, Verifier]) -> dict[Judge, list[float]]:
    """Scores of every row by the verifier of each round, and by the held-out judge where there is one."""
    problems, texts = [game.problems[r.problem_id] for r in rows], [r.text for r in rows]
    scores = {verifier(i): found.score(problems, texts).tolist() for i, found in verifiers.items()}
    judge = load_judge(game)
    if judge is not None:
        scores[HELD_OUT_JUDGE] = judge.score(problems, texts).tolist()
    return scores


def _doubt(reader: Verifier, problem: Problem, row: Solution, index: int) -> Doubt | None:
    """The verifier's score of a row by token; None where it reads the last token only."""
    if reader.head is None:
        return None
    explained = reader.explain(problem, row.text)
    return Doubt.of(explained, round_index=index, role=row.role, problem_id=problem.id, text=row.text)


# --- In the terminal -------------------------------------------------------------------------------


def _print(console: Console, problem: Problem, round_index: int, replies: list[Reply], last: Judge) -> None:
    console.print(Text(printable(problem.question), style="bold"))
    gold = f"gold answer {printable(problem.answer)}" if problem.answer else "gold answer not known (--answer gives it)"
    console.print(Text(f"{gold}; answered by the prover of round {round_index}", style="dim"))
    names = _names(replies)
    for name, reply in zip(names, replies, strict=True):
        console.print()
        verdict = f"  {reply.verdict}" if reply.verdict else "  -"
        console.print(Text.assemble((name, ROLE_STYLES[reply.role]), (verdict, "dim")))
        for line in reply.lines:
            console.print(Padding(_marked(line), (0, 0, 0, 2), expand=False))
        for note in (reply.note, doubt_line(reply.doubts, last.label)):
            if note:
                console.print(Padding(Text(note, style="dim italic"), (0, 0, 0, 4), expand=False))
    console.print()
    console.print(_score_table(names, replies))
    marks = (
        "✓ a true step of the problem, ✗ a wrong one" if problem.steps else "✓ arithmetic that holds, ✗ that does not"
    )
    console.print(Text(f"Scores are raw: compare them inside a column only. {marks}.", style="dim"))


def _names(replies: list[Reply]) -> list[str]:
    counts: dict[str, int] = {}
    names = []
    for reply in replies:
        counts[reply.role] = counts.get(reply.role, 0) + 1
        names.append(f"{reply.role} {counts[reply.role]}")
    return names


def _marked(line: Line) -> Text:
    style = {"✓": "green", "✗": "red"}.get(line.mark, "")
    text = Text(f"{line.mark or ' '} ", style=style)
    for piece in line.pieces:
        wrong = piece.status not in ("", "valid")
        text.append(printable(piece.text), style="red underline" if wrong else "default")
    if line.reason:
        text.append(f"   {line.reason}", style="red")
    return text


def _score_table(names: list[str], replies: list[Reply]) -> Table:
    judges = replies[0].scores
    table = Table(title="score by each round's verifier", title_justify="left", title_style="bold")
    table.add_column("solution")
    table.add_column("verdict")
    for judge in judges:
        table.add_column(judge.label, justify="right")
    for name, reply in zip(names, replies, strict=True):
        cells = (f"{reply.scores[judge]:.3f}" for judge in judges)
        table.add_row(Text(name, style=ROLE_STYLES[reply.role]), reply.verdict or "-", *cells)
    return table
