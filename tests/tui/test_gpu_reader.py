"""Reading ``gpu.jsonl`` as it grows, and its history at any length."""

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdcore.gpu.samples import Unavailable, to_line
from sdcore.runs.paths import RunDir
from sdcore.supervise import procs
from sdtui.live import gpu as gpu_module
from sdtui.live.gpu import GpuReader, GpuView
from sdtui.live.gpu_track import (
    CLOCK,
    MEMORY,
    RECENT,
    TIME,
    UTIL,
    Bins,
    History,
    Ring,
    columns,
)
from sdtui.live.host import HostReader
from support.fake_runs import T0, make_run
from support.gpu_lines import GIB, busy, host_of_eight, host_of_mig, idle, lines


def _settle(reader: GpuReader) -> GpuView:
    """Poll until nothing is new for a while: on a busy host one look may get no time at all."""
    view, still = reader.poll(), 0
    for _again in range(500):
        before, view = view, reader.poll()
        still = still + 1 if view is before else 0
        if still == 5:
            return view
    raise AssertionError("it never comes to rest")


def _append(run: RunDir, *records: Any) -> None:
    with run.gpu.open("ab") as file:
        for record in records:
            file.write(record if isinstance(record, bytes) else json.dumps(record).encode())
            file.write(b"\n")


def _run(view: GpuView, metric: int, width: int = 60, window: str = "run") -> Any:
    return columns(view.devices[0].history, metric, window, width, view.now)


def test_a_view_is_the_same_object_until_something_is_new() -> None:
    """An equal view posted again would draw the screen again, for nothing, every second."""
    run = make_run(gpu=lines(host_of_eight, 30, T0))
    reader = GpuReader(run)
    view = _settle(reader)
    assert reader.poll() is view
    assert [each.index for each in view.samples] == list(range(8))
    assert view.samples[5].lost
    assert view.at == T0 + 29
    _append(run, to_line(host_of_eight(30), T0 + 30))
    assert reader.poll() is not view
    assert reader.poll().at == T0 + 30


def test_an_old_view_does_not_change_while_the_run_goes_on() -> None:
    """A screen draws from its view while the reader's thread appends to the same buffer."""
    run = make_run(gpu=lines(host_of_eight, 30, T0))
    reader = GpuReader(run)
    view = _settle(reader)
    kept = view.devices[0].history.recent.copy(), view.devices[0].history.run.count.copy()
    _append(run, *lines(lambda s: [idle(0)], 50, T0 + 30))
    _settle(reader)
    assert np.array_equal(view.devices[0].history.recent, kept[0], equal_nan=True)
    assert np.array_equal(view.devices[0].history.run.count, kept[1])


def test_damaged_lines_cost_themselves_alone() -> None:
    """A full disk cuts a line, another program writes into the file, a clock is far off."""
    run = make_run(gpu=lines(lambda s: [busy(0, s)], 5, T0))
    _append(
        run, b"not json", b"[1]", b'{"at": "soon", "gpus": []}', b'{"at": 1e300, "gpus": []}',
        b"\xff\xfe", b'{"gpus": [{"index": 0}]}', b'{"at": NaN}', b"[" * 50_000,
        {"at": T0 + 5, "gpus": [7, {"index": True, "name": "\x1b[2J", "utilization": "all",
                                    "memory_used": 10**400, "throttle": "no", "processes": [1]}]},
        to_line([busy(0, 6)], T0 + 6),
    )  # fmt: skip
    view = _settle(GpuReader(run))
    assert view.at == T0 + 6
    assert len(view.devices) == 1
    _append(run, {"at": T0 + 7, "gpus": [{"name": "\x1b[2Jbad", "memory_total": -1, "index": 9e9}]})
    (sample,) = _settle(GpuReader(run)).samples
    assert (sample.name, sample.memory_total, sample.index) == ("bad", None, 0)


def test_a_half_written_line_waits() -> None:
    """The supervisor is caught between two writes of one line."""
    run = make_run(gpu=lines(lambda s: [busy(0, s)], 3, T0))
    reader = GpuReader(run)
    _settle(reader)
    line = json.dumps(to_line([busy(0, 3)], T0 + 3)).encode()
    with run.gpu.open("ab") as file:
        file.write(line[:50])
        file.flush()
        assert _settle(reader).at == T0 + 2
        file.write(line[50:] + b"\n")
    assert _settle(reader).at == T0 + 3


def test_readings_begin_when_the_file_does() -> None:
    """A queued run has none yet; its pane is open all the same."""
    run = make_run()
    reader = GpuReader(run)
    assert reader.poll() is reader.poll()
    _append(run, *lines(host_of_mig, 3, T0))
    view = _settle(reader)
    assert [each.uuid for each in view.samples] == ["MIG-1", "MIG-2"]
    assert math.isnan(_run(view, UTIL).mean[-1])
    memory = _run(view, MEMORY).mean
    assert memory[~np.isnan(memory)].tolist() == [GIB] * 3


def test_a_silent_driver_is_told_until_it_answers() -> None:
    """One line stands for the whole silence: it must not be taken for a passing one."""
    run = make_run(gpu=lines(host_of_eight, 3, T0))
    _append(run, Unavailable("stalled", "for 5 s").to_record(T0 + 8))
    reader = GpuReader(run)
    view = _settle(reader)
    assert view.unavailable == Unavailable("stalled", "for 5 s")
    assert view.at == T0 + 2
    assert len(view.samples) == 8
    _append(run, to_line(host_of_eight(9), T0 + 9))
    assert _settle(reader).unavailable is None


def test_devices_may_come_and_go() -> None:
    """A run is resumed on other GPUs; the old ones are not the run's any more."""
    run = make_run(gpu=lines(lambda s: [busy(0, s), busy(1, s)], 5, T0))
    reader = GpuReader(run)
    _settle(reader)
    _append(run, *lines(lambda s: [busy(3, s)], 5, T0 + 100))
    view = _settle(reader)
    assert [each.sample.index for each in view.devices] == [3]
    _append(run, *lines(lambda s: [busy(1, s)], 5, T0 + 200))
    assert len(_settle(reader).devices[0].history.recent) == 10


def test_a_clock_set_back_keeps_the_order_of_the_lines() -> None:
    """By their own times, the newest lines would be drawn under old ones, or not at all."""
    run = make_run(gpu=lines(lambda s: [idle(0)], 100, T0))
    _append(run, *lines(lambda s: [busy(0, s, utilization=80)], 50, T0 - 3600))
    view = _settle(GpuReader(run))
    assert view.at == T0 - 3600 + 49
    t = view.devices[0].history.recent[:, TIME]
    assert len(t) == 150
    assert (np.diff(t) > 0).all()
    found = _run(view, UTIL, 30, "1m").mean
    assert found[-1] == 80
    assert found[1] == 0


def test_a_file_that_was_cut_is_read_anew() -> None:
    """What was read before is of a run that no longer stands on disk."""
    run = make_run(gpu=lines(host_of_eight, 30, T0))
    reader = GpuReader(run)
    _settle(reader)
    run.gpu.write_text(json.dumps(to_line([idle(0)], T0 + 500)) + "\n")
    view = _settle(reader)
    assert view.at == T0 + 500
    assert len(view.devices[0].history.recent) == 1


def test_throttling_is_a_share_of_the_last_five_minutes() -> None:
    """Of the whole run it would be small long after the fan has failed."""

    def held(second: int) -> Any:
        return [busy(0, second, throttle=("hardware slowdown",) if second >= 900 else ())]

    view = _settle(GpuReader(make_run(gpu=lines(held, 1000, T0))))
    assert view.devices[0].throttle == (("hardware slowdown", pytest.approx(1 / 3)),)


def _day(path: Path, seconds: int, devices: int) -> None:
    """Write a long run quickly: the same line again, with its time and load."""
    record = json.dumps(to_line([busy(i) for i in range(devices)], 7.5), separators=(",", ":"))
    head, _sign, tail = record.partition("7.5")
    tail = tail.replace('"utilization":90', '"utilization":@')
    with path.open("w", encoding="ascii") as file:
        for second in range(seconds):
            load = "10" if second < seconds // 2 else "90"
            file.write(head + str(T0 + second) + tail.replace("@", load) + "\n")


def test_a_long_run_is_seen_whole_at_once_and_its_last_hour_soon() -> None:
    """Read through, a day of eight GPUs would take half a minute and hold up everything else."""
    run = make_run()
    _day(run.gpu, 30_000, 1)
    assert run.gpu.stat().st_size > 8 << 20
    reader = GpuReader(run)
    reader.poll()
    view = reader.poll()
    whole = _run(view, UTIL, 40).mean
    assert np.isnan(whole).mean() < 0.35
    assert whole[1] == 10
    assert whole[~np.isnan(whole)][-1] == 90
    view = _settle(reader)
    hour = _run(view, UTIL, 60, "1h")
    assert not np.isnan(hour.mean).any()
    assert len(view.devices[0].history.recent) <= RECENT


def test_one_look_takes_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's thread follows the log and the curve as well."""
    run = make_run()
    _day(run.gpu, 30_000, 1)
    parsed = 0
    parse = gpu_module.parse

    def counted(line: bytes, latest: float) -> Any:
        nonlocal parsed
        parsed += 1
        time.sleep(0.0005)  # a slow disk
        return parse(line, latest)

    monkeypatch.setattr(gpu_module, "parse", counted)
    reader = GpuReader(run)
    reader.poll()
    parsed = 0
    reader.poll()
    assert parsed < 400


def test_growing_and_reading_back_agree() -> None:
    """A console that was open all along and one opened now must draw the same."""
    run = make_run(gpu=lines(lambda s: [busy(0, s)], 10, T0))
    open_all_along = GpuReader(run)
    _settle(open_all_along)
    for start in range(10, 700, 90):
        _append(run, *lines(lambda s, at=start: [busy(0, s + at)], 90, T0 + start))
        _settle(open_all_along)
    one, two = _settle(open_all_along), _settle(GpuReader(run))
    for window in ("1m", "10m", "1h", "run"):
        for metric in (UTIL, MEMORY, CLOCK):
            a, b = _run(one, metric, 50, window), _run(two, metric, 50, window)
            assert np.array_equal(a.mean, b.mean, equal_nan=True)
            assert np.array_equal(a.high, b.high, equal_nan=True)


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.floats(0, 100) | st.just(math.nan), min_size=1, max_size=400),
    width=st.integers(1, 200),
    window=st.sampled_from(["1m", "10m", "1h", "run"]),
)
def test_columns_keep_the_extremes(values: list[float], width: int, window: str) -> None:
    """A spike that falls between two columns is the one a person looks for."""
    rows = np.full((len(values), 7), np.nan)
    rows[:, TIME] = T0 + np.arange(len(values))
    rows[:, UTIL] = values
    bins, ring = Bins(T0), Ring(7)
    bins.add(rows)
    ring.append(rows)
    now = rows[-1, TIME]
    found = columns(History(ring.view(), bins.view()), UTIL, window, width, now)
    assert len(found.mean) == width
    seen = ~np.isnan(found.mean)
    assert (found.low[seen] <= found.mean[seen] + 1e-6).all()
    assert (found.mean[seen] <= found.high[seen] + 1e-6).all()
    span = {"1m": 60, "10m": 600}.get(window, 10_000)
    inside = np.array(values)[max(0, len(values) - span + int(found.seconds) + 2) :]
    if width < 60 and (~np.isnan(inside)).any():
        assert np.nanmax(found.high) >= np.nanmax(inside)
        assert np.nanmin(found.low) <= np.nanmin(inside)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=40))
def test_a_ring_holds_the_newest_in_order(acts: list[tuple[bool, int]]) -> None:
    """Views are slices of one buffer: a wrong end shows rows of nothing."""
    ring, kept, low, high = Ring(1, keep=12), [], 0, 0
    for later, number in acts:
        if later:
            added = [float(high + i) for i in range(number)]
            high += number
            kept = (kept + added)[-12:]
            ring.append(np.array(added).reshape(-1, 1))
        else:
            added = [float(low - number + i) for i in range(number)]
            room = 12 - len(kept)
            if kept and kept[0] == low:  # else rows between were forgotten, and none go before
                kept = added[len(added) - min(room, number) :] + kept
                ring.prepend(np.array(added).reshape(-1, 1))
                low = int(kept[0])
    assert ring.view()[:, 0].tolist() == kept


def test_a_run_of_this_host_tells_cpu_and_memory_of_its_own_processes() -> None:
    """Without a GPU it is all there is to see of a training at work."""
    me = os.getpid()
    run = make_run(
        supervisor={"pid": me, "start_ticks": procs.start_ticks(me), "boot_id": procs.boot_id(),
                    "host": os.uname().nodename},
    )  # fmt: skip
    reader = HostReader(run)
    view = reader.poll()
    assert view is not None
    assert reader.poll() is view
    assert me in view.pids
    assert view.rss > 10 << 20
    assert view.memory_total is not None
    reader._looked -= 2
    again = reader.poll()
    assert again is not None
    assert len(again.recent) == 2
    assert all(each.cpu is not None for each in again.processes if each.pid == me)


@pytest.mark.parametrize("changes", [{"host": "elsewhere"}, {"boot_id": "old"}, {"start_ticks": 1}])
def test_another_hosts_or_an_old_process_is_not_taken_for_the_run(changes: dict[str, Any]) -> None:
    """A pid is used again; on a shared home the run may live on another node."""
    me = os.getpid()
    record = {"pid": me, "start_ticks": procs.start_ticks(me), "boot_id": procs.boot_id(),
              "host": os.uname().nodename, **changes}  # fmt: skip
    assert HostReader(make_run(supervisor=record)).poll() is None
