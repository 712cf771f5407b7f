"""docs/schemas/ is what the models say, and what a run wrote is what the models say."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from legibility.evaluation.summary_schema import Summary
from legibility.game.run_records import Done, Manifest, ProverTraining, Resources, VerifierTraining
from tests.support import ROOT


def test_the_published_schemas_are_up_to_date():
    command = [sys.executable, ROOT / "scripts/file_schemas.py"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("place", "model"),
    [
        ("manifest.json", Manifest),
        ("summary.json", Summary),
        ("resources.json", Resources),
        ("rounds/00/prover/DONE", Done),
        ("rounds/01/prover/training.json", ProverTraining),
        ("rounds/01/verifier/training.json", VerifierTraining),
        ("judge/training.json", VerifierTraining),
    ],
)
def test_what_a_run_wrote_reads_back_as_it_was(tiny_run, place, model):
    written = json.loads((tiny_run.path / place).read_text(encoding="utf-8"))
    assert model.model_validate(written).model_dump(mode="json") == written
    allowed = set(model.model_json_schema()["properties"])
    assert set(written) <= allowed and "schema" in written
