"""How screens come to the front: held until they are drawn, styled once, made before a key.

Calls ``App._init_mode`` of Textual and overrides what it does whenever the mode changes.
"""

import importlib
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any
from weakref import WeakKeyDictionary

from textual.events import ScreenSuspend
from textual.screen import Screen

from sdtui.wire import Wire

_HOLD_S = 0.25  # that a screen may take until it is shown as far as it is
_QUIET_S = 0.5  # without a key


class Front(Wire):
    """An app whose screens come to the front at little cost."""

    _held: ExitStack | None = None  # the batch of a screen that is not drawn yet
    _styled_for = ""  # the theme the styles were parsed for

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._imports: dict[tuple[str, ...], threading.Thread] = {}
        self._screens_styled: WeakKeyDictionary[Screen[Any], str] = WeakKeyDictionary()

    def delay_update(self, delay: float = _HOLD_S) -> None:
        """Hold the picture until the screen that comes has drawn itself, at most ``delay`` seconds.

        Textual holds it for a fixed time whenever the mode changes.
        """
        if self._held is None:
            self._held = ExitStack()
            self._held.callback(self.set_timer(max(delay, _HOLD_S), self.let_go).stop)
            self._held.enter_context(self.batch_update())

    def let_go(self) -> None:
        """Show what was held back."""
        held, self._held = self._held, None
        if held is not None:
            held.close()
            self.refresh()

    def refresh_css(self, animate: bool = True) -> None:
        """Style what is open anew, but only what is still in the colours of another theme.

        Textual asks for it also where a screen is merely shown, and parses every style for it.
        """
        if self._styled_for != self.theme:
            self._styled_for = self.theme
            super().refresh_css(animate=animate)
            self._screens_styled |= dict.fromkeys(self.screen_stack, self.theme)
        for screen in self.screen_stack:
            if self._screens_styled.setdefault(screen, self.theme) != self.theme:
                self._screens_styled[screen] = self.theme
                self.stylesheet.update(screen, animate=animate)
                screen.refresh(layout=True)

    def import_ahead(self, modules: tuple[str, ...]) -> bool:
        """Import modules in a thread, so that the first key that needs them does not wait for it.

        Returns:
            Whether that is done.
        """

        def work() -> None:
            for module in modules:
                try:
                    importlib.import_module(module)
                except Exception:  # noqa: BLE001  # the screen that needs it raises it again
                    return

        if modules not in self._imports:
            self._imports[modules] = threading.Thread(target=work, name="imports", daemon=True)
            self._imports[modules].start()
        return not self._imports[modules].is_alive()

    def compose_ahead(self, modes: Iterable[str], typed: float) -> bool:
        """Compose one screen that was not shown yet behind the one in front, while nobody types.

        A key that shows it then waits a third as long.

        Args:
            modes: Of these screens the first.
            typed: When the last key was pressed, on the monotonic clock.

        Returns:
            Whether all of them were there already.
        """
        mode = next((each for each in modes if each not in self._screen_stacks), None)
        # Not while it is left: Textual goes through the screens then, and one more would end it.
        if mode is not None and self.is_running and time.monotonic() - typed > _QUIET_S:
            self._init_mode(mode)
            screen = self._screen_stacks[mode][0]
            screen.post_message(ScreenSuspend())
            self._screens_styled[screen] = self.theme
        return mode is None
