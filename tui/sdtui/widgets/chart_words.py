"""The words around a chart: title, legend, and what is read off at its end or at the cursor."""

from collections.abc import Callable, Collection, Sequence

import numpy as np
from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from sdcore.text import clean_line
from sdtui.language import _
from sdtui.live.curve import Curve
from sdtui.widgets.chart_axes import clock_words, number_words
from sdtui.widgets.chart_canvas import MARKS, MARKS_WORDS, dash_sample
from sdtui.widgets.chart_marks import MarkKind
from sdtui.widgets.chart_track import Track
from sdtui.widgets.chart_view import METRICS, ChartState
from sdtui.widgets.gpu_words import gib

StyleOf = Callable[[str], Style]
_WIDTH = 5  # cells of most numbers; the words after them stay where they are
_AROUND_NAME = 7  # cells of an entry beside the name
_NAME = 24  # cells of a run's name in the legend, at most


def title(state: ChartState, *, zoomed: bool, cut: bool, width: int = 200) -> str:
    """Return what is drawn and how, as far as there is room: ``train_loss  EMA .98  linear``."""
    words = [METRICS[state.metric][0]]
    if state.decay:
        decay = f"{state.decay:g}".removeprefix("0")
        both = "⇄" if state.both else ""
        words.append(f"EMA{both} {decay}")
    words.append(_("log y") if state.log else _("linear"))
    if state.x != "step":
        words.append(_("by time") if state.x == "time" else _("by epoch"))
    if zoomed:
        words.append(_("zoomed"))
    if cut:
        words.append(_("spikes cut"))
    return _fitting(words, width)


def legend(names: Sequence[str], width: int, style_of: StyleOf) -> Text:
    """Return each line's dash, colour and run, the open run's first, all with the same room."""
    text, room = Text(), width // max(1, len(names)) - _AROUND_NAME
    for number, name in enumerate(names):
        text.append(f" {dash_sample(number)} ", style=style_of(f"series-{number + 1}"))
        text.append(f"{clean_line(name, min(max(room, 1), _NAME))} ")
    return text


def summary(curve: Curve, track: Track, metric: str, width: int) -> Text:
    """Return the last value, the least and where, and what else there is room for."""
    if not len(curve):
        return Text(" " + _("reading…") if curve.coarse else _(" no steps yet"))
    parts = [_pair(_("last"), track.y[-1] if len(track.y) else None)]
    least = None if curve.coarse else _least(track, curve)  # a sample cannot tell
    if least is not None:
        value, step = least
        parts.append(_pair(_("min"), value) + f" @{step:,}")
    if metric == "loss" and not curve.coarse:
        parts.append(f"NaN {len(track.bad):,}")
        parts.append(_pair("grad", _last_measured(curve.grad_norm)))
    if len(track.smooth) and track.smooth is not track.y:
        parts.append(_pair("EMA", track.smooth[-1]))
    return Text(" " + _fitting(parts, width - 1))


def signs(text: Text, kinds: Collection[MarkKind], width: int, style_of: StyleOf) -> Text:
    """Say at the end of a line what the marks on the axis mean, as far as there is room."""
    for kind, (words, _help) in MARKS_WORDS.items():
        entry = f"  {MARKS[kind]} {_(words)}"
        if kind in kinds and text.cell_len + cell_len(entry) <= width:
            text.append(entry, style=style_of(kind))
    return text


def read_out(
    curve: Curve, tracks: Sequence[Track], row: int, place: float, width: int, style_of: StyleOf
) -> Text:
    """Return all that is known of one step, and of the runs laid over at the same place.

    Args:
        curve: Of the open run.
        tracks: Of all runs, the open one first.
        row: Of the step in ``curve``.
        place: Of the step on the x axis.
        width: Cells.
        style_of: The style of a component.
    """
    own, index = tracks[0], tracks[0].nearest(place)
    text = Text().append(f" @{int(curve.step[row]):,}", style=style_of("cursor"))
    value = own.y[index] if index is not None else None
    parts = [_padded(value)]
    if index is not None and own.smooth is not own.y:
        parts.append(_pair("EMA", own.smooth[index]))
    others = Text()
    for number, track in enumerate(tracks[1:], 1):
        at = track.nearest(place)
        if at is not None and place <= track.x[-1]:
            others.append(f"  {dash_sample(number)} ", style=style_of(f"series-{number + 1}"))
            others.append(_padded(track.smooth[at]))
    parts += [
        _pair("lr", curve.lr[row]),
        _pair("grad", curve.grad_norm[row]),
        *_gpu(float(curve.gpu_allocated[row])),
        clock_words(float(np.maximum(curve.at[row] - curve.at[0], 0.0))),
    ]
    room = width - text.cell_len - others.cell_len - 2
    text.append("  " + _fitting(parts, room))
    return text.append_text(others)


def _gpu(held: float) -> list[str]:
    """Tell the bytes that torch held on the device, where that was measured."""
    return [f"GPU {gib(round(held)):>5}G"] if np.isfinite(held) else []


def _pair(name: str, value: float | None) -> str:
    return f"{name} {_padded(value)}"


def _padded(value: float | None) -> str:
    return number_words(value).ljust(_WIDTH)


def _fitting(parts: Sequence[str], width: int) -> str:
    """Return as many of the parts as there is room for."""
    text = ""
    for part in parts:
        longer = f"{text}  {part}" if text else part
        if cell_len(longer.rstrip()) > width:
            break
        text = longer
    return text


def _least(track: Track, curve: Curve) -> tuple[float, int] | None:
    """Return the least value and its step."""
    if not len(track.y):
        return None
    value = float(np.fmin.reduce(track.y))
    if not np.isfinite(value):
        return None
    place = int(np.argmax(track.y == value))
    row = (
        place if len(track.y) == len(curve) else int(np.searchsorted(track.places, track.x[place]))
    )
    return value, int(curve.step[row])


def _last_measured(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float | None:
    """Return the last value that was measured, of the last thousand."""
    known = values[-1000:][np.isfinite(values[-1000:])]
    return float(known[-1]) if len(known) else None
