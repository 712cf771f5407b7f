"""The page's questions over real HTTP: answers, refusals, headers; nothing is written in a run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.support import legibility
from tests.viewing.world import finish, get, large_run, new_run, small_run, solution, viewing


def snapshot(run):
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(run.rglob("*"))}


def test_a_completion_with_all_that_is_known_of_it(tmp_path):
    run = small_run(tmp_path / "run")
    before = snapshot(run)
    with viewing(run) as url:
        status, found = get(url, "completions", role="sneaky", phase="collection", sort="fooled")
        assert status == 200 and found["total"] == 6 and found["pages"] == 1
        first = found["rows"][0]
        assert first["writer"] == "round 0 sneaky" and first["fooled"] == 1.0 and first["text"].startswith("5 + 4 = 10")
        status, item = get(url, "item", id=first["id"])
        assert status == 200 and item["question"].startswith("Tom has 5") and item["answer"] == "9"
        assert [line["mark"] for line in item["lines"]] == ["✗", ""] and item["lines"][0][
            "reason"
        ] == "arithmetic does not hold"
        assert [g["writer"] for g in item["elsewhere"]] == ["start", "round 0 helpful"]
        assert item["judges"] == []  # no verifier in this folder
        status, curves = get(url, "curves", run="run", metric=["kl"])
        assert curves["curves"][0]["metrics"] == {"kl": [0.01, 0.02]} and "accuracy_sneaky" in curves["names"]["prover"]
        status, state = get(url, "state")
        assert (
            state["runs"] == [{"name": "run", "quick": False, "finished": False, "playing": None}]
            and state["notes"] == []
        )
    assert snapshot(run) == before


def test_bad_questions_are_4xx_with_one_sentence(tmp_path):
    run = small_run(tmp_path / "run")
    with viewing(run) as url:
        for path, parameters in (
            ("completions", {"sort": "score; drop table completions"}),
            ("completions", {"page": 0}),
            ("completions", {"round": "one"}),
            ("completions", {"step_from": 2**40}),
            ("completions", {"column": "x"}),
            ("completions", {"text": "x" * 2000}),
            ("item", {}),
        ):
            status, reply = get(url, path, **parameters)
            assert status == 400 and reply["error"].count("\n") == 0, (path, parameters)
        for path, parameters in (
            ("item", {"id": "run~rounds/00~ppo~prover~9~sneaky~0~p0"}),
            ("item", {"id": "../../etc"}),
            ("reading", {"id": "run~rounds/00~ppo~prover~1~sneaky~0~p0", "judge": "../x"}),
            ("curves", {"run": "another"}),
        ):
            status, reply = get(url, path, **parameters)
            assert status == 404 and reply["error"], (path, parameters)
        evil = "'; drop table completions; --"
        assert get(url, "completions", arm=[evil], problem=evil, text=evil)[1]["total"] == 0
        assert get(url, "completions")[1]["total"] == 34


def test_a_verifier_that_is_not_there_is_a_note(tmp_path):
    run = small_run(tmp_path / "run")
    finish(run, "rounds/00/verifier")
    with viewing(run) as url:
        id = get(url, "completions", phase="collection")[1]["rows"][0]["id"]
        (judge,) = get(url, "item", id=id)[1]["judges"]
        assert (judge["judge"], judge["own"], judge["available"], judge["score"]) == ("verifier 0", True, False, 0.0)
        status, reading = get(url, "reading", id=id, judge="verifier 0")
        assert status == 200 and reading["score"] is None and reading["note"]


def test_nothing_is_loaded_from_elsewhere_and_no_other_host_is_answered(tmp_path):
    with viewing(small_run(tmp_path / "run")) as url:
        for path in ("/", "/view.js", "/view.css", "/list.js", "/item.js", "/curves.js", "/common.js", "/plotly.js"):
            with urllib.request.urlopen(url + path) as reply:
                policy = reply.headers["content-security-policy"]
                assert "default-src 'none'" in policy and "unsafe" not in policy and "script-src 'self';" in policy
                assert reply.headers["x-content-type-options"] == "nosniff"
                text = reply.read().decode()
            if path != "/plotly.js":
                assert "http:" not in text and "https:" not in text and "innerHTML" not in text and "eval(" not in text
        asked = urllib.request.Request(url + "/api/state", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(asked)


def test_several_runs_of_one_name(tmp_path):
    one, two = small_run(tmp_path / "a/run"), small_run(tmp_path / "b/run")
    with viewing(one, two) as url:
        found = get(url, "completions")[1]
        assert found["total"] == 68 and dict(found["facets"]["run"]) == {"run": 34, "run (2)": 34}
        id = get(url, "completions", run="run (2)")[1]["rows"][0]["id"]
        assert get(url, "item", id=id)[1]["brief"]["run"] == "run (2)"


@pytest.mark.parametrize(
    "text", ["\ud800 lone", "nul \x00 and \x1b[31m", "\u202eevil", "</script><script>alert(1)</script>"]
)
def test_odd_text_arrives_as_text(tmp_path, text):
    run = new_run(tmp_path / "run")
    try:
        finish(run, "base", [solution(1, text=text)])
    except UnicodeEncodeError:
        pytest.skip("cannot be stored")
    with viewing(run) as url:
        row = get(url, "completions")[1]["rows"][0]
        assert not set("\x00\x1b\u202e") & set(row["text"])
        item = get(url, "item", id=row["id"])[1]
        assert "".join(p["text"] for line in item["lines"] for p in line["pieces"]) == row["text"]


def test_the_command_refuses_what_is_no_run_in_one_line(tmp_path):
    for arguments, part in (
        ((tmp_path,), "no run folder here"),
        ((small_run(tmp_path / "run"), tmp_path / "run"), "given twice"),
        ((tmp_path / "run", "--host", "256.1.1.1"), "cannot listen"),
    ):
        result = legibility("view", *arguments)
        assert result.code == 2 and result.err.count("\n") == 1 and part in result.err, result


def test_damaged_problems_are_named_wherever_they_are_missed(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run.path, tmp_path / "run")
    file = run / "problems.jsonl"
    whole = file.read_bytes()
    with viewing(run) as url:
        id = get(url, "completions", phase="collection")[1]["rows"][0]["id"]
        for damaged in (whole + b"{\n", whole[:-40], None):
            file.unlink(missing_ok=True)
            if damaged is not None:
                file.write_bytes(damaged)
            (note,) = get(url, "state")[1]["notes"]
            assert note.startswith(f"{file}: missing or changed since the run wrote it")
            assert get(url, "item", id=id)[1]["question"] == f"({note})"
            status, reading = get(url, "reading", id=id, judge="verifier 0")
            assert (status, reading["error"]) == (404, note)
        file.write_bytes(whole)  # restored, and read again
        assert get(url, "state")[1]["notes"] == [] and get(url, "item", id=id)[1]["question"][0] != "("


def test_a_quick_run_is_marked(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run.path, tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"quick": ["ppo.steps=3"]}))
    with viewing(run, tiny_run.path) as url:
        assert [shown["quick"] for shown in get(url, "state")[1]["runs"]] == [True, False]
        (run / "manifest.json").write_text("{")
        assert get(url, "state")[0] == 200


@pytest.mark.parametrize("sign", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_server_that_is_stopped_says_so_and_nothing_else(tmp_path, sign):
    run = small_run(tmp_path / "run")
    command = [sys.executable, "-m", "legibility", "view", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        url = server.stdout.readline().split()[1].rstrip("/")
        assert get(url, "state")[0] == 200
        server.send_signal(sign)
        out, err = server.communicate(timeout=60)
    assert (server.returncode, out, err) == (0, "view: stopped\n", "")


@pytest.mark.slow
def test_a_million_completions_stay_quick(tmp_path):
    """First page, a filter, a sort and a search: each under a second of the processors, which other jobs do not lengthen much."""
    with viewing(large_run(tmp_path / "run", 1_000_000)) as url:
        assert get(url, "completions")[1]["total"] == 1_000_000
        for asked in (
            {},
            {"role": "sneaky", "verdict": "incorrect"},
            {"step_from": 10, "step_to": 12, "sort": "score_low"},
            {"sort": "fooled"},
            {"sort": "score_high", "page": 300},
            {"page": 15_000},
            {"text": "999 + 7"},
        ):
            began, worked = time.perf_counter(), time.process_time()
            status, found = get(url, "completions", **asked)
            seconds, work = time.perf_counter() - began, time.process_time() - worked
            print(
                f"{asked}: {seconds:.2f} s, {work:.2f} s of CPU, {found['total']} of 1,000,000, load {os.getloadavg()[0]:.1f}"
            )
            assert status == 200 and len(found["rows"]) == 50 and work < 1
