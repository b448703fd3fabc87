"""The GPU pane's lines, without a screen."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdcore.gpu.samples import GpuProcess, Unavailable
from sdcore.runs.status import Status
from sdtui.live.gpu import GpuReader, GpuView
from sdtui.live.host import HostProcess, HostView
from sdtui.widgets.gpu_drawing import draw
from sdtui.widgets.gpu_lines import width_of
from sdtui.widgets.gpu_rows import PARTS, Facts, Look, Part, ranges
from support.fake_runs import T0, make_run
from support.gpu_lines import GIB, busy, host_of_eight, host_of_mig, lines

RUNNING = Status("20260806-070640-shapes", "shapes", "running", gpus=("GPU-0",))


def _view(maker: Any, seconds: int = 120) -> GpuView:
    reader = GpuReader(make_run(gpu=lines(maker, seconds, T0)))
    for _again in range(20):
        view = reader.poll()
    return view


def _facts(maker: Any, status: Status = RUNNING, **changes: Any) -> Facts:
    return Facts(replace(_view(maker), **changes), status, 54 * GIB, 58.5 * GIB)


def _text(facts: Facts, width: int, height: int, look: Look | None = None) -> str:
    rows = draw(facts, look or Look(), width, height).rows
    return "\n".join("".join(text for text, _style in row) for row in rows)


def _host(**changes: Any) -> HostView:
    known: dict[str, Any] = {
        "cores": 16, "busy": 0.73, "memory_used": 38 * GIB, "memory_total": 128 * GIB, "cpu": 5.8,
        "rss": 12 * GIB, "processes": (HostProcess(31, "python", 12 * GIB, 5.8),), "driver": False,
        "recent": np.array([[T0 + i, 70.0, 38 * GIB, 5.5, 12 * GIB] for i in range(20)]),
    }  # fmt: skip
    return HostView(**{**known, **changes})


class Several(list[Facts]):
    def __repr__(self) -> str:  # of the history's numbers there are too many to print
        return "several"


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Several:
    """Return facts of every kind, made once."""
    patch = pytest.MonkeyPatch()
    patch.setenv("SDTUI_HOME", str(tmp_path_factory.mktemp("home")))
    eight = _facts(host_of_eight)
    found = [
        eight, _facts(host_of_mig), _facts(lambda second: [busy(0, second)], host=_host()),
        Facts(GpuView(), RUNNING), Facts(GpuView(host=_host()), RUNNING._replace(gpus=())),
        Facts(replace(eight.view, unavailable=Unavailable("stalled", "x")), RUNNING),
    ]  # fmt: skip
    patch.undo()
    return Several(found)


@settings(max_examples=150, deadline=None)
@given(
    which=st.integers(0, 5),
    width=st.integers(20, 160),
    height=st.integers(3, 50),
    window=st.sampled_from(["1m", "10m", "1h", "run"]),
    chosen=st.integers(0, 20),
    part=st.sampled_from(PARTS),
)
def test_no_line_is_wider_than_its_place(
    several: Several, which: int, width: int, height: int, window: str, chosen: int, part: Part
) -> None:
    """A line one cell too long would be cut at a figure, and a wrong figure is worse than none."""
    drawing = draw(several[which], Look(window, chosen, part), width, height)
    assert 1 <= len(drawing.rows) <= height
    assert len(drawing.owners) == len(drawing.rows)
    assert [row for row in drawing.rows if width_of(row) > width] == []
    figures = drawing.rows[0]
    assert which > 2 or width < 24 or part == "processes" or figures[-1][0] != "…"


@pytest.mark.parametrize(("width", "height"), [(30, 8), (40, 10), (78, 20)])
def test_eight_devices_are_all_there_in_a_small_place(width: int, height: int) -> None:
    """A pane that shows four of eight GPUs hides the lost one."""
    text = _text(_facts(host_of_eight), width, height).splitlines()
    assert [line.split()[0] for line in text[:8]] == list("01234567")
    assert "✗ lost" in text[5]
    assert "63.0/80.0G" in text[0] or "62." in text[0]


def test_what_is_wrong_is_told_in_words_and_by_glyph() -> None:
    """Without colours, and for somebody who never read NVML's manual."""
    text = _text(_facts(host_of_eight), 78, 20)
    assert "✗ GPU 5 lost: off the bus until a reset or reboot" in text
    assert "✗ GPU 3: 2 uncorrected memory errors" in text
    assert "! GPU 0,1: power cap 10% of the last 5 min" in text


def test_charts_and_processes_are_reached_where_eight_devices_fill_the_place() -> None:
    """At 80x24 nothing of them was to be seen, and no key led there."""
    facts = _facts(host_of_eight, host=_host())
    assert "16 cores" not in _text(facts, 80, 20)
    charts = _text(facts, 80, 20, Look(part="charts", chosen=2)).splitlines()
    assert charts[0].split()[0] == "2"
    assert "GPU 2 over 10m" in charts[1]
    assert len(charts) == 20
    processes = _text(facts, 80, 20, Look(part="processes"))
    assert "16 cores" in processes
    assert "processes" in processes


def test_a_warning_for_many_devices_keeps_its_number_in_a_narrow_place() -> None:
    """It was cut before the share of time that it is about."""
    facts = _facts(lambda second: [busy(index, second) for index in range(8)])
    device = replace(facts.view.devices[0], throttle=(("power cap", 0.3),))
    some = [replace(device, sample=replace(device.sample, index=i)) for i in (0, 2, 4, 5, 7)]
    quiet = [each for each in facts.view.devices if each.sample.index in {1, 3, 6}]
    facts = replace(facts, view=replace(facts.view, devices=(*some, *quiet)))
    assert "! GPU 5/8: power cap 30%/5 min" in _text(facts, 31, 12)
    assert "! GPU 0,2,4,5,7: power cap 30% of the last 5 min" in _text(facts, 60, 12)


@given(st.sets(st.integers(0, 20), max_size=12))
def test_ranges_name_every_number_and_no_other(numbers: set[int]) -> None:
    """A device that is not named is not looked after."""
    spans = [part.split("-") for part in ranges(numbers).split(",") if part]
    assert {n for span in spans for n in range(int(span[0]), int(span[-1]) + 1)} == numbers


def test_a_driver_that_does_not_answer_is_told_with_the_last_reading() -> None:
    """Figures that stand still look like a healthy, steady GPU."""
    text = _text(_facts(host_of_eight, unavailable=Unavailable("stalled", "x")), 78, 20)
    assert "! NVML stalled: the driver does not answer; last reading" in text


def test_a_run_that_is_over_tells_when_it_was_read_and_its_peak() -> None:
    """The last figures of a finished run must not be taken for the present."""
    over = RUNNING._replace(state="done", peak_gpu_memory=62 * GIB)
    text = _text(_facts(host_of_eight, status=over), 78, 20)
    assert "last reading 2026-" in text
    assert "peak 62.0G" in text


def test_torch_and_reserved_memory_stand_beside_the_drivers_figure() -> None:
    """Only they explain why 61 of 80 GiB ran out of memory."""
    text = _text(_facts(lambda second: [busy(0, second)]), 40, 6)
    assert "torch  54.0G now 58.5G peak" in text
    assert "+0.5G reserved" in text


def test_instances_of_one_gpu_are_told_apart() -> None:
    """Two lines with the number 0 and no other sign are one GPU to a reader."""
    text = _text(_facts(host_of_mig), 60, 10)
    assert text.count("MIG 3g.40gb") == 2
    assert "1.0/40.0G" in text
    assert "2.0/40.0G" in text


def test_own_processes_are_marked_and_a_namespace_is_told() -> None:
    """In a container the driver's numbers match nothing; silence would look like no process."""
    ours = _host(processes=(HostProcess(4730, "python", GIB, 1.0),))
    text = _text(_facts(lambda second: [busy(0, second)], host=ours), 78, 30)
    assert "4730  40.0G  ● python" in text
    assert "PID namespace" not in text
    text = _text(_facts(lambda second: [busy(0, second)], host=_host()), 78, 30)
    assert "processes hidden: another PID namespace" in text


def test_without_a_gpu_it_says_so_and_shows_what_trains() -> None:
    """An empty pane would look like a fault of the console."""
    facts = Facts(GpuView(host=_host()), RUNNING._replace(gpus=()))
    text = _text(facts, 40, 12)
    assert "no GPU here: NVML not found" in text
    assert "training on the CPU" in text
    assert "73% of 16 cores" in text
    assert "38.0/128.0G" in text
    assert "5.8 cores   12.0G" in text


def test_a_second_later_hardly_a_cell_has_changed() -> None:
    """Over SSH every changed cell is paid for: columns stand still until a whole one is over."""
    view = _view(host_of_eight, 700)
    facts = Facts(view, RUNNING)
    later = Facts(replace(view, now=view.now + 1), RUNNING)
    one, two = (_text(each, 78, 20) for each in (facts, later))
    assert sum(a != b for a, b in zip(one, two, strict=True)) < 40


def test_a_process_list_that_does_not_fit_says_how_many_more() -> None:
    """Cut without a word, the one that fills the memory may be missing."""
    crowd = tuple(GpuProcess(pid, GIB) for pid in range(100, 140))
    text = _text(_facts(lambda second: [busy(0, second, processes=crowd)]), 80, 40)
    assert "more" in text.splitlines()[-1]
