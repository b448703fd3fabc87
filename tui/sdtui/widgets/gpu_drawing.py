"""Puts the parts of the GPU pane together for a size: devices, trouble, charts, processes. Pure."""

from dataclasses import dataclass

from sdtui.language import _
from sdtui.widgets.gpu_charts import LEAST, chart_rows
from sdtui.widgets.gpu_host import host_rows, no_gpu_rows, process_rows
from sdtui.widgets.gpu_lines import Row, both_ends, cut
from sdtui.widgets.gpu_rows import (
    MOST_LINES,
    Facts,
    Look,
    device_rows,
    notices,
    rank0,
    reserved_words,
    torch_words,
)

_WIDE = 60  # cells from which a device is better told in one line and its charts


@dataclass(frozen=True, slots=True)
class Drawing:
    """The lines of the pane.

    Attributes:
        rows: From the top; at most as many as there is room for.
        owners: The place of the device that each line belongs to, or None.
    """

    rows: tuple[Row, ...]
    owners: tuple[int | None, ...]


def draw(facts: Facts, look: Look, width: int, height: int) -> Drawing:
    """Draw all that fits into ``width`` x ``height`` cells."""
    if not facts.view.devices:
        rows = no_gpu_rows(facts, width, look)
        rows += _after_gap(process_rows(facts, width, height - len(rows) - 1))
        return _cut(rows, [None] * len(rows), width, height)
    if look.part != "all":
        return _part(facts, look, width, height)
    told = notices(facts, width)
    number = len(facts.view.devices)
    charts = width >= _WIDE and height >= number + len(told) + 2 * LEAST
    lines = 1 if charts else max(1, min(MOST_LINES, (height - len(told)) // number))
    spare = max(height - number, 1) if height != number else 0  # a device goes before a sentence
    rows, owners = _devices(facts, look, lines, width, height - min(len(told), spare))
    rows, owners = rows + told, owners + [None] * len(told)
    torch = torch_words(facts, rank0(facts))
    if torch and not charts and lines < 4 and len(rows) < height:
        index = facts.view.samples[rank0(facts)].index
        rows.append(((f"GPU {index}: {' '.join(torch.split())}", "faint"),))
    if charts:
        rows += _large(facts, look, width, height - len(rows))
    return _cut(rows, owners + [None] * (len(rows) - len(owners)), width, height)


def _part(facts: Facts, look: Look, width: int, height: int) -> Drawing:
    """Give the whole place to the charts of the chosen device, or to host and processes."""
    if look.part == "processes":
        rows = [] if facts.view.host is None else host_rows(facts.view.host, width, look)
        found = process_rows(facts, width, height - len(rows) - bool(rows))
        rows += _after_gap(found) if rows else found
        rows = rows or [(("  " + _("no process is known"), "faint"),)]
        return _cut(rows, [None] * len(rows), width, height)
    place = min(look.chosen, len(facts.view.devices) - 1)
    rows = device_rows(facts, place, 1, width, look)
    rows += _charts(facts, place, look, width, height - len(rows))
    return _cut(rows, [place] + [None] * (len(rows) - 1), width, height)


def _devices(
    facts: Facts, look: Look, lines: int, width: int, height: int
) -> tuple[list[Row], list[int | None]]:
    """Return the lines of all devices, or of those around the chosen one, and whose each is."""
    number = len(facts.view.devices)
    room = max(1, height // lines)
    first = 0
    if number > room:
        room = max(1, room - 1)  # one line says that there are more
        first = max(0, min(look.chosen - room // 2, number - room))
    rows: list[Row] = []
    owners: list[int | None] = []
    for place in range(first, min(number, first + room)):
        found = device_rows(facts, place, lines, width, look)
        rows += found
        owners += [place] * len(found)
    if number > room and height > room * lines:
        text = _("{n} of {all} GPUs; up and down show others").format(n=room, all=number)
        rows.append(((f"  {text}", "faint"),))
        owners.append(None)
    return rows, owners


def _large(facts: Facts, look: Look, width: int, height: int) -> list[Row]:
    """Return charts of the chosen device, and under them host and processes."""
    place = min(look.chosen, len(facts.view.devices) - 1)
    below: list[Row] = []
    if height >= 14:
        below = process_rows(facts, width, max(4, min(10, height // 4)))
    if height >= 24 and facts.view.host is not None:
        below = host_rows(facts.view.host, width, look) + below
    below = _after_gap(below)
    return _charts(facts, place, look, width, height - len(below)) + below


def _charts(facts: Facts, place: int, look: Look, width: int, height: int) -> list[Row]:
    title = both_ends(*_chart_title(facts, place, look), width)
    device = facts.view.devices[place]
    return [title, *chart_rows(device, look.window, facts.view.now, width, height - 1)]


def _chart_title(facts: Facts, place: int, look: Look) -> tuple[Row, Row]:
    """Return which device the charts are of, and what of its memory no chart shows."""
    sample = facts.view.devices[place].sample
    words = _("GPU {number} over {window}").format(number=sample.index, window=look.window)
    memory = [f"{text} " for text in (torch_words(facts, place), reserved_words(sample)) if text]
    return ((words, "chosen"),), (("  ".join(memory), "faint"),)


def _after_gap(rows: list[Row]) -> list[Row]:
    return [(), *rows] if rows else []


def _cut(rows: list[Row], owners: list[int | None], width: int, height: int) -> Drawing:
    return Drawing(tuple(cut(row, width) for row in rows[:height]), tuple(owners[:height]))
