"""`legibility compare`: finished runs side by side, in compare.json.

Runs of one set of settings are seeds of one condition (`legibility.evaluation.merged_seeds`); of several sets they
are groups that are compared with each other (`legibility.evaluation.groups`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from legibility.errors import UserError
from legibility.evaluation.groups import ComparedRun, GroupComparison, compare_groups, grouped
from legibility.evaluation.merged_seeds import Comparison, merge
from legibility.evaluation.summary_schema import SUMMARY, Summary, read_summary
from legibility.game.run_folder import RunFolder
from legibility.game.setting_changes import different_settings
from legibility.stored import stored_text, write_stored

COMPARISON, FIGURES = "compare.json", "figures"


def compare(
    paths: Sequence[Path | str], out: Path | str, confidence_level: float = 0.95
) -> Comparison | GroupComparison:
    """Compare finished runs in `out`/compare.json and return what it holds: groups where their settings differ.

    Raises UserError for fewer than two runs, one that is not finished, two of one seed and the same settings, or an
    `out` that exists; but an `out` that this very comparison began, and that has no page yet, is gone on with.
    """
    folders, out = [Path(path) for path in paths], Path(out)
    summaries = _finished(folders)
    settings = [RunFolder.existing(p).config().model_dump(mode="json") for p in folders]
    groups = grouped([ComparedRun(s, c) for s, c in zip(summaries, settings, strict=True)])
    for group in groups:
        _independent([run.summary for run in group])
    if len(groups) == 1:
        result: Comparison | GroupComparison = merge(summaries, confidence_level, _settings_differ(settings))
    else:
        result = compare_groups(groups, confidence_level)
    if out.exists() and not _began(out, result):
        raise UserError(f"{out}: exists already; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_stored(out / COMPARISON, result)
    return result


def _began(out: Path, comparison: Comparison | GroupComparison) -> bool:
    """Whether a folder holds nothing but what a comparison that was killed leaves: this one, without its page."""
    if not out.is_dir() or {p.name for p in out.iterdir() if not p.name.endswith(".tmp")} - {COMPARISON, FIGURES}:
        return False
    file = out / COMPARISON
    return not file.exists() or file.read_bytes() == stored_text(comparison).encode("utf-8")


def read_summaries(paths: Sequence[Path]) -> list[Summary]:
    """The summary of every run, as seeds of one condition. Raises UserError as `compare` does, and for equal seeds."""
    summaries = _finished(paths)
    _independent(summaries)
    return summaries


def _finished(paths: Sequence[Path]) -> list[Summary]:
    if len(paths) < 2:
        raise UserError("compare needs at least two run folders")
    summaries = []
    for path, name in zip(paths, _names(paths), strict=True):
        run = RunFolder.existing(path)
        file = run.path / SUMMARY
        if not file.is_file():
            raise UserError(f"{path}: this run is not finished (no summary.json); go on with: {run.resume_command}")
        summaries.append(read_summary(file).model_copy(update={"run": name}))
    return summaries


def _names(paths: Sequence[Path]) -> list[str]:
    """The folders' names as they are now, which a copy or a moved run does not share; with the folders above them where
    two have one name."""
    parts = [path.resolve().parts for path in paths]
    for depth in range(1, max(map(len, parts))):
        names = ["/".join(p[-depth:]) for p in parts]
        if len(set(names)) == len(set(parts)):
            break
    return names


def _independent(summaries: Sequence[Summary]) -> None:
    """Raise UserError where seeds of one condition are not all different."""
    seeds = [s.seed for s in summaries]
    if len(set(seeds)) < len(seeds):
        raise UserError(
            f"compare: two runs have the same seed ({', '.join(map(str, seeds))}) and settings; they are not independent"
        )


def _settings_differ(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Settings other than the seed in which runs of one group differ from the first: what they were computed with."""
    first, *others = settings
    found = {str(d) for other in others for d in different_settings(first, other) if d.name != "seed"}
    return sorted(found)
