"""legibility simulate-raters: labelled everywhere, kept apart from people."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from legibility.judging.table import TABLE
from tests.judging.world import made_up_study
from tests.support import legibility


@pytest.fixture
def study(tmp_path):
    return made_up_study(tmp_path / "study", "analysis: {bootstrap: 200}\n", raters=8)


def test_simulation_is_labelled_everywhere_and_kept_apart(study):
    result = legibility(
        "simulate-raters",
        study.path,
        "--accuracy",
        "game:0:sneaky=0.6,0.9",
        "--careless",
        0.25,
        "--raters",
        8,
        "--repeats",
        3,
    )
    assert result.code == 0 and "SIMULATION, not people" in result.out and "cover" in result.out
    assert not (study.path / TABLE).exists()
    folder = study.path / "simulation"
    assert json.loads((folder / "truth.json").read_text())["simulation"] is True
    assert json.loads((folder / "coverage.json").read_text())["repeats"] == 3
    assert set(pd.read_csv(folder / TABLE).tool) == {"simulation"}
    result = legibility("analyze", study.path, "--simulated")
    assert result.code == 0 and result.out.startswith("SIMULATION")
    assert json.loads((folder / "analysis/results.json").read_text())["simulated"] is True
    page = (folder / "analysis/results.html").read_text()
    assert "No person judged anything here" in page and "people as judges" not in page
    assert not (study.path / "analysis").exists()
    assert legibility("analyze", study.path).code == 2  # no people yet
    shutil.copy(folder / TABLE, study.path / TABLE)
    assert "simulated judgments" in legibility("analyze", study.path).err
    for bad in ("2", "game:0:sneaky=x", "game:7:helpful=0.5,0.5", "game:0:sneaky=0.6"):
        assert legibility("simulate-raters", study.path, "--accuracy", bad).code == 2
    assert legibility("simulate-raters", study.path, "--raters", 99).code == 2
