"""What the GPU pane says without GPU readings: CPU and memory of the host, processes. Pure."""

import numpy as np
from rich.cells import cell_len

from sdcore.gpu.samples import GpuProcess
from sdcore.runs.status import LIVE
from sdtui import phrases
from sdtui.language import _
from sdtui.live.gpu_track import WINDOWS_S, Values
from sdtui.live.host import BUSY, RUN_CPU, TIME, HostView
from sdtui.widgets import gpu_words as words
from sdtui.widgets.cells import bar, fit
from sdtui.widgets.gpu_lines import Row
from sdtui.widgets.gpu_rows import Facts, Look
from sdtui.widgets.spark import nice_top, spark

_NAMED = 40  # cells from which both have room


def no_gpu_rows(facts: Facts, width: int, look: Look) -> list[Row]:
    """Say why there is no GPU, and show what trains instead."""
    rows: list[Row] = [((f"  {text}", ""),) for text in _why(facts)]
    if facts.view.host is not None:
        rows += host_rows(facts.view.host, width, look)
    return rows


def _why(facts: Facts) -> list[str]:
    status, host = facts.status, facts.view.host
    if facts.view.unavailable is not None:
        return [words.why_words(facts.view.unavailable.reason)]
    if status.state == "queued":
        return [_("waits for {what}").format(what=phrases.reason_words(status) or _("a GPU"))]
    if status.gpus:
        return [
            _("waiting for the first reading")
            if status.state in LIVE
            else _("no GPU reading was taken")
        ]
    if status.over:
        told = [_("it trained on the CPU")]
        if status.peak_rss is not None:
            peak = words.gib(status.peak_rss)
            told.append(_("peak memory {gib} GiB").format(gib=peak))
        return told
    if host is None:
        return [_("it trains on the CPU of another host")]
    if not host.driver:
        return [_("no GPU here: NVML not found"), _("training on the CPU")]
    return [_("the task asks for no GPU"), _("training on the CPU")]


def host_rows(host: HostView, width: int, look: Look) -> list[Row]:
    """Return CPU and memory of the host and the run's part in them."""
    busy = "–" if host.busy is None else f"{host.busy:.0%}"
    cores = _("{busy:>4} of {cores} cores").format(busy=busy, cores=host.cores)
    rows = [_graph(_("CPU"), cores, host, BUSY, 100.0, width, look)]
    total = host.memory_total
    figures = f"{words.gib(host.memory_used):>5}/{words.gib(total)}G"
    room = width - 8 - len(figures) - 2
    share = (host.memory_used or 0) / total if total else 0.0
    filled = bar(share, max(0, room))
    rest = ("░" * max(0, room - len(filled)), "rule")
    rows.append((_label(_("RAM")), (f"{figures} ", ""), (filled, "memory"), rest))
    cpu = "–" if host.cpu is None else f"{host.cpu:.1f}"
    mine = _("{cpu:>5} cores  {gib:>5}G").format(cpu=cpu, gib=words.gib(host.rss))
    top = nice_top(float(np.nanmax(np.nan_to_num(host.recent[:, RUN_CPU]), initial=1.0)))
    rows.append(_graph(_("run"), mine, host, RUN_CPU, top, width, look))
    return rows


def _label(text: str) -> tuple[str, str]:
    return (fit(f"  {text}", 8), "strong")


def _graph(
    label: str, figures: str, host: HostView, column: int, top: float, width: int, look: Look
) -> Row:
    room = max(0, width - 8 - cell_len(figures) - 3)
    graph = spark(host_columns(host, column, look.window, room), 0, top) if room else ""
    return (_label(label), (f"{figures}  ", ""), (graph, "graph"))


def host_columns(host: HostView, column: int, window: str, width: int) -> Values:
    """Return the mean of a column of ``host.recent`` in each of ``width`` columns of time."""
    rows = host.recent
    end = rows[-1, TIME]
    span = WINDOWS_S[window] or max(60.0, end - rows[0, TIME])
    seconds = span / max(1, min(width, int(span)))
    number = round(span / seconds)
    begin = np.floor(end / seconds + 1) * seconds - span
    place = ((rows[:, TIME] - begin) / seconds).astype(np.intp)
    keep = (place >= 0) & (place < number) & ~np.isnan(rows[:, column])
    total = np.bincount(place[keep], rows[keep, column], number)
    count = np.bincount(place[keep], minlength=number)
    mean: Values = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    wide: Values = mean[np.arange(width) * number // width]
    return wide


def process_rows(facts: Facts, width: int, most: int) -> list[Row]:
    """Return the processes on the devices, or those of the run where there are no devices."""
    rows = _on_devices(facts) or _of_run(facts, width)
    if not rows or most < 2:
        return []
    title = (fit(_("processes"), width), "faint")
    shown = rows[: most - 1]
    if len(rows) > len(shown):
        left = _("… {n} more").format(n=len(rows) - len(shown) + 1)
        shown = [*shown[:-1], ((f"  {left}", "faint"),)]
    return [(title,), *shown]


def _on_devices(facts: Facts) -> list[Row]:
    host = facts.view.host
    mine = {each.pid: each for each in host.processes} if host else {}
    rows: list[Row] = []
    for sample in facts.view.samples:
        for each in sample.processes or ():
            ours = mine.get(each.pid)
            name = ours.name if ours else _("another program") if mine else ""
            rows.append((
                (f"{sample.index:>3} ", "strong"),
                (f"{each.pid:>8} {_memory(each)}  ", ""),
                ("● " if ours else "  ", "good"),
                (name, "" if ours else "faint"),
            ))  # fmt: skip
    return rows


def _memory(process: GpuProcess) -> str:
    return f"{words.gib(process.memory):>5}G"


def _of_run(facts: Facts, width: int) -> list[Row]:
    """Return the run's processes; where there is little room their names go before their cores."""
    host = facts.view.host
    if host is None:
        return []
    rows: list[Row] = []
    for each in host.processes:
        cpu = "–" if each.cpu is None else f"{each.cpu:.1f}"
        figures = _("{cpu:>5} cores").format(cpu=cpu) if width >= _NAMED else f"{cpu:>5}"
        rows.append((
            (f"  {each.pid:>7} {words.gib(each.rss):>5}G {figures}  ", ""),
            (each.name, "faint"),
        ))  # fmt: skip
    return rows
