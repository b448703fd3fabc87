"""What one run is, beside or beneath the list: read once a run, drawn from the list's own news."""

import time
from typing import ClassVar, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from rich.text import Text
from textual.widgets import Static

from sdcore import units
from sdcore.runs.fields import Fields
from sdcore.runs.files import LineTail
from sdcore.runs.paths import RunDir, step_of
from sdcore.runs.status import Status
from sdcore.text import clean_line
from sdtui import phrases
from sdtui.language import N_, _
from sdtui.secrets import mask_of
from sdtui.theme import GLYPHS, state_style
from sdtui.widgets.line import alike

_TOLD = {"model", "data", "plan"}
_LAST_LINES = 6


class Facts(NamedTuple):
    """What a run's own files tell of it beside its state; clean and without secrets.

    Attributes:
        lines: Its model, data and plan, in words.
        last_lines: The end of its log, if it failed.
    """

    lines: tuple[str, ...] = ()
    last_lines: tuple[str, ...] = ()


def read_facts(run: RunDir, status: Status) -> Facts:
    """Read what stands at the beginning of a run's events; not for the UI's own thread."""
    mask = mask_of(run)
    found = {}
    for record in LineTail(run.events).records(limit=1 << 18):
        kind = Fields(record).text("kind")
        if kind in _TOLD:
            found[kind] = phrases.event_words(record)
    ended = [line for line in status.last_lines if line.strip()][-_LAST_LINES:]
    return Facts(
        lines=tuple(mask(words) for words in found.values() if words),
        last_lines=tuple(mask(line) for line in ended) if status.state == "failed" else (),
    )


class Peek(Static):
    """A few lines on the run under the cursor; three lines where it lies beneath the list."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "peek--faint", "peek--label",
    }  # fmt: skip
    DEFAULT_CSS = """
    Peek {
        & > .peek--faint { color: $faint; }
        & > .peek--label { text-style: bold; }
    }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self._shown = Text()

    def draw(self, status: Status | None, facts: Facts) -> None:
        """Show a run, or nothing; sends nothing when nothing changed."""
        low = self.size.height <= 4
        text = Text() if status is None else self._text(status, facts, low=low)
        if not alike(text, self._shown):
            self._shown = text
            self.update(text, layout=False)

    def _text(self, status: Status, facts: Facts, *, low: bool) -> Text:
        rows = self._low(status, facts) if low else self._full(status, facts)
        text = Text("\n").join(rows)
        text.no_wrap, text.overflow = low, "ellipsis" if low else "fold"
        return text

    def _style(self, part: str) -> Style:
        return self.get_component_rich_style(f"peek--{part}", partial=True)

    def _head(self, status: Status) -> Text:
        style = state_style(self.app, status.state)
        text = Text().append(f"{GLYPHS[status.state]} ", style)
        text.append(phrases.state_words(status), style=style)
        return text

    def _low(self, status: Status, facts: Facts) -> list[Text]:
        head = self._head(status).append(f"  {status.name}", style=self._style("label"))
        reason = phrases.reason_words(status)
        if reason and status.state != "queued":
            head.append(f"  {reason}")
        second = Text(progress_line(status))
        remedy = phrases.remedy_words(status, "tasks")
        third = Text(remedy, style=state_style(self.app, "stopping")) if remedy else Text()
        if not remedy and facts.lines:
            third = Text("  ".join(facts.lines), style=self._style("faint"))
        return [head, second, third]

    def _full(self, status: Status, facts: Facts) -> list[Text]:
        faint = self._style("faint")
        rows = [Text(status.name, style=self._style("label")), Text(status.id, style=faint)]
        rows.append(self._head(status))
        reason, remedy = phrases.reason_words(status), phrases.remedy_words(status, "tasks")
        if reason and status.state != "queued":
            rows.append(Text(reason))
        if remedy:
            rows.append(Text(_("remedy: {words}").format(words=remedy)))
        rows.append(Text())
        told = [(_("{label}: ").format(label=_(label)), words) for label, words in pairs(status)]
        width = max((cell_len(label) for label, _words in told), default=0)
        rows += [Text().append(set_cell_size(label, width), faint).append(w) for label, w in told]
        if facts.lines:
            rows += [Text(), *(Text(line) for line in facts.lines)]
        if facts.last_lines:
            rows += [Text(), Text(_("the log ends:"), style=faint)]
            rows += [Text(clean_line(line), style=faint) for line in facts.last_lines]
        return rows


def progress_line(status: Status) -> str:
    """Write how far a run is in one line."""
    parts = [f"{_(label)} {words}" for label, words in pairs(status) if label in _SHORT]
    return "  ".join(parts)


_SHORT = {"step", "loss", "images/s", "it/s", "ETA", "elapsed"}


def pairs(status: Status) -> list[tuple[str, str]]:
    """Return what is known of a run, by label."""
    found: list[tuple[str, str]] = []
    if not status.over and status.phase:
        found.append((N_("phase"), phrases.phase_words(status)))
    if status.step is not None or status.total is not None:
        found.append((N_("step"), phrases.step_words(status)))
    if status.loss is not None:
        found.append((N_("loss"), phrases.loss_words(status.loss)))
    if status.images_per_s is not None:
        found.append((N_("images/s"), phrases.rate_words(status.images_per_s)))
    elif status.it_per_s is not None:
        found.append((N_("it/s"), phrases.rate_words(status.it_per_s)))
    if status.eta_s is not None and not status.over:
        found.append((N_("ETA"), phrases.span(status.eta_s)))
    found.append((N_("elapsed"), phrases.elapsed_words(status)))
    found += _rest(status)
    return found


def _rest(status: Status) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if status.attempt > 1:
        found.append((N_("attempt"), str(status.attempt)))
    if status.gpus:
        found.append((N_("GPUs"), str(len(status.gpus))))
    if status.checkpoint is not None:
        step = step_of(status.checkpoint)
        name = clean_line(status.checkpoint.name) if step is None else f"{step:,}"
        found.append((N_("checkpoint"), name))
    if status.peak_gpu_memory:
        found.append((N_("peak GPU memory"), units.size(status.peak_gpu_memory)))
    age = phrases.age_words(time.time() - phrases.created(status.id))
    found.append((N_("age"), age))
    return found
