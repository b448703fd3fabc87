"""The last part of the form: everything that is wrong, what it would do, and the whole command."""

from typing import Any, ClassVar

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widget import Widget

from sdcore.errors import SdError
from sdcore.launch.planner import command_line
from sdcore.text import clean, clean_line
from sdtui.form.desk import Desk
from sdtui.form.labels import label, mount_label
from sdtui.form.sections import Section
from sdtui.form.summary import plan_words
from sdtui.keymap import keyed
from sdtui.language import N_, _
from sdtui.told import told, told_of
from sdtui.widgets.line import alike

_GLYPHS = {"error": "✗", "warning": "!", "note": "·"}


class ReviewText(Widget, can_focus=True):
    """The text of the review; the arrows scroll it."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "review--title", "review--error", "review--warning", "review--note", "review--good",
        "review--command",
    }  # fmt: skip
    DEFAULT_CSS = """
    ReviewText {
        height: auto; padding: 0 1;
        & > .review--title { color: $primary; text-style: bold; }
        & > .review--error { color: $error; }
        & > .review--warning { color: $warning; }
        & > .review--note { color: $faint; }
        & > .review--good { color: $success; }
        & > .review--command { color: $foreground; }
    }
    """
    HELP_TITLE = N_("Review")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", N_("Up"), show=False, id="review.up"),
        Binding("down", "move(1)", N_("Down"), show=False, id="review.down"),
        Binding("pageup", "move(-10)", N_("Page up"), show=False, id="review.page_up"),
        Binding("pagedown", "move(10)", N_("Page down"), show=False, id="review.page_down"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._text = Text()

    def set(self, text: Text) -> None:
        """Show ``text``."""
        if not alike(text, self._text):
            self._text = text
            self.refresh(layout=True)

    def render(self) -> Text:
        """Show what was set."""
        return self._text

    def action_move(self, by: int) -> None:
        """Scroll the part of the form around it."""
        if isinstance(self.parent, Widget):
            self.parent.scroll_relative(y=by, animate=False)


class Review(Section):
    """Everything in one place."""

    NAME = "review"
    HELP_TITLE = N_("Review")

    def compose(self) -> ComposeResult:
        """One text that scrolls."""
        yield ReviewText()

    def draw(self) -> None:
        """Write it anew."""
        text = self.query_one(ReviewText)

        def style(part: str) -> Style:
            return text.get_component_rich_style(f"review--{part}", partial=True)

        text.set(
            review_text(self.desk, {p: style(p) for p in (*_GLYPHS, "title", "good", "command")})
        )


def review_text(desk: Desk, styles: dict[str, Style]) -> Text:
    """Return problems, findings, facts, plan and the command."""
    text = Text()
    findings = desk.findings()
    for problem in desk.form_troubles() if findings else desk.troubles():
        where = clean_line(_place(desk, problem.key), 60)
        words = clean_line(told_of(problem.cause, problem.remedy), 400)
        head = _("✗ {where} ({key}): ").format(where=where, key=clean_line(problem.key, 60))
        text.append(f"{head}{words}\n", styles["error"])
    if findings:
        text.append_text(findings_text(findings, styles))
    elif findings is not None:
        text.append(_("✓ checked: nothing stands against it") + "\n", styles["good"])
    elif not desk.problems:
        words = keyed(_("not checked yet: [new.check] checks, [new.create] checks and starts"))
        text.append(words + "\n", styles["note"])
    task = desk.final_task()
    if task is None:
        return text
    if findings is not None and desk.report is not None:
        for words in desk.report[1]["facts"].values():
            text.append(clean_line(told(words), 300) + "\n")
    if plan := desk.look.plan(task):
        text.append("\n" + _("What it does") + "\n", styles["title"])
        for words, worry in plan_words(plan):
            text.append(f"{'!' if worry else ' '} {words}\n", styles["warning"] if worry else None)
    text.append("\n" + keyed(_("The command, whole; [new.copy] copies it")) + "\n", styles["title"])
    text.append(command_words(desk), styles["command"])
    return text


def _place(desk: Desk, key: str) -> str:
    """Return what a field is called, with the words it has in the form."""
    if (mount := desk.draft.mount_at(key)) is not None:
        return mount_label(mount.target)
    return label(key) if key else _("the task")


def findings_text(findings: list[dict[str, Any]], styles: dict[str, Style]) -> Text:
    """Return findings as they are told everywhere: what, cause, remedy."""
    text = Text()
    for finding in findings:
        level = finding["level"] if finding["level"] in _GLYPHS else "note"
        text.append(f"{_GLYPHS[level]} {clean(told(finding['what']), 400)}\n", styles[level])
        text.append(f"  {clean(told(finding['cause']), 600)}\n")
        if finding["remedy"]:
            text.append(f"  → {clean(told(finding['remedy']), 400)}\n")
    return text


def command_words(desk: Desk) -> str:
    """Return the whole command, secrets masked, or why there is none."""
    launch = desk.launch()
    if launch is None:
        return _("there is no command while there are problems")
    if isinstance(launch, SdError):
        return clean_line(told_of(told_of(launch.what, launch.cause), launch.remedy), 600)
    return clean_line(command_line(launch), 100_000)
