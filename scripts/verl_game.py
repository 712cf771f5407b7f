"""Play a game whose provers verl trains (docs/verl.md): stops at every prover phase, and goes on from what verl made.

python scripts/verl_game.py CONFIG --out runs/g                       # to the first prover phase; says what verl is to run
python scripts/verl_game.py CONFIG --out runs/g --trained FOLDER      # takes that prover back; to the next one, or the end
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from legibility.config_file import load_config
from legibility.game.trained_elsewhere import HandedOver, TrainedByVerl
from legibility.play import train
from legibility.script import run_script


def main(
    config: Annotated[
        Path, typer.Argument(help="The game's settings, with prover.chat_template and stop.rule: fixed.")
    ],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.key=value, as of legibility train.")] = None,
    out: Annotated[Path, typer.Option(help="The run folder; verl's folders go beside it, below OUT-verl.")] = Path(
        "run"
    ),
    trained: Annotated[Path | None, typer.Option(help="A prover folder that verl's merger wrote.")] = None,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs that verl has, for the config it is handed.")] = 1,
) -> None:
    """Play to the next prover phase that verl has to run, or to the end."""
    try:
        settings = load_config(config, overrides or [])
        by_verl = TrainedByVerl(out.with_name(f"{out.name}-verl"), trained, gpus)
        train(settings, out, resume=True, base_dir=config.parent, train_prover=by_verl)
    except HandedOver as waiting:
        folder = waiting.folder.resolve()
        print(f"now verl, in its environment, with legibility beside it:\n\n  cd {folder}")
        print("  export VERL_USE_EXTERNAL_MODULES=legibility.integrations.verl_trainer")
        print('  python -m verl.trainer.main_ppo --config-path "$PWD" --config-name verl')
        print("  python -m verl.model_merger merge --backend fsdp \\")
        print("      --local_dir checkpoints/global_step_$(cat checkpoints/latest_checkpointed_iteration.txt)/actor \\")
        print("      --target_dir prover\n\nthen the same command as now with")
        print(f"\n  --trained {folder / 'prover'}")


if __name__ == "__main__":
    run_script(main)
