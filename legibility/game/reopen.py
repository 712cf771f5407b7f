"""A run folder opened again: settings, problems and models as the run had them, for reading and sampling."""

from __future__ import annotations

from legibility.config import Config
from legibility.game.context import Game
from legibility.game.phases import WARM_START
from legibility.game.pinned import pinned
from legibility.game.run_folder import RunFolder
from legibility.models.loading import pick_device
from legibility.problems import ProblemSplits
from legibility.problems.storage import read_splits
from legibility.progress import Progress


def reopen(
    run: RunFolder,
    *,
    splits: ProblemSplits | None = None,
    config: Config | None = None,
    progress: Progress | None = None,
) -> Game:
    """The game behind a run folder.

    splits: other problems than the run's own. config: its settings with some changed. Model paths of the
    config start where they did when the run was made (the manifest's base_dir).
    Raises UserError where the folder cannot be read.
    """
    config = pinned(config or run.config(), run.manifest().models)
    game = Game(
        config,
        run,
        splits or read_splits(run.problems_file),
        pick_device(config.compute.device),
        progress or Progress(quiet=True),
        force=True,
        base_dir=run.base_dir,
    )
    if run.is_done(WARM_START):
        game.base_source = str(run.verified(WARM_START) / "model")
    return game
