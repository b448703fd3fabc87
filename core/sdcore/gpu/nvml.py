"""Reads GPUs through NVML, the library behind ``nvidia-smi``.

``pynvml`` is imported when it is first needed: most commands never look at a GPU. Every call
may fail by itself (a laptop has no power sensor, a container hides processes), so a failed call
costs one reading, never the sample; and a call may also block for as long as the driver likes,
so whoever must stay alive calls from a thread.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, TypeVar

from sdcore.gpu.samples import GpuProcess, GpuSample, Reason, Unavailable
from sdcore.gpu.xid import XidWatch

T = TypeVar("T")

# Bits of NVML's clock event reasons. An idle GPU (1) and clocks that somebody chose (2, 0x10,
# 0x100) are not held down by any trouble.
_THROTTLE = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
    0x200: "board limit",
    0x400: "reliability voltage",
}


@dataclass(frozen=True, slots=True)
class Versions:
    """What ``sdtui doctor`` shows."""

    driver: str | None
    library: str | None
    cuda: str | None


@dataclass(frozen=True, slots=True)
class _Device:
    """A handle and what never changes about it."""

    index: int
    uuid: str | None
    name: str
    handle: Any = field(repr=False)
    board: Any = field(repr=False)  # of the GPU itself; equal to handle but for an instance
    instance: int | None = None  # by which the driver's events name it
    lost: bool = False


def throttle_words(bits: int) -> tuple[str, ...]:
    """Name the reasons in NVML's bit mask that hold the clock down."""
    return tuple(word for bit, word in _THROTTLE.items() if bits & bit)


def open_nvml() -> "Nvml | Unavailable":
    """Open the library and list the devices; may block in the driver."""
    try:
        import pynvml  # noqa: PLC0415
    except ImportError:
        return Unavailable("no_module", "the Python package nvidia-ml-py is not installed")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return _why(pynvml, error)
    try:
        nvml = Nvml(pynvml)
    except pynvml.NVMLError as error:
        pynvml.nvmlShutdown()
        return _why(pynvml, error)
    if not nvml.devices:
        nvml.close()
        return Unavailable("no_device", "the NVIDIA driver sees no GPU")
    return nvml


def _why(pynvml: ModuleType, error: Exception) -> Unavailable:
    reasons: dict[int, Reason] = {
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no_driver",
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "no_driver",
        pynvml.NVML_ERROR_NO_PERMISSION: "no_permission",
        pynvml.NVML_ERROR_GPU_IS_LOST: "lost",
        pynvml.NVML_ERROR_GPU_NOT_FOUND: "no_device",
    }
    code = getattr(error, "value", None)
    reason = reasons.get(code, "error") if isinstance(code, int) else "error"
    return Unavailable(reason, str(error) or type(error).__name__)


class Nvml:
    """The open library. Not for use by two threads at once."""

    def __init__(self, pynvml: ModuleType) -> None:
        self._pynvml = pynvml
        # FunctionNotFound of an old driver comes as this one from versioned functions.
        self._failures = (pynvml.NVMLError, pynvml.NVMLLibraryMismatchError)
        self._xid: XidWatch | None = None
        self.devices: list[_Device] = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            self.devices.extend(self._list(index))

    def watch(self) -> None:
        """Have samples tell of XID errors from now on; the driver tells of none before."""
        self._xid = XidWatch(self._pynvml, self._failures)
        for device in self.devices:
            if device.board is not None:
                self._xid.register(device.board)

    def read(self, only: Collection[str] | None = None) -> list[GpuSample]:
        """Read the devices, MIG instances in place of a GPU that is split into them.

        Args:
            only: UUIDs to read; None reads all.
        """
        if self._xid is not None:
            self._xid.look()
        return [self._sample(d) for d in self.devices if only is None or d.uuid in only]

    def versions(self) -> Versions:
        """Return the versions of driver, library and CUDA."""
        nv = self._pynvml
        cuda = self._ask(nv.nvmlSystemGetCudaDriverVersion)
        return Versions(
            driver=self._ask(nv.nvmlSystemGetDriverVersion),
            library=self._ask(nv.nvmlSystemGetNVMLVersion),
            cuda=None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
        )

    def close(self) -> None:
        """Give the library back; readings are over."""
        if self._xid is not None:
            self._xid.close()
        self._ask(self._pynvml.nvmlShutdown)

    def _ask(self, call: Callable[..., T], *arguments: Any) -> T | None:
        """Return one reading, or None when the device does not give it."""
        try:
            return call(*arguments)
        except self._failures:
            return None

    def _list(self, index: int) -> list[_Device]:
        nv = self._pynvml
        try:
            board = nv.nvmlDeviceGetHandleByIndex(index)
        except nv.NVMLError as error:
            if getattr(error, "value", None) != nv.NVML_ERROR_GPU_IS_LOST:
                raise
            return [_Device(index, None, f"GPU {index}", None, None, lost=True)]
        whole = self._describe(index, board, board)
        mode = self._ask(nv.nvmlDeviceGetMigMode, board)
        if not mode or not mode[0]:
            return [whole]
        # A split GPU cannot be computed on as a whole: CUDA wants an instance's UUID.
        slots = range(self._ask(nv.nvmlDeviceGetMaxMigDeviceCount, board) or 0)
        found = (self._ask(nv.nvmlDeviceGetMigDeviceHandleByIndex, board, slot) for slot in slots)
        return [self._describe(index, part, board) for part in found if part is not None]

    def _describe(self, index: int, handle: Any, board: Any) -> _Device:
        nv = self._pynvml
        uuid = self._ask(nv.nvmlDeviceGetUUID, handle)
        name = self._ask(nv.nvmlDeviceGetName, handle) or f"GPU {index}"
        part = None if handle is board else self._ask(nv.nvmlDeviceGetGpuInstanceId, handle)
        return _Device(index, uuid, name, handle, board, part)

    def _sample(self, device: _Device) -> GpuSample:
        xid = self._codes(device)
        if device.lost or self._is_lost(device.handle):
            return GpuSample(device.index, device.uuid, device.name, xid=xid, lost=True)
        nv, handle, board = self._pynvml, device.handle, device.board
        used, reserved, total = self._memory(handle)
        rates = self._ask(nv.nvmlDeviceGetUtilizationRates, handle)
        power = self._ask(nv.nvmlDeviceGetPowerUsage, handle)
        limit = self._ask(nv.nvmlDeviceGetEnforcedPowerLimit, handle)
        return GpuSample(
            device.index,
            device.uuid,
            device.name,
            memory_used=used,
            memory_reserved=reserved,
            memory_total=total,
            utilization=None if rates is None else int(rates.gpu),
            power_w=None if power is None else power / 1000,
            power_limit_w=None if limit is None else limit / 1000,
            temperature_c=self._ask(nv.nvmlDeviceGetTemperature, board, nv.NVML_TEMPERATURE_GPU),
            sm_clock_mhz=self._ask(nv.nvmlDeviceGetClockInfo, board, nv.NVML_CLOCK_SM),
            throttle=self._throttle(board),
            ecc_uncorrected=self._ask(
                nv.nvmlDeviceGetTotalEccErrors,
                handle,
                nv.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
                nv.NVML_VOLATILE_ECC,
            ),
            xid=xid,
            processes=self._processes(handle),
        )

    def _codes(self, device: _Device) -> tuple[int, ...] | None:
        if self._xid is None or device.board is None:
            return None
        return self._xid.codes(device.board, device.instance)

    def _is_lost(self, handle: Any) -> bool:
        nv = self._pynvml
        try:
            nv.nvmlDeviceGetMemoryInfo(handle)
        except nv.NVMLError as error:
            lost = {nv.NVML_ERROR_GPU_IS_LOST, nv.NVML_ERROR_RESET_REQUIRED}
            return getattr(error, "value", None) in lost
        return False

    def _memory(self, handle: Any) -> tuple[int | None, int | None, int | None]:
        """Return bytes used, reserved and in total; old drivers count reserved as used."""
        nv = self._pynvml
        info = self._ask(nv.nvmlDeviceGetMemoryInfo, handle, nv.nvmlMemory_v2)
        if info is not None:
            return int(info.used), int(info.reserved), int(info.total)
        info = self._ask(nv.nvmlDeviceGetMemoryInfo, handle)
        return (None, None, None) if info is None else (int(info.used), None, int(info.total))

    def _throttle(self, board: Any) -> tuple[str, ...] | None:
        nv = self._pynvml
        bits = self._ask(nv.nvmlDeviceGetCurrentClocksEventReasons, board)
        if bits is None:  # the name before driver 535
            bits = self._ask(nv.nvmlDeviceGetCurrentClocksThrottleReasons, board)
        return None if bits is None else throttle_words(bits)

    def _processes(self, handle: Any) -> tuple[GpuProcess, ...] | None:
        found = self._ask(self._pynvml.nvmlDeviceGetComputeRunningProcesses, handle)
        if found is None:
            return None
        return tuple(GpuProcess(int(each.pid), each.usedGpuMemory) for each in found)
