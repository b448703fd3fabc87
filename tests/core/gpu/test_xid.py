"""XID errors through the real pynvml: the driver tells of them once, to whoever asked before."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from sdcore.gpu.xid import MOST_CODES
from sdcore.runs.paths import RunDir
from support.fake_runs import make_run
from support.nvml import FakeGpus, Watcher, fake_gpus, gpu, nvml_library

__all__ = ["fake_gpus", "nvml_library"]


def _codes(run: RunDir) -> list[Any]:
    """Return the codes of each device in the newest line."""
    line = json.loads(run.gpu.read_text().splitlines()[-1])
    return [device["xid"] for device in line["gpus"]]


def test_an_error_stays_told_after_the_driver_has_told_it(
    fake_gpus: Callable[..., FakeGpus],
) -> None:
    """NVML hands each event out once: a console opened a minute later would see a sound GPU."""
    gpus, run = fake_gpus(gpu("GPU-a"), gpu("GPU-b")), make_run()
    with Watcher(gpus, run, 2) as watcher:
        watcher.look()
        assert _codes(run) == [[], []]
        gpus.set(gpu("GPU-a", xid="31"), gpu("GPU-b"))
        watcher.look()
        gpus.set(gpu("GPU-a", xid="31,48,31"), gpu("GPU-b"))
        watcher.look()
        watcher.look()
    assert _codes(run) == [[48, 31], []]


def test_a_gpu_that_falls_off_the_bus_tells_its_error(fake_gpus: Callable[..., FakeGpus]) -> None:
    """From then on it answers nothing, not even who it is: XID 79 is all that is left to say."""
    gpus, run = fake_gpus(gpu("GPU-a"), gpu("GPU-b")), make_run()
    with Watcher(gpus, run, 2) as watcher:
        gpus.set(gpu("GPU-a"), gpu("GPU-b", xid="79", lost=1))
        watcher.look()
    assert _codes(run) == [[], [79]]


def test_an_event_that_names_its_gpu_by_another_handle_is_not_lost(
    fake_gpus: Callable[..., FakeGpus],
) -> None:
    """NVML promises nowhere that the handle of an event is the one that was registered."""
    gpus, run = fake_gpus(gpu("GPU-a", alias=1), gpu("GPU-b", alias=1)), make_run()
    with Watcher(gpus, run, 2) as watcher:
        gpus.set(gpu("GPU-a", alias=1), gpu("GPU-b", alias=1, xid="74"))
        watcher.look()
    assert _codes(run) == [[], [74]]


def test_what_happened_before_is_not_blamed_on_the_run(fake_gpus: Callable[..., FakeGpus]) -> None:
    """Yesterday's program on the same GPU may have crashed; this one is healthy."""
    run = make_run()
    with Watcher(fake_gpus(gpu("GPU-a", xid="31,79")), run, 1) as watcher:
        watcher.look()
    assert _codes(run) == [[]]


def test_an_instance_has_its_own_errors_and_those_of_its_board(
    fake_gpus: Callable[..., FakeGpus],
) -> None:
    """The page fault of another tenant of the board is no trouble of this run."""
    gpus, run = fake_gpus(gpu("GPU-a", mig=2)), make_run()
    with Watcher(gpus, run, 2) as watcher:
        gpus.set(gpu("GPU-a", mig=2, xid="31@1,94@2,119"))
        watcher.look()
    assert _codes(run) == [[31, 119], [94, 119]]


def test_a_driver_that_does_not_watch_costs_no_other_reading(
    fake_gpus: Callable[..., FakeGpus],
) -> None:
    """Without an answer there is no word, instead of the word that all is well."""
    gpus, run = fake_gpus(gpu("GPU-a", xid=None), gpu("GPU-b")), make_run()
    with Watcher(gpus, run, 2) as watcher:
        gpus.set(gpu("GPU-a", xid="79"), gpu("GPU-b", xid="13"))
        watcher.look()
    assert _codes(run) == [None, [13]]


@pytest.mark.parametrize("missing", ["nvmlEventSetCreate", "nvmlDeviceRegisterEvents"])
def test_a_library_without_events_is_read_all_the_same(
    fake_gpus: Callable[..., FakeGpus], missing: str
) -> None:
    """An old driver, and some containers, lack the functions; the rest must still be seen."""
    program = f"""
import pynvml
def lacks(*_arguments):
    raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
pynvml.{missing} = lacks
from sdcore.gpu.nvml import open_nvml
nvml = open_nvml()
nvml.watch()
[sample] = nvml.read()
nvml.close()
print(sample.xid, sample.utilization)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=fake_gpus(gpu("GPU-a")).env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "None 7\n"


def test_a_storm_of_errors_is_bounded(fake_gpus: Callable[..., FakeGpus]) -> None:
    """A sick GPU reports by the thousand; the newest codes are the ones that count."""
    gpus, run = fake_gpus(gpu("GPU-a")), make_run()
    with Watcher(gpus, run, 1) as watcher:
        gpus.set(gpu("GPU-a", xid=",".join(str(code) for code in range(1, 201))))
        watcher.look()
        [codes] = _codes(run)
        assert len(codes) == MOST_CODES
        for _again in range(5):
            watcher.look()
    assert _codes(run) == [list(range(201 - MOST_CODES, 201))]
