"""Drives the console without a terminal: keys in, the grid of characters out."""

import asyncio
import difflib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual import _wait
from textual.pilot import Pilot

from sdtui.app import SdTui
from sdtui.settings import Settings

SIZES = [(80, 24), (100, 30), (140, 40)]
# Textual's pilot looks for a quiet moment twice after each key: of 20 ms, in which a test does
# nothing. A quarter of that, with the same share of it idle, makes the tests half as long.
_wait.SLEEP_GRANULARITY, _wait.SLEEP_IDLE = 1 / 200, 1 / 4000

SNAPSHOTS = Path(__file__).parents[1] / "tui" / "snapshots"


class Driven:
    """A console in a test, at a fixed size."""

    def __init__(self, app: SdTui, pilot: "Pilot[object]") -> None:
        self.app, self.pilot = app, pilot
        self._said: list[str] = []  # since the last key: a message may be gone before one looks
        notify = app.notify

        def say(message: str, **more: Any) -> None:
            self._said.append(message)
            notify(message, **more)

        app.notify = say  # type: ignore[method-assign]

    def lines(self) -> list[str]:
        """Return the screen as text, one string a row, without the blanks at line ends."""
        strips = self.app.screen._compositor.render_strips()
        return [strip.text.rstrip() for strip in strips]

    def text(self) -> str:
        """Return the screen as one text."""
        return "\n".join(self.lines())

    async def press(self, *keys: str) -> None:
        """Press keys and let the console answer."""
        self._said.clear()
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, words: str) -> None:
        """Type text into what has the focus."""
        for sign in words:
            await self.pilot.press("space" if sign == " " else sign)
        await self.pilot.pause()

    async def until(self, what: str | Callable[[], bool], seconds: float = 15.0) -> None:
        """Wait until a text stands on the screen, or something is true."""
        end = time.monotonic() + seconds
        while not (what in self.text() if isinstance(what, str) else what()):
            assert time.monotonic() < end, f"{what!r} did not come:\n{self.text()}"
            await self.pilot.pause(0.05)

    async def told(self, words: str, seconds: float = 15.0) -> None:
        """Wait until a person is told something; messages are not drawn in tests."""
        await self.until(
            lambda: any(
                words in each
                for each in (*self._said, *(note.message for note in self.app._notifications))
            ),
            seconds,
        )


@asynccontextmanager
async def console(
    size: tuple[int, int] = (80, 24), settings: Settings | None = None
) -> AsyncIterator[Driven]:
    """Open the console at ``size`` and wait for its first look at the runs."""
    app = SdTui(settings or Settings(link="fast", language="en"))
    async with app.run_test(size=size) as pilot:
        driven = Driven(app, pilot)
        await driven.until(lambda: app.view.runs is not None)
        await pilot.pause()
        yield driven


def drive(
    story: Callable[[Driven], Awaitable[None]],
    size: tuple[int, int] = (80, 24),
    settings: Settings | None = None,
) -> None:
    """Run ``story`` on a console of its own; tests stay plain functions."""

    async def play() -> None:
        async with console(size, settings) as driven:
            await story(driven)

    asyncio.run(play())


def assert_snapshot(name: str, lines: list[str]) -> None:
    """Compare a screen with the one kept under ``tests/tui/snapshots/<name>.txt``.

    With ``SDTUI_SNAPSHOTS=write`` in the shell of pytest, keep it instead: look at the diff then.
    Whatever goes with time or host must be replaced by the caller before.
    """
    path, new = SNAPSHOTS / f"{name}.txt", "\n".join(lines) + "\n"
    if WRITE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(new, encoding="utf-8")
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    changed = difflib.unified_diff(old.splitlines(), new.splitlines(), "kept", "now", lineterm="")
    assert old == new, "\n".join(changed)


WRITE = os.environ.get("SDTUI_SNAPSHOTS") == "write"  # read before tests clear SDTUI_*
