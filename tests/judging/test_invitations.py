"""Invites: made once, private, one for every free slot, and the door they close."""

from __future__ import annotations

import json
import os
import stat

import pytest

from legibility.errors import UserError
from legibility.judging.invitations import INVITES, invitations
from legibility.judging.store import Store
from tests.judging.world import Client, launch, made_up_study
from tests.support import legibility

URL = "https://study.example.org/"


@pytest.fixture
def study(tmp_path):
    return made_up_study(tmp_path / "study", per_rater=4, attention=2)


def test_invites_are_made_once_and_only_their_owner_reads_them(study):
    assert invitations(study.path, [0, 2], URL, wanted=False) is None and not (study.path / INVITES).exists()
    made = invitations(study.path, [0, 2], URL, wanted=True)
    assert [i.slot for i in made] == [1, 3] and len({i.invite for i in made}) == 2
    assert [i.link for i in made] == [f"{URL}?invite={i.invite}" for i in made]
    assert stat.S_IMODE((study.path / INVITES).stat().st_mode) == 0o600
    for wanted in (True, False):  # a study with invites is by invitation, asked for or not
        assert invitations(study.path, [0, 1, 2], "http://elsewhere/", wanted=wanted) == made


@pytest.mark.parametrize("url", ["study.example.org", "javascript:alert(1)", "http://", "http://["])
def test_a_bad_address_or_a_full_study_makes_no_invites(study, url):
    with pytest.raises(UserError, match="--url"):
        invitations(study.path, [0], url, wanted=True)
    with pytest.raises(UserError, match="every slot is taken"):
        invitations(study.path, [], URL, wanted=True)
    assert not (study.path / INVITES).exists()


def test_damaged_invites_and_a_full_disk_are_one_line(study, monkeypatch):
    path = study.path / INVITES
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(UserError, match=r"invites\.jsonl: cannot be written \(No space"):
            invitations(study.path, [0], URL, wanted=True)
    assert not path.exists()
    for content in (b'{"slot": 1}\n', b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(content)
        result = legibility("judge", study.path, "--port", 0)
        assert result.code == 2 and result.err.count("\n") == 1 and INVITES in result.err


def test_a_study_by_invitation_over_http(study):
    process, url = launch(study, options=["--invites"])
    try:
        links = [json.loads(line) for line in (study.path / INVITES).read_text().splitlines()]
        assert [link["slot"] for link in links] == [1, 2, 3, 4, 5, 6]
        assert all(link["link"].startswith(f"{url}/?invite=") for link in links)
        stranger = Client(url)
        for _ in range(59):
            status, reply = stranger.post("/api/start", {"token": None, "visitor": {"PROLIFIC_PID": "P"}})
            assert status == 403 and "invitation" in reply["error"]
        start = {"token": None, "visitor": {}, "invite": links[3]["invite"], "start_id": None}
        status, session = stranger.post("/api/start", start)
        assert status == 200
        assert stranger.post("/api/show", {"token": session["token"]})[1]["item_id"] == study.slots[3][0]
    finally:
        process.kill()
        process.wait()
    store = Store(study)
    assert [s.slot for s in store.sessions.values()] == [3]
    store.close()
