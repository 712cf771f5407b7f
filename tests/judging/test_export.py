"""The exported folder: its files, that ids and orders tell nothing, and that nothing is written over."""

from __future__ import annotations

import json

import numpy as np
import pytest

from legibility.errors import UserError
from legibility.game.condition import HELD_OUT_JUDGE, verifier
from legibility.judging.export import export_study
from legibility.judging.study_folder import KEY, StudyFolder
from legibility.metrics import auroc
from tests.judging.world import made_up_study
from tests.support import holder, legibility


@pytest.fixture
def study(tmp_path):
    return made_up_study(tmp_path / "study")


def test_the_files_have_their_names_and_load_with_datasets(big, tmp_path):
    import datasets

    items = datasets.load_dataset(
        "json", data_files=str(big.path / "items.jsonl"), split="train", cache_dir=str(tmp_path)
    )
    assert items.column_names == ["item_id", "problem", "solution"] and len(items) == len(big.items)
    key = [json.loads(line) for line in (big.path / KEY).read_text().splitlines()]
    for name in ("item_id", "problem_id", "arm", "round", "role", "correct", "score", "solution_chars", "run"):
        assert all(name in entry for entry in key)
    assert {e["item_id"] for e in key} == set(big.items)
    assert str(big.path.parent) not in (big.path / "provenance.json").read_text()  # tells nothing of the machine
    assert (big.path / KEY).stat().st_mode & 0o077 == 0 and (big.path / "provenance.json").stat().st_mode & 0o077 == 0


def test_ids_and_orders_predict_nothing(big):
    """Features a rater could compute from ids, file order, their own list and other tools' files; labels of the key."""
    key = big.key()
    ids = list(big.items)
    labels = {
        "correct": key.correct.loc[ids].to_numpy(),
        "sneaky": (key.role == "sneaky").loc[ids].to_numpy(),
        "late": (key["round"] > 0).loc[ids].to_numpy(),
    }
    features = {"position": np.arange(len(ids)), "id": np.array([int(i[1:], 16) for i in ids], dtype=float)}
    features |= {f"digit {k}": np.array([int(i[k], 16) for i in ids]) for k in range(1, len(ids[0]))}
    places = {i: [] for i in ids}
    for slot in big.slots:
        for place, item in enumerate(slot):
            places[item].append(place)
    seen = np.array([bool(places[i]) for i in ids])
    features["place in lists"] = np.array([np.mean(places[i]) if places[i] else 0 for i in ids])
    for name, label in labels.items():
        for feature, values in features.items():
            rows = seen if feature == "place in lists" else np.ones(len(ids), dtype=bool)
            positives, negatives = label[rows].sum(), (~label[rows]).sum()
            error = np.sqrt((positives + negatives + 1) / (12 * positives * negatives))
            assert abs(auroc(values[rows], label[rows]) - 0.5) < 4.5 * error, (name, feature)
        table = np.stack([(v - v.mean()) / v.std() for v in features.values()], 1)
        half = np.arange(len(ids)) % 2 == 0  # fitted on one half, tried on the other
        weights = np.linalg.lstsq(table[half], label[half].astype(float) - label[half].mean(), rcond=None)[0]
        guess, truth = table[~half] @ weights, label[~half]
        error = np.sqrt((len(truth) + 1) / (12 * truth.sum() * (~truth).sum()))
        assert abs(auroc(guess, truth) - 0.5) < 4.5 * error, name


def test_the_seed_chooses_texts_but_not_ids(tmp_path):
    one, two = (made_up_study(tmp_path / name, seed=3) for name in ("one", "two"))
    other = made_up_study(tmp_path / "three", seed=4)

    def texts(study):
        return sorted((i.problem, i.solution) for i in study.items.values())

    assert texts(one) == texts(two) != texts(other)
    assert not set(one.items) & set(two.items)
    assert [i.solution for i in one.items.values()] != [i.solution for i in two.items.values()]


def test_exports_never_write_over_anything(study, candidates, tmp_path):

    before = {p: p.read_bytes() for p in study.path.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match="exists already"):
        export_study(candidates, study.path)
    for bad in (
        dict(attention=3),
        dict(per_condition=1),
        dict(raters=0),
        dict(conditions=["no:0:one"]),
        dict(protocol=tmp_path / "nowhere.yaml"),
    ):
        with pytest.raises(UserError):
            export_study(candidates, tmp_path / "new", **bad)
        assert not (tmp_path / "new").exists()
    assert before == {p: p.read_bytes() for p in study.path.rglob("*") if p.is_file()}


def test_what_a_killed_export_left_goes_with_the_next_of_its_name(candidates, tmp_path):
    left, held, other, link = (
        tmp_path / name for name in (".new.0123abcd.tmp", ".new.89abcdef.tmp", ".old.0123abcd.tmp", ".new.aaaaaaaa.tmp")
    )
    for folder in (left, held, other):
        folder.mkdir()
        (folder / KEY).write_text("sealed")
    link.symlink_to(other)
    with holder(held) as process:
        export_study(candidates, tmp_path / "new")
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([held.name, other.name, link.name, "new"])
        assert (held / KEY).read_text() == (other / KEY).read_text() == "sealed"
        process.kill()
    assert ".lock" not in {p.name for p in (tmp_path / "new").iterdir()}


def test_export_of_a_run(tiny_run, tmp_path):
    out = tmp_path / "study"
    chosen = "init:-1:base,game:1:sneaky,correctness:0:helpful"
    result = legibility(
        "export", tiny_run.path, "--out", out, "--per-condition", 2, "--raters", 3, "--conditions", chosen
    )
    assert result.code == 0, result
    study = StudyFolder.open(out)
    key = study.key()
    assert set(key.arm) == {"init", "game", "correctness", "attention"} and (key.run == "tiny").sum() == len(key)
    scores = key.scores[key.kind == "study"]
    assert all(set(s) == {verifier(0), verifier(1), HELD_OUT_JUDGE} for s in scores)
    mine = key[(key.arm == "game") & (key["round"] == 1)]
    assert np.allclose([s[verifier(1)] for s in mine.scores], mine.score.astype(float), atol=1e-4)
    assert "judgments" in (out / "DATASHEET.md").read_text() and "power" in result.out
    assert legibility("export", tiny_run.path, "--out", out).code == 2
    again = legibility("export", tmp_path / "nothing", "--out", tmp_path / "s2")
    assert again.code == 2 and again.err.count("\n") == 1


def test_export_of_problems_with_worked_solutions(tmp_path):
    problems = tmp_path / "problems.jsonl"
    lines = [
        {
            "question": f"Tom has {a} pens and gets {a + 7}. He doubles them. How many?",
            "answer": str(2 * (2 * a + 7)),
            "solution": f"{a} + {a + 7} = {2 * a + 7}\n{2 * a + 7} * 2 = {2 * (2 * a + 7)}\n#### {2 * (2 * a + 7)}",
        }
        for a in range(11, 41)
    ]
    problems.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert legibility("export", problems, "--out", tmp_path / "s", "--per-condition", 20, "--raters", 2).code == 0
    key = StudyFolder.open(tmp_path / "s").key()
    items = key[key.kind == "study"]
    assert set(items.arm) == {"reference"} and items.correct.sum() == 10
    assert items.first_wrong_line[~items.correct].notna().all()
    problems.write_text('{"question": "?", "answer": "3"}\n')
    assert "worked solution" in legibility("export", problems, "--out", tmp_path / "t").err
