"""Errors a person can act on, each with the exit code that scripts read.

The reader is at a terminal: every error says what failed, why as far as we know, and one next
step. The codes are API (see the README): 2 the task is wrong, 3 the host is not ready, and so on.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What ``sdtui`` returns to the shell."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_READY = 3
    STOPPED = 4
    OUT_OF_MEMORY = 5
    NON_FINITE = 6
    LOST = 7
    INTERRUPTED = 130
    TERMINATED = 143


class SdError(Exception):
    """Something could not be done.

    Args:
        what: The thing that failed, by name: a file and key, a device, a run.
        cause: Why, as far as we know it.
        remedy: One next action, as an imperative.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, what: str, *, cause: str, remedy: str) -> None:
        super().__init__(what, cause, remedy)
        self.what, self.cause, self.remedy = what, cause, remedy

    def __str__(self) -> str:
        return f"{self.what}\n  cause:  {self.cause}\n  remedy: {self.remedy}"


class UsageError(SdError):
    """The command line, the preset or the name of a run is wrong."""

    exit_code = ExitCode.USAGE


class NotReadyError(SdError):
    """The task is well-formed, but this host, its data or its model cannot run it."""

    exit_code = ExitCode.NOT_READY
