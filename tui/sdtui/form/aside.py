"""Calls that wait for a disk, made in threads so that the console never waits with them.

The threads are daemons of their own: one that hangs on a dead network mount must not keep the
console from leaving, as those of asyncio's pool would. What such a call raises is raised again
where its answer is awaited, a bug of ours included.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from textual.app import App

T = TypeVar("T")
_PATIENCE_S = 2.0
_SILENCE_S = 1.0  # that a person is left to wait without a word
_MOST_STUCK = 4
_at_work = threading.Semaphore(_MOST_STUCK)


async def apart(call: Callable[[], T]) -> T:
    """Return what ``call`` returns, or raise what it raises, however long it takes."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def give(done: Callable[[Any], None], value: object) -> None:
        if not answer.done():  # else nobody waits for it any more
            done(value)

    def work() -> None:
        done: Callable[[Any], None] = answer.set_result
        value: object
        try:
            value = call()
        except Exception as error:  # noqa: BLE001  # raised where the answer is awaited
            done, value = answer.set_exception, error
        with suppress(RuntimeError):  # the loop is closed: the console was left meanwhile
            loop.call_soon_threadsafe(give, done, value)

    threading.Thread(target=work, name="sdtui-aside", daemon=True).start()
    return await answer


async def aside(call: Callable[[], T], patience_s: float = _PATIENCE_S) -> T | None:
    """Return what ``call`` returns; None when a disk refuses it or it takes too long."""
    if not _at_work.acquire(blocking=False):
        return None  # enough hang already

    def counted() -> T:
        try:
            return call()
        finally:
            _at_work.release()

    try:
        return await asyncio.wait_for(apart(counted), patience_s)
    except OSError:  # of which TimeoutError is one; the caller shows nothing for it
        return None


async def patiently(app: App[Any], call: Callable[[], T], words: str) -> T:
    """Do as ``apart``, and tell ``words`` to a person who waits for more than a second."""
    timer = app.set_timer(_SILENCE_S, lambda: app.notify(words, markup=False))
    try:
        return await apart(call)
    finally:
        timer.stop()
