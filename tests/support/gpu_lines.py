"""Lines of ``gpu.jsonl`` for tests: hosts of many GPUs, some of them in trouble."""

import math
from typing import Any

from sdcore.gpu.samples import GpuProcess, GpuSample, to_line

GIB = 1 << 30


def busy(index: int, second: int = 0, **changes: Any) -> GpuSample:
    """Return a device that trains."""
    readings: dict[str, Any] = {
        "memory_used": int((60 + index + 3 * math.sin(second / 90)) * GIB),
        "memory_reserved": GIB // 2, "memory_total": 80 * GIB,
        "utilization": int(90 + 8 * math.sin(second / 60 + index)), "power_w": 600.0 + second % 50,
        "power_limit_w": 700.0, "temperature_c": 65 + index, "sm_clock_mhz": 1900,
        "throttle": (), "ecc_uncorrected": 0, "xid": (),
        "processes": (GpuProcess(4730 + index, 40 * GIB),),
    }  # fmt: skip
    return GpuSample(index, f"GPU-{index}", "NVIDIA H800", **{**readings, **changes})


def idle(index: int, **changes: Any) -> GpuSample:
    """Return a device that does nothing."""
    still = {"memory_used": GIB // 2, "utilization": 0, "power_w": 62.0, "sm_clock_mhz": 345,
             "processes": ()}  # fmt: skip
    return busy(index, **{**still, **changes})


def lost(index: int) -> GpuSample:
    """Return a device that fell off the bus."""
    return GpuSample(index, f"GPU-{index}", "NVIDIA H800", lost=True)


def host_of_eight(second: int) -> list[GpuSample]:
    """Return two busy devices that are throttled now and then, one lost, one with bad memory."""
    held = ("power cap",) if second % 10 == 0 else ()
    return [
        busy(0, second, throttle=held), busy(1, second, throttle=held), idle(2),
        idle(3, ecc_uncorrected=2), idle(4), lost(5), idle(6), idle(7),
    ]  # fmt: skip


def host_of_mig(second: int) -> list[GpuSample]:
    """Return one GPU split into two instances, which share the board's sensors."""
    return [
        GpuSample(0, f"MIG-{part}", "NVIDIA A100-SXM4-80GB MIG 3g.40gb", memory_used=part * GIB,
                  memory_total=40 * GIB, temperature_c=50, sm_clock_mhz=1400)
        for part in (1, 2)
    ]  # fmt: skip


def lines(maker: Any, seconds: int, start: float) -> list[dict[str, Any]]:
    """Return one line a second."""
    return [to_line(maker(second), start + second) for second in range(seconds)]
