"""A game of seconds on tiny models, and finished folders to try things on. Made once for all parts."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from soaking.commands import Ended, call, fixed_secrets, legibility

ATTACK = ["attack.rewards=[src,cgc]", "attack.seeds=1", "attack.max_steps=2", "attack.steps=2"]
"""Overrides of a short suite of attacks."""
PATIENCE = 30.0  # seconds for what outlives a killed command to end
LIGHT = ["evaluation.bootstrap=20", "evaluation.best_of_n_problems=4", "evaluation.best_of_n_samples=4"]


@dataclass(frozen=True)
class World:
    """Where everything lies. `game`: overrides on top of `config`."""

    folder: Path
    config: Path
    game: list[str]
    experiment: Path

    @property
    def finished(self) -> Path:
        """A finished run, evaluated with attacks and reported."""
        return self.folder / "finished"

    @property
    def second(self) -> Path:
        """A finished run of another seed."""
        return self.folder / "second"

    @property
    def study(self) -> Path:
        """An exported study with simulated judgments."""
        return self.folder / "study"

    @property
    def judgments(self) -> Path:
        """A CSV file of judgments of the study."""
        return self.folder / "judgments.csv"

    def train(self, out: Path, *more: str, resume: bool = True) -> list[object]:
        """The command that plays the tiny game."""
        return ["train", self.config, *self.game, *more, "--out", out, *(["--resume"] if resume else [])]


def make_world(folder: Path) -> World:
    """Models, problems and finished folders. Raises RuntimeError where a command that nothing disturbs fails."""
    folder.mkdir(parents=True, exist_ok=True)
    _sure(call(lambda: _models(folder)))
    (folder / "game.yaml").write_text("{}\n", encoding="utf-8")
    world = World(folder, folder / "game.yaml", _overrides(folder), folder / "experiment.yaml")
    _sure(legibility(*world.train(world.finished, resume=False), folder=folder))
    _sure(legibility("evaluate", world.finished, *ATTACK, folder=folder))
    _sure(legibility(*world.train(world.second, "seed=1", resume=False), folder=folder))
    _sure(
        legibility(
            "export",
            world.finished,
            "--out",
            world.study,
            "--per-condition",
            4,
            "--raters",
            3,
            before=fixed_secrets,
            folder=folder,
        )
    )
    _sure(legibility("simulate-raters", world.study, folder=folder))
    _judgments(world)
    world.experiment.write_text(yaml.safe_dump(_experiment(world), sort_keys=False), encoding="utf-8")
    return world


def _sure(ended: Ended) -> None:
    if ended.code != 0:
        raise RuntimeError(f"the world could not be made: {ended.out}\n{ended.err}")


def _models(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers import models as tokenizer_models
    from transformers import PreTrainedTokenizerFast

    from legibility.models.nano import train_tokenizer
    from tests.support import llama, sums, teach

    tokenizer = train_tokenizer(vocab_size=300)
    teach(llama(tokenizer, hidden=48, layers=2), tokenizer).save_pretrained(folder / "prover")
    tokenizer.save_pretrained(folder / "prover")
    alphabet = ["<pad>", "<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(tokenizer_models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<pad>", "<end>"])
    plain = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<end>")
    llama(plain).save_pretrained(folder / "verifier")
    plain.save_pretrained(folder / "verifier")
    lines = "".join(json.dumps(p) + "\n" for p in sums(150))
    (folder / "sums.jsonl").write_text(lines, encoding="utf-8")


def _overrides(folder: Path) -> list[str]:
    return [
        f"problems.train={{kind: file, path: {folder / 'sums.jsonl'}, solution: solution}}",
        "problems.prover=40", "problems.verifier=30", "problems.validation=16", "problems.test_size=20",
        f"prover.model={folder / 'prover'}", f"verifier.model={folder / 'verifier'}",
        "verifier.updates=8", "verifier.batch_problems=8", "verifier.solutions_per_problem=4",
        "verifier.learning_rate=0.003",
        "ppo.steps=2", "ppo.problems_per_step=4", "ppo.samples_per_role=4", "ppo.minibatch_size=16",
        "ppo.micro_batch_size=16", "ppo.learning_rate=0.001", "ppo.save_every=1",
        "sampling.max_new_tokens=16", "stop.rule=fixed", "game.rounds=2", "game.collection_samples=4",
        "evaluation.samples=6", "gates.enabled=false", "compute.threads=1", "compute.device=cpu",
        *LIGHT,
    ]  # fmt: skip


def _experiment(world: World) -> dict[str, object]:
    """A weak-to-strong experiment of seconds on the finished run's text."""
    return {
        "seeds": [0],
        "task": {"kind": "solutions", "run": str(world.finished), "balance": "label"},
        "parts": {"weak": 24, "student": 24, "trusted": 12, "validation": 16, "test": 24},
        "models": {
            "bytes": {"model": str(world.folder / "verifier"), "learning_rate": 3e-3},
            "big": {"model": str(world.folder / "prover"), "learning_rate": 3e-3},
        },
        "training": {"epochs": 1, "batch_size": 8, "evaluations": 2},
        "grid": [{"weak": ["bytes"], "strong": ["big"], "objectives": ["xent", "confidence"]}],
        "bootstrap": 20,
        "compute": {"threads": 1, "device": "cpu"},
    }


def _judgments(world: World) -> None:
    """What a spreadsheet of three raters would hold."""
    items = [json.loads(line)["item_id"] for line in (world.study / "items.jsonl").read_text().splitlines()]
    rows = [
        f"{rater},{item},{('true', 'false')[(i >> r) & 1]}"
        for r, rater in enumerate("abc")
        for i, item in enumerate(items)
    ]
    world.judgments.write_text("rater,item_id,verdict\n" + "\n".join(rows) + "\n", encoding="utf-8")


def copy(source: Path, target: Path) -> Path:
    """A fresh copy of a folder in place of whatever stands there.

    Helpers of a killed command live on for a moment and may write a file while the folder is taken away: then it is
    taken away again. Raises OSError where that does not end.
    """
    until = time.monotonic() + PATIENCE
    while target.exists():
        shutil.rmtree(target, ignore_errors=time.monotonic() < until)
    shutil.copytree(source, target, symlinks=True)
    return target
