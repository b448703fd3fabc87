"""The two bars every screen has: where one is, and what the keys do."""

import platform
from dataclasses import replace
from datetime import datetime
from functools import cache, partial
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.binding import ActiveBinding, Binding
from textual.dom import DOMNode
from textual.screen import Screen

from sdcore.text import clean_line
from sdtui import keymap
from sdtui.language import N_, _
from sdtui.widgets.line import Line, clickable

SCREENS = (
    ("tasks", N_("Tasks")), ("new", N_("New")), ("run", N_("Run")), ("log", N_("Log")),
    ("gpu", N_("GPU")), ("images", N_("Images")), ("compare", N_("Compare")),
)  # fmt: skip
_ALWAYS = ("app.help", "app.quit")  # ids of bindings
_WRITES = frozenset({  # ids of those that start, stop, change or delete something
    "tasks.stop", "tasks.resume", "tasks.resume_from", "tasks.delete",
    "run.stop", "run.resume", "run.resume_from", "run.checkpoint", "run.samples",
    "new.create", "new.save",
})  # fmt: skip


def offered_keys(screen: Screen[Any]) -> list[ActiveBinding]:
    """Return what keys do on a screen: nearest first, each in the place its class gives it.

    Textual puts a remapped one behind all others. What this console may not do is left out; its
    key says so in words.
    """
    settings = getattr(screen.app, "settings", None)
    writes = _WRITES if settings is not None and settings.read_only else frozenset()
    by_node: dict[DOMNode, list[ActiveBinding]] = {}
    for active in screen.active_bindings.values():
        offers = getattr(active.node, "offers", None)
        if active.binding.id not in writes and (offers is None or offers(active.binding.action)):
            by_node.setdefault(active.node, []).append(active)
    return [
        active
        for node, own in by_node.items()
        for active in sorted(own, key=partial(_place, _places(type(node))))
    ]


def _place(places: dict[str, int], active: ActiveBinding) -> int:
    return places.get(active.binding.id or "", len(places))


@cache
def _places(of: type[DOMNode]) -> dict[str, int]:
    """Return where the bindings of a class and its bases stand, by id, before any is remapped."""
    written = (own for kind in reversed(of.__mro__) for own in kind.__dict__.get("BINDINGS", ()))
    ids = (binding.id for binding in written if isinstance(binding, Binding))
    return {id_: place for place, id_ in enumerate(filter(None, ids))}


class TopBar(Line):
    """Names the screens, this host, the link and its cost, and the time."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"top--name", "top--here", "top--faint"}
    DEFAULT_CSS = """
    TopBar {
        dock: top; background: $panel; color: $foreground;
        & > .top--name { color: $primary; text-style: bold; }
        & > .top--here { background: $primary; color: $background; text-style: bold; }
        & > .top--faint { color: $faint; }
    }
    """

    def draw(self, here: str, link: tuple[str, str]) -> None:
        """Show ``here`` as the current screen, and what is known of the link.

        Args:
            here: The id of the current screen.
            link: What is known of it, in full and in short; the short form may be empty.
        """
        name, current, faint = (
            self.get_component_rich_style(f"top--{part}", partial=True)
            for part in ("name", "here", "faint")
        )
        text = Text()
        text.append(" sdtui ", style=name)
        titles = [_(title) for _mode, title in SCREENS]
        # Where there is no room for all names, the numbers of the others still lead there.
        named = text.cell_len + sum(cell_len(title) + 4 for title in titles) <= self.size.width
        for number, ((mode, _title), title) in enumerate(zip(SCREENS, titles, strict=True), 1):
            style = current if mode == here else Style()
            click = clickable(f"app.go('{mode}')")
            words = f" {number} {title} " if named or mode == here else f" {number} "
            text.append(words, style=style + click)
        host = clean_line(platform.node().partition(".")[0], 20)
        full, short = link
        time = f"{datetime.now().astimezone():%H:%M}"
        room = self.size.width - text.cell_len
        # What a slow link carries is told as long as there is room for anything.
        forms = (f"{host}  {full}  {time} ", f"{full}  {time} ", f"{short} {time}".lstrip(), short)
        right = next((form for form in forms if cell_len(form) <= room), "")
        text.append(" " * (room - cell_len(right)))
        text.append(right, style=faint)
        self.set(text)


class KeyBar(Line):
    """Says what the keys do here: of the focused pane first, then of the screen."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"keys--key"}
    DEFAULT_CSS = """
    KeyBar {
        dock: bottom; background: $panel; color: $foreground;
        & > .keys--key { color: $accent; text-style: bold; }
    }
    """

    def draw(self) -> None:
        """Show the active bindings that are meant to be seen, as many as there is room for.

        The way to the others and the way out are always among them.
        """
        shown = self._typed() if self._types else self._visible()
        always = [binding for binding in shown if binding.id in _ALWAYS]
        others = [binding for binding in shown if binding.id not in _ALWAYS]
        text, end = Text(" "), Text()
        for binding in always:
            self._add(end, binding)
        for binding in others:
            before = text.copy()
            self._add(text, binding)
            if text.cell_len + end.cell_len > self.size.width:
                text = before
                break
        text.append_text(end)
        self.set(text)

    def _visible(self) -> list[Binding]:
        bindings: dict[str, Binding] = {}
        for active in offered_keys(self.screen):
            if active.binding.show and active.enabled:
                bindings.setdefault(active.binding.action, active.binding)
        return list(bindings.values())

    @property
    def _types(self) -> bool:
        """Whether a letter that is pressed is typed."""
        focused = self.screen.focused
        return focused is not None and focused.check_consume_key("a", "a")

    def _typed(self) -> list[Binding]:
        """Return what keys do beside typing, Enter first."""
        ways = [each for each in self._visible() if not keymap.types(each.key)]
        ways = [each if len(each.key) < 2 else self._named(each) for each in ways]
        escape = self.screen.active_bindings.get("escape")
        if escape is None or getattr(self.screen, "FIELDS_SAY_ENTER", False):
            return ways
        end = [] if any(each.key == "escape" for each in ways) else [self._named(escape.binding)]
        return [Binding("enter", "submit", N_("Done"), key_display="enter"), *end, *ways]

    @staticmethod
    def _named(binding: Binding) -> Binding:
        """Show the key that works here: ``?`` types, F1 helps."""
        return replace(binding, key_display=keymap.named(binding.key))

    def _add(self, text: Text, binding: Binding) -> None:
        key_style = self.get_component_rich_style("keys--key", partial=True)
        click = clickable(f"app.press('{binding.key}')")
        text.append(
            binding.key_display or self.app.get_key_display(binding), style=key_style + click
        )
        text.append(f" {_(binding.description)}  ", style=click)
