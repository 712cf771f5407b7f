"""The organiser's view: who is how far, behind a secret, and as blind as the raters."""

from __future__ import annotations

import os
import re
import stat
import time

import pytest

from legibility.errors import UserError
from legibility.judging.progress_page import AWAY, ORGANISER, organiser_key, progress_of, progress_page
from legibility.judging.store import RaterAnswer, Store
from legibility.judging.study_folder import KEY
from tests.judging.world import Client, launch, made_up_study

CONSENT = "consent: {text: ['We keep your answers.'], version: 2026-11}\n"


@pytest.fixture
def study(tmp_path):
    return made_up_study(tmp_path / "study", CONSENT, raters=4, per_rater=4, attention=2)


def judge(store: Store, token: str, items: int, *, late: bool = False) -> None:
    for _ in range(items):
        item = store.show(token).item_id
        store.answer(token, RaterAnswer(item, answer=True, seconds=50 if late else 0, timed_out=late))


def test_it_counts_states_pace_and_time_left(study):
    store = Store(study)
    done, busy, _ = (store.start(None, {}, consent="2026-11").token for _ in range(3))
    judge(store, done, 6)
    judge(store, busy, 2, late=True)
    raters, now = store.raters(), time.time()
    store.close()
    found = progress_of(study, raters, now)
    assert [s.state for s in found.slots] == ["done", "judging", "judging", "free"]
    assert [(s.judged, s.total) for s in found.slots] == [(6, 6), (2, 6), (0, 6), (0, 6)]
    assert (found.judged, found.total, found.last_hour) == (8, 24, 8) and found.hours_left == 2
    assert [s.late for s in found.slots] == [0, 2, 0, 0] and found.slots[0].consent == "2026-11"
    later = progress_of(study, raters, now + AWAY + 60)
    assert [s.state for s in later.slots] == ["done", "away", "away", "free"] and later.last_hour == 8
    tomorrow = progress_of(study, raters, now + 86_400)
    assert (tomorrow.last_hour, tomorrow.hours_left) == (0, None)
    assert "left at that pace</dt><dd>unknown" in progress_page(tomorrow, study)


def test_what_raters_say_and_how_well_does_not_show(study):
    """The page after everybody said True is that after everybody said False, and it names no item."""
    pages = []
    for answer in (True, False):
        store = Store(study)
        token = store.start(None, {}, consent="2026-11").token
        for _ in study.slots[0]:
            item = store.show(token).item_id
            store.answer(token, RaterAnswer(item, answer=answer, seconds=0, timed_out=False))
        page = progress_page(progress_of(study, store.raters(), time.time()), study)
        pages.append(re.sub(r"\d\d \w{3} \d\d:\d\d", "", page))
        store.close()
        (study.path / "server.jsonl").unlink()
    assert pages[0] == pages[1] and "6 of 6" in pages[0]
    assert not any(item in pages[0] for item in study.items)
    assert not re.search(r"accura|True|False|sneaky|helpful|correct", pages[0])


def test_only_who_has_the_secret_sees_it_and_it_stays_the_same(study):
    key = organiser_key(study.path)
    assert organiser_key(study.path) == key and stat.S_IMODE((study.path / ORGANISER).stat().st_mode) == 0o600
    os.rename(study.path / KEY, study.path / "away")  # the page needs no key
    process, url = launch(study)
    try:
        link = process.stdout.readline()
        assert link == f"progress, for you alone: {url}/progress?key={key}\n"
        client = Client(url)
        status, page, headers = client.get(f"/progress?key={key}")
        assert status == 200 and "0 of 24 judged" in page and "script" not in headers["content-security-policy"]
        for wrong in ("", "?key=", f"?key={key[:-1]}", "?key=%C3%A9"):
            assert client.get(f"/progress{wrong}")[:2] == (404, "Not Found")
        assert key not in client.get("/")[1]
    finally:
        process.kill()
        process.wait()
    (study.path / ORGANISER).write_text("{}")
    with pytest.raises(UserError, match="move it away"):
        organiser_key(study.path)
