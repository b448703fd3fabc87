"""The mounts of a task: the three of the platform's form, and further ones."""

from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from sdcore.task.spec import DATASET
from sdtui.form.draft import MountRow
from sdtui.form.facts import Verdict
from sdtui.form.fields import Act, Choice, FieldRow, TextEditor, tell_edit
from sdtui.form.labels import ROLES, mount_label
from sdtui.form.paths import DATA_FILES, PathSuggester
from sdtui.form.sections import Section
from sdtui.keymap import keyed
from sdtui.language import N_, _


class Mounts(Section):
    """Folders of the host and where the task sees them."""

    NAME = "mounts"
    HELP_TITLE = N_("Mounts")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "browse", N_("Browse"), key_display="F2", id="mounts.browse",
                tooltip=N_("Choose the folder in a tree of this host")),
        Binding("f9", "remove", N_("Remove"), key_display="F9", id="mounts.remove",
                tooltip=N_("Remove this mount")),
    ]  # fmt: skip

    def compose(self) -> ComposeResult:
        """Show a row for each mount, and one to add another."""
        for number, mount in enumerate(self.desk.draft.mounts):
            yield from self._mount_rows(number, mount)
        yield Act("mount", _("+ add a mount"))

    def _mount_rows(self, number: int, mount: MountRow) -> ComposeResult:
        key = f"mounts.{number}"
        files = DATA_FILES if mount.target == DATASET else ()
        path = TextEditor(
            f"{key}.source",
            placeholder=keyed(_("a folder; [mounts.browse] browses")),
            suggester=PathSuggester(*files),
        )
        options = [("true", _("read only")), ("false", _("writable"))]
        access = Choice(f"{key}.read_only", options, "false")
        yield FieldRow(f"{key}.source", mount_label(mount.target), path, extra=access)
        if mount.target not in ROLES:
            target = TextEditor(f"{key}.target", placeholder=_("place in the task, e.g. /mnt/more"))
            yield FieldRow(f"{key}.target", _("  seen at"), target)

    def draw_row(self, row: FieldRow) -> None:
        """Show the switch beside the path, too."""
        super().draw_row(row)
        if row.extra is not None:
            row.extra.load(self.desk.raw(row.extra.key))

    def bad(self, key: str) -> Verdict | None:
        """Show what is wrong with the mount as a whole at its path."""
        whole = key.removesuffix(".source")
        return super().bad(key) or (super().bad(whole) if whole != key else None)

    def found(self, key: str) -> Verdict | None:
        """Show what lies at the path."""
        mount = self.desk.draft.mount_at(key)
        if mount is None or not mount.source or not key.endswith(".source"):
            return None
        return self.desk.look.verdict(mount.target)

    def begin_path(self) -> None:
        """Type a slash into the path at hand: of the mount with the focus, else an empty one."""
        paths = [row for row in self.rows() if row.key.endswith(".source")]
        here = self._focused()
        near = [row for row in paths if here and row.key[:-7] == here.key.rpartition(".")[0]]
        empty = [row for row in paths if not row.editor.value]
        for row in (*near, *empty, *paths)[:1]:
            row.editor.focus()
            if not row.editor.value:
                row.editor.insert_text_at_cursor("/")

    def _focused(self) -> FieldRow | None:
        return next((row for row in self.rows() if row.has_focus_within), None)

    async def on_act_pressed(self, event: Act.Pressed) -> None:
        """Add a mount and go to its path."""
        event.stop()
        self.desk.draft.mounts.append(MountRow())
        await self.recompose()
        self.draw()
        if row := self.row(f"mounts.{len(self.desk.draft.mounts) - 1}.source"):
            row.editor.focus()

    async def action_remove(self) -> None:
        """Remove the mount that has the focus; the platform's three are emptied."""
        row = self._focused()
        mount = self.desk.draft.mount_at(row.key) if row else None
        if row is None or mount is None:
            return
        if mount.target in ROLES:
            tell_edit(self, row.key, "")
            row.editor.load("")
            return
        self.desk.draft.mounts.remove(mount)
        await self.recompose()
        self.draw()
        tell_edit(self, "", "")

    @work
    async def action_browse(self) -> None:
        """Choose the folder in a tree."""
        from sdtui.screens.browse import Browse  # noqa: PLC0415  # rare

        row = self._focused()
        mount = self.desk.draft.mount_at(row.key) if row else None
        if row is None or mount is None:
            self.notify(_("Go to a path first"), markup=False)
            return
        chosen = await self.app.push_screen_wait(Browse(mount.source))
        if chosen:
            key = row.key.rpartition(".")[0] + ".source"
            tell_edit(self, key, chosen)
            source = self.row(key)
            if source is not None:
                source.editor.load(chosen)
