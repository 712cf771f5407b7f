"""What trackers see of an evaluation: the run's headline numbers, and a table per section.

A session of its own, begun when everything is computed: attackers may have been trained by other processes, which
share no tracker. The files are written by then, so a tracker that cannot start is a warning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from legibility.errors import UserError
from legibility.evaluation.arm_headlines import arm_headlines
from legibility.evaluation.dataframes import section_frames
from legibility.evaluation.headline import Headline, headline
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.schema import Evaluation, Section
from legibility.evaluation.summary_schema import SUMMARY, read_summary
from legibility.trackers import TrackedTable, Trackers


def track_evaluation(run: EvaluationRun, found: Mapping[str, Section]) -> None:
    """Send the sections found, and the headline numbers of a finished run, to `tracking.trackers`."""
    tracking, warn = run.settings.tracking, run.progress.warn
    if not tracking.trackers:
        return
    try:
        told = run.settings.model_dump(mode="json")
        trackers = Trackers.start(tracking.trackers, tracking.project, run.folder.path, told, warn)
    except UserError as error:
        warn(f"{error}; nothing of this evaluation is tracked")
        return
    with trackers:
        file = run.folder.path / SUMMARY
        summary = read_summary(file) if file.is_file() else None
        numbers = [(h, h.read(summary)) for h in (*headline([summary]), *arm_headlines([summary]))] if summary else []
        trackers.numbers({_name(h): value for h, value in numbers if value is not None})
        for name, frame in section_frames(Evaluation.model_validate(found)).items():
            if len(frame):
                rows = [[_plain(cell) for cell in row] for row in frame.itertuples(index=False)]
                trackers.table(TrackedTable(f"evaluation/{name}", [str(column) for column in frame.columns], rows))


def _name(number: Headline) -> str:
    """evaluation/helpful_accuracy/round 1: one chart per number, told apart by round and verifier."""
    parts = [number.name]
    parts += [] if number.round is None else [f"round {number.round}"]
    parts += [] if number.verifier is None else [f"verifier {number.verifier}"]
    return "/".join(["evaluation", *parts])


def _plain(cell: object) -> str | float | None:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    return cell if isinstance(cell, (bool, int, float)) else str(cell)
