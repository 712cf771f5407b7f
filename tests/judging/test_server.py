"""The judging server over real HTTP: sessions, durability, odd requests, nothing leaks. No browser needed."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
import time

import pytest
from hypothesis import given, settings

from legibility.judging.store import LOG, Store, read_log
from legibility.judging.study_folder import KEY
from legibility.judging.study_schema import JudgmentEvent
from tests.fuzzing.judging import check_request, requests
from tests.judging.crowd import crowd
from tests.judging.world import Client, judge_all, launch, made_up_study, serving
from tests.support import legibility

TELLTALE = re.compile(
    r"\b(role|round|verdict|score|sneaky|helpful|arm|correctness|checkpoint|reward|made-up)\b", re.IGNORECASE
)


@pytest.fixture
def study(tmp_path):
    return made_up_study(tmp_path / "study", "completion_code: DONE42\n", per_rater=4, attention=2)


def test_a_rater_gets_their_list_once_and_resumes(study):
    with serving(study) as url:
        client = Client(url)
        session = client.start(PROLIFIC_PID="P1", STUDY_ID="S", SESSION_ID="X")
        assert session["total"] == 6 and session["judged"] == 0 and session["time_limit_seconds"] == 45
        assert "completion_code" not in session
        first = client.show()
        time.sleep(0.05)
        again = client.show()  # the tab was closed and opened: same item, the clock went on
        assert again["item_id"] == first["item_id"] and again["elapsed"] > 0.04
        done = judge_all(client, 3)
        back = Client(url)
        assert back.start(PROLIFIC_PID="P1", SESSION_ID="X")["token"] == client.token  # another browser, same link
        assert back.start(client.token)["judged"] == 3
        done += judge_all(back)
        assert done == study.slots[0]
        assert back.show() == {"finished": True, "completion_code": "DONE42"}
    events = read_log(study.path / LOG)
    assert events[0].visitor == {"PROLIFIC_PID": "P1", "STUDY_ID": "S", "SESSION_ID": "X"}
    assert [e.item_id for e in events if isinstance(e, JudgmentEvent)] == done


def test_two_raters_at_once_have_slots_of_their_own(study):
    with serving(study) as url:
        clients = [Client(url) for _ in range(6)]
        threads = [threading.Thread(target=lambda c=c: (c.start(), judge_all(c))) for c in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({c.token for c in clients}) == 6
        status, reply = Client(url).post("/api/start", {"token": None, "visitor": {}})
        assert status == 409 and "full" in reply["error"]
    events = read_log(study.path / LOG)
    by_slot = {s: [e.item_id for e in events if isinstance(e, JudgmentEvent) and e.slot == s] for s in range(1, 7)}
    assert [by_slot[s] for s in range(1, 7)] == study.slots


def test_sending_an_answer_twice_keeps_the_first(study):
    with serving(study) as url:
        client = Client(url)
        client.start()
        item = client.show()
        assert client.answer(item, True, confidence=4, first_wrong_step=None)[0] == 200
        assert client.answer(item, False)[0] == 200
    (judgment,) = [e for e in read_log(study.path / LOG) if isinstance(e, JudgmentEvent)]
    assert judgment.answer is True and judgment.confidence == 4
    assert judgment.seconds <= 1.0  # never longer than the item was out


def test_only_the_open_item_can_be_judged(study):
    with serving(study) as url:
        client = Client(url)
        client.start()
        first, later = study.slots[0][0], study.slots[0][3]
        assert client.answer({"item_id": first}, True)[0] == 409  # not shown yet
        client.show()
        assert client.answer({"item_id": later}, True)[0] == 409
        client.token = "nobody"
        assert client.post("/api/show", {"token": "nobody"})[0] == 409


def test_bad_requests_are_4xx_and_change_nothing(study):
    with serving(study) as url:
        client = Client(url)
        client.start()
        item = client.show()
        before = (study.path / LOG).read_bytes()
        good = {
            "token": client.token,
            "item_id": item["item_id"],
            "answer": True,
            "seconds": 1.0,
            "timed_out": False,
            "confidence": None,
            "first_wrong_step": None,
        }
        for change in (
            {"answer": "True"},
            {"answer": None},
            {"seconds": -1.0},
            {"seconds": "nan"},
            {"seconds": 1e8},
            {"confidence": 6},
            {"first_wrong_step": 0},
            {"first_wrong_step": 99},
            {"extra": 1},
        ):
            status, reply = client.post("/api/answer", {**good, **change})
            assert status == 400 and reply["error"], change
        assert client.post("/api/answer", b"{not json")[0] == 400
        assert client.post("/api/answer", b"[" * 10_000)[0] == 400
        assert client.post("/api/answer", b'"' + b"x" * 20_000 + b'"')[0] == 413
        assert client.post("/api/answer", good, "text/plain")[0] == 415
        assert client.post("/api/start", {"token": None, "visitor": {"PROLIFIC_PID": "x" * 300}})[0] == 400
        assert (study.path / LOG).read_bytes() == before
        assert client.post("/api/answer", good)[0] == 200


def test_whatever_is_asked_is_served_or_refused_in_one_sentence(study):
    store = Store(study)
    session = store.start(None, {})
    item = store.show(session.token).item_id

    @settings(max_examples=100, deadline=None)
    @given(asked=requests(item, session.token))
    def ask(asked):
        check_request(store, *asked)

    try:
        ask()
    finally:
        store.close()
    state = {t: (s.slot, s.judged) for t, s in store.sessions.items()}
    again = Store(study)
    assert {t: (s.slot, s.judged) for t, s in again.sessions.items()} == state
    again.close()
    assert legibility("import", study.path, study.path / LOG, "--from", "server").code == 0


def test_the_page_may_load_nothing_from_elsewhere(study):
    with serving(study) as url:
        status, page, headers = Client(url).get("/")
    assert status == 200
    csp = headers["content-security-policy"]
    assert "default-src 'none'" in csp and "unsafe" not in csp and "connect-src 'self'" in csp
    assert headers["cache-control"] == "no-store" and headers["x-content-type-options"] == "nosniff"
    form = (study.path / "formats" / "form.html").read_text()
    for text in (page, form):
        assert not re.search(r"""(src|href|action|url)\s*[=(]\s*["']?\s*(https?:)?//""", text)
        assert (
            "innerHTML" not in text
            and "insertAdjacentHTML" not in text
            and "document.write" not in text
            and "eval(" not in text
        )


def test_a_full_disk_is_told_to_the_page_and_once_to_the_organisers(study, monkeypatch, capfd):
    with serving(study) as url:
        client = Client(url)
        client.start()
        item = client.show()

        def full(*_):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("legibility.judging.store.os.write", full)
            for _ in range(3):
                status, reply = client.answer(item, True)
                assert status == 503 and "try again" in reply["error"]
        assert client.answer(item, True)[0] == 200
    told = [line for line in capfd.readouterr().err.splitlines() if "cannot be written" in line]
    assert len(told) == 1 and "No space left on device" in told[0] and "free space" in told[0]
    assert len([e for e in read_log(study.path / LOG) if isinstance(e, JudgmentEvent)]) == 1


def test_the_start_limit_holds_per_address(study):
    process, url = launch(study, options=["--start-limit", "2"])
    try:
        client = Client(url)
        client.start(start_id="s" * 32)
        assert client.start(start_id="s" * 32)["judged"] == 0  # the same start
        client.start()
        assert client.post("/api/start", {"token": None, "visitor": {}})[0] == 429
    finally:
        process.kill()
        process.wait()


def test_a_killed_server_loses_nothing(study):
    """SIGKILL after an acknowledged answer and with an item on screen; then the same port again."""
    process, url = launch(study)
    try:
        client = Client(url)
        client.start()
        done = judge_all(client, 3)
        open_item = client.show()["item_id"]
        process.send_signal(signal.SIGKILL)
        process.wait()
        process, _ = launch(study, int(url.rsplit(":", 1)[1]))
        assert client.start(client.token)["judged"] == 3
        assert client.show()["item_id"] == open_item
        done += judge_all(client)
        assert done == study.slots[0]
    finally:
        process.kill()
        process.wait()
    result = legibility("import", study.path, study.path / LOG, "--from", "server")
    assert result.code == 0 and "6 judgments added" in result.out


def test_fifty_raters_at_once_and_nothing_is_lost(tmp_path):
    study = made_up_study(tmp_path / "study", raters=50, per_rater=6, attention=2)
    found = crowd(study, 50)
    assert found.sound, found
    assert found.judgments == sum(map(len, study.slots)) == 400


def test_a_server_that_is_killed_under_its_raters_loses_nothing(tmp_path):
    study = made_up_study(tmp_path / "study", raters=12, per_rater=10, attention=2)
    found = crowd(study, 12, kills=1)
    assert found.sound and found.kills == 1 and found.judgments == sum(map(len, study.slots)), found


def test_judge_refuses_what_it_cannot_serve(study, tmp_path):

    assert legibility("judge", tmp_path).code == 2
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = legibility("judge", study.path, "--port", taken.getsockname()[1])
    assert result.code == 2 and "choose another --port" in result.err and result.err.count("\n") == 1
    items = study.path / "items.jsonl"
    items.write_text(items.read_text().replace("Let me", "Let us"))
    assert "changed since the export" in legibility("judge", study.path).err
    assert json.loads((study.path / "checksums.json").read_text())


def test_nothing_a_rater_can_reach_tells_the_condition(study):
    """Page, replies, headers and every file for other tools, without the texts themselves."""
    key = study.key()
    (study.path / KEY).rename(study.path / "away")  # the server must not need it
    with serving(study) as url:
        client = Client(url)
        client.get("/")
        client.start(PROLIFIC_PID="abc", STUDY_ID="s", SESSION_ID="x")
        while not (item := client.show()).get("finished"):
            assert set(item) == {"item_id", "problem", "solution", "number", "elapsed", "doubts"}
            assert item["doubts"] is None  # the study is not assisted
            assert client.answer(item, True)[0] == 200
        for path in (
            "/key.jsonl",
            "/study/key.jsonl",
            "/../key.jsonl",
            "/%2e%2e/key.jsonl",
            "/api/../key.jsonl",
            "/away",
            "/items.jsonl",
            "/server.jsonl",
            "/static/key.jsonl",
            "/api/key",
            "/progress",
            "/progress?key=x",
            "/api/start",
            "//key.jsonl",
            "/?file=key.jsonl",
        ):
            status, text, _ = client.get(path)
            assert status in (404, 405) or "<html" in text, path
        status, _ = client.post("/api/show", {"token": client.token, "item_id": "x", "file": "key.jsonl"})
        assert status == 400
        assert client.get("/", Host="evil.example")[0] == 400  # a page elsewhere that points its name at us
    (study.path / "away").rename(study.path / KEY)
    reachable = "".join(client.replies)
    for folder, suffix in (
        ("csv", "csv"),
        ("label-studio", "json"),
        ("label-studio", "xml"),
        ("doccano", "jsonl"),
        ("argilla", "json"),
    ):
        reachable += "".join(p.read_text() for p in (study.path / "formats" / folder).glob(f"*.{suffix}"))
    for name in ("items.jsonl", "assignments.jsonl", "formats/form.html"):
        reachable += (study.path / name).read_text()
    for text in {i.solution for i in study.items.values()} | {i.problem for i in study.items.values()}:
        reachable = reachable.replace(json.dumps(text)[1:-1], "").replace(text, "")
    assert TELLTALE.findall(reachable) == []
    for secret in (*key.problem_id, json.loads((study.path / "provenance.json").read_text())["secret"]):
        assert f'"{secret}"' not in reachable
    names = [str(p.relative_to(study.path)) for p in study.path.rglob("*")]
    assert TELLTALE.findall(" ".join(names)) == []
