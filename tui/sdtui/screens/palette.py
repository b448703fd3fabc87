"""Everything that can be done here, by name: the keys of this screen, the runs, the themes."""

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.binding import Binding, BindingType
from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.screen import Screen
from textual.types import IgnoreReturnCallbackType
from textual.widgets import OptionList

from sdtui.language import LANGUAGES, N_, _
from sdtui.phrases import state_name
from sdtui.theme import in_order
from sdtui.widgets.bars import offered_keys

if TYPE_CHECKING:
    from sdtui.app import SdTui

_LINKS = {"auto": N_("Link: tell by the connection"), "slow": N_("Link: slow, once a second"),
          "fast": N_("Link: fast, four times a second")}  # fmt: skip
_PLAIN = ("key_", "cursor_", "scroll_", "app.focus", "focus_", "page_")  # no commands of their own


class Commands(Provider):
    """Offers what the keys do, then settings, then runs to open."""

    async def discover(self) -> Hits:
        """Offer everything before anything was typed."""
        for words, help_, act in self._all():
            yield DiscoveryHit(words, act, help=help_)

    async def search(self, query: str) -> Hits:
        """Offer what matches."""
        matcher, none = self.matcher(query), True
        for words, help_, act in self._all():
            score = matcher.match(words)
            if score > 0:
                none = False
                yield Hit(score, matcher.highlight(words), act, help=help_)
        if none:  # Textual would say so in English
            yield Hit(1, _("nothing of this name"), _nothing)

    def _all(self) -> Iterable[tuple[str, str, IgnoreReturnCallbackType]]:
        yield from self._keys()
        yield from self._settings()
        yield from self._runs()

    def _keys(self) -> Iterable[tuple[str, str, IgnoreReturnCallbackType]]:
        seen = set[str]()
        for active in offered_keys(self.screen):
            binding = active.binding
            plain = binding.action.startswith(_PLAIN) or not binding.id
            if plain or not binding.description or not active.enabled or binding.action in seen:
                continue
            seen.add(binding.action)
            key = self.app.get_key_display(binding)
            words = f"{_(binding.description)}  ({key})"
            run = partial(self.app.run_action, binding.action, active.node)
            yield words, _(binding.tooltip) if binding.tooltip else "", run

    def _settings(self) -> Iterable[tuple[str, str, IgnoreReturnCallbackType]]:
        app = cast("SdTui", self.app)
        for theme in in_order(app.available_themes):
            words = _("Theme: {name}").format(name=theme)
            yield words, "", partial(app.change_settings, theme=theme)
        for code, name in LANGUAGES.items():
            yield (
                _("Language: {name}").format(name=name),
                "",
                partial(app.change_settings, language=code),
            )
        for link, words in _LINKS.items():
            yield _(words), "", partial(app.change_settings, link=link)

    def _runs(self) -> Iterable[tuple[str, str, IgnoreReturnCallbackType]]:
        app = cast("SdTui", self.app)
        for status in (app.view.runs or ())[:200]:
            words = _("Open {name}").format(name=status.name)
            yield (
                f"{words}  {status.id[:15]}",
                state_name(status.state),
                partial(app.open_run, status.id),
            )


def _nothing() -> None:
    """Do nothing."""


class Palette(CommandPalette):
    """Textual's palette, whose page keys fail in a list that was not drawn since it changed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "page(False)", N_("Page up"), show=False, id="palette.page_up"),
        Binding("pagedown", "page(True)", N_("Page down"), show=False, id="palette.page_down"),
    ]

    def action_page(self, down: bool) -> None:
        """Go a page up or down."""
        options = self.query_one(OptionList)
        with suppress(KeyError):  # not laid out yet; the next press does better
            getattr(options, "action_page_down" if down else "action_page_up")()


def open_palette(app: "SdTui") -> None:
    """Show the palette over the current screen."""
    if not CommandPalette.is_open(cast("Any", app)):
        palette: Screen[Any] = Palette(
            providers=[Commands], placeholder=_("Type what you want to do"), id="palette"
        )
        app.push_screen(palette)
