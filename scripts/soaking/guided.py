"""Coverage-guided input (atheris): grader, step checker and readers, steered to lines that no input has reached yet.

The same strategies and the same checks as in `fuzz`; but hypothesis draws from the bytes that atheris hands it, and
atheris keeps and changes the inputs that reached something new. It runs in a process of its own, a target a process,
because it never returns. Linux, and the extra `fuzz`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from soaking.fuzz import Fuzzed, Target, attempt

ROOT = Path(__file__).resolve().parents[2]
SEEN = ("legibility.grading", "legibility.judging", "legibility.problems", "legibility.reporting.marked_solution", "legibility.weak_to_strong.choice_labels")  # fmt: skip
"""What is instrumented: torch and its kind would drown what the package itself does."""
GRACE = 60.0
"""Seconds over its time after which a process counts as hanging: it also imports and finishes its last input."""


def targets(scratch: Path) -> list[Target]:
    """What is fuzzed, cheap to start: nothing that needs a run."""
    from hypothesis import strategies as st

    from legibility.grading import grade
    from legibility.grading.arithmetic import check_steps
    from tests.fuzzing import judging
    from tests.fuzzing.problem_input import CHECKS
    from tests.fuzzing.settings_input import SOLUTIONS
    from tests.judging.world import made_up_study

    study = made_up_study(scratch / "study")
    exports = judging.tool_files(judging.good_files(study, scratch))
    return [
        Target(
            "grader",
            st.tuples(SOLUTIONS, st.one_of(st.text(max_size=12), st.integers().map(str))),
            lambda pair, f: grade(*pair),
        ),
        Target("step checker", SOLUTIONS, lambda text, f: check_steps(text)),
        *(Target(check.name, check.inputs, check.read) for check in CHECKS),
        Target("exports of judging tools", exports, lambda pair, f: judging.check_import(study, f, *pair)),
    ]


def run(folder: Path, *, seed: int, until: float, names: list[str] | None = None) -> list[tuple[Fuzzed, int]]:
    """Every target for its share of the time until `until` (monotonic): what became of its inputs, branches reached.

    names: of some targets only. Raises RuntimeError where a process ends without a result.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [t.name for t in targets(folder)] if names is None else names
    found = []
    for k, name in enumerate(names):
        seconds = max(5.0, (until - time.monotonic()) / (len(names) - k))
        found.append(_in_a_process(name, folder / f"target{k}.json", seconds, seed))
    return found


def _in_a_process(name: str, file: Path, seconds: float, seed: int) -> tuple[Fuzzed, int]:
    command = [sys.executable, "-m", "soaking.guided", name, str(file), str(seconds), str(seed)]
    path = os.pathsep.join(map(str, (ROOT / "scripts", ROOT)))
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds + GRACE, check=False, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Fuzzed(name, hangs=1), 0
    if not file.is_file():
        raise RuntimeError(f"{name}: atheris ended with {ended.returncode}: {ended.stderr.strip()[-300:]}")
    told = json.loads(file.read_text(encoding="utf-8"))
    branches = re.findall(r"\bcov: (\d+)", ended.stderr)
    return Fuzzed(**{**told, "faults": Counter(told["faults"])}), int(branches[-1]) if branches else 0


def fuzz_one(name: str, file: Path, seconds: float, seed: int) -> None:
    """Fuzz a target for so long, write what was found to `file`, and end the process."""
    import atheris  # the extra `fuzz`

    scratch = Path(tempfile.mkdtemp())
    with atheris.instrument_imports(include=list(SEEN)):
        target = next(t for t in targets(scratch) if t.name == name)
    result, until = Fuzzed(name), time.monotonic() + seconds

    @settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(target.inputs)
    def feed(value: object) -> None:
        attempt(target, value, scratch, result)

    def one(data: bytes) -> None:
        if result.inputs and time.monotonic() > until:
            told = {"faults": result.faults, "examples": {k: repr(v)[:2000] for k, v in result.examples.items()}}
            file.write_text(json.dumps({**vars(result), **told}), encoding="utf-8")
            os._exit(0)  # atheris has no way back
        feed.hypothesis.fuzz_one_input(data)

    warnings.simplefilter("ignore")
    # no time limit of its own worth the name: `attempt` has one
    atheris.Setup(
        [
            name,
            f"-seed={seed + 1}",
            "-timeout=100000",
            "-rss_limit_mb=0",
            "-max_len=8192",
            "-len_control=0",
            f"-artifact_prefix={scratch}/",
        ],
        one,
    )
    atheris.Fuzz()


def table(rows: list[tuple[Fuzzed, int]]) -> str:
    """The rows as markdown, with their sum and every fault."""
    lines = [
        "| what reads it | inputs | refused with one line | branches reached | tracebacks and unfit messages | hangs |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.name} | {r.inputs:,} | {r.refused:,} | {reached:,} | {sum(r.faults.values())} | {r.hangs} |"
        for r, reached in rows
    ]
    lines.append(
        f"| **all** | **{sum(r.inputs for r, _ in rows):,}** | **{sum(r.refused for r, _ in rows):,}** | | "
        f"**{sum(sum(r.faults.values()) for r, _ in rows)}** | **{sum(r.hangs for r, _ in rows)}** |"
    )
    faults = [f"- {r.name}: {n} × {fault}" for r, _ in rows for fault, n in r.faults.items()]
    return "\n".join(["", *lines, *(["", *faults] if faults else []), ""])


if __name__ == "__main__":
    fuzz_one(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
