"""Devices a game may be planned for: what their data sheets say, or what a CPU is measured to do.

`utilization` is the share of the matrix-product rate that training reaches. For GPUs it is a convention, not a
measurement of this package, which has met none: Llama 3 405B trained at 38-43 % of an H100's bf16 rate (Dubey et al.
2024, Table 4), PaLM at 46 % (Chowdhery et al. 2022).
"""

from __future__ import annotations

import os
import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from legibility.errors import UserError

GB = 1e9
LLAMA = 0.4
"""Share of the bf16 rate that large training runs report (see above)."""


@dataclass(frozen=True)
class Device:
    """One device. memory in bytes; bfloat16, float32: dense FLOP/s; bandwidth, link: bytes/s of its memory and between ranks.

    attention_share: what attention under a mask reaches of the rate that other products reach, stepping_share that of
    decoding steps; on a GPU these are a matter of bandwidth, which is counted beside.
    bandwidth_share: what streaming kernels reach of the bandwidth; call_seconds: what starting one operation costs.
    free: share of the memory that a plan may use; the rest is the driver's, and what allocators leave in pieces.
    """

    name: str
    memory: float
    bfloat16: float
    float32: float
    bandwidth: float
    link: float
    source: str
    utilization: float = LLAMA
    attention_share: float = 0.5
    stepping_share: float = 0.5
    bandwidth_share: float = 0.7
    call_seconds: float = 1e-5
    free: float = 0.92
    is_cpu: bool = False

    @property
    def usable(self) -> float:
        """Bytes that a plan may use."""
        return self.memory * self.free

    def rate(self, dtype: str) -> float:
        """Dense FLOP/s of a type of weights."""
        return self.bfloat16 if dtype == "bfloat16" else self.float32


GPUS = (
    Device("a10", 24 * GB, 125e12, 31.2e12, 600e9, 32e9, "NVIDIA A10 data sheet"),
    Device("a100-40gb", 40 * GB, 312e12, 19.5e12, 1555e9, 300e9, "NVIDIA A100 data sheet, SXM 40 GB"),
    Device("a100", 80 * GB, 312e12, 19.5e12, 2039e9, 300e9, "NVIDIA A100 data sheet, SXM 80 GB"),
    Device("l4", 24 * GB, 121e12, 30.3e12, 300e9, 32e9, "NVIDIA L4 data sheet, without sparsity"),
    Device("l40s", 48 * GB, 362e12, 91.6e12, 864e9, 32e9, "NVIDIA L40S data sheet, without sparsity"),
    Device("rtx4090", 24 * GB, 165e12, 82.6e12, 1008e9, 32e9, "NVIDIA Ada architecture paper, without sparsity"),
    Device("h100", 80 * GB, 989e12, 67e12, 3350e9, 450e9, "NVIDIA H100 data sheet, SXM, without sparsity"),
    Device("h200", 141 * GB, 989e12, 67e12, 4800e9, 450e9, "NVIDIA H200 data sheet, SXM, without sparsity"),
    Device("b200", 180 * GB, 2250e12, 75e12, 8000e9, 900e9, "NVIDIA DGX B200 data sheet over 8, without sparsity"),
    Device("mi300x", 192 * GB, 1307e12, 163e12, 5300e9, 448e9, "AMD Instinct MI300X data sheet, without sparsity"),
)
"""Links are one direction: half of what data sheets give for NVLink or Infinity Fabric, PCIe 4.0 x16 for the others."""


def gpu(name: str) -> Device:
    """A GPU of the table. Raises UserError for any other name."""
    found = next((d for d in GPUS if d.name == name.lower()), None)
    if found is None:
        raise UserError(f"--gpu: no figures of {name!r}; known are {', '.join(d.name for d in GPUS)}")
    return found


def this_cpu(threads: int | None = None) -> Device:
    """This machine's processor, measured in about two seconds, with its memory.

    The rate of matrix products is that of a size which a block of a small model has, that of attention of a group of
    short texts; the bandwidth is that of elementwise operations on arrays of some megabytes that are not the last ones. The calling thread's own seconds are counted, since machines are shared.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        a, b, out = torch.randn(2048, 256), torch.randn(256, 768), torch.empty(2048, 768)
        q, mask = torch.randn(1, 8, 112, 32), torch.zeros(1, 1, 112, 112)
        arrays = deque(torch.randn(2048, 512) for _ in range(16))
        small = torch.randn(4)
        product = _seconds(lambda: torch.mm(a, b, out=out))
        attention = _seconds(lambda: F.scaled_dot_product_attention(q, q, q, attn_mask=mask))
        few, keys, hidden = (
            torch.randn(32, 8, 4, 32),
            torch.randn(32, 112, 8, 32).transpose(1, 2),
            torch.zeros(32, 1, 4, 112),
        )
        step = _seconds(lambda: F.scaled_dot_product_attention(few, keys, keys, attn_mask=hidden))
        stream = _seconds(lambda: arrays.append(arrays.popleft().mul(arrays[0])))
        call = _seconds(lambda: small.mul(2.0))
    finally:
        torch.set_num_threads(before)
    rate = 2 * a.shape[0] * a.shape[1] * b.shape[1] / product
    return Device(
        "cpu",
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        rate,
        rate,
        3 * arrays[0].nbytes / stream,
        10e9,
        f"measured on this machine with {threads or before} threads",
        utilization=0.9,
        attention_share=4 * q.numel() * q.shape[2] / attention / rate,
        stepping_share=4 * few.numel() * keys.shape[2] / step / rate,
        bandwidth_share=1.0,
        call_seconds=2 * call,  # and as much for the Python around it
        is_cpu=True,
    )


def _seconds(work: Callable[[], object], repeats: int = 15, least: float = 0.02) -> float:
    """Median seconds of one call, of this thread alone; each timing takes at least `least` seconds."""
    clock = time.thread_time
    work()
    started, calls = clock(), 0
    while clock() - started < least:
        work()
        calls += 1
    timings = []
    for _ in range(repeats):
        started = clock()
        for _ in range(calls):
            work()
        timings.append((clock() - started) / calls)
    return statistics.median(timings)
