"""The report of a tiny finished run, of unfinished ones, and of text that tries to be markup."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import pandas as pd
import pytest

from legibility.errors import UserError
from legibility.evaluation.summary import summarise
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import SCHEMA
from legibility.problems.records import Problem, Step
from legibility.reporting import write_report
from legibility.reporting.data import read_run
from legibility.reporting.drawing import DARK
from legibility.reporting.examples import StepGrader, pick_examples
from legibility.reporting.figures import figures, judges
from legibility.reporting.marked_solution import printable, show
from legibility.reporting.page import Image, headline, render
from tests.support import legibility

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>\n{{ 7 * 7 }} \x1b[31m\u202e2 + 2 = 5\n#### 5"
PROBLEM = Problem(
    "p", "Tom has 5 pens and gets 3, then doubles them.", "16", steps=(Step(5, "+", 3, 8), Step(8, "*", 2, 16))
)


@pytest.fixture
def run(tiny_run, tmp_path) -> RunFolder:
    """A copy of the finished tiny run."""
    return RunFolder(Path(shutil.copytree(tiny_run.path, tmp_path / "tiny")))


@pytest.fixture(scope="module")
def data(tiny_run):
    return read_run(tiny_run)


class Page(HTMLParser):
    """Tags, attributes that load or run something, and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "poster", "data", "action"):
                self.loads.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_data(self, text) -> None:
        self.text += text


def fake_images(names) -> dict[str, Image]:
    return {name: Image(600, "data:image/png;base64,AA==", "data:image/png;base64,AA==") for name in names}


# ---------------------------------------------------------------- the page


def test_one_self_contained_page_and_its_figures(run: RunFolder) -> None:
    before = {p for p in run.path.rglob("*") if p.is_file()}
    target = write_report(run)
    assert target == run.path / "report.html"
    page = target.read_text(encoding="utf-8")
    found = Page(page)
    assert found.loads and all(value.startswith("data:image/png;base64,") for value in found.loads)
    assert not {"script", "link", "iframe", "object", "form", "base"} & set(found.tags)
    assert "url(" not in page and "@import" not in page and not re.search(r"https?:", page)
    figures_made = sorted((run.path / "figures").iterdir())
    assert {p.name for p in figures_made} >= {"rounds.png", "health.png"}
    for figure in figures_made:
        content = figure.read_bytes()
        assert content.startswith(b"\x89PNG")
        assert base64.b64encode(content).decode() in page
    assert {p for p in run.path.rglob("*") if p.is_file()} == {
        *before,
        target,
        *figures_made,
    }  # no temporary file stays


def test_writing_again_gives_the_same_page(run: RunFolder) -> None:
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_the_page_says_what_the_summary_says(run: RunFolder) -> None:
    summary = json.loads((run.path / "summary.json").read_text())
    summary["legibility_tax"] = {"value": 0.125, "low": 0.05, "high": 0.2}
    summary["retained_gain"] = {"value": None, "low": None, "high": None}
    summary["arms"]["game"]["rounds"][0]["steps_to_exploit"] = 17
    (run.path / "summary.json").write_text(json.dumps(summary))
    data = read_run(run)
    cards = {card["name"]: card for card in headline(data)}
    assert cards["legibility tax"]["value"] == "+12.5 points" and cards["legibility tax"]["interval"] == "5.0 to 20.0"
    assert cards["retained gain"]["value"] == "undefined" and cards["retained gain"]["interval"] == ""
    assert cards["start accuracy"]["value"] == f"{100 * summary['arms']['init']['accuracy']:.1f}%"
    assert all(card["meaning"].endswith(".") for card in cards.values())
    text = Page(render(data, {})).text
    assert "17" in text and "20 test problems × 2 samples per role" in text and f"Seed {summary['seed']}" in text
    assert "legibility train tiny/config.yaml --out tiny-again" in text and str(run.path) not in text


def test_model_text_is_never_markup(run: RunFolder) -> None:
    for index in (0, 1):
        file = run.path / f"rounds/0{index}/solutions.parquet"
        frame = pd.read_parquet(file)
        frame["text"] = MARKUP
        frame["verdict"] = ["correct" if role == "helpful" else "incorrect" for role in frame.role]
        frame.to_parquet(file, schema=SCHEMA, index=False)
        file.with_name("solutions.sha256").unlink()  # as if the run itself had written this text
    lines = [json.loads(line) for line in (run.path / "problems.jsonl").read_text().splitlines()]
    for line in lines:
        line["question"] += "<b onclick=x>"
    (run.path / "problems.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = read_run(run)
    assert data.examples[0][0].sneaky is not None
    page = render(data, fake_images(["rounds"]))
    found = Page(page)
    assert "<script" not in page and not found.handlers
    assert not [v for v in found.loads if not v.startswith("data:")]
    assert html.escape("<img src=x onerror=alert(2)>") in page
    assert "<script>alert(1)</script>" in found.text and "<b onclick=x>" in found.text
    assert "{{ 7 * 7 }}" in found.text
    assert "\x1b" not in page and "\u202e" not in page


def test_command_line(run: RunFolder) -> None:
    result = legibility("report", run.path)
    assert result.code == 0 and result.out.strip() == str(run.path / "report.html")
    assert legibility("report", run.path / "rounds").code == 2


# ---------------------------------------------------------------- unfinished runs


def unfinish(run: RunFolder, rounds: int) -> None:
    """Leave as many finished rounds, as if the run had been killed there."""
    (run.path / "summary.json").unlink()
    shutil.rmtree(run.path / "arms")
    shutil.rmtree(run.path / "judge", ignore_errors=True)
    for index in range(rounds, 2):
        shutil.rmtree(run.path / f"rounds/{index:02d}/collection")


def test_unfinished_run_shows_its_finished_rounds(run: RunFolder) -> None:
    unfinish(run, 1)
    data = read_run(run)
    assert [phase.index for phase in data.rounds] == [0] and data.correctness is None and not data.finished
    text = Page(write_report(run).read_text(encoding="utf-8")).text
    assert "This run is not finished" in text and "not yet" in text
    assert not (run.path / "summary.json").exists()  # the run is not finished by being looked at


def test_nothing_finished_is_one_clear_error(run: RunFolder) -> None:
    unfinish(run, 0)
    with pytest.raises(UserError, match="no finished round"):
        write_report(run)
    assert not (run.path / "report.html").exists()


def test_interim_numbers_are_those_of_the_summary(run: RunFolder) -> None:
    summary = json.loads((run.path / "summary.json").read_text())
    interim = summarise(run, checked=False).model_dump(mode="json")

    def agrees(mine, theirs, where="") -> None:
        for key, value in mine.items():
            if isinstance(value, dict):
                agrees(value, theirs[key], f"{where}.{key}")
            elif key == "rounds":
                for a, b in zip(value, theirs[key], strict=True):
                    agrees(a, b, f"{where}.{key}")
            elif key not in ("wall_seconds", "peak_memory_mb"):
                assert value == pytest.approx(theirs[key]), f"{where}.{key}"

    agrees({k: v for k, v in interim.items() if k not in ("legibility_tax", "retained_gain")}, summary)


def test_a_changed_file_is_refused(run: RunFolder) -> None:
    (run.path / "rounds/00/prover/metrics.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="missing or changed"):
        read_run(run)


# ---------------------------------------------------------------- figures


def test_figures_leave_matplotlib_alone(data) -> None:
    before = dict(matplotlib.rcParams)
    light, dark = figures(data), figures(data, DARK)
    assert dict(matplotlib.rcParams) == before
    assert light.keys() == dark.keys()
    assert matplotlib.colors.to_hex(dark["health"].get_facecolor()) == DARK.background
    assert all(
        figure.number is None if hasattr(figure, "number") else True for figure in light.values()
    )  # not pyplot's


def test_the_exploit_step_is_marked(data) -> None:
    phase = replace(data.rounds[0], training=data.rounds[0].training.model_copy(update={"steps_to_exploit": 2}))
    figure = figures(replace(data, rounds=[phase, data.rounds[1]]))["rounds"]
    titles = [ax.get_title(loc="right") for ax in figure.axes]
    assert titles[0] == "fooled at step 2" and "fooled" not in titles[1]


def test_many_rounds_wrap_and_undefined_numbers_are_left_out(data) -> None:
    rounds = [{**r, "round": i} for i, r in enumerate(data.summary_rounds * 3)]
    summary = json.loads(json.dumps(data.summary))
    summary["arms"]["game"]["rounds"] = rounds
    many = replace(data, rounds=data.rounds * 3, summary=summary)
    made = figures(many)
    assert made["rounds"].get_figheight() > made["rounds"].get_figwidth() * 0.8  # two rows of rounds
    for entry in [summary["arms"]["init"], *rounds]:
        entry["checkability"] = {"last_verifier": 0.7, "held_out_judge": None}
    assert judges(many) == ["last_verifier"]
    summary["legibility_tax"] = {"value": None, "low": None, "high": None}
    rounds[1]["verifier"]["auroc_previous_round"] = {"pooled": None, "within_role": None}
    assert len(figures(many)["tax"].axes) == 1
    rounds[0]["checkability"] = {}
    assert "tax" not in figures(many)


# ---------------------------------------------------------------- marks and examples


def test_lines_are_marked_with_reasons() -> None:
    shown = show(PROBLEM, "First, 5 + 3 = 9 pens.\n9 * 2 = 18, so 7 - 1 = 6\n#### 18", "incorrect")
    assert [line.mark for line in shown.lines] == ["✗", "✗", ""]
    assert [line.reason for line in shown.lines] == [
        "arithmetic does not hold",
        "carries an earlier mistake; not a step of this problem",
        "",
    ]
    assert [(p.text, p.status) for p in shown.lines[0].pieces][:2] == [("First, ", ""), ("5 + 3 = 9", "slip")]
    assert (
        "".join(p.text for line in shown.lines for p in line.pieces)
        == "First, 5 + 3 = 9 pens.9 * 2 = 18, so 7 - 1 = 6#### 18"
    )
    assert show(PROBLEM, "5 + 3 = 8\n#### 8", "incorrect").note == "leaves out 8 * 2 = 16"
    assert "nothing to check" in show(PROBLEM, "8 16\n#### 16", "correct").note
    assert [line.mark for line in show(PROBLEM, "(5 + 3) * 2 = 8 * 2 = 16\n#### 16", "correct").lines] == ["✓", ""]
    assert show(PROBLEM, "", "invalid").lines[0].mark == ""


def test_percentile_counts_ties_half() -> None:
    import numpy as np

    assert show(PROBLEM, "x", "correct", 2.0, np.array([1.0, 2.0, 2.0, 3.0])).percentile == 0.5
    assert show(PROBLEM, "x", "correct", float("nan"), np.array([1.0])).score is None


def test_examples_are_chosen_by_rule() -> None:
    problems = {name: replace(PROBLEM, id=name) for name in "abcd"}

    def frame(rows):
        return pd.DataFrame(rows, columns=["problem_id", "sample", "text", "verdict", "score"])

    helpful = frame(
        [
            ("a", 0, "5 + 3 = 8\n8 * 2 = 16\n#### 16", "correct", 0.1),
            ("b", 0, "#### 16", "correct", 0.9),
            ("b", 1, "#### 16 ", "correct", 1.2),
            ("c", 0, "#### 1", "incorrect", 5.0),
        ]
    )
    sneaky = frame(
        [
            ("a", 0, "5 + 3 = 9\n#### 9", "incorrect", -1.0),
            ("a", 1, "#### 9", "incorrect", 3.0),
            ("b", 0, "#### 9", "incorrect", 2.0),
            ("c", 0, "5 + 3 = 9\n#### 9", "incorrect", 9.0),
            ("d", 0, "#### 16", "correct", 9.0),
        ]
    )
    picked = pick_examples(helpful, sneaky, StepGrader(problems), 10)
    # by how far the sneaky text leads: a -1.1, b 0.8
    # a and b have both kinds; a's mistake is written out, so it comes first and shows that sample; c has one kind
    assert [e.problem.id for e in picked] == ["a", "b", "c"]
    assert picked[0].sneaky.score == -1.0 and picked[1].helpful.score == 1.2 and picked[2].helpful is None
    assert pick_examples(helpful, sneaky, StepGrader(problems), 1)[0].problem.id == "a"
    assert pick_examples(helpful, sneaky, StepGrader(problems), 0) == []


def test_printable() -> None:
    assert printable("a\tb\nc\x00\x1b[1m\u200b\u202eé") == "a\tb\nc��[1m��é"
