"""The draft on disk: what is typed, kept while one types, so that a lost link loses nothing."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdcore.errors import SdError
from sdcore.runs.files import write_bytes
from sdcore.runs.paths import home, make_private
from sdtui.form.aside import apart, aside
from sdtui.language import _
from sdtui.told import told, told_why

Record = dict[str, Any]
_WRITING = threading.Lock()
_kept: dict[Path, float] = {}


def draft_file() -> Path:
    """Return where the draft is kept."""
    return home() / "draft.json"


def read_draft() -> Record | None:
    """Return the draft of an earlier console; None when there is none that can be read."""
    try:
        record = json.loads(draft_file().read_bytes())
    except (OSError, ValueError, RecursionError, SdError):
        return None  # the form begins empty
    return record if isinstance(record, dict) else None


def keep_draft(record: Record) -> str:
    """Write the draft; return why it could not be written, else nothing."""
    try:
        with _WRITING:
            path, at = draft_file(), record["at"]
            if at >= _kept.get(path, 0.0):  # else a newer one overtook it
                make_private(path.parent)
                write_bytes(path, json.dumps(record).encode())
                _kept[path] = at
    except (OSError, SdError) as error:
        words = _("the draft cannot be kept: {cause}; it is tried again at the next change")
        return words.format(cause=_cause(error))
    return ""


def forget_draft(at: float) -> str:
    """Remove the draft if it is of before ``at``; return why it could not be removed."""
    try:
        with _WRITING:
            path = draft_file()
            if at >= _kept.get(path, 0.0):
                path.unlink(missing_ok=True)
                _kept[path] = at
    except (OSError, SdError) as error:
        return _("the draft cannot be removed: {cause}").format(cause=_cause(error))
    return ""


def _cause(error: OSError | SdError) -> str:
    return told(error.cause) if isinstance(error, SdError) else told_why(error)


class DraftKeeper:
    """Keeps one form's draft: one write at a time, the newest draft last.

    Args:
        tell: Called with the words of a trouble, once until it changes or is over.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell, self._told = tell, ""
        self._unkept: Record | None = None  # the newest, until it is known to be on the disk
        self._busy = False

    async def keep(self, record: Record) -> None:
        """Write ``record``; where a slow disk still writes another, once that one is written."""
        self._unkept = record
        if self._busy:
            return  # who is at it goes on with this one
        self._busy = True
        try:
            while (newest := self._unkept) is not None:
                trouble = await apart(lambda record=newest: keep_draft(record))  # type: ignore[misc]
                self._take(trouble)
                if self._unkept is newest:
                    self._unkept = newest if trouble else None
                    return
        finally:
            self._busy = False

    async def leave(self, record: Record | None) -> None:
        """Write ``record``, or what is not on the disk yet, and wait for it a moment at most."""
        last = record or self._unkept
        if last is not None:
            await aside(lambda: keep_draft(last))

    async def forget(self) -> None:
        """Remove the draft: what it held was started."""
        self._unkept, now = None, time.time()
        self._take(await apart(lambda: forget_draft(now)))

    def _take(self, trouble: str) -> None:
        """Tell a trouble once, until it changes."""
        told, self._told = self._told, trouble
        if trouble and trouble != told:
            self._tell(trouble)
