"""Inspect logs: read back with the real package, and served by the real `inspect view`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from inspect_ai.log import list_eval_logs, read_eval_log, read_eval_log_sample

from legibility.evaluation.texts import by_problem
from legibility.evaluation.texts import test_texts as texts_of
from legibility.game.condition import CORRECTNESS_ONLY, START, helpful, verifier
from legibility.problems.storage import read_problems
from tests.support import legibility


@pytest.fixture(scope="module")
def logs(tiny_run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shared") / "it's inspect"
    result = legibility("export", tiny_run.path, "--out", out, "--format", "inspect")
    assert result.code == 0, result
    return out


@pytest.fixture(scope="module")
def read(logs):
    return [read_eval_log(info) for info in sorted(list_eval_logs(str(logs)), key=lambda info: info.name)]


def test_there_is_a_log_per_condition_and_it_says_what_the_run_stored(tiny_run, read):
    texts = {c: f for c, f in texts_of(tiny_run).items() if len(f)}
    assert [log.eval.task for log in read] == [c.label for c in texts]
    problems = read_problems(tiny_run.problems_file)
    for log, (condition, frame) in zip(read, texts.items(), strict=True):
        assert log.status == "success" and log.eval.task_args["arm"] == condition.arm
        assert log.eval.config.epochs == 2 and len(log.samples) == len(frame) == log.results.total_samples
        by_name = {score.name: score.metrics for score in log.results.scores}
        assert by_name["correct"]["accuracy"].value == pytest.approx(by_problem(frame).mean())
        samples = {(s.id, s.epoch): s for s in log.samples}
        assert len(samples) == len(frame)
        for row in frame.itertuples():
            sample = samples[row.problem_id, row.sample + 1]
            assert (
                sample.input == problems[row.problem_id].question and sample.target == problems[row.problem_id].answer
            )
            assert sample.output.completion == sample.messages[-1].content == row.text
            assert (sample.scores["correct"].value == "C") == (row.verdict == "correct")
            assert (sample.metadata["role"], sample.metadata["round"]) == (row.role, row.round)


def test_scores_of_the_judges_stand_beside_the_verdict(tiny_run, read):
    """The round's own verifier always; the last one and the held-out judge as the summary has kept them."""
    texts = texts_of(tiny_run)
    by_task = {log.eval.task: log for log in read}
    for condition, own in ((helpful(0), verifier(0)), (helpful(1), verifier(1)), (CORRECTNESS_ONLY, verifier(1))):
        found = {(s.id, s.epoch): s.scores[str(own)].value for s in by_task[condition.label].samples}
        frame = texts[condition]
        keys = zip(frame.problem_id, frame["sample"] + 1, strict=True)
        assert np.allclose([found[key] for key in keys], frame.score)
    assert {"verifier 1", "held_out_judge"} <= set(by_task[START.label].samples[0].scores)
    metrics = {s.name: s.metrics for s in by_task[helpful(0).label].results.scores}
    assert metrics["verifier 0"]["mean"].value == pytest.approx(float(texts[helpful(0)].score.mean()), abs=1e-5)


def test_ids_stay_the_same_in_the_next_export(tiny_run, logs, tmp_path):
    assert legibility("export", tiny_run.path, "--out", tmp_path / "again", "--format", "inspect").code == 0
    assert sorted(p.name for p in (tmp_path / "again").iterdir()) == sorted(p.name for p in logs.iterdir())
    assert legibility("export", tiny_run.path, "--out", logs, "--format", "inspect").code == 2


def test_nothing_of_this_machine_is_in_them_and_text_is_never_rendered(tiny_run, read):
    for log in read:
        text = log.model_copy(update={"location": ""}).model_dump_json()  # where it was read from, set by the reader
        assert str(tiny_run.path.parent) not in text and "/tmp" not in text and str(Path.home()) + "/" not in text
        assert log.eval.revision is None and log.eval.viewer.trust_content is False


def test_inspect_view_serves_them(logs, read, tmp_path):
    port = _free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "inspect_ai", "view", "start", "--log-dir", str(logs), "--port", str(port)],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        page = _get(f"http://127.0.0.1:{port}/", wait=120, server=server)
        assert b"<script" in page
        listed = json.loads(_get(f"http://127.0.0.1:{port}/api/log-files", server=server))
        assert {Path(entry["name"]).name for entry in listed["files"]} == {p.name for p in logs.iterdir()}
        one = listed["files"][0]["name"]
        served = json.loads(
            _get(f"http://127.0.0.1:{port}/api/logs/{urllib.request.quote(one, safe='')}", server=server)
        )
        first = read_eval_log_sample(one, served["eval"]["dataset"]["sample_ids"][0], epoch=1)
        assert served["eval"]["task"] in {log.eval.task for log in read} and first.output.completion is not None
    finally:
        server.terminate()
        server.wait(30)


def test_a_run_without_a_round_has_nothing_to_share(tmp_path):
    refused = legibility("export", tmp_path / "nowhere", "--out", tmp_path / "out", "--format", "inspect")
    assert refused.code == 2 and refused.err.count("\n") == 1 and not list(tmp_path.iterdir())
    refused = legibility("export", tmp_path, "--out", tmp_path / "out", "--format", "inspect", "--length-match")
    assert refused.code == 2 and "--length-match: goes with --format study, not with inspect" in refused.err
    refused = legibility("export", tmp_path, "--out", tmp_path / "out", "--weights")
    assert refused.code == 2 and "--format hub" in refused.err


def test_without_the_package_one_line_says_what_to_install(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr("legibility.sharing.find_spec", lambda name: None)
    refused = legibility("export", tiny_run.path, "--out", tmp_path / "out", "--format", "inspect")
    assert refused.code == 2 and 'pip install "legibility[inspect]"' in refused.err and not list(tmp_path.iterdir())


def _free_port() -> int:
    import socket

    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def _get(url: str, *, server: subprocess.Popen, wait: float = 30) -> bytes:
    end = time.monotonic() + wait
    while True:
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return answer.read()
        except OSError:
            if time.monotonic() > end or server.poll() is not None:
                raise
            time.sleep(0.3)
