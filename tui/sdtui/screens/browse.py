"""A dialog that walks the folders of this host, to choose one."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from sdcore.text import clean_line, from_home
from sdtui.form.aside import aside
from sdtui.keymap import keyed
from sdtui.language import N_, _, ngettext
from sdtui.screens.over import Over

_MOST = 2000  # entries shown; a folder of a million images is not chosen by reading them


@dataclass(frozen=True, slots=True)
class Listing:
    """A folder's entries: folders first, by name."""

    folders: tuple[str, ...]
    files: tuple[str, ...]
    more: int


def list_folder(path: Path) -> Listing:
    """Read a folder; may wait for a disk.

    Raises:
        OSError: It cannot be read.
    """
    folders: list[str] = []
    files: list[str] = []
    with os.scandir(path) as entries:
        for entry in entries:
            (folders if entry.is_dir() else files).append(entry.name)
    folders.sort(key=str.casefold)
    files.sort(key=str.casefold)
    kept = files[: max(0, _MOST - len(folders))]
    more = len(folders) + len(files) - len(folders[:_MOST]) - len(kept)
    return Listing(tuple(folders[:_MOST]), tuple(kept), more)


class Filter(Input):
    """Narrows the list as one types; the keys of the list work while it has the focus."""

    HELP_TITLE = N_("Filter")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "screen.move(-1)", N_("Up"), show=False, id="browse.up"),
        Binding("down", "screen.move(1)", N_("Down"), show=False, id="browse.down"),
        Binding("pageup", "screen.move(-10)", N_("Page up"), show=False, id="browse.page_up"),
        Binding("pagedown", "screen.move(10)", N_("Page down"), show=False, id="browse.page_down"),
    ]

    def action_delete_left(self) -> None:
        """Go to the folder above when there is nothing to delete."""
        if self.value:
            super().action_delete_left()
        elif isinstance(self.screen, Browse):
            self.screen.action_above()


class Browse(Over[str | None]):
    """Closes with the chosen path, or None."""

    HELP_TITLE = N_("Browse")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", N_("Choose none"), id="browse.close"),
        Binding("f2", "choose", N_("Choose this folder"), id="browse.choose"),
        Binding("ctrl+g", "hidden", N_("Show or hide dot files"), id="browse.hidden"),
        Binding("ctrl+left,shift+tab", "above", N_("The folder above"), id="browse.above"),
    ]

    def __init__(self, start: str) -> None:
        super().__init__()
        self._start = start
        self._folder = Path.home()
        self._listing = Listing((), (), 0)
        self._hidden = False

    def compose(self) -> ComposeResult:
        """Show where one is, the filter, the list."""
        with Vertical(classes="pick"):
            yield Static(id="browse-path", classes="dialog--title", markup=False)
            name = Filter(compact=True, placeholder=_("type to filter"))
            name.cursor_blink = False
            yield name
            yield OptionList(markup=False)
            words = _("enter opens or takes   [browse.choose] takes this folder   "
                      "[browse.hidden] dot files   [browse.close] none")  # fmt: skip
            yield Static(Text(keyed(words)), classes="dialog--keys")

    def on_mount(self) -> None:
        """Begin where the field points to, or at the nearest folder above that there is."""
        self.query_one(OptionList).can_focus = False
        self.query_one(Filter).focus()
        start = self._start if self._start.isprintable() else ""
        self._go(Path(start or "~"), nearest=True)

    @work(exclusive=True, group="list")
    async def _go(self, folder: Path, *, nearest: bool = False) -> None:
        """Show a folder once it has been read."""

        def read() -> tuple[Path, Listing]:
            path = Path(os.path.abspath(from_home(str(folder))))  # noqa: PTH100  # keeps links as typed
            while nearest and not path.is_dir() and path != path.parent:
                path = path.parent
            return path, list_folder(path)

        read_back = await aside(read)
        if read_back is None:
            self.notify(
                _("{path} cannot be read").format(path=clean_line(str(folder), 200)),
                severity="warning",
                markup=False,
            )
            return
        self._folder, self._listing = read_back
        self.query_one(Filter).value = ""
        self._fill()

    def _fill(self) -> None:
        """Show what the filter leaves."""
        wanted = self.query_one(Filter).value.casefold()
        options = self.query_one(OptionList)
        options.clear_options()
        shown = [("d", name) for name in self._listing.folders]
        shown += [("f", name) for name in self._listing.files]
        rows = [
            Option(Text(f"{'▸ ' if kind == 'd' else '  '}{clean_line(name, 200)}"), f"{kind}{name}")
            for kind, name in shown
            if wanted in name.casefold() and (self._hidden or not name.startswith("."))
        ]
        if not wanted:
            rows = [
                Option(Text(_("✓ take this folder")), "."),
                *([Option(Text("▸ .."), "..")] if self._folder.parent != self._folder else []),
                *rows,
            ]
        options.add_options(rows)
        if rows:
            options.highlighted = 0
        words = clean_line(str(self._folder), 300)
        if self._listing.more:
            more = ngettext("{n} more", "{n} more", self._listing.more)
            words += f"  ({more.format(n=self._listing.more)})"
        self.query_one("#browse-path", Static).update(words)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Narrow the list."""
        event.stop()
        self._fill()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Open the highlighted folder, or take the highlighted file."""
        event.stop()
        options = self.query_one(OptionList)
        if options.highlighted is not None:
            self._take(options.get_option_at_index(options.highlighted).id or "")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click does what Enter does."""
        event.stop()
        self._take(event.option.id or "")

    def _take(self, id_: str) -> None:
        if id_ == ".":
            self.action_choose()
        elif id_ == "..":
            self.action_above()
        elif id_.startswith("d"):
            self._go(self._folder / id_[1:])
        elif id_:
            self._leave(str(self._folder / id_[1:]))

    def _leave(self, path: str) -> None:
        """Close with a path that every file and process can hold."""
        if path.isprintable():
            self.dismiss(path)
        else:
            words = _("its name holds characters that a task cannot: rename it first")
            self.notify(words, severity="warning", markup=False)

    def action_move(self, by: int) -> None:
        """Go up or down the list."""
        options = self.query_one(OptionList)
        if options.option_count:
            at = (options.highlighted or 0) + by
            options.highlighted = max(0, min(at, options.option_count - 1))

    def action_above(self) -> None:
        """Go to the folder above."""
        self._go(self._folder.parent)

    def action_hidden(self) -> None:
        """Show or hide names that begin with a dot."""
        self._hidden = not self._hidden
        self._fill()

    def action_choose(self) -> None:
        """Take the folder that is shown."""
        self._leave(str(self._folder))

    def action_close(self) -> None:
        """Take none."""
        self.dismiss(None)
