"""Completes paths as they are typed, without ever making the console wait for a disk."""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from textual.suggester import Suggester

T = TypeVar("T")
_PATIENCE_S = 2.0
_MOST_ENTRIES = 5000
_MOST_STUCK = 4
_at_work = threading.Semaphore(_MOST_STUCK)


def here() -> Path:
    """Return where relative paths begin; the folder we started in may be gone."""
    try:
        return Path.cwd()
    except OSError:
        return Path("/")


async def aside(call: Callable[[], T], patience_s: float = _PATIENCE_S) -> T | None:
    """Return what ``call`` returns, asked in a thread; None when it fails or takes too long.

    The thread is a daemon of its own: one that hangs on a dead network mount must not keep the
    console from leaving, as those of asyncio's pool would.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T | None] = loop.create_future()

    def tell(value: T | None) -> None:
        if not answer.done():
            answer.set_result(value)

    def work() -> None:
        value = None
        try:
            value = call()
        except OSError:
            pass  # the caller shows nothing for it
        finally:
            _at_work.release()
        try:
            loop.call_soon_threadsafe(tell, value)
        except RuntimeError:
            return  # the console was left meanwhile

    if not _at_work.acquire(blocking=False):
        return None  # enough hang already
    threading.Thread(target=work, name="sdtui-paths", daemon=True).start()
    try:
        return await asyncio.wait_for(answer, patience_s)
    except TimeoutError:
        return None


def complete(typed: str) -> str | None:
    """Return ``typed`` completed to the first entry that begins so; folders come first."""
    folder, slash, beginning = typed.rpartition("/")
    if not slash:
        return None
    place = Path(folder + "/").expanduser()
    found: list[tuple[bool, str]] = []
    with os.scandir(place) as entries:
        for number, entry in enumerate(entries):
            if number >= _MOST_ENTRIES:
                break
            hidden = entry.name.startswith(".") and not beginning.startswith(".")
            if entry.name.startswith(beginning) and not hidden and entry.name.isprintable():
                found.append((not entry.is_dir(), entry.name))
    if not found:
        return None
    file, name = min(found)
    return f"{folder}/{name}{'' if file else '/'}"


class PathSuggester(Suggester):
    """Offers the rest of a path; the right arrow takes it."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        """Return the completed path."""
        return await aside(lambda: complete(value)) if value.startswith(("/", "~", ".")) else None
