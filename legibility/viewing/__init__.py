"""`legibility view`: a page over one or several run folders, for reading every completion while a run plays and after.

`run_files` finds what a run has on disk, `completion_index` keeps a DuckDB table of it, `completion_filter` says which
rows are meant, `verifier_readings` has the scores and doubts, `item_page` puts an item together, `curves` has the step
metrics, `view_server` serves it. Nothing here writes in a run or takes its lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from legibility.errors import UserError

NEEDS = ("duckdb", "plotly", "starlette", "uvicorn")


def view(runs: Sequence[Path], host: str = "127.0.0.1", port: int = 8766) -> None:
    """Serve the page over some runs until interrupted.

    Raises UserError where the extra is not installed, a folder is no run's, or the address cannot be used.
    """
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise UserError(f'{", ".join(missing)} not installed; pip install "legibility[view]"')
    from legibility.viewing.view_server import serve

    serve(runs, host, port)
