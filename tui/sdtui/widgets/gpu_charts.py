"""The charts of one device over the chosen window, in braille dots. Pure functions."""

import numpy as np
from rich.cells import cell_len

from sdtui.language import N_, _
from sdtui.live.gpu import Device
from sdtui.live.gpu_track import (
    CLOCK,
    MEMORY,
    POWER,
    TEMPERATURE,
    UTIL,
    Columns,
    columns,
)
from sdtui.widgets.cells import fit
from sdtui.widgets.gpu_lines import Row, both_ends
from sdtui.widgets.spark import band, nice_top

GIB = 1 << 30
LEAST = 4  # lines of one chart with its title
_AXIS = 6  # cells of the axis at the left
# Metric, title, unit, and what its numbers are divided by.
_CHARTS = (
    (UTIL, N_("utilisation"), "%", 1), (MEMORY, N_("memory"), "G", GIB),
    (POWER, N_("power"), "W", 1), (TEMPERATURE, N_("temperature"), "°", 1),
    (CLOCK, N_("SM clock"), "MHz", 1),
)  # fmt: skip


def chart_rows(device: Device, window: str, now: float, width: int, height: int) -> list[Row]:
    """Return as many charts as there is room for, in two columns where it is wide."""
    across = 2 if width >= 100 else 1
    down = min(height // LEAST, -(-len(_CHARTS) // across))
    if down < 1 or width < 30:
        return []
    each_width, rows = (width - 2 * (across - 1)) // across, []
    heights = [height // down + (1 if place < height % down else 0) for place in range(down)]
    for place, high in enumerate(heights):
        parts = [
            _chart(device, chart, window, now, each_width, high)
            for chart in range(place * across, min(len(_CHARTS), (place + 1) * across))
        ]
        rows += [_side_by_side(line) for line in zip(*parts, strict=True)]
    return rows


def _side_by_side(parts: tuple[Row, ...]) -> Row:
    joined: Row = parts[0]
    for part in parts[1:]:
        joined = (*joined, ("  ", ""), *part)
    return joined


def _chart(
    device: Device, chart: int, window: str, now: float, width: int, height: int
) -> list[Row]:
    metric, title, unit, divisor = _CHARTS[chart]
    inside = width - _AXIS
    found = columns(device.history, metric, window, 2 * inside, now)
    top = _top(device, metric, found)
    style = "memory" if metric == MEMORY else "graph"
    lines = band(found, inside, height - 1, 0, top)
    rows: list[Row] = [_title(_(title), unit, divisor, found, width)]
    for place, line in enumerate(lines):
        mark = f"{top / divisor:.0f}" if place == 0 else "0" if place == len(lines) - 1 else ""
        axis = f"{mark:>{_AXIS - 1}}" + ("┤" if mark else "│")
        rows.append(((axis, "faint"), (line, style)))
    return rows


def _top(device: Device, metric: int, found: Columns) -> float:
    if metric in {UTIL, TEMPERATURE}:
        return 100.0
    if metric == MEMORY and device.sample.memory_total:
        return float(device.sample.memory_total)
    seen = found.high[~np.isnan(found.high)]
    most = float(seen.max()) if len(seen) else 1.0
    limit = device.sample.power_limit_w
    if metric == POWER and limit and most <= 1.1 * limit:  # it is passed by a little all the time
        return limit
    return nice_top(most)


def _title(title: str, unit: str, divisor: float, found: Columns, width: int) -> Row:
    seen = ~np.isnan(found.mean)
    left: Row = ((f"{'':{_AXIS}}", ""), (title, "strong"))
    if not seen.any():
        text = _("no reading")
        return (*left, (fit(f"  {text}", width - _AXIS - cell_len(title)), "faint"))
    low, mean, high = (
        part / divisor
        for part in (found.low[seen].min(), found.mean[seen].mean(), found.high[seen].max())
    )
    digits = 1 if divisor > 1 else 0
    figures = _("min {low} mean {mean} max {high}").format(
        low=f"{low:.{digits}f}", mean=f"{mean:.{digits}f}", high=f"{high:.{digits}f}{unit}"
    )
    row = both_ends(left, ((f"{figures} ", "faint"),), width)
    return row if row != left else (*left, (" " * (width - _AXIS - cell_len(title)), ""))
