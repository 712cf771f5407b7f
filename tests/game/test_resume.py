"""Kill and resume: whatever the moment, the finished folder is the same, byte for byte."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from legibility import ppo, verifier_gradients
from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.evaluation import summary
from legibility.game import collection, context
from legibility.play import train
from tests.support import legibility, quiet, sums

TIMING = {"wall_seconds", "peak_memory_mb"}
UNTIMED = (".safetensors", ".parquet", "metrics.jsonl", "training.json", "config.yaml", "problems.jsonl")


def results(path: Path) -> dict[str, object]:
    """Every file that must not depend on how often the run was interrupted; DONE and the manifest only by name."""
    found: dict[str, object] = {}
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        name = str(file.relative_to(path))
        found[name] = file.read_bytes() if name.endswith(UNTIMED) else None
    headline = json.loads((path / "summary.json").read_text())
    found["summary.json"] = {k: v for k, v in headline.items() if k not in TIMING}
    return found


def assert_same(path: Path, reference: Path) -> None:
    got, expected = results(path), results(reference)
    assert set(got) == set(expected)
    assert [name for name in got if got[name] != expected[name]] == []


class Killed(BaseException):
    """What a kill looks like from inside: nothing catches it."""


@pytest.fixture
def kill_at(monkeypatch):
    """kill_at(owner, name, n, after): the n-th call from now of owner.name dies, before or after doing its work."""

    def arm(owner, name: str, n: int, *, after: bool = False, counts=lambda *args: True) -> None:
        monkeypatch.undo()
        original, calls = getattr(owner, name), []

        def wrapped(*args, **kwargs):
            if not counts(*args):
                return original(*args, **kwargs)
            calls.append(1)
            if len(calls) == n and not after:
                raise Killed
            result = original(*args, **kwargs)
            if len(calls) == n:
                raise Killed
            return result

        monkeypatch.setattr(owner, name, wrapped)

    return arm


@pytest.fixture
def play_on(tiny_config_file, tiny_overrides):
    """Start or go on with the tiny game; True when it ran to its end."""
    config = load_config(tiny_config_file, tiny_overrides)

    def go(path: Path) -> bool:
        try:
            train(config, path, resume=True, progress=quiet())
        except Killed:
            return False
        return True

    return go


def test_the_same_game_twice(tiny_run, play_on, tmp_path):
    assert play_on(tmp_path / "tiny")
    assert_same(tmp_path / "tiny", tiny_run.path)


PHASES = 10  # base, three per round, two of the correctness arm, the judge


def test_killed_before_and_after_every_phase_is_put_in_place(tiny_run, play_on, kill_at, monkeypatch, tmp_path):
    """Twenty kills: each phase once loses all its work, and once is whole while nothing after it has begun."""
    path = tmp_path / "tiny"
    for kill in range(2 * PHASES):
        kill_at(os, "replace", 1, after=kill % 2 == 1, counts=lambda source, target: Path(source).is_dir())
        assert not play_on(path)
        assert len(list(path.rglob("DONE"))) >= (kill + 1) // 2
    monkeypatch.undo()
    assert play_on(path)
    assert_same(path, tiny_run.path)


def test_killed_in_the_middle_of_phases(tiny_run, play_on, kill_at, monkeypatch, tmp_path):
    """In a sampled batch, verifier training, a PPO step, a merge of completions, the summary."""
    path = tmp_path / "tiny"
    for owner, name, n in (
        (context, "sample", 3),
        (verifier_gradients, "pairwise_loss", 14),
        (ppo.PPO, "step", 2),
        (context, "sample", 6),
        (collection, "merge_round", 1),
        (Path, "unlink", 2),
        (ppo.PPO, "step", 5),
        (summary, "checkability", 2),
    ):
        kill_at(owner, name, n)
        assert not play_on(path), f"the run ended before {name} was called {n} times"
        assert not (path / "summary.json").exists()
    monkeypatch.undo()
    assert play_on(path)
    assert_same(path, tiny_run.path)


def train_command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "legibility", "train", *map(str, arguments)]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_stopped_run_says_what_is_kept_and_how_to_go_on(tiny_run, tiny_config_file, tiny_overrides, tmp_path, number):
    """And while it runs, a second process is refused and changes nothing."""
    out = tmp_path / "tiny"
    more = ("compute.workers=2", "compute.checkpoint_every=null")
    command = train_command(tiny_config_file, *tiny_overrides, "--out", out, "--no-report", *more)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "ascii"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 200
        while not (out / "rounds/00/.prover.tmp/metrics.jsonl").exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGSTOP)  # in the middle of the phase
        other = legibility("train", tiny_config_file, *tiny_overrides, *more, "--out", out, "--resume")
        assert other.code == 2 and other.err.count("\n") == 1
        assert f"process {process.pid}" in other.err and "at work in this folder" in other.err
        assert (out / "rounds/00/.prover.tmp/metrics.jsonl").exists()
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        said = process.stderr.read()
    assert process.returncode == 128 + number
    assert "Traceback" not in said and said.count("\n") == 1
    assert "rounds/00/prover: its work so far is gone, every finished phase is kept; go on with: " in said
    assert "legibility train" in said.partition("go on with: ")[2]
    assert said.rstrip().endswith("--resume")
    assert sorted(p.name for p in (out / "rounds/00").iterdir()) == ["verifier"] and not (out / ".lock").exists()


@pytest.mark.slow  # tests/scripts/test_soak.py kills commands in every run
def test_sigkill_through_the_command_line(tiny_run, tiny_config_file, tiny_overrides, tmp_path):
    """A real process, killed when given files appear."""
    out = tmp_path / "tiny"
    command = train_command(tiny_config_file, *tiny_overrides, "--out", out, "--resume", "--no-report")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    for moment in ("rounds/00/verifier/DONE", "rounds/01/.prover.tmp/metrics.jsonl"):
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + 200
            while not (out / moment).exists():
                assert process.poll() is None, process.stderr.read().decode()
                assert time.monotonic() < deadline
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        assert not (out / "summary.json").exists()
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert finished.returncode == 0, finished.stderr
    assert_same(out, tiny_run.path)


# ---------------------------------------------------------------- finished and changed runs


@pytest.fixture
def copied(tiny_run, tmp_path) -> Path:
    shutil.copytree(tiny_run.path, tmp_path / "tiny")
    return tmp_path / "tiny"


def snapshot(path: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(p.relative_to(path)): (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(path.rglob("*")) if p.is_file()
    }


def test_resuming_a_finished_run_does_nothing(copied, tiny_config_file, tiny_overrides):
    before = snapshot(copied)
    result = legibility("train", tiny_config_file, *tiny_overrides, "--out", copied, "--resume", "--no-report")
    assert result.code == 0 and "finished" in result.out
    assert snapshot(copied) == before


@pytest.mark.parametrize(
    "name", ["rounds/01/prover/model.safetensors", "judge/model.safetensors", "rounds/00/solutions.parquet", "config.yaml"]
)  # fmt: skip
def test_a_changed_file_of_a_finished_run_is_noticed(copied, tiny_config_file, tiny_overrides, name):
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(bytes(data))
    before = snapshot(copied)
    result = legibility("train", tiny_config_file, *tiny_overrides, "--out", copied, "--resume", "--no-report")
    assert result.code == 2 and result.err.count("\n") == 1 and str(copied / name) in result.err
    assert snapshot(copied) == before


def test_a_finished_run_without_a_phase_makes_it_again(copied, tiny_run, tiny_config_file, tiny_overrides):
    shutil.rmtree(copied / "judge")
    (copied / "summary.json").write_text("{")
    result = legibility("train", tiny_config_file, *tiny_overrides, "--out", copied, "--resume", "--no-report")
    assert result.code == 0, result.err
    assert_same(copied, tiny_run.path)


def test_resuming_a_finished_run_keeps_its_report(copied, tiny_config_file, tiny_overrides):
    (copied / "report.html").write_text("the report")
    before = snapshot(copied)
    assert legibility("train", tiny_config_file, *tiny_overrides, "--out", copied, "--resume").code == 0
    assert snapshot(copied) == before


@pytest.mark.parametrize("name", ["problems.jsonl", "resources.json"])
def test_a_finished_run_is_not_called_so_where_a_file_is_damaged(copied, tiny_config_file, tiny_overrides, name):
    (copied / name).write_bytes((copied / name).read_bytes()[:40])
    before = snapshot(copied)
    result = legibility("train", tiny_config_file, *tiny_overrides, "--out", copied, "--resume", "--no-report")
    assert result.code == 2 and str(copied / name) in result.err and result.err.count("\n") == 1
    assert snapshot(copied) == before


@pytest.mark.parametrize("finished", [True, False])
def test_resuming_with_other_settings_is_refused(copied, tiny_config_file, tiny_overrides, finished):
    if not finished:
        (copied / "summary.json").unlink()
        shutil.rmtree(copied / "judge")
    before = snapshot(copied)
    result = legibility(
        "train", tiny_config_file, *tiny_overrides, "ppo.steps=4", "--out", copied, "--resume", "--no-report"
    )
    assert result.code == 2
    assert "ppo.steps: 3 -> 4" in result.err and result.err.count("\n") == 1
    assert snapshot(copied) == before


@pytest.mark.parametrize("place", ["rounds/00/verifier", "rounds/01/prover", "base", "arms/correctness/prover"])
def test_a_corrupted_checkpoint_is_refused(copied, tiny_config_file, tiny_overrides, place):
    shutil.rmtree(copied / "judge")
    (copied / "summary.json").unlink()
    file = copied / place / ("solutions.parquet" if place == "base" else "model.safetensors")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    before = {k: v for k, v in snapshot(copied).items() if k != "resources.json"}
    result = legibility("train", tiny_config_file, *tiny_overrides, "--out", copied, "--resume", "--no-report")
    assert result.code == 2
    assert result.err.count("\n") == 1 and str(file) in result.err
    after = snapshot(copied)
    assert {k: after[k] for k in before} == before
    assert not (copied / "summary.json").exists()


def test_deleting_what_is_broken_and_resuming_mends_the_run(copied, tiny_run, play_on):
    """As the message advises: the phase is redone, and comes out the same."""
    file = copied / "rounds/01/verifier/model.safetensors"
    file.write_bytes(b"broken")
    (copied / "summary.json").unlink()
    with pytest.raises(UserError, match="delete"):
        play_on(copied)
    shutil.rmtree(copied / "rounds/01/verifier")
    assert play_on(copied)
    assert_same(copied, tiny_run.path)


def test_problems_that_changed_since_the_run_began_are_refused(tiny_config_file, tiny_overrides, tmp_path):
    """The settings name a file; what is in it belongs to the run as well."""
    data = tmp_path / "sums.jsonl"
    changes = [
        f"problems.train={{kind: file, path: {data}, solution: solution}}",
        "gates={enabled: true, min_helpful_accuracy: 1.0}",
    ]
    arguments = (
        "train",
        tiny_config_file,
        *tiny_overrides,
        *changes,
        "--out",
        tmp_path / "run",
        "--resume",
        "--no-report",
    )
    data.write_text("".join(json.dumps(p) + "\n" for p in sums(150)))
    assert legibility(*arguments).code == 3
    before = snapshot(tmp_path / "run")
    data.write_text("".join(json.dumps(p) + "\n" for p in sums(150, seed=1)))
    result = legibility(*arguments)
    assert result.code == 2 and result.err.count("\n") == 1 and "problems" in result.err
    assert snapshot(tmp_path / "run") == before
