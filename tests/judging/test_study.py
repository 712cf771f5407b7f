"""Exporting a study: what is chosen, who sees what, that nothing leaks, and that tampering is noticed."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter

import numpy as np
import pytest
from scipy.stats import norm

from legibility.errors import UserError
from legibility.game.condition import Condition
from legibility.grading import Verdict, check_steps, grade
from legibility.judging.assignment import assign
from legibility.judging.corruption import corrupt
from legibility.judging.pool import chosen_conditions, reference_pool
from legibility.judging.power import power_of
from legibility.judging.protocol import Planned
from legibility.judging.sampling import select
from legibility.judging.study_folder import CHECKSUMS, KEY, Study
from legibility.metrics import auroc
from legibility.problems.records import Problem
from tests.judging.world import Client, hand_study, made_up_pool, made_up_study, serving
from tests.support import GSM8K, legibility

GSM8K_TEST = GSM8K / "test.jsonl"
needs_gsm8k = pytest.mark.skipif(
    not GSM8K_TEST.is_file(), reason="GSM8K_TEST is not here; set LEGIBILITY_GSM8K to its folder"
)
TELLTALE = re.compile(
    r"\b(role|round|verdict|score|sneaky|helpful|arm|correctness|checkpoint|reward|made-up)\b", re.IGNORECASE
)


@pytest.fixture(scope="module")
def pool():
    return made_up_pool()


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """A study with enough items that a leak would show."""
    return made_up_study(
        tmp_path_factory.mktemp("big") / "study", pool=made_up_pool(200), per_condition=80, raters=12, per_rater=60
    )


@pytest.fixture
def study(tmp_path):
    return made_up_study(tmp_path / "study")


# ---------------------------------------------------------------- choosing


@pytest.mark.parametrize("bins", [None, 3])
def test_the_papers_sampling_rules(pool, bins):
    conditions = pool.conditions
    assert [str(c) for c in conditions] == [
        "init:-1:base",
        "game:0:helpful",
        "game:0:sneaky",
        "game:1:helpful",
        "game:1:sneaky",
        "correctness:0:helpful",
    ]
    chosen = select(pool, conditions, 20, np.random.default_rng(0), length_bins=bins).frame
    per_prover = chosen.groupby(["arm", "round", "problem_id", "correct"]).size()
    assert per_prover.max() == 1  # both roles of a round are one prover
    for c in conditions:
        mine = chosen[(chosen.arm == c.arm) & (chosen["round"] == c.round) & (chosen.role == c.role)]
        labels = (0, 20) if c.role == "sneaky" else (10, 10)
        assert ((mine.correct).sum(), (~mine.correct).sum()) == labels
        rows = pool.frame[(pool.frame.arm == c.arm) & (pool.frame["round"] == c.round)]
        rows = rows if c.role == "sneaky" else rows[rows.role == c.role]
        mixed = {p for p, g in rows.groupby("problem_id") if 0 < g.correct.sum() < len(g)}
        assert set(mine.problem_id) <= mixed  # all right or all wrong: dropped


def test_length_match_gives_every_cell_the_same_lengths(pool):
    free = select(pool, pool.conditions, 20, np.random.default_rng(0)).frame
    matched = select(pool, pool.conditions, 20, np.random.default_rng(0), length_bins=3).frame

    def spread(frame):
        lengths = frame.text.str.len().groupby([frame.arm, frame["round"], frame.role, frame.correct]).mean()
        return lengths.max() - lengths.min()

    assert spread(matched) < 0.5 * spread(free)


def test_short_cells_are_filled_as_far_as_they_go_and_said(pool):
    found = select(pool, pool.conditions, 120, np.random.default_rng(0))
    assert found.notes and all(" of " in n for n in found.notes)
    with pytest.raises(UserError, match="even number"):
        select(pool, pool.conditions, 7, np.random.default_rng(0))


def test_conditions_are_checked(pool):
    assert chosen_conditions(pool, ["game:1:helpful"]) == [Condition("game", 1, "helpful")]
    for bad in (["game:9:helpful"], ["game"], ["game:0:helpful", "game:0:helpful"]):
        with pytest.raises(UserError):
            chosen_conditions(pool, bad)


def test_assignment_never_repeats_a_problem_and_balances_labels(big):
    key = big.key()
    for slot in big.slots:
        mine = key.loc[slot]
        items = mine[mine.kind == "study"]
        assert items.problem_id.is_unique and len(slot) == len(set(slot))
        assert items.correct.sum() * 2 == len(items) == 60
        assert (mine.kind == "attention").sum() == 4
        assert "attention" not in set(mine.kind[:2])
        cells = items.groupby(["arm", "round", "role", "correct"]).size()
        for _, same_label in cells.groupby("correct"):
            assert same_label.max() - same_label.min() <= 3
    orders = {tuple(s) for s in big.slots}
    assert len(orders) == len(big.slots)
    judged = Counter(i for s in big.slots for i in s)
    for label in (True, False):
        counts = [judged[i] for i in key.index[(key.kind == "study") & (key.correct == label)]]
        assert max(counts) - min(counts) <= 2


def test_assignment_refuses_the_impossible(big):
    from legibility.judging.study_folder import KeyEntry

    entries = [KeyEntry(item_id=i, **r) for i, r in big.key().iterrows()]
    rng = np.random.default_rng(0)
    for raters, each in ((0, None), (3, 1000), (3, 7)):
        with pytest.raises(UserError):
            assign(entries, raters, each, rng)


# ---------------------------------------------------------------- blinding


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
    features = {"position": np.arange(len(ids)), "id": np.array([int(i, 16) for i in ids], dtype=float)}
    features |= {f"digit {k}": np.array([int(i[k], 16) for i in ids]) for k in range(len(ids[0]))}
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


def test_nothing_a_rater_can_reach_tells_the_condition(study):
    """Page, replies, headers and every file for other tools, without the texts themselves."""
    key = study.key()
    (study.path / KEY).rename(study.path / "away")  # the server must not need it
    with serving(study) as url:
        client = Client(url)
        client.get("/")
        client.start(PROLIFIC_PID="abc", STUDY_ID="s", SESSION_ID="x")
        while not (item := client.show()).get("finished"):
            assert set(item) == {"item_id", "problem", "solution", "number", "elapsed"}
            assert client.answer(item, True)[0] == 200
        for path in (
            "/key.jsonl",
            "/study/key.jsonl",
            "/../key.jsonl",
            "/%2e%2e/key.jsonl",
            "/api/../key.jsonl",
            "/away",
            "/items.jsonl",
            "/server.jsonl",
            "/static/key.jsonl",
            "/api/key",
            "/api/start",
            "//key.jsonl",
            "/?file=key.jsonl",
        ):
            status, text, _ = client.get(path)
            assert status in (404, 405) or "<html" in text, path
        status, _ = client.post("/api/show", {"token": client.token, "item_id": "x", "file": "key.jsonl"})
        assert status == 400
        assert client.get("/", Host="evil.example")[0] == 400  # a page elsewhere that points its name at us
    (study.path / "away").rename(study.path / KEY)
    reachable = "".join(client.replies)
    for folder, suffix in (
        ("csv", "csv"),
        ("label-studio", "json"),
        ("label-studio", "xml"),
        ("doccano", "jsonl"),
        ("argilla", "json"),
    ):
        reachable += "".join(p.read_text() for p in (study.path / "formats" / folder).glob(f"*.{suffix}"))
    for name in ("items.jsonl", "assignments.jsonl", "formats/form.html"):
        reachable += (study.path / name).read_text()
    for text in {i.solution for i in study.items.values()} | {i.problem for i in study.items.values()}:
        reachable = reachable.replace(json.dumps(text)[1:-1], "").replace(text, "")
    assert TELLTALE.findall(reachable) == []
    for secret in (*key.problem_id, json.loads((study.path / "provenance.json").read_text())["secret"]):
        assert f'"{secret}"' not in reachable
    names = [str(p.relative_to(study.path)) for p in study.path.rglob("*")]
    assert TELLTALE.findall(" ".join(names)) == []


# ---------------------------------------------------------------- tampering and bad input


@pytest.mark.parametrize("name", ["items.jsonl", "assignments.jsonl", "study.yaml"])
def test_edited_files_are_noticed(study, name):
    (study.path / name).write_text((study.path / name).read_text() + " ")
    with pytest.raises(UserError, match=f"{name}: changed since the export"):
        Study.open(study.path)
    (study.path / name).unlink()
    with pytest.raises(UserError, match=f"{name}: missing"):
        Study.open(study.path)


def test_a_key_that_is_not_this_studys_is_refused(study, tmp_path):
    other = made_up_study(tmp_path / "other", seed=9)
    shutil.copy(other.path / KEY, study.path / KEY)
    with pytest.raises(UserError, match=r"key\.jsonl: changed"):
        Study.open(study.path).key()
    hashes = json.loads((study.path / CHECKSUMS).read_text())
    hashes["sha256"][KEY] = json.loads((other.path / CHECKSUMS).read_text())["sha256"][KEY]
    (study.path / CHECKSUMS).write_text(json.dumps(hashes))
    with pytest.raises(UserError, match=r"key\.jsonl: does not match items\.jsonl"):
        Study.open(study.path).key()


def test_exports_never_write_over_anything(study, pool, tmp_path):
    from legibility.judging.export import export_study

    before = {p: p.read_bytes() for p in study.path.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match="exists already"):
        export_study(pool, study.path)
    for bad in (
        dict(attention=3),
        dict(per_condition=1),
        dict(raters=0),
        dict(conditions=["no:0:one"]),
        dict(protocol=tmp_path / "nowhere.yaml"),
    ):
        with pytest.raises(UserError):
            export_study(pool, tmp_path / "new", **bad)
        assert not (tmp_path / "new").exists()
    assert before == {p: p.read_bytes() for p in study.path.rglob("*") if p.is_file()}


def test_protocol_errors_name_file_and_field(tmp_path):
    for text, part in (
        ("time_limit_seconds: -1", "time_limit_seconds"),
        ("exclusion: {chance: 1}", "exclusion.chance"),
        ("a: [", "YAML"),
        ("- 1", "dictionary"),
    ):
        with pytest.raises(UserError, match=part):
            made_up_study(tmp_path / "s", text)


# ---------------------------------------------------------------- the command line, on a run and on problems


def test_export_of_a_run(tiny_run, tmp_path):
    out = tmp_path / "study"
    result = legibility("export", tiny_run.path, "--out", out, "--per-condition", 2, "--raters", 3)
    assert result.code == 0, result
    study = Study.open(out)
    key = study.key()
    assert set(key.arm) == {"init", "game", "correctness", "attention"} and (key.run == "tiny").sum() == len(key)
    scores = key.scores[key.kind == "study"]
    assert all(set(s) == {"verifier 0", "verifier 1", "held-out judge"} for s in scores)
    mine = key[(key.arm == "game") & (key["round"] == 1)]
    assert np.allclose([s["verifier 1"] for s in mine.scores], mine.score.astype(float), atol=1e-4)
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
    key = Study.open(tmp_path / "s").key()
    items = key[key.kind == "study"]
    assert set(items.arm) == {"reference"} and items.correct.sum() == 10
    assert items.first_wrong_line[~items.correct].notna().all()
    problems.write_text('{"question": "?", "answer": "3"}\n')
    assert "worked solution" in legibility("export", problems, "--out", tmp_path / "t").err


# ---------------------------------------------------------------- corrupted twins


def test_a_twin_changes_one_number_and_carries_it_through():
    problem = Problem(
        "p",
        "Janet's ducks lay 16 eggs. She eats 3 and bakes with 4. She sells the rest for $2 each.",
        "18",
        "Janet sells 16 - 3 - 4 = 9 eggs.\nShe makes 9 * 2 = $18.\n#### 18",
    )
    seen = set()
    for seed in range(60):
        twin = corrupt(problem, np.random.default_rng(seed))
        assert twin is not None and grade(twin.text, "18") is Verdict.INCORRECT
        seen.add(twin.kind)
        first, second, last = twin.text.split("\n")
        broken = [i for i, s in enumerate(check_steps(twin.text)) if not s.valid]
        assert broken == ([twin.line - 1] if twin.kind == "slip" else [])
        assert second.endswith(f"${last[5:]}.")  # the answer is the last result
        if twin.line == 1:
            eggs = first.split("= ")[1].split(" ")[0]
            assert second.startswith(f"She makes {eggs} * 2")  # the wrong number is carried on
    assert seen == {"slip", "misread"}
    assert corrupt(Problem("q", "?", "4", "It is four.\n#### 4"), np.random.default_rng(0)) is None


@needs_gsm8k
def test_twins_of_gsm8k(tmp_path):
    few = tmp_path / "gsm8k.jsonl"
    few.write_text("".join(GSM8K_TEST.read_text(encoding="utf-8").splitlines(keepends=True)[:120]), encoding="utf-8")
    pool = reference_pool(few, 0)
    pairs = pool.frame.groupby("problem_id")
    assert len(pairs) > 70 and (pairs.size() == 2).all() and (pairs.correct.sum() == 1).all()
    for row in pool.frame[~pool.frame.correct].itertuples():
        problem = pool.problems[row.problem_id]
        assert grade(row.text, problem.answer) is Verdict.INCORRECT
        lines, original = row.text.split("\n"), problem.solution.split("\n")
        changed = [i for i, (a, b) in enumerate(zip(lines, original, strict=True), start=1) if a != b]
        assert changed[0] == row.first_wrong_line and changed[-1] == len(lines)


# ---------------------------------------------------------------- power


def test_power_against_the_closed_form():
    plan = Planned(baseline=0.7, difference=0.1, icc_rater=0.05, icc_problem=0.1)
    h = 2 * np.arcsin(np.sqrt(0.8)) - 2 * np.arcsin(np.sqrt(0.7))
    single = 2 * ((norm.ppf(0.975) + norm.ppf(0.8)) / h) ** 2
    found = power_of(plan, judgments=200, raters=20, problems=50)
    assert found.design_effect == pytest.approx(1 + 9 * 0.05 + 3 * 0.1)
    assert found.needed == int(np.ceil(single * found.design_effect))
    alone = power_of(
        plan.model_copy(update={"icc_rater": 0, "icc_problem": 0}), judgments=single, raters=20, problems=50
    )
    assert alone.achieved == pytest.approx(0.8, abs=0.005)


def test_hostile_texts_survive_export_unchanged(tmp_path):
    texts = [
        ("p </script><script>alert(1)</script>", "</textarea>\u202e\x07 = 1\n#### 1"),
        ("q", "x" * 50_000),
        ("r", "$\\frac{1}{2}$"),
        ("s", "=1+1\n#### 1"),
    ]
    study = hand_study(tmp_path / "s", texts)
    assert sorted((i.problem, i.solution) for i in study.items.values()) == sorted(texts)
    page = (study.path / "formats" / "form.html").read_text()
    assert page.count("<script") == 2 and "alert(1)</script>" not in page
    sheet = (study.path / "formats/csv/slot-01.csv").read_text()
    assert "'=1+1" in sheet and ",=1+1" not in sheet and ',"=1+1' not in sheet
