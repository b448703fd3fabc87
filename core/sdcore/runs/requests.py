"""Wishes a console leaves in ``requests/``; whoever fulfils one deletes its file.

``stop``, ``term`` and ``kill`` are the rungs of the stop ladder and are read by the supervisor;
the trainer reads ``stop`` (finish the step, save, leave), ``checkpoint`` and ``sample``.
"""

import errno
import json
import os
import time
from pathlib import Path
from typing import Any, Literal

from sdcore.runs.files import PRIVATE, read_json
from sdcore.runs.paths import RunDir

_WRITING_S = 0.5  # between the making of the file and its one write lie microseconds

Kind = Literal["stop", "term", "kill", "checkpoint", "sample"]


def path_of(run: RunDir, kind: Kind) -> Path:
    """Return the file that stands for a wish."""
    return run.requests / f"{kind}.json"


def ask(run: RunDir, kind: Kind, by: str, **details: Any) -> bool:
    """Leave a wish; return False when the same one is already waiting.

    Args:
        run: The run to ask.
        kind: What is wished.
        by: What made it, for the record: ``sdtui stop``, ``SIGINT``, ``SIGTERM``.
        details: Further fields, for example ``grace_s``.
    """
    run.requests.mkdir(mode=0o700, exist_ok=True)
    try:
        descriptor = os.open(
            path_of(run, kind), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE
        )
    except FileExistsError:
        return False
    try:
        os.write(descriptor, json.dumps({"at": time.time(), "by": by, **details}).encode())
    except OSError as error:
        # On a full disk a file can still be made, and that it is there is the wish.
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
    finally:
        os.close(descriptor)
    return True


def pending(run: RunDir, kind: Kind) -> dict[str, Any] | None:
    """Return the wish that waits, or None.

    A file without content is a wish being written, whose fields must not be missed: who asked
    decides the exit code. Only when it stays empty (a full disk) does it count with no fields.
    """
    path = path_of(run, kind)
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if found.st_size == 0 and 0 <= time.time() - found.st_mtime < _WRITING_S:
        return None
    return read_json(path) or {}


def done(run: RunDir, kind: Kind) -> None:
    """Take a fulfilled wish away."""
    path_of(run, kind).unlink(missing_ok=True)
