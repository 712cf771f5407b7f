"""A run for other people's tools: Inspect eval logs, and folders for the Hugging Face hub (`legibility export --format`).

What is written names no folder of this machine, no commit and no address of the user's repository. It is whole or not
there, and stands over nothing (`legibility.new_folder`). Studies for people are made by `legibility.judging.export`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from legibility.errors import UserError
from legibility.new_folder import check_new, new_folder

SharedFormat = Literal["inspect", "hub"]


def share(run: Path | str, out: Path | str, kind: SharedFormat, *, weights: bool = False) -> list[str]:
    """Write a run as `kind` into the new folder `out`; returns lines for people on what was written and what to do next.

    weights: with the hub's model cards also the models. Raises UserError, before anything is written, where there is
    no finished round, a file was changed, `out` is taken or a package is missing.
    """
    from legibility.game.run_folder import RunFolder  # which imports torch

    out = Path(out)
    check_new(out, kind)
    if kind == "inspect" and find_spec("inspect_ai") is None:
        raise UserError('--format inspect: inspect_ai is not installed; pip install "legibility[inspect]"')
    opened = RunFolder.existing(run)
    if not opened.rounds():
        raise UserError(
            f"{run}: no finished round yet, so there is nothing to share; go on with: {opened.resume_command}"
        )
    if kind == "inspect":
        from legibility.sharing.inspect_logs import write_inspect_logs

        with new_folder(out) as work:
            return write_inspect_logs(opened, work, out)
    from legibility.sharing.hub_folder import write_hub_folder

    with new_folder(out) as work:
        return write_hub_folder(opened, work, out, weights=weights)
