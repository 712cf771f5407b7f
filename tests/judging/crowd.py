"""Many raters at once on a real server, which is killed meanwhile if asked for: what was acknowledged must be there.

`crowd` is what the tests call with 50 raters, and scripts/soak.py with as many as it likes.
"""

from __future__ import annotations

import http.client
import random
import signal
import threading
import time
import urllib.error
from dataclasses import dataclass, field

from legibility.judging.importing import import_judgments
from legibility.judging.store import LOG
from legibility.judging.study_folder import StudyFolder
from legibility.judging.table import TABLE, read_table
from tests.judging.world import Client, launch

GIVE_UP = 120.0  # seconds a rater keeps asking a server that does not answer


@dataclass
class Crowd:
    """What came of it. `lost`: acknowledged and not in the table, or there with the other verdict; `repeated`: in the
    table twice; `unasked`: in the table and never acknowledged; `out_of_order`: raters who did not see their slot's
    list, each item once; `shared`: slots that two raters had."""

    raters: int
    judgments: int
    kills: int
    seconds: float
    lost: int
    repeated: int
    unasked: int
    out_of_order: int
    shared: int
    trouble: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Nothing of it went wrong."""
        return not (self.lost or self.repeated or self.unasked or self.out_of_order or self.shared or self.trouble)


@dataclass
class Person:
    """One rater: what they were shown, and what they said and was acknowledged."""

    name: str
    shown: list[str] = field(default_factory=list)
    said: dict[str, bool] = field(default_factory=dict)
    trouble: str | None = None


def crowd(study: StudyFolder, raters: int, *, kills: int = 0, seed: int = 0) -> Crowd:
    """Let `raters` people judge all their items at the same time; SIGKILL the server `kills` times and start it again.

    Pages are reloaded, starts and answers are sent twice, replies are lost. study: a new one with a slot for each.
    """
    begun = time.monotonic()
    process, url = launch(study)
    people = [Person(f"P{k}") for k in range(raters)]
    threads = [threading.Thread(target=_judge, args=(p, url, random.Random(f"{seed}:{p.name}"))) for p in people]
    killed = 0
    try:
        for thread in threads:
            thread.start()
        chance = random.Random(seed)
        while killed < kills and any(t.is_alive() for t in threads):
            time.sleep(chance.uniform(0.05, 0.5))
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
            process, _ = launch(study, int(url.rsplit(":", 1)[1]))
        for thread in threads:
            thread.join()
    finally:
        process.kill()
        process.wait()
    import_judgments(study, study.path / LOG, "server")
    return _compared(study, people, killed, time.monotonic() - begun)


def _compared(study: StudyFolder, people: list[Person], kills: int, seconds: float) -> Crowd:
    table = read_table(study.path / TABLE)
    stored = {(r.participant, r.item_id): bool(r.verdict) for r in table.itertuples(index=False)}
    said = {(p.name, item): verdict for p in people for item, verdict in p.said.items()}
    lists = [tuple(p.shown) for p in people]
    return Crowd(
        raters=len(people),
        judgments=len(said),
        kills=kills,
        seconds=seconds,
        lost=sum(stored.get(pair) != verdict for pair, verdict in said.items()),
        repeated=int(table.duplicated(["participant", "item_id"]).sum()),
        unasked=len(set(stored) - set(said)),
        out_of_order=sum(shown not in {tuple(slot) for slot in study.slots} for shown in lists),
        shared=len(lists) - table.rater.nunique(),
        trouble=[p.trouble for p in people if p.trouble],
    )


def _judge(person: Person, url: str, chance: random.Random) -> None:
    """One rater's whole session, as the page leads it, by an impatient hand."""
    client = Client(url)
    start = {
        "token": None,
        "start_id": f"{person.name:0>32}",
        "visitor": {"PROLIFIC_PID": person.name, "SESSION_ID": "s"},
    }
    try:
        client.token = _patiently(client, "/api/start", start)["token"]
        while True:
            if chance.random() < 0.2:  # the page is reloaded, in a browser that lost its token
                assert _patiently(client, "/api/start", start)["token"] == client.token
            item = _patiently(client, "/api/show", {"token": client.token})
            if item.get("finished"):
                return
            if not person.shown or person.shown[-1] != item["item_id"]:
                person.shown.append(item["item_id"])
            verdict = chance.random() < 0.5
            answer = {
                "token": client.token, "item_id": item["item_id"], "answer": verdict, "seconds": chance.random(),
                "timed_out": False, "confidence": None, "first_wrong_step": None,
            }  # fmt: skip
            for _ in range(chance.choice([1, 1, 1, 3])):
                _patiently(client, "/api/answer", answer)
            person.said[item["item_id"]] = verdict
    except Exception as error:
        person.trouble = f"{person.name}: {type(error).__name__} {error}"


def _patiently(client: Client, path: str, body: dict) -> dict:
    """Ask until there is an answer, as the page does while the server is away."""
    until = time.monotonic() + GIVE_UP
    while True:
        try:
            status, reply = client.post(path, body)
            if status == 200:
                return reply
            if status < 500:
                raise AssertionError(f"{path}: {status} {reply}")
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError):
            pass
        if time.monotonic() > until:
            raise TimeoutError(f"{path}: no answer in {GIVE_UP:.0f} s")
        time.sleep(0.05)
