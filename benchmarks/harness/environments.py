"""Virtual environments of the benchmark: one for each version of TRL, equal in everything else.

Made once with `python -m venv` and pip in a cache folder, and used again as long as their list of
requirements is the same. pip's own settings (index, proxy) apply.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from legibility.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
COMMON = (
    "torch==2.13.0", "transformers==5.23.0", "accelerate==1.15.0", "datasets==5.2.0", "tokenizers==0.23.3",
    "pydantic>=2.8,<3", "pyyaml>=6,<7",
)  # fmt: skip
STAMP = "requirements.json"  # written when an environment is complete


def environment(cache: Path, trl: str, say: Callable[[str], None] = print) -> Path:
    """The Python of the environment with that TRL, made now if it is not there.

    Raises UserError where it cannot be made, with pip's last lines.
    """
    folder, wanted = cache / f"trl-{trl}", [f"trl=={trl}", *COMMON]
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / STAMP
    if stamp.is_file() and json.loads(stamp.read_text(encoding="utf-8")) == wanted and python.exists():
        return python
    if folder.exists() and not (folder / "pyvenv.cfg").is_file():
        raise UserError(f"{folder}: is in the way and no virtual environment; give another --cache")
    say(f"making the environment {folder} (once; minutes, about 2 GB)")
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", *wanted],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"{folder}: cannot be made: {' '.join(command[:5])} …\n{tail(done.stderr)}")
    stamp.write_text(json.dumps(wanted), encoding="utf-8")
    return python


def run_module(
    python: Path | str, module: str, arguments: Sequence[str], folder: Path, threads: int, ranks: int = 1
) -> None:
    """Run a worker module in `folder`, its output in a log file there; by torchrun where it is to have several ranks.

    Raises UserError with its last lines if it fails.
    """
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")]),
        "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1",
    }  # fmt: skip
    log = folder / "log.txt"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    with open(log, "w", encoding="utf-8") as out:
        done = subprocess.run(
            [str(python), *launcher, "-m", module, *arguments], cwd=folder, env=variables, stdout=out, stderr=out
        )
    if done.returncode:
        raise UserError(
            f"{module} failed ({done.returncode}); the end of its output:\n{tail(log.read_text(encoding='utf-8'))}"
        )


def tail(text: str, lines: int = 12) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
