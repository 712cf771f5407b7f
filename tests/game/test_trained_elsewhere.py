"""A game whose provers are trained elsewhere: what it hands over, and that it goes on with what comes back."""

from __future__ import annotations

import shutil

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.game.condition import GAME
from legibility.game.reopen import reopen
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import round_solutions
from legibility.game.trained_elsewhere import HandedOver, TrainedByVerl, _problems_of, take_back
from legibility.integrations.verl import BatchPay, CompletionReader, add_step, read_round
from legibility.models.loading import load_tokenizer
from legibility.models.prover import Prover
from legibility.play import finished, train
from legibility.rollouts import sample
from tests.support import quiet

LAST_MESSAGE = "{{ messages[-1].content }}"
SMALL = [
    "game.rounds=1", "game.held_out_judge=false", "ppo.steps=2", "problems.validation=8", "problems.test_size=8",
    "game.collection_samples=2", "evaluation.samples=1", "verifier.reference_solutions=true", "prover.chat_template=true",
]  # fmt: skip


def test_the_problems_of_a_step_are_those_of_the_game(tiny_run):
    game, rows = reopen(tiny_run), round_solutions(tiny_run, 1)
    for step in (1, 2, 3):
        played = rows[(rows.phase == "ppo") & (rows.step == step)].problem_id
        assert {p.id for p in _problems_of(game, GAME, 1, step, 4)} == set(played)


@pytest.fixture(scope="module")
def settings(tiny_config_file, tiny_overrides, tiny_prover_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat") / "prover"
    shutil.copytree(tiny_prover_dir, folder)
    tokenizer = load_tokenizer(str(folder), "prover")
    tokenizer.chat_template = LAST_MESSAGE
    tokenizer.save_pretrained(folder)
    return load_config(tiny_config_file, [*tiny_overrides, *SMALL, f"prover.model={folder}"])


def by_hand(folder, config, to, factor=1.01):
    """Does what verl would, but for learning: samples the rows in batches, reads, pays; a prover a little off comes out."""
    record, recipe = read_round(folder), yaml.safe_load((folder / "verl.yaml").read_text())
    prover = Prover.load(config.prover, "cpu")
    rows, size = pq.read_table(folder / "train.parquet").to_pylist(), recipe["data"]["train_batch_size"]
    assert len(rows) == record.steps * size and recipe["trainer"]["total_training_steps"] == record.steps
    reader, paying = CompletionReader(record), BatchPay(record)
    problems = reopen(RunFolder(folder.parent.with_name("run"))).problems
    for step in range(record.steps):
        batch = rows[step * size : (step + 1) * size]
        texts = [
            prover.tokenizer.apply_chat_template(r["prompt"], tokenize=False, add_generation_prompt=True) for r in batch
        ]
        prompts = [prover.tokenizer(text)["input_ids"] for text in texts]
        n = recipe["actor_rollout_ref"]["rollout"]["n"]
        drawn = sample(prover, prompts, n, seed=step, max_new_tokens=recipe["data"]["max_response_length"])
        read = [
            reader.read(problems[r["extra_info"]["problem_id"]], r["extra_info"]["role"], prover.decode(c.ids), len(c.ids), c.truncated)
            for r, group in zip(batch, drawn, strict=True) for c in group
        ]  # fmt: skip
        paid = paying.pay(read)
        add_step(folder, paying.step, paying.scale.value, read, paid)
    with torch.no_grad():
        for parameter in prover.model.parameters():
            parameter.mul_(factor)
    prover.save(to)


def test_a_game_by_hand_overs(settings, tmp_path):
    """Round and correctness-only arm are trained elsewhere; the run that comes out is a finished game."""
    out, exports = tmp_path / "run", tmp_path / "run-verl"
    with pytest.raises(HandedOver) as waiting:
        train(settings, out, progress=quiet(), train_prover=TrainedByVerl(exports))
    folder = waiting.value.folder
    assert folder == exports / "rounds-00-prover"
    recipe = yaml.safe_load((folder / "verl.yaml").read_text())
    assert recipe["data"]["train_batch_size"] == 8 and recipe["actor_rollout_ref"]["rollout"]["n"] == 4
    assert recipe["actor_rollout_ref"]["actor"]["ppo_mini_batch_size"] == 4 and recipe["legibility"]["folder"] == str(
        folder
    )

    game = reopen(RunFolder(out))
    with pytest.raises(UserError, match=r"has verl run with the verl\.yaml beside it"):
        take_back(game, GAME, 0, folder, tmp_path / "none")
    by_hand(folder, settings, tmp_path / "first")
    with pytest.raises(UserError, match="is of game, round 0, and not of game, round 1"):
        take_back(game, GAME, 1, folder, tmp_path / "first")
    lines = (folder / "steps.jsonl").read_text().splitlines(keepends=True)
    (folder / "steps.jsonl").write_text(lines[0])
    with pytest.raises(UserError, match="verl has done 1 of 2 steps"):
        take_back(game, GAME, 0, folder, tmp_path / "first")
    (folder / "steps.jsonl").write_text("".join(lines))

    with pytest.raises(HandedOver) as waiting:
        train(settings, out, resume=True, progress=quiet(), train_prover=TrainedByVerl(exports, tmp_path / "first"))
    arm = waiting.value.folder
    assert arm == exports / "arms-correctness-prover" and read_round(arm).reward is None
    taken = game.saved_prover(out / "rounds/00/prover").model.state_dict()
    given = Prover.load(settings.prover, "cpu", source=str(tmp_path / "first")).model.state_dict()
    assert all(torch.equal(taken[name], given[name]) for name in given)
    by_hand(arm, settings, tmp_path / "second", 1.02)
    for given, said in (
        (tmp_path / "first", "has the very weights of rounds/00/prover, which the run has already; give"),
        (folder / "prover", r"is of game, round 0 \(.*rounds-00-prover/round.json\), and the game waits for correctness, round 0"),
        (tmp_path / "elsewhere/arms-correctness-prover/prover", "is of another game"),
    ):  # fmt: skip
        shutil.copytree(arm, tmp_path / "elsewhere" / arm.name, dirs_exist_ok=True)
        (tmp_path / "elsewhere" / arm.name / "train.parquet").write_bytes(b"other prompts")
        if not given.is_dir():
            shutil.copytree(tmp_path / "second", given)
        with pytest.raises(UserError, match=said):
            train(settings, out, resume=True, progress=quiet(), train_prover=TrainedByVerl(exports, given))
        assert not list((out / "arms/correctness").glob("*prover*")), "nothing is left behind"
    shutil.copytree(tmp_path / "second", arm / "prover")
    train(settings, out, resume=True, progress=quiet(), train_prover=TrainedByVerl(exports, arm / "prover"))
    assert finished(out, settings)
    rows = round_solutions(RunFolder(out), 0)
    paid = rows[rows.phase == "ppo"]
    assert len(paid) == 2 * 32 and paid.reward.notna().all() and paid.score.notna().all()
    assert (rows.phase == "collection").sum() > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stop.rule": "fooled"}, "stop.rule: verl trains a fixed number of steps"),
        ({"reward.kind": "goodhart"}, "reward.kind: a Goodhart round"),
        ({"prover.chat_template": "false"}, "prover.chat_template: verl writes every prompt"),
        ({"mixture.checkpoints": "all", "ppo.save_every": "1"}, "mixture.checkpoints: verl gives back"),
    ],
)
def test_games_that_verl_cannot_play_are_refused(tiny_run, tmp_path, change, said):
    from legibility.config_file import override_config
    from legibility.game.trained_elsewhere import hand_over

    changed = override_config(
        tiny_run.config(), [f"{k}={v}" for k, v in change.items()], ("stop", "reward", "prover", "mixture", "ppo")
    )
    with pytest.raises(UserError, match=said):
        hand_over(reopen(tiny_run, config=changed), GAME, 0, 2, tmp_path / "out")
    assert not (tmp_path / "out").exists()
