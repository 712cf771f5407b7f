"""scripts/sweep.py: its table and figure, its points, and a sweep that goes on where it stopped."""

from __future__ import annotations

from legibility.config_file import load_config
from legibility.evaluation.merged_seeds import merge
from tests.evaluation.summaries import summary_of
from tests.support import script


def test_table_and_figure_have_every_point():
    """Of results as the sweep stores them; its games are ordinary runs, played elsewhere in these tests."""
    module = script("sweep")
    merged = merge([summary_of(s) for s in range(2)])
    results = [
        module.SweepPoint(name=name, parameters=1000 * k, merged=merged)
        for k, name in enumerate(("verifier xs", "verifier s", "verifier m", "verifier equal"), 1)
    ]
    table = module.render(results)
    assert table.count("\n") == 2 + 4 and "verifier equal" in table and "4,000" in table
    figure = module.draw(results)
    assert len(figure.axes[0].lines) == 4 + 4 * 2  # a line and the intervals of two rounds per point


def test_sizes_have_the_kind_of_the_config(tiny_config_file):
    module = script("sweep")
    marked = module.choose("sizes", load_config(tiny_config_file, ["verifier.model=nano-m-marked"]))
    assert marked["verifier xs"] == ["verifier.model=nano-xs-marked"] and "SRC" not in marked
    assert module.choose("all", load_config(tiny_config_file, ["verifier.model=nano-m"]))["verifier s"] == [
        "verifier.model=nano-s"
    ]


def test_a_sweep_plays_evaluates_and_resumes(tiny_config_file, tiny_overrides, tmp_path, monkeypatch):
    module = script("sweep")
    monkeypatch.setattr(
        module, "REWARDS", {"CGC": ["reward.kind=cgc"], "same game": ["reward.kind=cgc"], "SRC": ["reward.kind=src"]}
    )
    changes = [
        *tiny_overrides,
        "ppo.steps=1",
        "evaluation.best_of_n_problems=3",
        "evaluation.best_of_n_samples=2",
        "game.rounds=1",
    ]
    stamps = []
    for _ in range(2):
        module.main(tiny_config_file, changes, out=tmp_path, points="rewards", seeds="0")
        assert (tmp_path / "sweep.png").stat().st_size > 1000 and "| CGC |" in (tmp_path / "sweep.md").read_text()
        assert f"`python scripts/sweep.py {tiny_config_file} " in (tmp_path / "sweep.md").read_text()
        assert "| same game |" in (tmp_path / "sweep.md").read_text() and not (tmp_path / "same-game-0").exists()
        drawn, taken = (tmp_path / f"{point}/base/DONE" for point in ("cgc-0", "src-0"))
        assert taken.read_bytes() == drawn.read_bytes()  # seconds and all: drawn once
        stamps.append((tmp_path / "cgc-0/summary.json").stat().st_mtime_ns)
    assert stamps[0] == stamps[1]
