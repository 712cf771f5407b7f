"""A run goes on with the commits it began with."""

from __future__ import annotations

from legibility.config import Config
from legibility.game.pinned import pinned
from legibility.game.run_records import ModelFacts


def test_commits_take_the_place_of_revisions():
    config = Config.model_validate({"prover": {"model": "a/b", "revision": "main"}})
    models = [
        ModelFacts(role="prover", model="a/b", revision="main", commit="c1"),
        ModelFacts(role="verifier", model="nano", revision=None, commit=None),
        ModelFacts(role="held_out_judge", model="c/d", revision=None, commit="c2"),
    ]
    found = pinned(config, models)
    assert (found.prover.revision, found.verifier.revision) == ("c1", None)
    assert found.model_copy(update={"prover": config.prover}) == config


def test_runs_from_before_commits_were_recorded():
    config = Config()
    assert pinned(config, None) == config
