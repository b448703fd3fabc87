"""Between Textual and the terminal: sends changed cells only, and counts what is sent.

With ``front`` this is where private methods of Textual are overridden (``App._display``,
``App._fatal_error`` and ``Screen._compositor_refresh``), and its driver is asked for more than it
offers; ``frames`` reads its updates. The version is pinned, tests hold both to it, and the setting
``frames = "stock"`` goes around them.
"""

import os
import time
from collections import deque
from typing import Any

from rich.color import ColorSystem
from rich.console import RenderableType
from rich.segment import Segments
from textual._compositor import CompositorUpdate
from textual.app import App
from textual.drivers.linux_driver import LinuxDriver
from textual.screen import Screen

from sdtui.frames import Frames

_WINDOW_S = 4.0  # over which the rate is told


class Meter:
    """Counts bytes, in all and per second."""

    def __init__(self) -> None:
        self.total = 0
        self._recent: deque[tuple[float, int]] = deque()

    def add(self, count: int) -> None:
        """Count what was sent just now."""
        self.total += count
        self._recent.append((time.monotonic(), count))
        self._drop_old()

    def rate(self) -> float:
        """Return bytes per second over the last seconds."""
        self._drop_old()
        return sum(count for _at, count in self._recent) / _WINDOW_S

    def _drop_old(self) -> None:
        while self._recent and self._recent[0][0] < time.monotonic() - _WINDOW_S:
            self._recent.popleft()


METER = Meter()  # one terminal, one count


class CountingDriver(LinuxDriver):
    """Textual's driver, with a count of what goes to the terminal."""

    def write(self, data: str) -> None:
        """Send ``data`` and count its bytes."""
        METER.add(len(data.encode("utf-8", "replace")))
        super().write(data)


def erases_in_color() -> bool:
    """Say whether the terminal fills erased cells with the current background.

    tmux does, whatever its terminfo entry says; GNU screen does not.
    """
    if os.environ.get("TMUX"):
        return True
    try:
        import curses  # noqa: PLC0415  # not in every Python

        curses.setupterm()
        return curses.tigetflag("bce") == 1
    except Exception:  # noqa: BLE001  # curses.error has no stable place; no entry is no promise
        return False


class WireScreen(Screen[None]):
    """A screen that does not render what is held back: it renders everything afterwards."""

    def _compositor_refresh(self) -> None:
        if self.app._batch_count:  # noqa: SLF001
            self.refresh()
        else:
            super()._compositor_refresh()


class Wire(App[Any]):
    """An app that sends only the cells that changed since the last frame sent."""

    sends_changes = True
    _frames: Frames | None = None

    def forget_screen(self) -> None:
        """Draw every cell anew with the next frame: the terminal may show something else."""
        if self._frames is not None:
            self._frames.forget()

    def take_mouse(self, taken: bool) -> None:
        """Take the mouse from the terminal, or give it back for the terminal's own selection."""
        switch = "_enable_mouse_support" if taken else "_disable_mouse_support"
        getattr(self._driver, switch, lambda: None)()

    def on_mount(self) -> None:
        """Know nothing of the terminal after the console was suspended."""
        self.app_resume_signal.subscribe(self, lambda _app: self.forget_screen())

    def _fatal_error(self) -> None:
        """End with the traceback of a bug, without the values of variables: some are secrets."""
        from rich.traceback import Traceback  # noqa: PLC0415  # only when everything is lost

        segments = self.console.render(Traceback(show_locals=False, width=None))
        self._exit_renderables.append(Segments(segments))
        self._close_messages_no_wait()

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        if not self._sends_changes_of(renderable):
            if renderable is not None and not self._batch_count:  # else nothing is written
                self.forget_screen()
            super()._display(screen, renderable)
            return
        try:
            self._send(renderable)
        finally:
            self.post_display_hook()

    def _sends_changes_of(self, renderable: RenderableType | None) -> bool:
        """Say whether this is a frame that Textual would write in full now."""
        return (
            self.sends_changes
            and isinstance(renderable, CompositorUpdate)
            and not self._batch_count
            and self._running
            and not self._closed
            and not self.is_headless
            and self._driver is not None
            and not self._driver.is_inline
        )

    def _send(self, update: Any) -> None:
        driver = self._driver
        assert driver is not None, "asked before"
        first = self._frames is None
        if self._frames is None:
            self._frames = Frames()
        # A field tells where its cursor is when it changes, not when it is moved or just placed; an
        # input method composes there.
        placed = getattr(self.screen.focused, "cursor_screen_offset", self.cursor_position)
        cursor = self.screen.outer_size.clamp_offset(placed)
        colors = self.console._color_system or ColorSystem.TRUECOLOR  # noqa: SLF001
        data = self._frames.render(
            update, (self.size.width, self.size.height), (cursor.x, cursor.y), colors
        )
        if data is None:
            data = update.render_segments(self.console)
            self._frames.forget()
        self._previous_cursor_position = cursor
        if data:
            self._begin_update()
            driver.write(data)
            self._end_update()
            driver.flush()
        if first:  # what the first frame need not wait for
            self._frames.erases_in_color = erases_in_color()
