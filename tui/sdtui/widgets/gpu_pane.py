"""The GPU pane: the devices of a run, from one line each to charts over the whole screen."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType

from sdtui.language import N_, _
from sdtui.live.gpu_track import WINDOWS_S
from sdtui.widgets.gpu_drawing import Drawing, draw
from sdtui.widgets.gpu_lines import GpuLines
from sdtui.widgets.gpu_rows import PARTS, Facts, Look
from sdtui.widgets.pane import Pane

if TYPE_CHECKING:
    from sdtui.live.snapshot import RunSnapshot

# How each console looks at its GPUs: shared by its panes, and older than any of them.
_LOOKS: "WeakKeyDictionary[App[object], Look]" = WeakKeyDictionary()


class GpuBody(GpuLines, can_focus=True):
    """The drawing, with the keys that change it."""

    HELP_TITLE = N_("GPU")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("w", "window(1)", N_("Window"), id="gpu.window",
                tooltip=N_("Show the last minute, ten minutes, hour, or the whole run.")),
        Binding("W", "window(-1)", N_("Window back"), show=False, id="gpu.window_back"),
        Binding("p", "part", N_("Processes"), id="gpu.part",
                tooltip=N_("Give the place to the charts of one device, to the processes, and to "
                           "all again.")),
        Binding("down,j", "choose(1)", N_("Next GPU"), show=False, id="gpu.next",
                tooltip=N_("Show the charts of the next device.")),
        Binding("up,k", "choose(-1)", N_("Previous GPU"), show=False, id="gpu.previous",
                tooltip=N_("Show the charts of the previous device.")),
    ]  # fmt: skip

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._facts: Facts | None = None
        self._drawing = Drawing((), ())

    @property
    def look(self) -> Look:
        """How this console looks at its GPUs."""
        return _LOOKS.get(self.app, Look())

    def show(self, facts: Facts) -> None:
        """Draw new readings."""
        self._facts = facts
        self.draw()

    def draw(self) -> None:
        """Draw what is known at the present size."""
        if self._facts is not None and self.size.width and self.size.height:
            self._drawing = draw(self._facts, self.look, self.size.width, self.size.height)
            self.set_rows(self._drawing.rows)

    def on_resize(self) -> None:
        """Draw at the new size."""
        self.draw()

    def action_window(self, by: int) -> None:
        """Look at a longer or a shorter time."""
        names = self.windows
        self.show_window(names[(names.index(self.look.window) + by) % len(names)])

    @property
    def windows(self) -> list[str]:
        """The spans of time that can be looked at."""
        return list(WINDOWS_S)

    def show_window(self, window: str) -> None:
        """Look at one of ``windows``."""
        self._change(replace(self.look, window=window))

    def action_part(self) -> None:
        """Give the place to something else."""
        part = PARTS[(PARTS.index(self.look.part) + 1) % len(PARTS)]
        self._change(replace(self.look, part=part))

    def action_choose(self, by: int) -> None:
        """Look at another device."""
        number = len(self._facts.view.devices) if self._facts else 0
        if number:
            chosen = (min(self.look.chosen, number - 1) + by) % number
            self._change(replace(self.look, chosen=chosen))

    def on_click(self, event: events.Click) -> None:
        """Look at the device that is clicked."""
        owners = self._drawing.owners
        owner = owners[event.y] if 0 <= event.y < len(owners) else None
        if owner is not None:
            self._change(replace(self.look, chosen=owner))

    def on_mouse_scroll_down(self) -> None:
        """Go to the next device."""
        self.action_choose(1)

    def on_mouse_scroll_up(self) -> None:
        """Go to the device before."""
        self.action_choose(-1)

    def _change(self, look: Look) -> None:
        _LOOKS[self.app] = look
        self.draw()
        if isinstance(self.parent, GpuPane):
            self.parent.draw_title()


class GpuPane(Pane):
    """Utilisation, memory, power, temperature, clocks and trouble of the run's GPUs."""

    DEFAULT_CSS = "GpuPane > GpuBody { height: 1fr; }"

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._names: tuple[str, ...] = ()
        self._shown: tuple[object, ...] | None = None

    def body(self) -> ComposeResult:
        """Put the drawing under the title."""
        yield GpuBody()

    def show(self, snapshot: "RunSnapshot") -> None:
        """Draw the run's GPUs as they are now."""
        view, curve = snapshot.gpu, snapshot.curve
        facts = Facts(view, snapshot.status, _last(curve.gpu_allocated), _last(curve.gpu_peak))
        marks = (view, facts.allocated, facts.peak, snapshot.status.state, snapshot.status.gpus)
        body = self.query_one_optional(GpuBody)
        if marks == self._shown or body is None:
            return
        self._shown = marks
        names = tuple(dict.fromkeys(_short(each.name) for each in view.samples))
        self._names = (f"{len(view.samples)}", *names) if names else ()
        body.show(facts)
        self.draw_title()

    def title_words(self) -> str:
        """Name the devices."""
        if not self._names:
            return _("GPU")
        number, *names = self._names
        words = " ".join(names)
        return f"{_('GPU')} {words}" if number == "1" else f"{_('GPU')} {number} x {words}"

    def title_right(self) -> str:
        """Tell the window of time."""
        return _LOOKS.get(self.app, Look()).window if self._names else ""


def _short(name: str) -> str:
    return name.removeprefix("NVIDIA ").partition(" MIG")[0][:16]


def _last(column: object) -> float | None:
    """Return the last number of a column that was measured."""
    import numpy as np  # noqa: PLC0415  # loaded by then: a curve is made of it

    values = np.asarray(column, dtype=np.float64)[-50:]
    known = values[~np.isnan(values)]
    return float(known[-1]) if len(known) else None
