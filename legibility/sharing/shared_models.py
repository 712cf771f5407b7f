"""The models of a run, one by one: where they stand, how they are called, and a copy that transformers loads alone.

An adapter is merged into the base it was trained on: a hub page that needs a folder of this machine is of no use.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from legibility.game.condition import ARMS, CORRECTNESS, GAME, ROUND_ARMS, Judge, judges_of, readers_of
from legibility.game.context import Game
from legibility.game.phases import WARM_START
from legibility.game.prover_plan import phase_name, trained_provers
from legibility.game.reopen import reopen
from legibility.game.run_folder import RunFolder
from legibility.models.pretrained import ADAPTER

_MACHINE = ("_name_or_path", "name_or_path", "tokenizer_file", "base_model_name_or_path")
"""Keys under which transformers may write where a model was read."""
_SAVED = re.compile(
    r"config\.json|generation_config\.json|(adapter_)?model.*|score_head\..*|ensemble\.json|tokenizer.*|"
    r"special_tokens_map\.json|added_tokens\.json|vocab\..*|merges\.txt|.*\.jinja|spiece\.model|sentencepiece.*"
)
"""Files of a model; the others of its phase are the run's records."""


@dataclass(frozen=True)
class SharedModel:
    """A model of a run: its `phase`, the `folder` it goes into, its `title`, and whose it is.

    arm, round: of a prover (the warm-started base has arm None). judge: of a verifier or the held-out judge.
    """

    kind: Literal["prover", "verifier"]
    phase: str
    folder: str
    title: str
    arm: str | None = None
    round: int | None = None
    judge: Judge | None = None


def models_of(run: RunFolder) -> Iterator[SharedModel]:
    """The trained models of a run, as far as it is finished: provers, then verifiers."""
    if run.is_done(WARM_START):
        yield SharedModel("prover", WARM_START, "prover-start", "the prover before the game")
    for arm, index in trained_provers(run):
        name, title = f"prover-{arm}", f"the prover of the {ARMS.get(arm)} arm"
        if arm == GAME:
            name, title = f"prover-{index}", f"the prover of round {index}"
        elif arm == CORRECTNESS:
            title = "the correctness-only prover"
        elif arm in ROUND_ARMS:
            name, title = f"{name}-{index}", f"{title}, round {index}"
        yield SharedModel("prover", phase_name(arm, index), name, title, arm, index)
    for judge in (*judges_of(run), *readers_of(run)):
        if judge.arm is not None:
            yield SharedModel("verifier", judge.phase, f"reader-{judge.arm}", f"the {judge.label}", judge=judge)
        elif judge.round is None:
            yield SharedModel("verifier", judge.phase, "held-out-judge", "the held-out judge", judge=judge)
        else:
            name, title = f"verifier-{judge.round}", f"the verifier of round {judge.round}"
            yield SharedModel("verifier", judge.phase, name, title, round=judge.round, judge=judge)


def copy_model(run: RunFolder, model: SharedModel, target: Path) -> None:
    """Copy a model's weights and tokenizer into `target`, without traces of this machine.

    Raises UserError for files of the run that were changed.
    """
    source = run.verified(model.phase)
    if model.phase == WARM_START:
        source = source / "model"
    if (source / ADAPTER).is_file():
        _merge(reopen(run), source, target)
    else:
        for file in sorted(p for p in source.rglob("*") if p.is_file()):
            inside = file.relative_to(source)
            member = len(inside.parts) == 1 or inside.parts[0].startswith("member_")
            if member and _SAVED.fullmatch(file.name):
                (target / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target / inside)
    for file in target.rglob("*.json"):
        _without_machine(file)


def _merge(game: Game, source: Path, target: Path) -> None:
    prover = game.saved_prover(source)
    prover.model = prover.model.merge_and_unload()
    prover.save(target)


def _without_machine(file: Path) -> None:
    """Drop where a model was read, should a library have written it down."""
    content = json.loads(file.read_text(encoding="utf-8"))
    if isinstance(content, dict) and any(key in content for key in _MACHINE):
        kept = {key: value for key, value in content.items() if key not in _MACHINE}
        file.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
