"""Studies that several test modules read. None of them may be written to."""

from __future__ import annotations

import pytest

from tests.judging.world import made_up_candidates, made_up_study


@pytest.fixture(scope="session")
def candidates():
    return made_up_candidates()


@pytest.fixture(scope="session")
def big(tmp_path_factory):
    """A study with enough items that a leak would show."""
    return made_up_study(
        tmp_path_factory.mktemp("big") / "study",
        candidates=made_up_candidates(200),
        per_condition=80,
        raters=12,
        per_rater=60,
    )


@pytest.fixture(scope="session")
def planned(tmp_path_factory):
    """A study large enough for its raters to be told from chance."""
    return made_up_study(
        tmp_path_factory.mktemp("planned") / "study",
        candidates=made_up_candidates(160),
        per_condition=60,
        raters=40,
        per_rater=60,
    )
