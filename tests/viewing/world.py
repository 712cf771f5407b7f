"""Run folders written by hand, as small or as large as a test wants them, and a page over them."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uvicorn

from legibility.game.phases import round_folder, round_verifier
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import DONE, Done
from legibility.game.solutions import SCHEMA, Solution, write_solutions
from legibility.local_server import accepted_hosts, listener, own_url
from legibility.models.verifier import Verifier
from legibility.problems.records import Problem, Step
from legibility.problems.storage import problem_record
from legibility.stored import write_stored
from legibility.viewing.shelf import Shelf
from legibility.viewing.view_server import application

PROBLEMS = {
    f"p{i}": Problem(f"p{i}", f"Tom has {i} pens. Ann has 4. How many?", str(i + 4), f"{i} + 4 = {i + 4}\n#### {i + 4}", steps=(Step(i, "+", 4, i + 4),))
    for i in range(6)
}  # fmt: skip


def solution(problem: int = 1, verdict: str = "correct", **changes) -> Solution:
    """A completion of round 0's collection on a test problem."""
    answer = problem + (4 if verdict == "correct" else 5)
    made = Solution(
        arm="game",
        round=0,
        phase="collection",
        split="test",
        step=0,
        problem_id=f"p{problem}",
        sample=0,
        role="helpful",
        text=f"{problem} + 4 = {answer}\n#### {answer}" if verdict != "invalid" else "no idea",
        verdict=verdict,
        prompt_tokens=5,
        completion_tokens=9,
        truncated=False,
        score=0.0,
    )
    return replace(made, **changes)


def new_run(
    path: Path,
    problems: Sequence[Problem] = tuple(PROBLEMS.values()),
    *,
    verifier: Path | None = None,
    score: str = "likelihood",
) -> Path:
    """A run folder in which nothing is finished. verifier: what its verifiers start from."""
    path.mkdir(parents=True)
    settings = {"score": score} | ({"model": str(verifier)} if verifier else {})
    (path / "config.yaml").write_text(json.dumps({"verifier": settings}), encoding="utf-8")
    lines = [json.dumps({"split": "test", **problem_record(p)}) + "\n" for p in problems]
    (path / "problems.jsonl").write_text("".join(lines), encoding="utf-8")
    return path


def finish(run: Path, phase: str, rows: Sequence[Solution] = (), metrics: Sequence[dict] = ()) -> Path:
    """A finished phase of the run, with completions and step metrics."""
    folder = run / phase
    folder.mkdir(parents=True)
    if rows:
        write_solutions(folder / "solutions.parquet", rows)
    if metrics:
        (folder / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in metrics), encoding="utf-8")
    write_stored(folder / DONE, Done(phase=phase, seconds=1.0, peak_memory_mb=1.0, sha256={}))
    return folder


def train_verifier(run: Path, index: int) -> None:
    """A round's verifier, as its settings have it but never trained; each has a head of its own."""
    folder = RunFolder(run)
    with folder.phase(round_verifier(index)) as work:
        Verifier.load(folder.config().verifier, "cpu", seed=index).save(work)


def small_run(path: Path) -> Path:
    """Base text, and a round of training and collection: 6 + 16 + 12 completions."""
    run = new_run(path)
    finish(run, "base", [solution(i, "correct" if i % 2 else "incorrect", arm="init", round=-1, phase="base", role="base", score=None) for i in range(6)])  # fmt: skip
    verdicts = {"helpful": "correct", "sneaky": "incorrect"}
    training = [
        solution(p, verdicts[role], phase="ppo", split="prover", step=step, role=role, sample=s, score=step + 0.1 * s)
        for step in (1, 2)
        for role in verdicts
        for p in (0, 1)
        for s in (0, 1)
    ]
    collected = [
        solution(p, verdicts[role], role=role, score=float(p) + (0.5 if role == "sneaky" else 0.0))
        for role in verdicts
        for p in range(6)
    ]
    steps = [{"step": s, "accuracy_helpful": 0.4 + 0.1 * s, "accuracy_sneaky": 0.2, "kl": 0.01 * s} for s in (1, 2)]
    finish(run, f"{round_folder(0)}/prover", metrics=steps)
    finish(run, f"{round_folder(0)}/collection")
    write_solutions(run / round_folder(0) / "solutions.parquet", training + collected)
    return run


def large_run(path: Path, rows: int, rounds: int = 4) -> Path:
    """A run of that many training completions, of 2,000 problems."""
    problems = [Problem(f"q{i:04d}", f"Question {i}?", str(i)) for i in range(2000)]
    run, rng = new_run(path, problems), np.random.default_rng(0)
    count = rows // rounds
    for index in range(rounds):
        finish(run, f"{round_folder(index)}/prover")
        a, b = rng.integers(1, 1000, (2, count))
        texts = [f"There are {x} and {y}.\n{x} + {y} = {x + y}\nThat is all.\n#### {x + y}" for x, y in zip(a.tolist(), b.tolist(), strict=True)]  # fmt: skip
        columns = {
            "arm": pa.array(["game"] * count),
            "round": np.full(count, index),
            "phase": pa.array(["ppo"] * count),
            "split": pa.array(["prover"] * count),
            "step": np.arange(count) * 64 // count + 1,
            "problem_id": pa.array([f"q{i:04d}" for i in rng.integers(0, 2000, count)]),
            "sample": np.arange(count),
            "role": rng.choice(["helpful", "sneaky"], count),
            "text": texts,
            "verdict": rng.choice(["correct", "incorrect", "invalid"], count),
            "score": rng.normal(size=count),
            "reward": rng.normal(size=count),
            "prompt_tokens": np.full(count, 30),
            "completion_tokens": rng.integers(5, 70, count),
            "truncated": np.zeros(count, bool),
            "logprob_gap": np.zeros(count),
        }
        table = pa.table({f.name: pa.array(columns[f.name]).cast(f.type) for f in SCHEMA}, schema=SCHEMA)
        pq.write_table(table, run / round_folder(index) / "solutions.parquet")
    return run


@contextmanager
def viewing(*runs: Path):
    """The page over some runs, in a thread; yields its address without the last slash."""
    shelf = Shelf(runs)
    with listener("127.0.0.1", 0) as listening:
        app = application(shelf, accepted_hosts("127.0.0.1"))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        shelf.read_all()
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield own_url("127.0.0.1", listening).rstrip("/")
        finally:
            server.should_exit = True
            thread.join()


def get(url: str, path: str, **parameters) -> tuple[int, dict]:
    """Status and answer of a question."""
    query = urllib.parse.urlencode(parameters, doseq=True)
    try:
        with urllib.request.urlopen(f"{url}/api/{path}?{query}") as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
