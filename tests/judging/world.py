"""A study small enough for tests: made-up provers on made-up sums, a server in a thread, and a client."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from legibility.judging.export import export_study
from legibility.judging.pool import COLUMNS, Pool
from legibility.judging.study_folder import Study
from legibility.problems.records import Problem

PROVERS = (
    ("init", -1, "base", 0.4),
    ("game", 0, "helpful", 0.5),
    ("game", 0, "sneaky", 0.1),
    ("game", 1, "helpful", 0.6),
    ("game", 1, "sneaky", 0.1),
    ("correctness", 0, "helpful", 0.7),
)


def made_up_pool(problems: int = 80, samples: int = 4, seed: int = 0, origin: Path | None = None) -> Pool:
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

    def score(chosen: pd.DataFrame) -> list[dict[str, float]]:
        noise = np.random.default_rng(5).normal(size=(len(chosen), 2))
        return [
            {"verifier 0": float(c + n[0]), "held-out judge": float(n[1])}
            for c, n in zip(chosen.correct, noise, strict=True)
        ]

    return Pool(pd.DataFrame(rows, columns=COLUMNS), asked, "made-up", origin, score)


def made_up_study(folder: Path, protocol: str | None = None, *, pool: Pool | None = None, **options) -> Study:
    """Export a study of the made-up pool."""
    settings = dict(per_condition=12, raters=6, per_rater=20)
    if protocol is not None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        path = folder.parent / f"{folder.name}-protocol.yaml"
        path.write_text(protocol, encoding="utf-8")
        options["protocol"] = path
    return Study.open(export_study(pool or made_up_pool(), folder, **{**settings, **options}).path)


def hand_study(folder: Path, texts: list[tuple[str, str]], protocol: str = "practice: []\n") -> Study:
    """A study of one rater who sees exactly these (problem, solution) texts, without checks; labels alternate."""
    problems = {f"p{i}": Problem(f"p{i}", question, "1") for i, (question, _) in enumerate(texts)}
    rows = []
    for i, (_, text) in enumerate(texts):  # the other label of each problem makes it eligible
        correct = i % 2 == 0
        rows += [
            ("game", 0, "helpful", f"p{i}", text, correct, 0.0, 1, None),
            ("game", 0, "helpful", f"p{i}", text, not correct, 0.0, 1, None),
        ]
    pool = Pool(
        pd.DataFrame(rows, columns=COLUMNS), problems, "by hand", None, lambda chosen: [{} for _ in range(len(chosen))]
    )
    half = len(texts) // 2
    return made_up_study(folder, protocol, pool=pool, per_condition=2 * half, raters=2, per_rater=2 * half, attention=0)


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

    def start(self, token: str | None = None, **visitor: str) -> dict:
        status, session = self.post("/api/start", {"token": token, "visitor": visitor})
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


@contextmanager
def serving(study: Study):
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
