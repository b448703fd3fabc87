"""The boxes of the form: what a check found before a start, and where to save a preset."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Input, Static

from sdcore.errors import SdError
from sdcore.masking import is_secret
from sdcore.runs.files import write_bytes
from sdcore.task.shipped import shipped_folder
from sdcore.text import clean_line, from_home
from sdtui.form.aside import patiently
from sdtui.form.desk import Desk, same_file
from sdtui.form.paths import PathSuggester
from sdtui.form.review import findings_text
from sdtui.keymap import keyed
from sdtui.language import N_, _, ngettext
from sdtui.screens.dialogs import Confirm
from sdtui.screens.over import Over
from sdtui.told import told_why

if TYPE_CHECKING:
    from sdtui.screens.new import NewScreen


class Findings(Over[bool]):
    """What stands against a start; closes with yes when it shall start all the same."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "findings--error", "findings--warning", "findings--note",
    }  # fmt: skip
    DEFAULT_CSS = """
    Findings {
        & > .findings--error { color: $error; text-style: bold; }
        & > .findings--warning { color: $warning; text-style: bold; }
        & > .findings--note { color: $faint; }
    }
    """
    HELP_TITLE = N_("Findings")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "start", N_("Start all the same"), id="findings.start"),
        Binding("n,escape,q,enter", "close", N_("Back to the form"), id="findings.close"),
    ]

    def __init__(self, findings: list[dict[str, Any]]) -> None:
        super().__init__()
        self._findings = sorted(findings, key=lambda f: ("error", "warning").index(f["level"])
                                if f["level"] in {"error", "warning"} else 2)  # fmt: skip
        self._errors = sum(1 for finding in findings if finding["level"] == "error")

    def compose(self) -> ComposeResult:
        """Show every finding, and the keys."""
        if self._errors:
            title = ngettext(
                "{n} error: it cannot start", "{n} errors: it cannot start", self._errors
            )
            keys = _("[findings.close] back to the form")
        else:
            title, keys = (
                _("Start all the same?"),
                _("[findings.start] start   [findings.close] back to the form"),
            )
        with Vertical(classes=f"pick dialog {'-bad' if self._errors else ''}"):
            yield Static(Text(title.format(n=self._errors)), classes="dialog--title")
            with VerticalScroll():
                yield Static(id="findings-text")
            yield Static(Text(keyed(keys)), classes="dialog--keys")

    def on_mount(self) -> None:
        """Write the findings in their colours."""
        styles = {
            part: self.get_component_rich_style(f"findings--{part}", partial=True)
            for part in ("error", "warning", "note")
        }
        self.query_one("#findings-text", Static).update(findings_text(self._findings, styles))

    def action_start(self) -> None:
        """Start, unless an error forbids it."""
        if not self._errors:
            self.dismiss(True)

    def action_close(self) -> None:
        """Go back to the form."""
        self.dismiss(False)


class SaveAs(Over[Path | None]):
    """Asks for the file of a preset."""

    HELP_TITLE = N_("Save as a preset")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", N_("Do not save"), id="save.close"),
    ]

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._path = desk.save_path()
        self._secrets = [row.name for row in desk.draft.env if is_secret(row.name) and row.value]

    def compose(self) -> ComposeResult:
        """Show the path to edit."""
        with Vertical(classes="pick"):
            yield Static(Text(_("Save as a preset")), classes="dialog--title")
            path = Input(str(self._path), compact=True, suggester=PathSuggester(".toml"))
            path.cursor_blink = False
            yield path
            if self._secrets:
                names = clean_line(", ".join(self._secrets), 100)
                words = _("The values of {names} will stand in it, readable by you alone.")
                yield Static(Text(words.format(names=names)))
            yield Static(Text(keyed(_("enter save   [save.close] back"))), classes="dialog--keys")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the path."""
        event.stop()
        typed = event.value.strip()
        if typed:
            path = Path(from_home(typed))
            self.dismiss(path if path.suffix == ".toml" else path.with_name(path.name + ".toml"))

    def action_close(self) -> None:
        """Leave without saving."""
        self.dismiss(None)


def save_preset(screen: "NewScreen") -> None:
    """Ask where to, and save the task of the form."""
    screen.run_worker(_save(screen), exclusive=True, group="save")


async def _save(screen: "NewScreen") -> None:
    app, desk = screen.console_app, screen.desk
    path = await app.push_screen_wait(SaveAs(desk))
    if path is None:
        return
    path = path.absolute()
    shown = clean_line(str(path), 200)
    waits = _("saving {path} …").format(path=shown)
    try:
        other = await patiently(
            app, lambda: path.exists() and not same_file(path, desk.origin), waits
        )
    except OSError as error:
        app.tell(_unsaved(path, error))
        return
    if other:
        title = _("Replace {path}?").format(path=path)
        words = _("It is not the file that this task came from. Its comments are kept.")
        if not await app.push_screen_wait(Confirm(title, words)):
            return
    try:
        await patiently(app, lambda: _write(desk, path), waits)
    except SdError as error:
        app.tell(error)
        return
    desk.origin, desk.typed = path, False
    desk.note = _("saved")
    screen.notify(_("saved as {path}").format(path=shown), markup=False)
    screen.redraw_form()


def _write(desk: Desk, path: Path) -> None:
    if path.parent == shipped_folder():
        raise SdError(
            _("{name} is not saved").format(name=path.name),
            cause=_(
                "the presets of that folder come with sdtui and are replaced by its next version"
            ),
            remedy=_("choose another folder"),
        )
    try:
        write_bytes(path, desk.saved_text(path).encode())
    except (OSError, ValueError) as error:
        raise _unsaved(path, error) from error


def _unsaved(path: Path, error: OSError | ValueError) -> SdError:
    what = _("{path} cannot be saved").format(path=clean_line(str(path), 200))
    return SdError(what, cause=told_why(error), remedy=_("choose another file"))
