"""The small JSON files of a run: their keys stay, they are read back as written, and damage is one clear error."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from legibility.errors import UserError
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import (
    TRAINING,
    AttackSetup,
    AttackTraining,
    BaseMetrics,
    Done,
    LastUpdates,
    Manifest,
    MixtureCell,
    ProverTraining,
    Resources,
    VerifierTraining,
)
from legibility.stored import read_stored, stored_text, write_stored

PLACE = {"created": "2026-11-26T01:02:15+0000", "python": "3.11.7", "packages": {"torch": "2.9", "peft": None}}
MACHINE = {"git_commit": None, "platform": "Linux", "cpu_count": 2, "torch_threads": 1, "gpu": None}
PROVER = {
    "arm": "game",
    "round": 1,
    "steps": 7,
    "stopped": "fooled",
    "score_scale": 0.5,
    "steps_to_exploit": 6,
    "reward": "src",
}
TEST = {
    "base": {"pooled": 0.8, "within_role": 0.8, "base": 0.8, "pairwise": None},
    "0": {"pooled": 0.6, "within_role": 0.65, "helpful": 0.7, "sneaky": 0.6, "pairwise": 0.75},
}
CELL = {
    "component": "base",
    "role": "base",
    "wanted": 8,
    "taken": 6,
    "available_correct": 3,
    "available_incorrect": 9,
} | {"distinct": 5, "twins": 1, "distinct_correct": 3, "distinct_incorrect": 8}
SETUP = {"problems_per_step": 16, "incorrect": 0.95, "goodhart_accuracy": 0.2, "goodhart_start": 0.4}
FILES = [
    (Manifest, {**PLACE, **MACHINE, "command": "weak-to-strong", "device": "auto", "seeds": [0, 1]}),
    (Manifest, {**PLACE, **MACHINE, "command": "train", "device": "cpu", "seed": 3, "base_dir": None}),
    (Done, {"phase": "base", "seconds": 1.5, "peak_memory_mb": 700.25, "sha256": {"metrics.json": "b8"}}),
    (Resources, {"last_session_seconds": 29.5, "peak_memory_mb": 830.5}),
    (ProverTraining, PROVER),
    (
        AttackTraining,
        {**PROVER, "seed": 0, "cap": 4, "quick": True, "start": "base", "reference_score": 0.6, "settings": SETUP},
    ),
    (
        VerifierTraining,
        {
            "texts": 6,
            "cells": [CELL],
            "parameters": 572352,
            "final": {"loss": 0.25, "pair_accuracy": 0.9, "score_std": None},
            "test": TEST,
        },
    ),
    (BaseMetrics, dict.fromkeys(BaseMetrics.model_fields.keys() - {"version"}, 0.25)),
]


@pytest.mark.parametrize(("model", "keys"), FILES)
def test_a_file_has_these_keys_and_its_version(model, keys):
    """Nothing is added, dropped or renamed between what is given and what is written."""
    assert json.loads(stored_text(model(**keys))) == {"schema": 1, **keys}


@pytest.mark.parametrize(("model", "keys"), FILES)
def test_a_file_is_read_as_it_was_written_also_without_a_version(model, keys, tmp_path):
    record = model(**keys)
    write_stored(tmp_path / "file", record)
    assert read_stored(tmp_path / "file", model, fix="-") == record
    (tmp_path / "file").write_text(json.dumps(keys))
    assert read_stored(tmp_path / "file", model, fix="-") == record


@pytest.mark.parametrize(("model", "keys"), FILES)
def test_every_field_says_what_it_is(model, keys):
    def undescribed(schema):
        return [name for name, field in schema.get("properties", {}).items() if "description" not in field]

    schema = model.model_json_schema(mode="serialization")
    assert not undescribed(schema) and not any(undescribed(s) for s in schema.get("$defs", {}).values())


def test_another_version_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text(json.dumps({"schema": 2, **PROVER}))
    with pytest.raises(UserError, match=r"file: schema: .*; look it up"):
        read_stored(tmp_path / "file", ProverTraining, fix="look it up")


def test_a_fact_that_the_manifest_does_not_know_is_a_mistake(tmp_path):
    with pytest.raises(ValidationError, match="sead"):
        RunFolder(tmp_path).write_manifest(command="train", sead=3)


def test_a_record_in_a_phase_is_checked_against_its_hash(tmp_path):
    run = RunFolder(tmp_path)
    with run.phase("rounds/00/prover") as work:
        write_stored(work / TRAINING, ProverTraining(**PROVER))
    assert run.stored("rounds/00/prover", TRAINING, ProverTraining).steps_to_exploit == 6
    (tmp_path / "rounds/00/prover" / TRAINING).write_text(json.dumps({**PROVER, "steps": 8}))
    with pytest.raises(UserError, match="missing or changed"):
        run.stored("rounds/00/prover", TRAINING, ProverTraining)
    with pytest.raises(UserError, match="not finished"):
        run.stored("rounds/01/prover", TRAINING, ProverTraining)


def test_numbers_that_are_none_are_null():
    assert LastUpdates(loss=0.5, pair_accuracy=float("nan"), score_std=float("inf")).model_dump() == {
        "loss": 0.5,
        "pair_accuracy": None,
        "score_std": None,
    }


def test_a_verifier_is_read_by_round():
    training = VerifierTraining(
        texts=6,
        cells=[MixtureCell(**CELL)],
        parameters=1,
        final=LastUpdates(loss=0.1, pair_accuracy=1.0, score_std=1.0),
        test=TEST,
    )
    assert training.on(None).base == 0.8 and training.on(None).helpful is None
    assert training.on(0).helpful == 0.7 and training.on(0).base is None


def test_settings_of_an_attack_compare_by_value():
    assert AttackSetup(**SETUP) == AttackSetup(**SETUP) != AttackSetup(**{**SETUP, "incorrect": 0.9})
