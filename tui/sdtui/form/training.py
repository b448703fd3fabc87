"""The training settings in groups: what was changed is shown, the rest is folded; searchable."""

import asyncio
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, Static

from sdtui.form.desk import Desk
from sdtui.form.entries import Entry, groups
from sdtui.form.facts import Verdict
from sdtui.form.fields import Act, FieldRow, row_of
from sdtui.form.labels import GROUPS, label
from sdtui.form.paths import DATA_FILES, PathSuggester
from sdtui.form.sections import Section
from sdtui.language import N_, _, ngettext

# Which settings may be a path, and which files are offered for it beside folders.
_PATHS: dict[str, tuple[str, ...]] = {
    "train.pretrained_model_name_or_path": (), "train.pretrained_vae_model_name_or_path": (),
    "train.train_data_dir": DATA_FILES,
    "train.cache_dir": (), "train.dataset_name": DATA_FILES, "train.resume_from_checkpoint": (),
}  # fmt: skip
_NAMES = {"train.pretrained_model_name_or_path": "model", "train.train_data_dir": "data",
          "train.dataset_name": "data"}  # fmt: skip
# Accepted on the command line for compatibility; nobody needs them on a form.
_HIDDEN = {"train.hub_token", "train.local_rank", "train.foreach_ema", "train.output_dir"}
_FIRST = ("length", "batch")  # open when nothing was changed: they decide time and memory
_MOST_FOUND = 12
_QUIET_S = 0.2
_AT_ONCE = 4  # rows mounted between two looks at the keyboard


def _suggester(key: str) -> PathSuggester | None:
    files = _PATHS.get(key)
    return None if files is None else PathSuggester(*files)


class Group(Vertical):
    """One group: a line that folds it, and its rows once they were wanted."""

    def __init__(self, name: str, fields: list[Entry]) -> None:
        super().__init__(classes="group")
        self.group, self.fields = name, fields
        self.open = False

    def compose(self) -> ComposeResult:
        """Show only the line; rows cost time and come when they are wanted."""
        yield Act(self.group, "")

    async def show_rows(self, keys: list[str]) -> None:
        """Show the rows of ``keys`` and hide the others."""
        rows = {row.key: row for row in self.query(FieldRow)}
        missing = [f for f in self.fields if f.key in keys and f.key not in rows]
        if missing:
            order = [field.key for field in self.fields]
            new = [row_of(f, label(f.key), _suggester(f.key)) for f in missing]
            for at in range(0, len(new), _AT_ONCE):
                await self.mount_all(new[at : at + _AT_ONCE])
            self.sort_children(
                key=lambda child: order.index(child.key) if isinstance(child, FieldRow) else -1
            )
        for row in self.query(FieldRow):
            row.display = row.key in keys

    def title(self, changed: int) -> None:
        """Say how many settings are changed, and whether it is open."""
        words = f"{'▾' if self.open else '▸'} {_(GROUPS.get(self.group, self.group))}"
        if changed:
            more = len(self.fields) - changed
            words += "  " + ngettext("{n} changed", "{n} changed", changed).format(n=changed)
            if more and not self.open:
                words += _(", ") + ngettext("{n} more", "{n} more", more).format(n=more)
        line = self.query_one_optional(Act)
        if line is not None:  # else it goes: the search arranges from a worker
            line.set(words)


class Search(Input):
    """Finds settings by name, key or meaning."""

    HELP_TITLE = N_("Find a setting")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", N_("Field below"), show=False, id="field.down"),
        Binding("escape", "clear", N_("All settings"), show=False, id="training.clear"),
    ]

    def action_clear(self) -> None:
        """Go back to the groups; a second time leaves the field."""
        if self.value:
            self.value = ""
        else:
            self.screen.set_focus(None)


class Training(Section):
    """What the built-in trainer does."""

    NAME = "training"
    HELP_TITLE = N_("Training settings")

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._groups = {
            name: Group(name, [f for f in fields if f.key not in _HIDDEN])
            for name, fields in groups().items()
        }

    def compose(self) -> ComposeResult:
        """Put the search above the groups."""
        search = Search(compact=True, placeholder=_("/ find a setting"), id="training-search")
        search.cursor_blink = False
        yield search
        yield Static(id="training-words", classes="words", markup=False)
        yield from self._groups.values()

    def on_mount(self) -> None:
        """Show what was changed; of a new task, what nearly everybody changes."""
        if not any(self._changed_in(group) for group in self._groups.values()):
            for name in _FIRST:
                self._groups[name].open = True
        self._arrange("")

    def _changed_in(self, group: Group) -> list[str]:
        return [field.key for field in group.fields if self.desk.draft.changed(field.key)]

    def draw(self) -> None:
        """Show values and counts."""
        super().draw()
        for group in self._groups.values():
            group.title(len(self._changed_in(group)))
        words = self.query_one_optional("#training-words", Static)
        if words is None:
            return  # it goes
        words.display = self.desk.draft.own_command
        if words.display:
            words.update(_("An own command counts: these settings are kept, and not used."))

    def hint(self, key: str) -> str:
        """Say which variable sets a setting."""
        row = self.desk.draft.env_of(key)
        return _("set by env {name}").format(name=row.name) if row else ""

    def found(self, key: str) -> Verdict | None:
        """Say what a model or data set is that is named here and not mounted."""
        about = _NAMES.get(key)
        return self.desk.look.verdict(about) if about and self.desk.raw(key) else None

    def bad(self, key: str) -> Verdict | None:
        """Show what is wrong with the variable that sets it, too."""
        row = self.desk.draft.env_of(key)
        return super().bad(key) or (super().bad(f"env.{row.name}") if row else None)

    async def reveal(self, key: str) -> FieldRow | None:
        """Unfold the group of a field."""
        for group in self._groups.values():
            if any(field.key == key for field in group.fields):
                group.open = True
                await group.show_rows([field.key for field in group.fields])
                self.draw()
        return self.row(key)

    def on_act_pressed(self, event: Act.Pressed) -> None:
        """Fold or unfold a group."""
        event.stop()
        group = self._groups[event.verb]
        group.open = not group.open
        self._arrange(self.query_one(Search).value)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search as one types."""
        event.stop()
        self._arrange(event.value, wait=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go to the first that was found."""
        event.stop()
        self.screen.focus_next(".editor")

    @work(exclusive=True, group="arrange")
    async def _arrange(self, query: str, *, wait: bool = False) -> None:
        """Show what is open, or what ``query`` finds."""
        if wait:
            await asyncio.sleep(_QUIET_S)
        found = self._find(query) if query.strip() else None
        for group in self._groups.values():
            keys = [field.key for field in group.fields]
            if found is not None:
                keys = [key for key in keys if key in found]
                group.display = bool(keys)
            else:
                group.display = True
                keys = keys if group.open else self._changed_in(group)
            await group.show_rows(keys)
        self.draw()

    def _find(self, query: str) -> list[str]:
        """Return the keys of what fits: every word is in its label, key, group or meaning."""
        words = query.casefold().split()
        hits = []
        for name, group in self._groups.items():
            for field in group.fields:
                near = f"{label(field.key)} {field.name} {field.name.replace('_', ' ')}".casefold()
                far = f"{near} {_(GROUPS.get(name, name))} {_(field.help)}".casefold()
                if all(word in far for word in words):
                    hits.append((not all(word in near for word in words), field.key))
        return [key for _far, key in sorted(hits, key=lambda hit: hit[0])][:_MOST_FOUND]
