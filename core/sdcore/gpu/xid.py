"""Watches for XID errors: the numbers by which the driver names what went wrong on a GPU.

The driver queues them for whoever registered, so a look never waits. Each call may be unknown to
an old driver or refused for a split GPU; a GPU that cannot be watched says so by None.
"""

from ctypes import c_void_p, cast
from types import ModuleType
from typing import Any

MOST_CODES = 8  # of one GPU that are told; a sick one repeats the same few
_MOST_EVENTS = 64  # of one look: a program in a loop of faults must not hold the reading up
_NO_INSTANCE = 0xFFFFFFFF


class XidWatch:
    """The XID errors of some GPUs since each was registered.

    Args:
        pynvml: The open library.
        failures: What its calls raise.
    """

    def __init__(self, pynvml: ModuleType, failures: tuple[type[Exception], ...]) -> None:
        self._pynvml, self._failures = pynvml, failures
        # By board, then each code with the instances it struck, None for the whole board; the
        # last one seen is the last.
        self._seen: dict[int, dict[tuple[int, int | None], None]] = {}
        self._uuids: dict[str, int] = {}
        try:
            self._set = pynvml.nvmlEventSetCreate()
        except failures:
            self._set = None

    def register(self, board: Any) -> None:
        """Watch a GPU; for a split one this is the board, its instances cannot be watched."""
        kind = self._pynvml.nvmlEventTypeXidCriticalError
        if self._set is None or _address(board) in self._seen:
            return
        try:
            self._pynvml.nvmlDeviceRegisterEvents(board, kind, self._set)
        except self._failures:
            return
        self._seen[_address(board)] = {}
        if (uuid := self._uuid(board)) is not None:
            self._uuids[uuid] = _address(board)

    def look(self) -> None:
        """Take in what happened since the last look, without waiting for anything."""
        for _each in range(_MOST_EVENTS if self._seen else 0):
            try:
                event = self._pynvml.nvmlEventSetWait_v2(self._set, 0)
            except self._failures:
                return  # most often a time-out: there is no more
            seen = self._of(event.device)
            if seen is not None and event.eventType == self._pynvml.nvmlEventTypeXidCriticalError:
                part = None if event.gpuInstanceId == _NO_INSTANCE else int(event.gpuInstanceId)
                seen.pop((int(event.eventData), part), None)
                seen[int(event.eventData), part] = None

    def _of(self, device: Any) -> dict[tuple[int, int | None], None] | None:
        """Return what was seen of an event's GPU: by its handle, the last that a lost one has."""
        address = _address(device)
        if address not in self._seen:
            address = self._uuids.get(self._uuid(device) or "", 0)
        return self._seen.get(address)

    def _uuid(self, device: Any) -> str | None:
        try:
            return str(self._pynvml.nvmlDeviceGetUUID(device))
        except self._failures:
            return None

    def codes(self, board: Any, instance: int | None) -> tuple[int, ...] | None:
        """Return the codes a device was struck by, the newest last; None if nobody would tell.

        Args:
            board: The GPU.
            instance: Id of the GPU instance on it; None for the whole, which has all of them.
        """
        seen = self._seen.get(_address(board))
        if seen is None:
            return None
        mine = [code for code, part in seen if instance is None or part in {None, instance}]
        newest = dict.fromkeys(reversed(mine))  # one code may have struck board and instance
        return tuple(reversed(list(newest)[:MOST_CODES]))

    def close(self) -> None:
        """Give the queue back."""
        if self._set is not None:
            try:
                self._pynvml.nvmlEventSetFree(self._set)
            except self._failures:
                return  # the library goes anyway


def _address(handle: Any) -> int:
    """Return what tells two GPUs apart even when one of them no longer answers."""
    return cast(handle, c_void_p).value or 0
