"""What is read of a GPU, and the reasons for which nothing is."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Reason = Literal[
    "no_module", "no_driver", "no_device", "no_permission", "lost", "stalled", "error"
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why there are no readings.

    Attributes:
        reason: For programs.
        detail: For people, one line.
    """

    reason: Reason
    detail: str

    def to_record(self, at: float) -> dict[str, Any]:
        """Return the line of ``gpu.jsonl`` for the moment ``at``, in seconds since the epoch."""
        return {"at": at, "unavailable": self.reason, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that computes on a GPU.

    Attributes:
        pid: As the driver sees it: inside a container it may name nothing we know.
        memory: Bytes, or None when the driver does not tell.
    """

    pid: int
    memory: int | None


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU, or one MIG instance of a GPU, at one moment.

    A reading that the device does not give is None, never 0: a GPU without a power sensor does
    not draw 0 W.

    Attributes:
        index: Of the physical GPU in PCI order.
        uuid: ``GPU-…`` or ``MIG-…``; None when the device was lost before it told.
        name: For people; an instance is named after its slice.
        memory_used: Bytes in use by programs.
        memory_reserved: Bytes the driver keeps for itself.
        memory_total: Bytes.
        utilization: Share of the last moments in which something computed, in percent.
        power_w: Watts; None for an instance, which shares the board.
        power_limit_w: Watts at which the driver holds the clock down; None likewise.
        temperature_c: Degrees Celsius of the board.
        sm_clock_mhz: Megahertz.
        throttle: Why the clock is held down, in words; empty when it is not.
        ecc_uncorrected: Memory errors that could not be corrected since the driver was loaded.
        xid: Codes of the driver's XID errors since the run's supervisor began to watch, each
            once, the one seen last at the end, at most ``xid.MOST_CODES``: empty when there was
            none, None when nobody watches or the driver does not tell. An instance has its own
            and those of the whole board.
        processes: Who computes here.
        lost: The device fell off the bus; it comes back with a reset or a reboot at best.
    """

    index: int
    uuid: str | None
    name: str
    memory_used: int | None = None
    memory_reserved: int | None = None
    memory_total: int | None = None
    utilization: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    temperature_c: int | None = None
    sm_clock_mhz: int | None = None
    throttle: tuple[str, ...] | None = None
    ecc_uncorrected: int | None = None
    xid: tuple[int, ...] | None = None
    processes: tuple[GpuProcess, ...] | None = None
    lost: bool = False

    def to_record(self) -> dict[str, Any]:
        """Return plain data for ``gpu.jsonl``."""
        return asdict(self)


def to_line(samples: list[GpuSample], at: float) -> dict[str, Any]:
    """Return the line of ``gpu.jsonl`` for the moment ``at``, in seconds since the epoch."""
    return {"at": at, "gpus": [sample.to_record() for sample in samples]}
