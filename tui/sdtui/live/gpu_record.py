"""From a line of ``gpu.jsonl`` to readings; a field of the wrong type counts as not read."""

import json
import math
from typing import Any, get_args

from sdcore.gpu.samples import GpuProcess, GpuSample, Reason, Unavailable
from sdcore.runs.fields import Fields
from sdcore.text import clean_line

MOST_DEVICES = 64  # of one line: more is no host but damage
_MOST_PROCESSES = 256
_MOST_CODES = 32
_NUMBERS = ("utilization", "memory_used", "power_w", "temperature_c", "sm_clock_mhz")


class Words:
    """Names of throttle reasons as they come up, each with a bit."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def bits(self, words: Any) -> float:
        """Return the bits of ``words``; NaN when the device did not tell."""
        if not isinstance(words, list):
            return math.nan
        found = 0
        for word in words:
            if isinstance(word, str) and (word in self.known or len(self.known) < 32):
                found |= 1 << self.known.setdefault(word, len(self.known))
        return float(found)

    @property
    def names(self) -> tuple[str, ...]:
        """The words by bit, clean."""
        return tuple(clean_line(word, 60) for word in self.known)


def parse(line: bytes, latest: float) -> tuple[float, dict[str, Any]] | None:
    """Return the time and record of a line, or None when it is damaged.

    Args:
        line: Without its newline.
        latest: No line was written after this; one that says so is damaged.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    at = Fields(record).moment("at")
    return (at, record) if at is not None and 0 <= at <= latest else None


def devices_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the records of the devices in a line."""
    found = record.get("gpus")
    if not isinstance(found, list):
        return []
    return [each for each in found[:MOST_DEVICES] if isinstance(each, dict)]


def key_of(device: dict[str, Any]) -> str:
    """Return what a device is known by: instances of one GPU share its index, not the UUID."""
    uuid = device.get("uuid")
    return uuid if isinstance(uuid, str) else f"#{device.get('index')}"


def row_of(device: dict[str, Any], t: float, words: Words) -> tuple[float, ...]:
    """Return a row of readings at the time ``t``, in the order of ``gpu_track.TIME`` and on."""
    return (t, *(_real(device.get(name)) for name in _NUMBERS), words.bits(device.get("throttle")))


def _real(value: Any) -> float:
    """Return a finite number, or NaN: of a bool, a text, an integer beyond any reading."""
    if type(value) is int:
        return float(value) if abs(value) >> 63 == 0 else math.nan
    return value if type(value) is float and math.isfinite(value) else math.nan


def sample_of(device: dict[str, Any], place: int) -> GpuSample:
    """Return a device's readings with their types; ``place`` stands in for a missing index."""
    fields = Fields(device)
    index = fields.whole("index")
    throttle = device.get("throttle")
    util = fields.moment("utilization")
    temperature, clock = fields.moment("temperature_c"), fields.moment("sm_clock_mhz")
    return GpuSample(
        index=place if index is None or not 0 <= index < 1000 else index,
        uuid=fields.text("uuid"),
        name=fields.text("name") or "GPU",
        memory_used=_count(fields.whole("memory_used")),
        memory_reserved=_count(fields.whole("memory_reserved")),
        memory_total=_count(fields.whole("memory_total")),
        utilization=None if util is None else round(min(100.0, max(0.0, util))),
        power_w=_within(fields.moment("power_w")),
        power_limit_w=_within(fields.moment("power_limit_w")),
        temperature_c=None if temperature is None else round(_clip(temperature)),
        sm_clock_mhz=None if clock is None else round(_clip(clock)),
        throttle=fields.texts("throttle") if isinstance(throttle, list) else None,
        ecc_uncorrected=_count(fields.whole("ecc_uncorrected")),
        xid=_codes(device.get("xid")),
        processes=_processes(device.get("processes")),
        lost=device.get("lost") is True,
    )


def unavailable_of(record: dict[str, Any]) -> Unavailable | None:
    """Return why a line holds no readings, or None when it holds some."""
    fields = Fields(record)
    reason = fields.text("unavailable")
    if reason is None:
        return None
    known: Reason = next((each for each in get_args(Reason) if each == reason), "error")
    return Unavailable(known, fields.text("detail") or reason)


def _count(number: int | None) -> int | None:
    return None if number is None or number < 0 else number


def _within(number: float | None) -> float | None:
    return None if number is None else _clip(number)


def _clip(number: float) -> float:
    return min(99_999.0, max(-999.0, number))


def _codes(found: Any) -> tuple[int, ...] | None:
    if not isinstance(found, list):
        return None
    return tuple(code for code in found if type(code) is int and 0 < code < 10_000)[-_MOST_CODES:]


def _processes(found: Any) -> tuple[GpuProcess, ...] | None:
    if not isinstance(found, list):
        return None
    each = (Fields(item) for item in found[:_MOST_PROCESSES] if isinstance(item, dict))
    told = ((item.whole("pid"), _count(item.whole("memory"))) for item in each)
    return tuple(GpuProcess(pid, memory) for pid, memory in told if pid is not None)
