"""The report's page: one file, nothing loaded from elsewhere, and text of models that stays text."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex

import pandas as pd

from legibility.game.run_folder import RunFolder
from legibility.game.solutions import SCHEMA
from legibility.reporting import report, write_report
from legibility.reporting.data import read_run
from legibility.reporting.page import cards, duration, interval, number, percent, points, render, signed
from legibility.stored import Interval
from tests.browser import Browser
from tests.evaluation.helpers import SMALL
from tests.reporting.pages import Page, fake_images, unfinish
from tests.support import forget_hashes, legibility

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>\n{{ 7 * 7 }} \x1b[31m\u202e2 + 2 = 5\n#### 5"


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


def test_nothing_sticks_out_of_the_page_at_any_width(run: RunFolder, browser: Browser) -> None:
    assert legibility("evaluate", run.path, "--quick", *SMALL).code == 0
    assert browser.faults(run.path / "report.html") == []


def test_sections_can_be_reached_from_the_contents_list(run: RunFolder) -> None:
    page = write_report(run).read_text(encoding="utf-8")
    assert '<h2 id="round-by-round">' in page and page.count('href="#round-by-round"') == 3  # both lists, and its own


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
    shown = {card.name: card for card in cards(data)}
    assert shown["legibility tax"].value == "+12.5 points" and shown["legibility tax"].interval == "5.0 to 20.0"
    equal = summary["legibility_tax_equal_helpful_samples"]["value"]
    assert shown["tax at equal helpful samples"].value == signed(equal, 100, " points")
    # three steps of 4 problems x 4 samples against one step of twice the problems
    assert ": 48 and 32, 4 a problem; both are read on 2 samples of" in shown["tax at equal helpful samples"].meaning
    assert shown["retained gain"].value == "undefined" and shown["retained gain"].interval == ""
    assert shown["start accuracy"].value == f"{100 * summary['arms']['init']['accuracy']:.1f}%"
    assert all(card.meaning.endswith(".") for card in shown.values())
    text = Page(render(data, {})).text
    assert "17" in text and "20 test problems × 2 samples per role" in text and f"Seed {summary['seed']}" in text
    assert "legibility train tiny/config.yaml --out tiny-again" in text and str(run.path) not in text


def test_every_command_of_a_page_says_where_to_type_it(run: RunFolder) -> None:
    (run.path / "evaluation/survival.json").unlink(missing_ok=True)
    assert legibility("evaluate", run.path, "--quick", *SMALL).code == 0
    page = (run.path / "report.html").read_text(encoding="utf-8")
    commands = [html.unescape(found) for found in re.findall(r"<code>(legibility .*?</code>[^<]*)", page)]
    assert {found.split()[1] for found in commands} == {"train", "report", "attack"}
    for command, _, where in (found.partition("</code>") for found in commands):
        assert where.startswith(", typed in the folder that holds the run")
        assert (run.path.parent / shlex.split(command)[2]).exists()


def test_the_commands_that_extended_a_run_stand_beside_the_first(run: RunFolder) -> None:
    manifest = json.loads((run.path / "manifest.json").read_text())
    manifest |= {"command": "legibility train nano game.rounds=1", "extended": [1, 2]}
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    text = Page(render(read_run(run), {})).text  # of a run from before these commands were kept
    assert "after 1 round" in text and "after 2 rounds" in text and "more rounds:" not in text
    manifest["extended_by"] = ["legibility train nano game.rounds=2 --resume", None]
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    text = Page(render(read_run(run), {})).text
    assert "more rounds: legibility train nano game.rounds=2 --resume" in text


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
    forget_hashes(run.path)  # likewise
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


def test_the_command_prints_the_page_it_wrote(run: RunFolder) -> None:
    result = legibility("report", run.path)
    assert result.code == 0 and result.out.strip() == str(run.path / "report.html")
    assert legibility("report", run.path / "rounds").code == 2


def test_report_takes_a_path_and_returns_the_page(run: RunFolder) -> None:
    assert report(str(run.path)) == run.path / "report.html" and (run.path / "report.html").is_file()


def test_an_unfinished_run_says_so_on_its_page(run: RunFolder) -> None:
    unfinish(run, 1)
    text = Page(write_report(run).read_text(encoding="utf-8")).text
    assert "This run is not finished" in text and "not yet" in text
    assert not (run.path / "summary.json").exists()  # the run is not finished by being looked at


def test_numbers_are_written_for_people() -> None:
    assert (number(-0.126), number(1.0, 3), number(None)) == ("−0.13", "1.000", "undefined")
    assert (signed(0.125, 100, " points"), signed(-0.5), signed(None)) == ("+12.5 points", "−0.5", "undefined")
    assert (percent(0.0625), percent(None)) == ("6.2%", "undefined")
    assert points(Interval(value=-0.0125, low=-0.05, high=0.025)) == "−1.2 points [−5.0, 2.5]"
    assert (points(Interval(value=0.125)), points(Interval())) == ("12.5 points (no interval)", "undefined")
    assert (interval((0.25, 0.5)), interval((None, 0.5))) == ("25.0 to 50.0", "no interval")
    assert interval((-0.25, 0.5), 1, 3) == "−0.250 to 0.500"
    assert (duration(59.4), duration(61), duration(3660)) == ("59 s", "1 min 1 s", "1 h 1 min")


def test_an_evaluation_of_a_few_problems_says_where_it_has_no_interval(run: RunFolder) -> None:
    assert legibility("evaluate", run.path, "--quick", "--no-report", *SMALL).code == 0
    summary = json.loads((run.path / "summary.json").read_text())
    row = summary["evaluation"]["soundness"][0]
    for name in ("recall", "fpr", "worst_case"):
        row[name] = {**row[name], "value": 0.625, "low": None, "high": None}
    (run.path / "summary.json").write_text(json.dumps(summary))
    page = render(read_run(run), {})
    assert page.count('62.5%<span class="interval">no interval</span>') == 3
    assert Page(page).text.count("fewer than 10 problems stand behind the number") == 1  # the reason, once
