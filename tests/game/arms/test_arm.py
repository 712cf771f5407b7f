"""Whatever reads a run takes every arm: report, view, export, data frames, other people's formats."""

import json
import shutil

import pandas as pd
import pytest

from legibility.evaluation.dataframes import stored_completions
from legibility.evaluation.texts import scored_by, text_phase
from legibility.evaluation.texts import test_texts as texts_of
from legibility.game.arms.all_arms import ARMS
from legibility.game.condition import CONSULTANCY, GAME, SNEAKY_STEP, Condition, verifier
from legibility.game.prover_plan import phase_name, trained_provers
from legibility.game.run_folder import RunFolder
from legibility.judging.candidates import run_candidates
from legibility.reporting import write_report
from legibility.reporting.data import read_run
from legibility.sharing.shared_models import models_of
from legibility.viewing.curves import curves

KEYS = {arm.key for arm in ARMS}


@pytest.fixture(scope="module")
def run(evaluated_arms):
    return RunFolder.existing(evaluated_arms)


def test_phases_of_an_arm_are_what_it_leaves(tiny_arms_run):
    config = tiny_arms_run.config()
    for arm in ARMS:
        assert all(tiny_arms_run.is_done(phase) for phase in arm.phases(config)), arm.name


def test_every_arm_is_among_the_trained_provers(run):
    found = trained_provers(run)
    assert {arm for arm, _ in found} == {GAME, *KEYS}
    assert all(run.is_done(phase_name(arm, index)) for arm, index in found)


def test_every_completion_of_every_arm_is_in_the_data_frame(run):
    frame = stored_completions(run)
    assert {GAME, *KEYS} <= set(frame.arm)
    assert (frame[frame.arm == SNEAKY_STEP].groupby("round").phase.nunique() == 2).all()


def test_test_text_stands_in_its_phase_and_was_scored_by_its_judge(run):
    for condition in texts_of(run):
        assert run.is_done(text_phase(run, condition)), condition
    assert scored_by(run, Condition(SNEAKY_STEP, 0, "helpful")) == verifier(0)
    assert scored_by(run, Condition(SNEAKY_STEP, 1, "helpful")) is None  # by a verifier of its own
    assert scored_by(run, Condition(CONSULTANCY, 0, "sneaky")) == verifier(1)
    assert scored_by(run, Condition(GAME, 0, "sneaky")) == verifier(0)


def test_the_summary_and_the_report_have_every_arm(run, tmp_path):
    others = json.loads((run.path / "summary.json").read_text())["arms"]["others"]
    rivals = KEYS - {"correctness"}
    assert {Condition.parse(key).arm for key in others} == rivals
    data = read_run(run)
    assert {policy.condition.arm for policy in data.others} == rivals
    assert all(policy.condition.round == 1 for policy in data.others if policy.condition.arm == SNEAKY_STEP)
    shutil.copytree(run.path, tmp_path / "copy")
    page = write_report(RunFolder.existing(tmp_path / "copy")).read_text(encoding="utf-8")
    assert ">consultancy<" in page and ">rft<" in page  # the table of the tax


def test_people_can_judge_every_arm(run):
    assert KEYS - {"correctness-short"} <= {c.arm for c in run_candidates(run.path).conditions}


def test_every_prover_and_reader_can_be_shared(run):
    shared = list(models_of(run))
    names = [model.folder for model in shared]
    assert len(set(names)) == len(names)
    assert {model.arm for model in shared if model.kind == "prover"} - {None} == {GAME, *KEYS}
    assert {f"reader-{key}" for key in {GAME, *KEYS}} <= set(names)


def test_every_arm_has_its_curves(run):
    found = {(curve.title, curve.role, curve.arm, curve.round) for curve in curves(run)}
    assert ("consultancy", "prover", CONSULTANCY, 0) in found
    assert ("one wrong step, round 1", "prover", SNEAKY_STEP, 1) in found
    assert ("one wrong step, round 1", "verifier", SNEAKY_STEP, 1) in found
    assert ("reader of consultancy", "verifier", "", 0) in found


def test_arms_are_exported_for_other_tools(run, tmp_path):
    pytest.importorskip("inspect_ai")
    from legibility.sharing import share

    share(run.path, tmp_path / "logs", kind="inspect")
    assert len(list((tmp_path / "logs").glob("*.eval"))) == len([f for f in texts_of(run).values() if len(f)])


def test_cards_of_arms_have_their_accuracy(run, tmp_path):
    from legibility.sharing.cards import CardFacts

    facts = CardFacts(run)
    text = texts_of(run)[Condition(CONSULTANCY, 0, "helpful")]
    accuracy = (text.verdict == "correct").groupby(text.problem_id).mean().mean()
    assert facts.policy_of(CONSULTANCY, 0).accuracy == pytest.approx(accuracy)
    assert isinstance(text, pd.DataFrame)
