"""Ranks of torchrun: the same words as forked helpers, the same text as one process, and a clear end of all together."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from legibility.checkpoint_files import newest_step
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import read_solutions
from legibility.launched_team import Fingerprint
from tests.support import ROOT

WORK = """
import os, sys
import torch
from legibility.errors import UserError
from legibility.launch import launch
from legibility.launched_team import LaunchedTeam
from legibility.team import Team

class Counter:
    def __init__(self, team):
        self.count, self.team = 0, team
        self.weight = torch.nn.Parameter(torch.arange(3.0))
        self.same = self.weight

def up(counter, by):
    counter.count += by
    with torch.no_grad():
        counter.weight += by
    return counter.count, counter.same.tolist(), counter.team.rank, counter.team.size

def summed(team):
    tensors = [torch.full((2, 2), float(team.rank)), torch.tensor([10.0 ** team.rank], dtype=torch.bfloat16)]
    team.add(tensors)
    return tensors[0][1, 1].item(), tensors[1].item()

def dealt(team, items):
    return team.share(items)

def gathered(team):
    return team.gather("abc"[team.rank])

def sees_a_launcher():
    return sorted({"RANK", "WORLD_SIZE", "MASTER_ADDR"} & set(os.environ))

def fails(team):
    if team.rank == 1:
        raise UserError("no such thing on rank 1")
    team.gather(None)

def works(team):
    counter = Counter(team)
    for _ in range(2):  # twice: a team can be used again
        with team.together(counter):
            assert team.knows(counter) and team.knows(team, counter) and not team.knows(Counter(team))
            found = team.run(up, counter, 2)
            assert [x[0] for x in found] == [counter.count] * team.size, found
            assert all(x[1] == [counter.count, 1 + counter.count, 2 + counter.count] for x in found), found
            assert [x[2:] for x in found] == [(rank, team.size) for rank in range(team.size)], found
            assert team.run(gathered, team) == [list("abc"[: team.size])] * team.size
            total = sum(range(team.size)), sum(10.0**rank for rank in range(team.size))
            assert team.run(summed, team) == [total] * team.size
            assert sorted(x for part in team.run(dealt, team, list(range(8))) for x in part) == list(range(8))
            assert team.run(sees_a_launcher) == [[]] * team.size
    assert counter.count == 4 and team.size == 1 and not team.knows(counter)
    print("all well", flush=True)

def main(how):
    place = launch()
    if place.rank > 0:
        sys.exit(LaunchedTeam.serve(place))
    try:
        with LaunchedTeam.join(place, 60) as team:
            if how == "work":
                works(team)
            else:
                with team.together():
                    team.run(fails, team)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)

if __name__ == "__main__":
    main(sys.argv[1])
"""


def torchrun(ranks: int, *command: object, folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", ranks, *command]
    return subprocess.Popen(
        list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, env=environment
    )


def output(process: subprocess.Popen[str], timeout: float = 240) -> str:
    try:
        return process.communicate(timeout=timeout)[0]
    finally:
        process.kill()


@pytest.fixture
def work(tmp_path):
    """A script of its own, whose functions every rank finds by name."""
    (tmp_path / "work.py").write_text("import rank_work\nrank_work.main(__import__('sys').argv[1])\n")
    (tmp_path / "rank_work.py").write_text(WORK)
    return tmp_path


def test_three_ranks_are_a_team(work):
    process = torchrun(3, "work.py", "work", folder=work)
    said = output(process)
    assert "all well" in said and process.returncode == 0, said


def test_an_error_on_a_rank_is_raised_by_rank_0(work):
    said = output(torchrun(2, "work.py", "raise", folder=work))
    assert said.count("UserError: no such thing on rank 1") == 1, said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"versions": {"torch": "1.0"}}, r"has torch 1\.0 and rank 0 has 2\.0; install the same versions"),
        ({"code": "b"}, "has another source of legibility"),
        ({"command": ["train", "other"]}, "was started with other arguments"),
        ({}, None),
    ],
)
def test_ranks_that_do_not_belong_together(change, said):
    mine = Fingerprint("a", {"torch": "2.0"}, ["train", "nano"])
    other = Fingerprint(**{"code": "a", "versions": {"torch": "2.0"}, "command": ["train", "nano"], **change})
    found = mine.difference(other)
    assert found is None if said is None else found is not None and re.search(said, found)


def test_a_game_of_two_ranks(tiny_run, tiny_config_file, tiny_overrides, tmp_path):
    """The same text as one process while the weights are the same; rank 0 alone writes."""
    process = torchrun(
        2, "-m", "legibility", "train", tiny_config_file, *tiny_overrides, "--out", tmp_path / "run", "--no-report",
        folder=tmp_path,
    )  # fmt: skip
    said = output(process)
    assert process.returncode == 0, said
    assert said.count("✓ round 1 collection") == 1, "every line is told once"
    run = RunFolder(tmp_path / "run")
    assert run.manifest().ranks == 2 and (run.manifest().command or "").startswith("torchrun --nproc-per-node 2 -m")
    base = [read_solutions(r.folder("base") / "solutions.parquet") for r in (tiny_run, run)]
    assert list(base[0].text) == list(base[1].text) and list(base[0].verdict) == list(base[1].verdict)
    first = [
        read_solutions(r.path / "rounds/00/solutions.parquet").query("phase == 'ppo' and step == 1")
        for r in (tiny_run, run)
    ]
    assert len(first[0]) and list(first[0].text) == list(first[1].text)
    assert first[0].score.to_numpy() == pytest.approx(first[1].score.to_numpy(), abs=1e-3)


ALONE = """
import sys
from legibility import cli, launched_team
launched_team.ARRIVAL = launched_team.GOODBYE = 2.0
sys.argv = ["legibility", *sys.argv[1:]]
cli.main()
"""


@pytest.mark.parametrize(
    ("rank", "config", "said"),
    [
        (1, "nano", "error: rank 1 cannot meet rank 0 at 127.0.0.1:{port} ("),
        (0, "nano", "error: rank 0 cannot meet rank 0 at 127.0.0.1:{port} ("),
        (0, "nowhere.yaml", "error: nowhere.yaml: no such file"),
    ],
    ids=["without rank 0", "without the others", "without the others, and nothing to play"],
)
def test_a_rank_that_meets_nobody_ends_with_a_line(rank, config, said, tmp_path):
    """Started by a scheduler, of whose machines one is not up."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", ALONE, "train", config, "--out", "run"], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **place},
    )  # fmt: skip
    assert ended.returncode == 2 and time.monotonic() - began < 90
    assert ended.stderr.count("error: ") == 1 and said.format(port=port) in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_launcher_that_restarts_its_ranks_goes_on(tiny_config_file, tiny_overrides, tmp_path):
    """torchrun --max-restarts: what the ranks before them said is not taken for rank 0's word."""
    run = tmp_path / "run"
    process = torchrun(
        2, "--max-restarts", 1, "-m", "legibility", "train", tiny_config_file, *tiny_overrides, "ppo.steps=8", "game.rounds=1",
        "compute.checkpoint_every=1", "compute.rank_timeout=30", "--out", run, "--resume", "--no-report", folder=tmp_path,
    )  # fmt: skip
    work, until = run / "rounds/00/.prover.tmp", time.monotonic() + 120
    while (newest_step(work) or 0) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    os.kill({rank_of(pid): pid for pid in children(process.pid)}["1"], signal.SIGKILL)
    said = output(process)
    assert process.returncode == 0 and re.search(r"prover: resumed at step \d", said), said
    assert (run / "summary.json").is_file()


def test_a_killed_rank_ends_the_game_within_seconds(tiny_config_file, tiny_overrides, tmp_path):
    process = torchrun(
        2, "-m", "legibility", "train", tiny_config_file, *tiny_overrides, "ppo.steps=2000", "--out", tmp_path / "run",
        folder=tmp_path,
    )  # fmt: skip
    try:
        log, until = tmp_path / "run/rounds/00/.prover.tmp/metrics.jsonl", time.monotonic() + 120
        while not log.is_file() and time.monotonic() < until:
            time.sleep(0.1)
        assert log.is_file()
        ranks = {rank_of(pid): pid for pid in children(process.pid)}
        os.kill(ranks["1"], signal.SIGKILL)
        began = time.monotonic()
        said = output(process, timeout=60)
        assert time.monotonic() - began < 30
        # one line, whoever is first: rank 0, which misses the other, or torchrun, which ends rank 0
        told = said.count("error: a rank ended early") + said.count("says whether a rank ended early); go on with:")
        assert told == 1 and process.returncode != 0, said
    finally:
        process.kill()
    assert (tmp_path / "run/rounds/00/verifier/DONE").is_file(), "finished phases stay"


@pytest.mark.slow
def test_sigterm_of_the_launcher_keeps_the_last_step(tiny_config_file, tiny_overrides, tmp_path):
    """A scheduler ends all ranks at once; the others still take part until rank 0 has finished its step and saved it."""
    process = torchrun(
        2, "-m", "legibility", "train", tiny_config_file, *tiny_overrides, "ppo.steps=2000", "--out", tmp_path / "run",
        folder=tmp_path,
    )  # fmt: skip
    try:
        log, until = tmp_path / "run/rounds/00/.prover.tmp/metrics.jsonl", time.monotonic() + 120
        while not (log.is_file() and log.read_text().count("\n") > 2) and time.monotonic() < until:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        said = output(process, timeout=60)
    finally:
        process.kill()
    assert re.search(r"stopped by SIGTERM in \S+: it is kept to step \d+", said), said
    assert "a rank ended early or stopped" not in said and process.returncode != 0, said


@pytest.mark.parametrize(
    ("command", "code", "line"),
    [
        (["evaluate", "somewhere"], 1, "error: evaluate: runs in one process, and was started as 2 ranks"),
        (["--version"], 0, "legibility "),
    ],
)
def test_what_ends_before_the_ranks_meet_leaves_nobody_waiting(command, code, line, tmp_path):
    process = torchrun(2, "-m", "legibility", *command, folder=tmp_path)
    said = output(process, timeout=120)
    assert said.count(line) == 1 and process.returncode == code, said


def children(pid: int) -> list[int]:
    """Processes that a process started."""
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rank_of(pid: int) -> str | None:
    """The rank that a launcher gave a process."""
    found = dict(x.partition("=")[::2] for x in Path(f"/proc/{pid}/environ").read_text().split("\0"))
    return found.get("RANK")
