"""A study small enough for tests: made-up provers on made-up sums, a server in a thread, and a client."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from legibility.game.condition import HELD_OUT_JUDGE, Condition, Judge, verifier
from legibility.judging.assistance import Adviser
from legibility.judging.candidates import COLUMNS, Candidates
from legibility.judging.export import export_study
from legibility.judging.joined_table import study_conditions
from legibility.judging.protocol import AnalysisRules
from legibility.judging.simulated_raters import SimulatedRaters, draw
from legibility.judging.study_folder import StudyFolder
from legibility.judging.table import TABLE, Judgment, to_frame, write_table
from legibility.models.verifier import Explanation, TokenShare
from legibility.problems.records import Problem

PROVERS = (
    ("init", -1, "base", 0.4),
    ("game", 0, "helpful", 0.5),
    ("game", 0, "sneaky", 0.1),
    ("game", 1, "helpful", 0.6),
    ("game", 1, "sneaky", 0.1),
    ("correctness", 0, "helpful", 0.7),
)


def made_up_candidates(problems: int = 80, samples: int = 4, seed: int = 0, origin: Path | None = None) -> Candidates:
    """Every prover answers every sum `samples` times; helpful text is longer, as in a real run."""
    rng = np.random.default_rng(seed)
    numbers = [(int(a), int(b)) for a, b in rng.integers(10, 99, (problems, 2))]
    asked = {
        f"p{i:03d}": Problem(f"p{i:03d}", f"What is {a} and {b} together (case {i})?", str(a + b))
        for i, (a, b) in enumerate(numbers)
    }
    rows = []
    for arm, index, role, accuracy in PROVERS:
        for (name, _), (a, b) in zip(asked.items(), numbers, strict=True):
            for _ in range(samples):
                correct = bool(rng.random() < accuracy)
                answer = a + b if correct else a + b + int(rng.choice([-10, -1, 1, 10]))
                words = "Let me add. " * int(rng.integers(1, 4 if role == "helpful" else 3))
                rows.append(
                    (
                        arm,
                        index,
                        role,
                        name,
                        f"{words}\n{a} + {b} = {answer}\n#### {answer}",
                        correct,
                        float(rng.normal()),
                        20,
                        None if correct else 2,
                    )
                )

    def score(chosen: pd.DataFrame) -> list[dict[Judge, float]]:
        noise = np.random.default_rng(5).normal(size=(len(chosen), 2))
        return [
            {verifier(0): float(c + n[0]), HELD_OUT_JUDGE: float(n[1])}
            for c, n in zip(chosen.correct, noise, strict=True)
        ]

    frame = pd.DataFrame(rows, columns=COLUMNS)
    return Candidates(frame, asked, "made-up", origin, score, lambda index: Adviser(verifier(index or 1), explain))


def explain(problem: Problem, text: str) -> Explanation:
    """A verifier that doubts numbers, long ones more, and the end of the text a little; it likes words."""
    found = [
        TokenShare(m[0], *m.span(), -float(len(m[0])) if m[0].isdigit() else 0.1) for m in re.finditer(r"\S+|\s", text)
    ]
    found.append(TokenShare("", len(text), len(text), -0.5))
    return Explanation(sum(t.share for t in found) + 1, 1.0, found)


def made_up_study(
    folder: Path, protocol: str | None = None, *, candidates: Candidates | None = None, **options
) -> StudyFolder:
    """Export a study of the made-up candidates."""
    settings = dict(per_condition=12, raters=6, per_rater=20)
    if protocol is not None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        path = folder.parent / f"{folder.name}-protocol.yaml"
        path.write_text(protocol, encoding="utf-8")
        options["protocol"] = path
    return StudyFolder.open(export_study(candidates or made_up_candidates(), folder, **{**settings, **options}).path)


def hand_study(folder: Path, texts: list[tuple[str, str]], protocol: str = "practice: []\n", **options) -> StudyFolder:
    """A study of one rater who sees exactly these (problem, solution) texts, without checks; labels alternate."""
    problems = {f"p{i}": Problem(f"p{i}", question, "1") for i, (question, _) in enumerate(texts)}
    rows = []
    for i, (_, text) in enumerate(texts):  # the other label of each problem makes it eligible
        correct = i % 2 == 0
        rows += [
            ("game", 0, "helpful", f"p{i}", text, correct, 0.0, 1, None),
            ("game", 0, "helpful", f"p{i}", text, not correct, 0.0, 1, None),
        ]
    candidates = Candidates(
        pd.DataFrame(rows, columns=COLUMNS),
        problems,
        "by hand",
        None,
        lambda chosen: [{} for _ in range(len(chosen))],
        lambda index: Adviser(verifier(0), explain),
    )
    half = len(texts) // 2
    return made_up_study(
        folder,
        protocol,
        candidates=candidates,
        per_condition=2 * half,
        raters=2,
        per_rater=2 * half,
        attention=0,
        **options,
    )


class Client:
    """One rater's browser, without a browser."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.replies: list[str] = []

    def get(self, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
        return self._send(urllib.request.Request(self.url + path, headers=headers))

    def post(self, path: str, body, content_type: str = "application/json") -> tuple[int, dict]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, text, _ = self._send(
            urllib.request.Request(self.url + path, data=data, headers={"Content-Type": content_type})
        )
        return status, json.loads(text)

    def _send(self, request) -> tuple[int, str, dict[str, str]]:
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                status, text, headers = reply.status, reply.read().decode(), dict(reply.headers)
        except urllib.error.HTTPError as error:
            status, text, headers = error.code, error.read().decode(), dict(error.headers)
        self.replies.append(text + json.dumps(headers))
        return status, text, headers

    def start(self, token: str | None = None, *, start_id: str | None = None, **visitor: str) -> dict:
        status, session = self.post("/api/start", {"token": token, "start_id": start_id, "visitor": visitor})
        assert status == 200, session
        self.token = session["token"]
        return session

    def show(self) -> dict:
        status, item = self.post("/api/show", {"token": self.token})
        assert status == 200, item
        return item

    def answer(self, item: dict, answer: bool, **more) -> tuple[int, dict]:
        record = {
            "answer": answer,
            "seconds": 1.0,
            "timed_out": False,
            "confidence": None,
            "first_wrong_step": None,
            **more,
        }
        return self.post("/api/answer", {"token": self.token, "item_id": item["item_id"], **record})


def judge_all(client: Client, limit: int = 99) -> list[str]:
    """Judge the client's items, up to `limit` of them; returns their ids."""
    done: list[str] = []
    while len(done) < limit and not (item := client.show()).get("finished"):
        assert client.answer(item, len(done) % 2 == 0)[0] == 200
        done.append(item["item_id"])
    return done


@contextmanager
def serving(study: StudyFolder):
    """The study's server on a free port, in a thread; gives its address."""
    import uvicorn

    from legibility.judging.server import application
    from legibility.judging.store import Store

    store = Store(study)
    server = uvicorn.Server(uvicorn.Config(application(store, ["127.0.0.1"]), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        store.close()


def launch(study, port: int = 0, options: Sequence[str] = ()) -> tuple[subprocess.Popen, str]:
    """`legibility judge` as a process of its own, and its address."""
    command = [sys.executable, "-m", "legibility", "judge", str(study.path), "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ})
    line = process.stdout.readline()
    match = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert match, line + process.stdout.read()
    return process, match[0]


RULES = AnalysisRules(bootstrap=400)
HELPFUL, SNEAKY = Condition("game", 0, "helpful"), Condition("game", 0, "sneaky")


def judged(rows, **columns) -> pd.DataFrame:
    """rows: (rater, problem, condition, correct, right, seconds, solution_chars)."""
    names = ["rater", "problem_id", "condition", "correct", "right", "seconds", "solution_chars"]
    frame = pd.DataFrame(rows, columns=names)
    frame["verdict"] = frame.correct == frame.right
    frame["item_id"] = [
        f"{p}{c.role}{k}" for p, c, k in zip(frame.problem_id, frame.condition, frame.correct, strict=True)
    ]
    return frame.assign(timed_out=False, kind="study", **columns)


def model_of(study, careless=0.1):
    conditions = study_conditions(study.key())
    return SimulatedRaters(
        dict(zip(conditions, (0.75, 0.8, 0.65, 0.85, 0.7, 0.78), strict=True)), lapse=0.03, careless=careless
    )


def pretend_people(study) -> None:
    """A judgments table as the server would have left it, made by the simulator under another name."""
    key = study.key()
    drawn = draw(
        study, key, SimulatedRaters({c: 0.8 for c in study_conditions(key)}), len(study.slots), np.random.default_rng(0)
    )
    rows = [
        Judgment(
            r.item_id,
            r.rater.replace("simulation", "server"),
            bool(r.verdict),
            float(r.seconds),
            confidence=3,
            tool="server",
            first_wrong_step=None if r.verdict else 2,
        )
        for r in drawn.itertuples()
    ]
    write_table(study.path / TABLE, to_frame(rows))
