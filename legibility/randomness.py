"""One source of randomness: streams keyed by what they are for.

Every random draw comes from a generator made from (run seed, names of the purpose). Nothing depends
on how many numbers were drawn before, so a resumed run draws exactly what an uninterrupted one
would, and no random state has to be saved. Where a library can draw from torch's global generator
alone (fresh weights, dropout), it is seeded for that block and put back afterwards.
"""

from __future__ import annotations

import zlib

import numpy as np


def _key(parts: tuple[int | str, ...]) -> list[int]:
    return [zlib.crc32(p.encode()) if isinstance(p, str) else int(p) % 2**63 for p in parts]


def stream(*parts: int | str) -> np.random.Generator:
    """A NumPy generator keyed by the parts, for example stream(seed, "round", 2, "mixture")."""
    return np.random.default_rng(_key(parts))


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed keyed by the parts."""
    return int(np.random.SeedSequence(_key(parts)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def uniforms(seed: int, rows: np.ndarray, positions: int) -> np.ndarray:
    """Uniform numbers in (0, 1) keyed by (seed, row, position): shape (len(rows), positions).

    Counter-based (splitmix64), so a row's numbers do not depend on which other rows are asked for.
    """
    with np.errstate(over="ignore"):
        row_keys = _mix(np.asarray(rows, dtype=np.uint64) + _mix(np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15)))
        counters = row_keys[:, None] + np.arange(1, positions + 1, dtype=np.uint64)[None] * np.uint64(
            0x9E3779B97F4A7C15
        )
        bits = _mix(counters)
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
