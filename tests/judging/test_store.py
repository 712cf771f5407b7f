"""The server's log: an event for everything, and what a crash leaves of it."""

from __future__ import annotations

import errno
import json
import os
import stat
from types import SimpleNamespace

import pytest

from legibility.errors import UserError
from legibility.judging import store as store_module
from legibility.judging.importing import import_judgments
from legibility.judging.store import LOG, NotStored, RaterAnswer, Refused, Store, read_log
from legibility.judging.study_schema import ClaimEvent, JudgmentEvent, ShownEvent
from tests.judging.world import Client, judge_all, made_up_study, serving


@pytest.fixture
def study(tmp_path):
    return made_up_study(tmp_path / "study", "completion_code: DONE42\n", per_rater=4, attention=2)


class Clock:
    """The store's clocks: the wall's, which can be set, and the steady one."""

    def __init__(self, monkeypatch, wall: float) -> None:
        self.wall, self.ticks = wall, 5000.0
        clocks = SimpleNamespace(time=lambda: self.wall, monotonic=lambda: self.ticks)
        monkeypatch.setattr(store_module, "time", clocks)

    def passes(self, seconds: float) -> None:
        self.wall, self.ticks = self.wall + seconds, self.ticks + seconds


class FullDisk:
    """`os` of the store on a disk that takes `room` more bytes; a sync fails once when `sync_fails`."""

    def __init__(self, monkeypatch, room: int = 0, sync_fails: bool = False, keeps: bool = False) -> None:
        self.room, self.sync_fails, self.keeps = room, sync_fails, keeps
        changed = {"write": self.write, "fsync": self.fsync, "ftruncate": self.ftruncate}
        self.changed = SimpleNamespace(**{**vars(os), **changed})
        monkeypatch.setattr(store_module, "os", self.changed)

    def write(self, descriptor: int, content) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = min(self.room, len(content))
        self.room -= taken
        return os.write(descriptor, content[:taken])

    def fsync(self, descriptor: int) -> None:
        if self.sync_fails:
            raise OSError(errno.EIO, "Input/output error")
        os.fsync(descriptor)

    def ftruncate(self, descriptor: int, length: int) -> None:
        if self.keeps:
            raise OSError(errno.EIO, "Input/output error")
        os.ftruncate(descriptor, length)


def begun(study) -> tuple[Store, str, str]:
    """A store with one rater who has the first item on the screen; their token; the item."""
    store = Store(study)
    session = store.start(None, {})
    shown = store.show(session.token)
    assert shown is not None
    return store, session.token, shown.item_id


def lines_of(study) -> list[dict]:
    return [json.loads(line) for line in (study.path / LOG).read_text().splitlines()]


@pytest.mark.parametrize(
    "trouble",
    [{"room": 0}, {"room": 30}, {"room": 10**6, "sync_fails": True}, {"room": 30, "keeps": True}],
    ids=["nothing written", "half a line", "not synced", "half a line that stays"],
)
def test_a_full_disk_stores_an_answer_once_however_often_it_is_sent(study, monkeypatch, trouble):
    store, token, item = begun(study)
    before = (study.path / LOG).read_bytes()
    with monkeypatch.context() as patch:
        disk = FullDisk(patch, **trouble)
        for attempt in range(13):
            with pytest.raises(NotStored, match=r"server\.jsonl: cannot be written") as raised:
                store.answer(token, RaterAnswer(item, True, 1.0, False))
            assert raised.value.first == (attempt == 0)
            if not disk.keeps:
                assert (study.path / LOG).read_bytes() == before
            disk.room = trouble["room"]
    store.answer(token, RaterAnswer(item, True, 1.0, False))
    store.close()
    assert [e["event"] for e in lines_of(study)] == ["claim", "shown", "judgment"]
    again = Store(study)
    assert again.sessions[token].judged == [item]
    seen = []
    while (shown := again.show(token)) is not None:  # every other item is still shown
        again.answer(token, RaterAnswer(shown.item_id, True, 1.0, False))
        seen.append(shown.item_id)
    assert [item, *seen] == study.slots[0]
    again.close()


def test_a_log_that_says_an_event_13_times_counts_it_once(study):
    """As earlier versions left it when the disk was full."""
    store, token, item = begun(study)
    store.answer(token, RaterAnswer(item, True, 1.0, False))
    store.close()
    log = study.path / LOG
    claim, shown, judgment = log.read_text().splitlines(keepends=True)
    log.write_text(claim * 3 + shown * 2 + judgment * 13)
    again = Store(study)
    assert len(again.sessions) == 1 and again.sessions[token].judged == [item]
    assert again.show(token).item_id == study.slots[0][1]
    again.close()
    done = import_judgments(study, log, "server")
    assert (done.added, done.refused) == (1, [])


def test_time_never_runs_backwards(study, monkeypatch):
    """The wall clock is set back by an hour while an item is out, then the server starts anew."""
    clock = Clock(monkeypatch, 10_000.0)
    store, token, item = begun(study)
    clock.passes(5)
    clock.wall -= 3600
    assert store.show(token).elapsed == 5.0
    store.answer(token, RaterAnswer(item, True, 9.0, False))
    second = store.show(token).item_id
    store.close()
    clock.wall -= 3600
    again = Store(study)
    assert again.show(token).elapsed == 0.0
    again.answer(token, RaterAnswer(second, True, 4.0, False))
    again.close()
    judgments = [e for e in read_log(study.path / LOG) if isinstance(e, JudgmentEvent)]
    assert [j.seconds for j in judgments] == [5.0, 0.0]
    assert all(j.finished_at >= j.started_at for j in judgments)
    assert import_judgments(study, study.path / LOG, "server").added == 2


def test_what_an_import_would_not_take_is_refused_before_it_is_acknowledged(study):
    store, token, item = begun(study)
    lines = study.items[item].solution.count("\n") + 1
    for change in ({"first_wrong_step": lines + 1}, {"first_wrong_step": 0}, {"confidence": 6}, {"seconds": -1.0}):
        with pytest.raises(Refused, match=next(iter(change))) as raised:
            store.answer(
                token, RaterAnswer(**{"item_id": item, "answer": False, "seconds": 1.0, "timed_out": False, **change})
            )
        assert raised.value.status == 400
    store.answer(token, RaterAnswer(item, False, 1.0, False, first_wrong_step=lines))
    store.close()
    assert import_judgments(study, study.path / LOG, "server").added == 1


def test_a_start_that_is_asked_for_twice_takes_one_slot(study):
    store = Store(study)
    first = store.start(None, {}, start_id="a" * 32)
    assert store.start(None, {}, start_id="a" * 32) is first and len(store.sessions) == 1
    store.close()
    again = Store(study)
    assert again.start(None, {}, start_id="a" * 32).token == first.token
    assert again.start(None, {}, start_id="b" * 32).slot == 1
    again.close()


def test_a_known_prolific_id_gives_nobody_the_session_of_that_rater(study):
    store = Store(study)
    mine = store.start(None, {"PROLIFIC_PID": "P1", "SESSION_ID": "X"})
    assert store.start(None, {"PROLIFIC_PID": "P1", "SESSION_ID": "X"}) is mine
    for visitor in (
        {"PROLIFIC_PID": "P1"},
        {"PROLIFIC_PID": "P1", "SESSION_ID": ""},
        {"PROLIFIC_PID": "P1", "SESSION_ID": "Y"},
    ):
        with pytest.raises(Refused, match="started already"):
            store.start(None, visitor)
    assert len(store.sessions) == 1
    store.close()


def test_an_invite_is_its_slot_and_nobody_else_gets_in(study):
    store = Store(study, invites={"invite-three": 2, "invite-one": 0})
    third = store.start(None, {}, invite="invite-three")
    assert third.slot == 2 and store.start(None, {}, invite="invite-three") is third
    assert store.start(third.token, {}) is third
    for invite in (None, "", "nothing"):
        with pytest.raises(Refused, match="by invitation"):
            store.start(None, {"PROLIFIC_PID": "P"}, invite=invite)
    assert len(store.sessions) == 1 and store.free_slots == [0, 1, 3, 4, 5]
    store.close()


def test_one_address_takes_no_more_slots_than_the_limit(study):
    store = Store(study, start_limit=2)
    tokens = [store.start(None, {}, address="10.0.0.1").token for _ in range(2)]
    with pytest.raises(Refused, match="from your network") as raised:
        store.start(None, {}, address="10.0.0.1")
    assert raised.value.status == 429
    assert store.start(tokens[0], {}, address="10.0.0.1").slot == 0  # who was let in stays
    assert store.start(None, {}, address="10.0.0.2").slot == 2
    store.close()
    assert "10.0.0" not in (study.path / LOG).read_text()


def test_who_has_not_agreed_leaves_nothing_behind(tmp_path):
    rules = "consent:\n  text: [We keep your answers., You may stop at any time.]\n  version: v2\n"
    study = made_up_study(tmp_path / "agreed", rules, per_rater=4)
    store = Store(study)
    assert store.start(None, {"PROLIFIC_PID": "P"}) is None and store.start(None, {}, consent="v1") is None
    assert (study.path / LOG).read_bytes() == b"" and len(store.free_slots) == 6
    token = store.start(None, {}, consent="v2").token
    store.close()
    (claim,) = read_log(study.path / LOG)
    assert (claim.consent.version, claim.consent.text) == ("v2", ["We keep your answers.", "You may stop at any time."])
    assert claim.consent.at == claim.at
    again = Store(study)
    assert again.start(token, {}).consent == claim.consent  # who comes back has agreed
    again.close()


def test_only_the_owner_can_read_the_log_of_tokens(study):
    log = study.path / LOG
    log.touch(mode=0o644)
    os.chmod(log, 0o644)  # as earlier versions made it
    Store(study).close()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_log_that_cannot_be_written_or_is_another_studys_is_named(study, tmp_path):
    log = study.path / LOG
    log.mkdir()
    with pytest.raises(UserError, match=r"server\.jsonl: cannot be written"):
        Store(study)
    log.rmdir()
    log.write_text('{"event": "claim", "slot": 7, "token": "t", "visitor": {}, "at": ""}\n')
    with pytest.raises(UserError, match="line 1: does not fit"):
        Store(study)
    log.write_text('{"event": "shown", "slot": 1, "token": "t", "item_id": "x", "time": 1.0, "at": ""}\n')
    with pytest.raises(UserError, match="line 1: does not fit"):
        Store(study)
    log.unlink()
    Store(study).close()  # nothing of the attempts is left locked


def test_a_cut_off_last_line_is_dropped_and_a_damaged_one_is_named(study):
    with serving(study) as url:
        client = Client(url)
        client.start()
        judge_all(client, 2)
    log = study.path / LOG
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"event": "judgment", "slot": 1, "tok')  # the power went while it was written
    store = Store(study)
    assert len(store.sessions[client.token].judged) == 2 and log.read_bytes() == whole
    with pytest.raises(UserError, match="another server"):
        Store(study)
    store.close()
    log.write_bytes(whole.replace(b'"claim"', b'"clam"', 1))
    with pytest.raises(UserError, match="line 1"):
        Store(study)


def test_the_log_has_an_event_for_everything_with_its_time(study, monkeypatch):
    """The clock is ours: shown at 100, answered at 107 by a page that claims nine seconds."""
    clock = Clock(monkeypatch, 99.0)
    store = Store(study)
    session = store.start(None, {"PROLIFIC_PID": "P1"})
    clock.passes(1)
    assert store.show(session.token) == (study.slots[0][0], 0.0)
    item = study.slots[0][0]
    clock.passes(7)
    store.answer(
        session.token, RaterAnswer(item, False, seconds=9.0, timed_out=False, confidence=4, first_wrong_step=2)
    )
    store.close()
    lines = [json.loads(line) for line in (study.path / LOG).read_text().splitlines()]
    rater = {"slot": 1, "token": session.token}
    assert lines == [
        {"event": "claim", **rater, "visitor": {"PROLIFIC_PID": "P1"}, "at": "1970-01-01T00:01:39.000+00:00"},
        {"event": "shown", **rater, "item_id": item, "time": 100.0, "at": "1970-01-01T00:01:40.000+00:00"},
        {
            "event": "judgment",
            **rater,
            "item_id": item,
            "answer": False,
            "seconds": 7.0,
            "timed_out": False,
            "confidence": 4,
            "first_wrong_step": 2,
            "started_at": "1970-01-01T00:01:40.000+00:00",
            "finished_at": "1970-01-01T00:01:47.000+00:00",
            "at": "1970-01-01T00:01:47.000+00:00",
        },
    ]
    claim, shown, judgment = read_log(study.path / LOG)
    assert isinstance(claim, ClaimEvent) and isinstance(shown, ShownEvent) and isinstance(judgment, JudgmentEvent)
    assert (judgment.answer, judgment.seconds, judgment.first_wrong_step) == (False, 7.0, 2)


def test_answers_to_other_items_are_refused_and_a_full_study_says_so(study):
    store = Store(study)
    session = store.start(None, {})
    with pytest.raises(Refused, match="not the one on your screen"):
        store.answer(session.token, RaterAnswer(study.slots[0][0], True, 1.0, False))  # never shown
    for _ in study.slots[1:]:
        store.start(None, {})
    with pytest.raises(Refused, match="full"):
        store.start(None, {})
    store.close()
