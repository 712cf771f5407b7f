"""The server's log."""

from __future__ import annotations

import pytest

from legibility.errors import UserError
from legibility.judging.store import LOG, Store
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
