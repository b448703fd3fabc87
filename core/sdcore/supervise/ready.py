"""The readiness pipe: what the client waits for, and how an error of the start reaches it.

One JSON line, then the end of the file. The end without a line means that the supervisor died
before it could say anything.
"""

import json
import os
from contextlib import suppress
from typing import Any, Literal

from sdcore.errors import ExitCode, NotReadyError, SdError

Phase = Literal["running", "queued"]


class Ready:
    """The supervisor's end; says one thing once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @property
    def said(self) -> bool:
        """True once the client has its answer."""
        return self._descriptor is None

    def ok(self, phase: Phase) -> None:
        """Tell the client that the run is on its way and that it may leave."""
        self._say({"ok": phase})

    def fail(self, error: SdError) -> None:
        """Tell the client why there is no run."""
        self._say({"error": to_record(error)})

    def close(self) -> None:
        """Hang up; the other end sees it when every copy is closed."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _say(self, message: dict[str, Any]) -> None:
        if self._descriptor is None:
            return
        with suppress(BrokenPipeError):  # the client was killed: the run goes on without it
            os.write(self._descriptor, json.dumps(message).encode())
        self.close()


def to_record(error: SdError) -> dict[str, Any]:
    """Return ``error`` as plain data."""
    return {
        "what": error.what,
        "cause": error.cause,
        "remedy": error.remedy,
        "exit_code": int(error.exit_code),
    }


def from_record(record: dict[str, Any]) -> SdError:
    """Return the error that ``to_record`` wrote."""
    ready = record.get("exit_code") != ExitCode.NOT_READY
    kind = SdError if ready else NotReadyError
    return kind(str(record["what"]), cause=str(record["cause"]), remedy=str(record["remedy"]))


def read_answer(descriptor: int) -> dict[str, Any] | None:
    """Wait for the supervisor's answer; None when it died without one."""
    answer = b""
    while chunk := os.read(descriptor, 1 << 16):
        answer += chunk
    try:
        message = json.loads(answer)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None
