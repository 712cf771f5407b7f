"""The server's log: an event for everything, and what a crash leaves of it."""

from __future__ import annotations

import json

import pytest

from legibility.errors import UserError
from legibility.judging.store import LOG, RaterAnswer, Refused, Store, read_log
from legibility.judging.study_schema import ClaimEvent, JudgmentEvent, ShownEvent
from tests.judging.world import Client, judge_all, made_up_study, serving


@pytest.fixture
def study(tmp_path):
    return made_up_study(tmp_path / "study", "completion_code: DONE42\n", per_rater=4, attention=2)


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
    clock = iter([99.0, 100.0, 100.0, 107.0, 107.0])
    monkeypatch.setattr("legibility.judging.store.time.time", lambda: next(clock))
    store = Store(study)
    session = store.start(None, {"PROLIFIC_PID": "P1"})
    assert store.show(session.token) == (study.slots[0][0], 0.0)
    item = study.slots[0][0]
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
