"""Everything that can be done here, by name: the keys of this screen, the runs, the themes."""

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

from textual.binding import Binding, BindingType
from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.screen import Screen
from textual.types import IgnoreReturnCallbackType
from textual.widget import Widget
from textual.widgets import OptionList

from sdtui.language import LANGUAGES, N_, _
from sdtui.live.log_levels import Level
from sdtui.phrases import state_name
from sdtui.screens.over import SeenThrough
from sdtui.theme import in_order
from sdtui.widgets.bars import offered_keys

if TYPE_CHECKING:
    from sdtui.app import SdTui
    from sdtui.widgets.gpu_pane import GpuBody
    from sdtui.widgets.log_view import LogView

_CHOICES: dict[str, dict[Any, str]] = {  # of the settings, by their values
    "language": {"auto": N_("Language: as the environment says")},
    "link": {"auto": N_("Link: tell by the connection"), "slow": N_("Link: slow, once a second"),
             "fast": N_("Link: fast, four times a second")},
    "mouse": {True: N_("Mouse: works in sdtui"),
              False: N_("Mouse: is the terminal's, to select text")},
    "bell": {True: N_("Bell: rings when a run ends"), False: N_("Bell: is silent")},
    "frames": {"changed": N_("Frames: send changed cells only"),
               "stock": N_("Frames: send whole widgets, as Textual does")},
}  # fmt: skip
_LEVELS = {
    Level.DEBUG: N_("Log: all levels"), Level.INFO: N_("Log: info and above"),
    Level.WARNING: N_("Log: warnings and errors"), Level.ERROR: N_("Log: errors"),
}  # fmt: skip
_PLAIN = ("key_", "cursor_", "scroll_", "app.focus", "focus_", "page_")  # no commands of their own
_LESS = 0.1  # words in any order, or of the help or id, count less than the name


class Entry(NamedTuple):
    """What can be done: in words, and by what else it is found."""

    words: str
    help: str
    act: IgnoreReturnCallbackType
    english: str = ""
    more: str = ""  # the id of a binding, and its help in English


class Commands(Provider):
    """Offers what the keys do, then settings, then runs to open."""

    async def discover(self) -> Hits:
        """Offer everything before anything was typed."""
        for entry in self._all():
            yield DiscoveryHit(entry.words, entry.act, help=entry.help)

    async def search(self, query: str) -> Hits:
        """Offer what matches: in the language of the console, in English, by id or help."""
        matcher, none = self.matcher(query), True
        parts = query.casefold().split()
        for entry in self._all():
            score = max(matcher.match(entry.words), matcher.match(entry.english))
            beside = " ".join(entry[:2] + entry[3:]).casefold()
            if score <= 0 and parts and all(part in beside for part in parts):
                score = _LESS
            if score > 0:
                none = False
                yield Hit(score, matcher.highlight(entry.words), entry.act, help=entry.help)
        if none:  # Textual would say so in English
            yield Hit(1, _("nothing of this name"), _nothing)

    def _all(self) -> Iterable[Entry]:
        yield from self._keys()
        yield from self._panes()
        yield from self._settings()
        yield from self._runs()

    def _keys(self) -> Iterable[Entry]:
        seen = set[str]()
        for active in offered_keys(self.screen):
            binding = active.binding
            plain = binding.action.startswith(_PLAIN) or not binding.id
            if plain or not binding.description or not active.enabled or binding.action in seen:
                continue
            seen.add(binding.action)
            yield Entry(
                f"{_(binding.description)}  ({self.app.get_key_display(binding)})",
                _(binding.tooltip) if binding.tooltip else "",
                partial(self.app.run_action, binding.action, active.node),
                binding.description,
                f"{binding.id} {binding.tooltip or ''}",
            )

    def _panes(self) -> Iterable[Entry]:
        """Offer the levels of a log and the windows of a GPU pane, where one is in sight."""
        log = cast("LogView | None", self._in_sight("LogView"))
        if log is not None:
            for level, words in _LEVELS.items():
                yield Entry(_(words), "", partial(log.show_level, level), words, "log.level")
        gpu = cast("GpuBody | None", self._in_sight("GpuBody"))
        if gpu is not None:
            for window in gpu.windows:
                english = N_("GPU window: {span}")
                words = _(english).format(span=_("the whole run") if window == "run" else window)
                act = partial(gpu.show_window, window)
                yield Entry(words, "", act, english.format(span=window), "gpu.window")

    def _in_sight(self, kind: str) -> Widget | None:
        """Return the first widget of a class; by its name, so that none is imported for this."""
        return next((widget for widget in self.screen.query(kind) if widget.region), None)

    def _settings(self) -> Iterable[Entry]:
        app = cast("SdTui", self.app)

        def entry(key: str, value: Any, template: str, **names: str) -> Entry:
            words, english = _(template).format(**names), template.format(**names)
            return Entry(
                words, "", partial(app.change_settings, **{key: value}), english, f"{key} {value}"
            )

        for theme in in_order(app.available_themes):
            yield entry("theme", theme, N_("Theme: {name}"), name=theme)
        for code, name in LANGUAGES.items():
            yield entry("language", code, N_("Language: {name}"), name=name)
        for key, choices in _CHOICES.items():
            for value, words in choices.items():
                yield entry(key, value, words)

    def _runs(self) -> Iterable[Entry]:
        app = cast("SdTui", self.app)
        for status in (app.view.runs or ())[:200]:
            template = N_("Open {name}")
            words, english = (text.format(name=status.name) for text in (_(template), template))
            act = partial(app.open_run, status.id)
            yield Entry(f"{words}  {status.id[:15]}", state_name(status.state), act, english)


def _nothing() -> None:
    """Do nothing."""


class Palette(SeenThrough, CommandPalette):
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
