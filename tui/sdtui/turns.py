"""Keys in turn: each is answered before the next one is handed on.

Textual hands a key at once to what has the focus. Over a slow link several keys come in one
packet: of ``/quick`` all letters then reach the list that had the focus before the search had it,
and the ``q`` ends the console.
"""

from collections import deque
from typing import Any

from textual.events import Event, Key, Paste
from textual.message import Message
from textual.timer import Timer

from sdtui.front import Front

_PATIENCE_S = 3.0  # with a key whose answer does not come to an end; a busy machine takes over 0.5
_LOOK_S = 0.01  # at a screen that cannot take keys yet


class Turns(Front):
    """An app that takes keys and pastes one by one."""

    class Passed(Message):
        """A key is answered: this came after it, from the focus up to the app."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._number = 0
        self._patience: Timer | None = None  # while a key is on its way
        self._keys: deque[Key | Paste] = deque()

    @property
    def takes_keys(self) -> bool:
        """Whether the screen in front is there to take keys."""
        return True

    async def on_event(self, event: Event) -> None:
        """Hand on a key, or keep it until those before it are answered."""
        if not isinstance(event, Key | Paste) or event.is_forwarded:
            await super().on_event(event)
        elif self._patience is not None:
            self._keys.append(event)
        else:
            self._number += 1
            self._patience = self.set_timer(_PATIENCE_S, self._next_key)
            target = self.focused or self.screen
            await super().on_event(event)
            if not target.post_message(self.Passed(self._number)):  # it is gone by now
                self.call_later(self._go_on, self._number)

    def on_turns_passed(self, message: Passed) -> None:
        """Go on once a change of focus has been made, too: it waits in the same queue."""
        if message.number == self._number and self._patience is not None:
            self.call_later(self._go_on, message.number)

    async def _go_on(self, number: int) -> None:
        if number != self._number or self._patience is None:
            return
        if self._keys and not self.takes_keys:
            self.set_timer(_LOOK_S, lambda: self._go_on(number))
        else:
            await self._next_key()

    async def _next_key(self) -> None:
        if self._patience is not None:
            self._patience.stop()
            self._patience = None
        if self._keys:
            await self.on_event(self._keys.popleft())
