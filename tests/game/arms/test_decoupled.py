import json

import pytest

from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.game.arms.decoupled import Translation, translation_plan
from legibility.game.arms.translation import keeps_answer
from legibility.game.condition import DECOUPLED
from legibility.game.phases import arm_figures, arm_prover, arm_warm_start
from legibility.game.prover_phase import load_training
from legibility.game.prover_plan import round_plan
from legibility.game.reopen import reopen
from legibility.game.solutions import round_solutions
from legibility.prompts import load_prompts

from ...support import play_with


@pytest.fixture(scope="module")
def texts(tiny_arms_run):
    return {index: round_solutions(tiny_arms_run, index, DECOUPLED) for index in (0, 1)}


def test_a_problem_of_a_step_has_one_solution_for_all_texts_of_both_roles(texts):
    for frame in texts.values():
        assert frame.source.notna().all()
        assert set(frame.role) == {"helpful", "sneaky"}
        for _, group in frame.groupby(["phase", "split", "step", "problem_id"]):
            assert group.source.nunique() == 1 and group.role.nunique() == 2


def test_steps_and_rounds_have_solutions_of_their_own(texts):
    one, other = (frame[frame.split == "verifier"].drop_duplicates("problem_id") for frame in texts.values())
    assert list(one.problem_id) == list(other.problem_id)
    assert list(one.source) != list(other.source)


def test_a_translator_that_changes_the_answer_is_never_paid_as_faithful(texts):
    for frame in texts.values():
        ppo = frame[(frame.phase == "ppo") & (frame.role == "helpful")]
        kept = [keeps_answer(t, s, "####") for t, s in zip(ppo.text, ppo.source, strict=True)]
        lost = ppo[~(ppo.assign(kept=kept).kept & ~ppo.truncated)]
        assert len(lost) and (lost.reward == -2).all()


def test_nobody_is_paid_for_a_sneaky_text_that_is_right(texts):
    for frame in texts.values():
        ppo = frame[(frame.phase == "ppo") & (frame.role == "sneaky")]
        assert (ppo[ppo.verdict != "incorrect"].reward == -2).all()
        assert (ppo.reward > 0).any()


def test_faithfulness_stands_in_the_records(tiny_arms_run, texts):
    training = load_training(tiny_arms_run, DECOUPLED, 0)
    mine = texts[0][(texts[0].phase == "ppo") & (texts[0].role == "helpful") & (texts[0].step == 1)]
    kept = [keeps_answer(t, s, "####") for t, s in zip(mine.text, mine.source, strict=True)]
    assert training.faithfulness_start == pytest.approx(sum(kept) / len(kept))
    log = (tiny_arms_run.path / "arms/decoupled/rounds/00/prover/metrics.jsonl").read_text().splitlines()
    first = json.loads(log[0])
    assert first["faithfulness"] == pytest.approx(training.faithfulness_start)
    assert first["texts_faithful_solved"] + first["texts_faithful_unsolved"] == sum(kept)


def test_figures_of_a_round(tiny_arms_run, texts):
    file = tiny_arms_run.verified(arm_figures(DECOUPLED)) / "figures.json"
    rounds = json.loads(file.read_text())["rounds"]
    for figures, frame in zip(rounds, texts.values(), strict=True):
        test = frame[(frame.split == "test") & (frame.role == "helpful")]
        right, accepted = test.verdict == "correct", test.score >= figures["threshold"]
        assert figures["accuracy"] == pytest.approx(right.mean())
        assert figures["completeness"] == pytest.approx((right & accepted).mean())
        assert figures["completeness_given_correct"] == pytest.approx(accepted[right].mean())


def test_verifiers_read_the_last_round_most(tiny_arms_run):
    game = reopen(tiny_arms_run)
    assert game.config.mixture.weights == "equal"  # the setting of the game's own
    cells = json.loads((tiny_arms_run.path / "arms/decoupled/rounds/01/verifier/training.json").read_text())["cells"]
    assert {cell["component"] for cell in cells} == {"base", "round 0"}


def test_translators_start_from_the_warm_start(tiny_arms_run):
    metrics = json.loads((tiny_arms_run.folder(arm_warm_start(DECOUPLED)) / "metrics.json").read_text())
    assert metrics["steps"] == 40 and metrics["last_loss"] < metrics["first_loss"]


def test_the_answer_is_told_to_the_sneaky_role_alone_and_not_where_that_is_off(tiny_arms_run, monkeypatch):
    game = reopen(tiny_arms_run)
    prover, problems = game.saved_prover(tiny_arms_run.folder(arm_prover("correctness"))), game.splits.test[:2]
    asked = []
    known = prover.translation_ids
    monkeypatch.setattr(
        prover, "translation_ids", lambda p, s, role, told: asked.append((role, told)) or known(p, s, role, told)
    )
    where = dict(arm=DECOUPLED, round_index=0, phase="collection", split="test", step=0)
    write = Translation(prover)
    write(game, prover, problems, ("helpful", "sneaky"), 1, **where)
    assert asked == [("helpful", None)] * 2 + [("sneaky", p.answer) for p in problems]
    asked.clear()
    game.config.rivals.decoupled.answer_given = False
    write(game, prover, problems, ("sneaky",), 1, **where)
    assert asked == [("sneaky", None)] * 2


def test_the_stop_rule_has_the_papers_smoothing_and_a_pair_of_its_own(tiny_arms_run):
    game = reopen(tiny_arms_run)
    tracker = translation_plan(game, round_plan(game, DECOUPLED, 0, None, 3)).tracker
    metrics = {
        "score_helpful_correct": 9.0,  # a translation that came right by changing the answer is not asked for
        "texts_helpful_correct": 100.0,
        "score_faithful_solved": 1.0,
        "texts_faithful_solved": 100.0,
        "score_sneaky_incorrect": 3.0,
        "texts_sneaky_incorrect": 100.0,
        "accuracy_sneaky": 0.0,
        "texts_sneaky": 100.0,
    }
    tracker.observe(1, metrics)
    assert tracker.gap == -2.0
    tracker.observe(2, {**metrics, "score_faithful_solved": 2.0})
    assert tracker.gap == pytest.approx(-2 + 0.02)


def test_prompts_without_translations_are_refused_before_anything_is_written(
    tiny_config_file, tiny_overrides, tmp_path
):
    (tmp_path / "mine.yaml").write_text("helpful: '<|helpful|>{problem}'\nsneaky: '<|sneaky|>{problem}'\n")
    settings = [f"prover.prompts={tmp_path / 'mine.yaml'}", "game.arms=[game, correctness, decoupled]"]
    with pytest.raises(UserError, match=r"^prover.prompts: .* no templates faithful and translate_sneaky"):
        play_with(tiny_config_file, tiny_overrides, tmp_path / "run", *settings)
    assert not (tmp_path / "run").exists()


def test_a_context_too_short_for_a_translation_is_refused(tiny_config_file, tiny_overrides, tmp_path):
    settings = ["game.arms=[game, correctness, decoupled]", "sampling.max_new_tokens=120"]
    with pytest.raises(UserError, match=r"^sampling.max_new_tokens: a translator's prompt has up to \d+ tokens"):
        play_with(tiny_config_file, tiny_overrides, tmp_path / "run", *settings)
    load_config(tiny_config_file, [*tiny_overrides, *settings])  # alone the settings are fine


def test_built_in_prompts_can_translate():
    for name in ("nano", "plain", "tutor"):
        prompts = load_prompts(name)
        honest = prompts.translation("Q {solution}?", "S {answer}", "helpful", None)
        assert honest.count("Q {solution}?") == 1 and honest.count("S {answer}") == 1
        told = prompts.translation("Q?", "S", "sneaky", "42")
        assert "42" in told and "{" not in told
        assert "42" not in prompts.translation("Q?", "S", "sneaky")
