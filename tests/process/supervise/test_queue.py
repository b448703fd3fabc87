"""Runs take free GPUs in the order of their creation and never share one."""

import json
import os
import signal
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from process.supervise.harness import Bench, Run, python, until
from sdcore.errors import NotReadyError
from sdcore.runs import requests
from sdcore.runs.files import read_json
from sdcore.supervise import procs
from support.nvml import GIB, FakeGpus, gpu

_SHOW = (
    "import os, time; print('gpus', os.environ['CUDA_VISIBLE_DEVICES'],"
    " os.environ['CUDA_DEVICE_ORDER']); time.sleep({seconds})"
)


@pytest.fixture
def gpus(
    fake_gpus: Callable[..., FakeGpus], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., FakeGpus]:
    def make(*lines: str) -> FakeGpus:
        made = fake_gpus(*lines)
        for name, value in made.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        return made

    return make


def show(bench: Bench, count: int, seconds: float = 60, **fields: object) -> Run:
    return bench.start(python(_SHOW.format(seconds=seconds)), gpu_count=count, **fields)


def lines(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.dir.gpu.read_text().splitlines()]


def test_three_runs_on_two_gpus_start_in_order_and_never_share(
    bench: Bench, gpus: Callable[..., FakeGpus]
) -> None:
    """Two trainings on one GPU both run out of memory, hours after the mistake."""
    gpus(gpu("GPU-a"), gpu("GPU-b"))
    first = show(bench, 1)
    both = show(bench, 2)
    small = show(bench, 1)  # would fit on GPU-b, but may not pass the one that waits for both
    assert first.until_phase("running")["gpus"] == ["GPU-a"]
    waits = until(lambda: (s := both.state()).get("waiting_for", "").startswith("1 more") and s)
    assert waits["phase"] == "queued"
    assert first.dir.id in waits["waiting_for"]
    until(lambda: both.dir.id in (small.state().get("waiting_for") or ""))
    assert not both.dir.log.exists()

    requests.ask(first.dir, "kill", "test")
    assert both.until_phase("running")["gpus"] == ["GPU-a", "GPU-b"]
    both.until_log("gpus GPU-a,GPU-b PCI_BUS_ID")
    assert small.state()["phase"] == "queued"
    requests.ask(both.dir, "kill", "test")
    small.until_phase("running")
    requests.ask(small.dir, "kill", "test")
    assert small.exit()["gpus"] == ["GPU-a"]


def test_the_gpus_of_a_killed_supervisor_are_free_only_when_its_run_is_gone(
    bench: Bench, gpus: Callable[..., FakeGpus]
) -> None:
    """The guard holds the locks: the next run must not meet the last one's memory."""
    gpus(gpu("GPU-a"))
    deaf = (
        "import signal; signal.signal(15, signal.SIG_IGN); print('up'); import time; time.sleep(60)"
    )
    first = bench.start(python(deaf), gpu_count=1, term_grace_s=1.0)
    first.until_log("up")
    second = show(bench, 1)
    os.kill(first.supervisor, signal.SIGKILL)
    while first.survivors():
        assert second.state()["phase"] == "queued" or not first.survivors()
        time.sleep(0.02)
    second.until_phase("running")
    requests.ask(second.dir, "kill", "test")
    second.exit()


def test_a_gpu_that_a_foreign_program_uses_is_not_free(
    bench: Bench, gpus: Callable[..., FakeGpus]
) -> None:
    """Locks are ours alone; a colleague's notebook is seen in the driver's process list."""
    made = gpus(gpu("GPU-a", pids=f"{os.getpid()}:{GIB}"))
    shared = show(bench, 1, seconds=0, gpu_share=True)
    assert shared.exit()["state"] == "done"
    run = show(bench, 1, seconds=0)
    assert f"GPU 0 is used by process {os.getpid()}" in run.state()["waiting_for"]
    made.set(gpu("GPU-a"))
    assert run.exit()["state"] == "done"


@pytest.mark.parametrize(("by", "code"), [("SIGINT", 130), ("sdtui stop", 143)])
def test_a_run_that_waits_can_be_stopped(
    bench: Bench, gpus: Callable[..., FakeGpus], by: str, code: int
) -> None:
    """It has trained nothing, so nothing is saved and it must not start after all."""
    gpus(gpu("GPU-a", pids="1:1"))
    run = show(bench, 1)
    assert run.state()["phase"] == "queued"
    requests.ask(run.dir, "stop", by)
    record = run.exit(3.0)
    assert (record["state"], record["exit_code"]) == ("stopped", code)
    assert record["gpus"] == []
    assert not run.dir.log.exists()


@pytest.mark.parametrize(
    ("lines_of", "count", "words"),
    [
        ((gpu("GPU-a"),), 2, "1 usable GPU"),
        ((gpu("GPU-a"), gpu("GPU-b", lost=1)), 2, "1 fell off the bus"),
        (("init=9",), 1, "cannot be used"),
    ],
)
def test_a_wish_that_waiting_cannot_fulfil_fails_at_once(
    bench: Bench, gpus: Callable[..., FakeGpus], lines_of: tuple[str, ...], count: int, words: str
) -> None:
    """Queued for ever for a ninth GPU looks like patience and is none."""
    gpus(*lines_of)
    with pytest.raises(NotReadyError, match=words):
        show(bench, count)
    record = bench.runs[0].exit()
    assert (record["cause"], record["exit_code"]) == ("launch", 3)


def test_without_nvml_the_stream_holds_one_line_with_the_reason(
    bench: Bench, gpus: Callable[..., FakeGpus]
) -> None:
    """An empty chart must say why it is empty."""
    gpus("init=9")
    with pytest.raises(NotReadyError):
        show(bench, 1)
    [line] = lines(bench.runs[0])
    assert line["unavailable"] == "no_driver"


def test_the_type_asked_for_comes_first_and_another_is_named(
    bench: Bench, gpus: Callable[..., FakeGpus]
) -> None:
    """A run meant for 80 GB must not silently start on 24."""
    gpus(gpu("GPU-a", "NVIDIA L4"), gpu("GPU-b", "NVIDIA H800 PCIe"))
    right = show(bench, 1, seconds=0, gpu_type="NVIDIA-H800")
    assert right.exit()["gpus"] == ["GPU-b"]
    other = show(bench, 1, gpu_type="NVIDIA-A100")
    assert "NVIDIA L4" in other.until_phase("running")["reason"]
    requests.ask(other.dir, "kill", "test")
    other.exit()


def test_what_the_client_may_see_bounds_what_a_run_may_take(
    bench: Bench, gpus: Callable[..., FakeGpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster gives us two of eight GPUs by this variable; the rest are other people's."""
    gpus(gpu("GPU-a"), gpu("GPU-b"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert show(bench, 1, seconds=0).exit()["gpus"] == ["GPU-b"]


def test_a_run_without_gpus_sees_none_and_reads_none(
    bench: Bench, gpus: Callable[..., FakeGpus]
) -> None:
    """A CPU run that finds a GPU takes it from a run that waited its turn."""
    gpus(gpu("GPU-a"))
    run = show(bench, 0, seconds=0)
    run.exit()
    assert run.dir.log.read_text() == "gpus  PCI_BUS_ID\n"
    assert not run.dir.gpu.exists()


def test_samples_come_once_a_second_for_the_runs_own_gpus(
    bench: Bench, gpus: Callable[..., FakeGpus]
) -> None:
    """The stream is the GPU chart; the peak in the record is what the next batch size is for."""
    made = gpus(gpu("GPU-a"), gpu("GPU-b"))
    run = show(bench, 1)
    until(lambda: run.dir.gpu.exists() and len(lines(run)) >= 1)
    made.set(gpu("GPU-a", used=9 * GIB, pids=f"{run.launcher}:{9 * GIB}"), gpu("GPU-b"))
    until(lambda: len(lines(run)) >= 4)
    made.set(gpu("GPU-a", lost=1), gpu("GPU-b"))
    until(lambda: lines(run)[-1]["gpus"][0]["lost"])
    requests.ask(run.dir, "kill", "test")
    record = run.exit()
    assert record["peak_gpu_memory"] == 9 * GIB
    got = lines(run)
    gaps = [b["at"] - a["at"] for a, b in pairwise(got)]
    assert all(0.7 < gap < 1.8 for gap in gaps), gaps
    assert {sample["uuid"] for line in got for sample in line["gpus"]} == {"GPU-a"}
    assert got[3]["gpus"][0]["processes"] == [{"pid": run.launcher, "memory": 9 * GIB}]


def test_a_driver_that_hangs_holds_up_neither_stop_nor_record(
    bench: Bench, gpus: Callable[..., FakeGpus]
) -> None:
    """A hung driver is when people press stop; the thread inside it never comes back."""
    made = gpus(gpu("GPU-a"))
    run = show(bench, 1)
    until(run.dir.gpu.exists)
    made.set(gpu("GPU-a", stall=1))
    until(lambda: lines(run)[-1].get("unavailable") == "stalled", 12.0)
    requests.ask(run.dir, "kill", "test")
    assert run.exit(3.0)["state"] == "stopped"
    assert [line.get("unavailable") for line in lines(run)].count("stalled") == 1
    supervisor = (read_json(run.dir.supervisor) or {})["pid"]
    until(lambda: procs.read(supervisor) is None, 3.0)
