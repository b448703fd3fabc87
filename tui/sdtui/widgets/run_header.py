"""The lines above an open run: what it is, how far it is, and when it is over, why."""

from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical

from sdcore.runs.status import Status
from sdtui import phrases
from sdtui.language import _
from sdtui.theme import GLYPHS, state_style
from sdtui.widgets.line import Line
from sdtui.widgets.task_table import progress_bar


class RunHeader(Vertical):
    """Two lines; a third with the remedy where there is one."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"header--name", "header--faint", "header--bar"}
    DEFAULT_CSS = """
    RunHeader {
        height: auto;
        & > #remedy { display: none; color: $warning; }
        &.-remedy > #remedy { display: block; }
        & > .header--name { text-style: bold; }
        & > .header--faint { color: $faint; }
        & > .header--bar { color: $primary; }
    }
    """

    def compose(self) -> ComposeResult:
        """Lay the lines out."""
        yield Line(id="state")
        yield Line(id="progress")
        yield Line(id="remedy")

    def draw(self, status: Status | None) -> None:
        """Show a run; None while it is read."""
        if status is None:
            self.query_one("#state", Line).set(_(" reading the run"))
            self.query_one("#progress", Line).set("")
            self.set_class(False, "-remedy")
            return
        width = self.size.width
        self.query_one("#state", Line).set(self._first(status, width))
        self.query_one("#progress", Line).set(self._second(status, width))
        remedy = phrases.remedy_words(status) if status.over else ""
        self.set_class(bool(remedy), "-remedy")
        if remedy:
            self.query_one("#remedy", Line).set(_(" remedy: {words}").format(words=remedy))

    def _style(self, part: str) -> Style:
        return self.get_component_rich_style(f"header--{part}", partial=True)

    def _first(self, status: Status, width: int) -> Text:
        """State and name at the left, the numbers at the right; the name gives way."""
        state = state_style(self.app, status.state)
        # Appended, not given to Text: a text's own style would be that of all that follows.
        words = f" {GLYPHS[status.state]} {phrases.state_name(status.state)}  "
        left, name = Text().append(words, state), Text().append(status.name, self._style("name"))
        if status.attempt > 1:
            name.append(_("  attempt {n}").format(n=status.attempt), style=self._style("faint"))
        if status.nodes is not None:
            name.append(f"  {status.nodes}", style=self._style("faint"))
        right = self._numbers(status)
        room = width - left.cell_len - cell_len(right) - 2
        if room < 8:  # the name counts more than the last of the numbers
            return left.append_text(name).append(f"  {right}")
        if name.cell_len > room:
            name.truncate(room, overflow="ellipsis")
        left.append_text(name).append(" " * (room - name.cell_len + 1))
        return left.append(right).append(" ")

    def _numbers(self, status: Status) -> str:
        parts = []
        if status.step is not None or status.total is not None:
            parts.append(_("step {steps}").format(steps=phrases.step_words(status)))
        done = phrases.share(status)
        if done is not None:
            parts.append(f"{done * 100:5.1f}%")
        if status.over:
            parts.append(_("loss {loss}").format(loss=phrases.loss_words(status.loss)))
            parts.append(_("after {span}").format(span=phrases.elapsed_words(status)))
        elif status.eta_s is not None and status.state == "running":
            parts.append(_("ETA {span}").format(span=phrases.span(status.eta_s)))
        return "  ".join(parts)

    def _second(self, status: Status, width: int) -> Text:
        """The bar and what goes on; of a run that is over, why."""
        if status.over or status.state in {"queued", "stopping"}:
            words = (
                phrases.stop_words(status)
                if status.state == "stopping"
                else phrases.reason_words(status)
            )
            return Text(f" {words}", style=state_style(self.app, status.state))
        words = self._doing(status)
        cells = width - cell_len(words) - 4
        text = Text(" ")
        if cells >= 10:
            text.append(progress_bar(phrases.share(status) or 0.0, cells), style=self._style("bar"))
            text.append("  ")
        return text.append(words).append(" ")

    def _doing(self, status: Status) -> str:
        """Write pace and phase, padded so that the bar keeps its length."""
        parts = [status.reason] if status.reason else []
        if status.images_per_s is not None:
            rate = phrases.rate_words(status.images_per_s)
            parts.append(_("{rate} images/s").format(rate=f"{rate:>5}"))
        elif status.it_per_s is not None:
            parts.append(_("{rate} it/s").format(rate=f"{phrases.rate_words(status.it_per_s):>5}"))
        parts.append(phrases.doing_words(status))
        if silence := phrases.silence_words(status):
            parts.append(f"! {silence}")
        if status.elapsed is not None:
            parts.append(f"{phrases.span(status.elapsed):>6}")
        return "  ".join(parts)
