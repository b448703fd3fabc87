"""From readings to lines: what the GPU pane says at any size. Pure functions, no widget.

The devices share the room evenly: one line each where it is scarce, up to five where it is not.
What is wrong with a device is told in words under them, and goes before everything else.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len

from sdcore.gpu.samples import GpuSample
from sdcore.runs.status import Status
from sdtui.language import _, ngettext
from sdtui.live.gpu import Device, GpuView
from sdtui.live.gpu_track import MEMORY, UTIL, columns
from sdtui.theme import GLYPHS
from sdtui.widgets import gpu_words as words
from sdtui.widgets.cells import bar, fit
from sdtui.widgets.gpu_lines import Row, both_ends, width_of
from sdtui.widgets.spark import spark

MOST_LINES = 5  # of one device
Part = Literal["all", "charts", "processes"]
PARTS: tuple[Part, ...] = ("all", "charts", "processes")
# Cells from which the power stands with its limit: in the one line of a device, in one of several.
_WIDE, _HALF = 56, 38
_SHORT_LIST = 4  # cells that the numbers of devices may take where a sentence has little room


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """What the pane shows.

    Attributes:
        view: The readings.
        status: The run's state.
        allocated: Bytes that torch holds on rank 0; None when it did not tell.
        peak: The most it held.
    """

    view: GpuView
    status: Status
    allocated: float | None = None
    peak: float | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """How a person looks at it.

    Attributes:
        window: A key of ``gpu_track.WINDOWS_S``.
        chosen: Place of the device that is shown in full.
        part: What the whole place is for: as much of everything as fits, the charts of the chosen
            device, or host and processes.
    """

    window: str = "10m"
    chosen: int = 0
    part: Part = "all"


def notices(facts: Facts, width: int) -> list[Row]:
    """Return what is wrong or needs to be known, the worst first."""
    view = facts.view
    found: list[Row] = []
    if view.unavailable is not None:
        text = words.why_words(view.unavailable.reason)
        if view.at is not None and not facts.status.over:
            since = words.clock_time(view.at)
            text = _("{problem}; last reading {time}").format(problem=text, time=since)
        style = "warn" if facts.status.over else "bad"
        found.append(((f"! {text}", style),))
    lost = ranges(each.sample.index for each in view.devices if each.sample.lost)
    if lost:
        text = _("GPU {numbers} lost: off the bus until a reset or reboot").format(numbers=lost)
        found.append(((f"{GLYPHS['failed']} {text}", "bad"),))
    found += [((f"{GLYPHS['failed']} {text}", "bad"),) for text in _struck(view.samples)]
    for sample in view.samples:
        if sample.ecc_uncorrected:
            text = ngettext(
                "GPU {number}: {count} uncorrected memory error",
                "GPU {number}: {count} uncorrected memory errors",
                sample.ecc_uncorrected,
            )
            text = text.format(number=sample.index, count=sample.ecc_uncorrected)
            found.append(((f"{GLYPHS['failed']} {text}", "bad"),))
    found += [((f"! {text}", "warn"),) for text in _throttled(view.devices, short=width < 44)]
    if _hidden(view):
        text = _("processes hidden: another PID namespace")
        found.append(((f"  {text}", "faint"),))
    return found + _ended(facts)


def ranges(numbers: Iterable[int]) -> str:
    """Write numbers in few cells: ``0-3,7``."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return ",".join(f"{s[0]}-{s[-1]}" if len(s) > 2 else ",".join(map(str, s)) for s in spans)


def _struck(samples: tuple[GpuSample, ...]) -> list[str]:
    """Return one line per XID error, with the devices it struck; the newest of each go first."""
    who: dict[int, list[GpuSample]] = {}
    for sample in samples:
        for code in reversed(sample.xid or ()):
            who.setdefault(code, []).append(sample)
    return [
        f"GPU {ranges(sample.index for sample in struck)}: {words.xid_words(code)}"
        for code, struck in who.items()
    ]


def _throttled(devices: tuple[Device, ...], *, short: bool) -> list[str]:
    """Return one line per reason, with the devices it holds down and the most of their shares."""
    held: dict[str, list[tuple[int, float]]] = {}
    for device in devices:
        for reason, share in device.throttle:
            held.setdefault(reason, []).append((device.sample.index, share))
    lines = []
    for reason, who in sorted(held.items(), key=lambda each: -max(s for _i, s in each[1])):
        most = words.percent(max(share for _index, share in who))
        text = _("{reason} {share}/5 min") if short else _("{reason} {share} of the last 5 min")
        text = text.format(reason=_(reason), share=most)
        if len(devices) > 1:
            numbers = ranges(index for index, _share in who)
            if short and cell_len(numbers) > _SHORT_LIST:
                total = len({device.sample.index for device in devices})
                numbers = f"{len({index for index, _share in who})}/{total}"
            text = f"GPU {numbers}: {text}"
        lines.append(text)
    return lines


def _hidden(view: GpuView) -> bool:
    """Say whether the driver counts processes elsewhere than we do: in a container it does."""
    if view.host is None or not view.host.processes or view.unavailable is not None:
        return False
    told = [each for sample in view.samples for each in sample.processes or ()]
    pids = view.host.pids
    return bool(told) and not any(each.pid in pids for each in told)


def _ended(facts: Facts) -> list[Row]:
    status = facts.status
    if not status.over or facts.view.at is None:
        return []
    text = _("last reading {time}").format(time=words.clock_time(facts.view.at))
    if status.peak_gpu_memory is not None:
        peak = words.gib(status.peak_gpu_memory)
        text += "  " + _("peak {gib}G").format(gib=peak)
    return [((text, "faint"),)]


def device_rows(facts: Facts, place: int, lines: int, width: int, look: Look) -> list[Row]:
    """Return the lines of one device, exactly ``lines`` of them.

    Args:
        facts: All of it.
        place: Of the device in ``facts.view.devices``.
        lines: 1 to ``MOST_LINES``.
        width: Cells.
        look: Window and choice.
    """
    device = facts.view.devices[place]
    chosen = len(facts.view.devices) > 1 and place == look.chosen
    head = (f"{device.sample.index:>2} ", "chosen" if chosen else "strong")
    if device.sample.lost:
        mark = GLYPHS["failed"] + " " + _("lost") + "  "
        rows: list[Row] = [(head, (mark, "bad"), _name(device, width - 3 - cell_len(mark)))]
    elif lines == 1:
        rows = [_one_line(facts, device, head, width, look)]
    else:
        rows = _lines(facts, device, head, lines, width, look)
        if torch := torch_words(facts, place):
            rows.insert(3, (("   ", ""), (torch, "faint")))
        rows = rows[:lines]
    return rows + [()] * (lines - len(rows))


def _name(device: Device, room: int) -> tuple[str, str]:
    name = words.name_of(device.sample)
    return (fit(name, max(0, room)) if cell_len(name) > room else name, "faint")


def rank0(facts: Facts) -> int:
    """Return the place of the device that rank 0 trains on: the first the run was given."""
    first = facts.status.gpus[0] if facts.status.gpus else None
    places = (i for i, sample in enumerate(facts.view.samples) if sample.uuid == first)
    return next(places, 0)


def _one_line(facts: Facts, device: Device, head: tuple[str, str], width: int, look: Look) -> Row:
    """Return the device in one line: the wider, the more of it."""
    sample = device.sample
    full = sample.memory_total is not None and sample.memory_total >= 99.95 * words.GIB
    figures = f" {words.memory(sample):>{13 if full else 11}}"
    end: Row = ((figures, ""),)
    mark = _mark(device)
    power = words.power(sample, limit=width >= _WIDE)
    for more in (words.temperature(sample), power, words.clock(sample)):
        if 3 + 4 + 6 + width_of(end) + len(more) + 1 + 2 <= width:
            end = (*end, (f" {more}", ""))
    start: Row = (head, (words.util(sample), ""))
    room = width - width_of(start) - width_of(end) - 2 - 2
    if room < 3:
        return (*start, *end)
    graph, memory = (room, 0) if room < 18 else (room - room // 3, room // 3)
    if sample.utilization is None:  # an instance: the driver tells none of it
        start = (*start, (" " + fit(words.name_of(sample), graph), "faint"))
    else:
        start = (*start, (" " + _spark(facts, device, UTIL, graph, look), "graph"))
    if memory:
        start = (*start, (" ", ""), *_memory_bar(sample, memory - 1))
    return (*start, *end, mark)


def _mark(device: Device) -> tuple[str, str]:
    """Return two cells that say whether something is wrong with the device now."""
    if device.sample.ecc_uncorrected or device.sample.xid:
        return (f" {GLYPHS['failed']}", "bad")
    return (" !", "warn") if device.sample.throttle else ("  ", "")


def _lines(
    facts: Facts, device: Device, head: tuple[str, str], lines: int, width: int, look: Look
) -> list[Row]:
    """Return the device in several lines, those that matter most first."""
    sample = device.sample
    power = words.power(sample, limit=width >= _HALF)
    right: Row = ((f"{power} {words.temperature(sample)}", ""), _mark(device))
    start: Row = (head, (words.util(sample) + " ", ""))
    room = width - width_of(start) - width_of(right) - 1
    if room >= 4:
        start = (*start, (_spark(facts, device, UTIL, room, look), "graph"))
    figures = words.memory(sample)
    load = both_ends(start, right, width)
    used: Row = (
        ("   ", ""),
        (f"{figures} ", ""),
        *_memory_bar(sample, width - 5 - cell_len(figures)),
    )
    if lines < 3:
        return [load, used]
    name = _name(device, width - 3)
    title = both_ends((head, name), ((f"{words.clock(sample)}  ", "faint"),), width)
    rows = [title, (("   ", ""), *load[1:]), used]
    reserved = reserved_words(sample)
    memory = _spark(facts, device, MEMORY, max(0, width - 6 - cell_len(reserved)), look)
    rows.append(both_ends((("   ", ""), (memory, "memory")), ((f"{reserved}  ", "faint"),), width))
    return rows


def reserved_words(sample: GpuSample) -> str:
    """Return what the driver keeps for itself, or nothing."""
    if sample.memory_reserved is None:
        return ""
    return _("+{gib}G reserved").format(gib=words.gib(sample.memory_reserved))


def torch_words(facts: Facts, place: int) -> str:
    """Return what torch holds on the device at ``place``, where rank 0 told it."""
    if facts.allocated is None or place != rank0(facts):
        return ""
    now = words.gib(round(facts.allocated))
    peak = words.gib(None if facts.peak is None else round(facts.peak))
    return _("torch {now:>5}G now {peak}G peak").format(now=now, peak=peak)


def _spark(facts: Facts, device: Device, metric: int, width: int, look: Look) -> str:
    if width <= 0:
        return ""
    found = columns(device.history, metric, look.window, width, facts.view.now)
    top = device.sample.memory_total or 1 if metric == MEMORY else 100
    return spark(found.mean, 0, top)


def _memory_bar(sample: GpuSample, width: int) -> Row:
    """Return used, reserved and free memory as one bar of ``width`` cells."""
    total = sample.memory_total
    if not total or sample.memory_used is None or width < 3:
        return ((" " * max(0, width), ""),)
    used = bar(sample.memory_used / total, width)
    reserved = min(round((sample.memory_reserved or 0) / total * width), width - len(used))
    free = width - len(used) - reserved
    return ((used, "memory"), ("▒" * reserved, "reserved"), ("░" * free, "rule"))
