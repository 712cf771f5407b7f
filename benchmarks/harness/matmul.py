"""Worker: the fp32 matrix-product rate of this machine, in GFLOP/s.

python -m harness.matmul THREADS OUT.json
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import torch

SHAPES = ((1024, 1024, 1024), (4096, 128, 384), (4096, 256, 768))


def rate(rows: int, inner: int, columns: int, repeats: int = 7) -> float:
    """Median GFLOP/s of (rows, inner) @ (inner, columns); each timing covers at least 2 GFLOP."""
    a, b, out = torch.randn(rows, inner), torch.randn(columns, inner).t(), torch.empty(rows, columns)
    work = 2 * rows * inner * columns
    calls = max(3, round(2e9 / work))
    timings = []
    for _ in range(repeats):
        started = time.perf_counter()
        for _ in range(calls):
            torch.mm(a, b, out=out)
        timings.append(calls * work / (time.perf_counter() - started) / 1e9)
    return statistics.median(timings)


def measure(threads: int) -> dict[str, float]:
    """Rate by shape, as "rows x inner x columns"."""
    torch.set_num_threads(threads)
    return {" x ".join(map(str, shape)): rate(*shape) for shape in SHAPES}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(measure(int(sys.argv[1]))), encoding="utf-8")
