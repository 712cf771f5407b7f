import json
import shutil
from typing import get_args

import numpy as np
import pytest

from legibility.config import GameSettings
from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.evaluation.texts import test_texts as texts_of
from legibility.game.arms.all_arms import ARMS, arm_phases, planned
from legibility.game.condition import ARM_OF, ROUND_ARMS, Condition, reader
from legibility.play import finished, game_phases, train
from legibility.rival_settings import ArmName

from ...support import quiet


def test_arms_are_played_in_the_registered_order(tiny_arms_run):
    config = tiny_arms_run.config()
    assert [arm.name for arm in planned(config)] == [arm.name for arm in ARMS]
    assert all(tiny_arms_run.is_done(phase) for phase in game_phases(config))
    assert finished(tiny_arms_run.path, config)


def test_every_arm_that_a_config_can_name_is_there():
    assert set(get_args(ArmName)) == {"game", *(arm.name for arm in ARMS)} == set(ARM_OF)


def test_round_arms_are_those_with_rounds():
    assert {arm.key for arm in ARMS if arm.rounds} == {arm for arm in ROUND_ARMS if arm in {a.key for a in ARMS}}
    assert {arm.key for arm in ARMS} <= set(ARM_OF.values())


def test_every_arm_has_test_text_for_the_reports(tiny_arms_run):
    texts = texts_of(tiny_arms_run)
    for arm in ARMS:
        mine = [c for c in texts if c.arm == arm.key and not c.sneaky]
        assert mine, arm.name
        assert all(len(texts[c]) == 20 * 2 for c in mine)  # problems, samples
        assert np.isfinite(texts[mine[0]].score).all()  # by the game's last verifier, or the round's own


def test_arms_without_rounds_have_the_budget_of_the_last_round(tiny_arms_run):
    last = json.loads((tiny_arms_run.path / "rounds/01/prover/training.json").read_text())["steps"]
    for arm in ARMS:
        if not arm.rounds and arm.name != "rft":
            training = json.loads((tiny_arms_run.path / f"arms/{arm.key}/prover/training.json").read_text())
            assert training["steps"] == last, arm.name


def test_a_reader_learns_from_base_text_and_all_its_arm_wrote(tiny_arms_run):
    for key in ("game", *(arm.key for arm in ARMS)):
        training = json.loads((tiny_arms_run.folder(reader(key).phase) / "training.json").read_text())
        seen = {cell["component"] for cell in training["cells"]}
        assert seen == ({"base", "round 0", "round 1"} if key in ("game", *ROUND_ARMS) else {"base", "round 0"}), key


def test_short_form_and_list_say_the_same():
    assert GameSettings().played == ["game", "correctness"]
    assert GameSettings(correctness_arm=False).played == ["game"]
    assert GameSettings(arms=["game", "consultancy"]).played == ["game", "consultancy"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("game.arms=[correctness]", "must name game"),
        ("game.arms=[game, game]", "twice"),
        ("game.arms=[game, decoupled]", "needs correctness"),
        ("game={arms: [game, correctness], correctness_arm: false}", "leave it out"),
        ("game.arms=[game, cleverness]", "game.arms"),
    ],
)
def test_arms_that_do_not_fit_are_refused(tiny_config_file, tiny_overrides, setting, message):
    with pytest.raises(UserError, match=message):
        load_config(tiny_config_file, [*tiny_overrides, setting])


def test_goodhart_pays_no_roles(tiny_config_file, tiny_overrides):
    with pytest.raises(UserError, match="a game with roles"):
        load_config(tiny_config_file, [*tiny_overrides, "game.arms=[game, consultancy]", "reward.kind=goodhart"])


def test_a_lost_arm_is_made_again_as_it_was(tiny_arms_run, tmp_path):
    copy = tmp_path / "arms"
    shutil.copytree(tiny_arms_run.path, copy)
    file = copy / "arms/consultancy/collection/solutions.parquet"
    before = file.read_bytes()
    shutil.rmtree(copy / "arms/consultancy")
    train(tiny_arms_run.config(), copy, resume=True, progress=quiet())
    assert file.read_bytes() == before


def test_arms_of_a_game_that_gets_more_rounds(tiny_arms_run, tmp_path):
    copy = tmp_path / "arms"
    shutil.copytree(tiny_arms_run.path, copy)
    config = tiny_arms_run.config()
    config = config.model_copy(update={"game": config.game.model_copy(update={"rounds": 3})})
    kept = copy / "arms/sneaky_step/rounds/01/solutions.parquet"
    before = kept.read_bytes()
    run = train(config, copy, resume=True, progress=quiet())
    assert kept.read_bytes() == before  # rounds are those of a longer game too
    assert run.rounds("sneaky_step") == [0, 1, 2] and run.rounds("decoupled") == [0, 1, 2]
    for moved in ("arms/decoupled", "arms/consultancy/prover", "arms/game/reader", "arms/sneaky_step/reader"):
        assert (copy / "earlier/rounds_02" / moved).is_dir(), moved
        assert (copy / moved).is_dir(), moved


def test_phases_of_arms_that_are_not_asked_for_are_none(tiny_run):
    assert arm_phases(tiny_run.config()) == ["arms/correctness/prover", "arms/correctness/collection"]


def test_labels_of_arms_for_people():
    assert Condition("decoupled", 2, "sneaky").label == "decoupled, round 2 sneaky"
    assert Condition("decoupled", 2, "helpful").label == "decoupled, round 2 helpful"
    assert Condition("tandem", 0, "helpful").label == "tandem"
    assert Condition("consultancy", 0, "sneaky").label == "consultancy sneaky"
    assert reader("tandem").label == "reader of tandem"
    assert reader("game").label == "reader of the game"
