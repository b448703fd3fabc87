"""From the driver to the screen: the real pynvml, the supervisor's recorder, the reader, the pane.

Every part has tests of its own; here a reading that one writes and the next does not know shows.
"""

import json
from collections.abc import Callable

from sdcore.runs.paths import RunDir
from sdcore.runs.status import Status
from sdtui.live.gpu import GpuReader, GpuView
from sdtui.widgets.gpu_drawing import draw
from sdtui.widgets.gpu_rows import Facts, Look
from support.console import Driven, drive
from support.fake_runs import GOLDEN, exit_record, make_run
from support.nvml import GIB, FakeGpus, Watcher, fake_gpus, gpu, nvml_library

__all__ = ["fake_gpus", "nvml_library"]

_FOREIGN = f"{1 << 22}:{30 * GIB}"  # beyond any process of this host


def _host(*, trouble: bool) -> list[str]:
    """Return eight GPUs: two busy by others, one split; in trouble, one lost and one throttled."""
    others = gpu("GPU-0", pids=_FOREIGN, used=31 * GIB, util=98, power=612_000)
    lines = [others, others.replace("GPU-0", "GPU-1"), *(gpu(f"GPU-{n}") for n in range(2, 7))]
    if trouble:
        lines[3] = gpu("GPU-3", throttle=0x4 | 0x40, power=701_000, temp=88)
        lines[4] = gpu("GPU-4", xid="94", ecc=1)
        lines[5] = gpu("GPU-5", xid="79", lost=1)
        lines[6] = gpu("GPU-6", xid="999")
    return [*lines, gpu("GPU-7", mig=2)]


def _record(fake: Callable[..., FakeGpus]) -> RunDir:
    """Return a finished run that watched this host get into trouble."""
    gpus, run = fake(*_host(trouble=False)), make_run(exit=exit_record("failed"))
    with Watcher(gpus, run, 9) as watcher:
        watcher.look()
        gpus.set(*_host(trouble=True))
        watcher.look()
    return run


def _view(run: RunDir) -> GpuView:
    reader = GpuReader(run)
    for _again in range(5):
        view = reader.poll()
    return view


def _text(view: GpuView, width: int, height: int) -> str:
    facts = Facts(view, Status("20260806-070640-shapes", "shapes", "running"))
    rows = draw(facts, Look(), width, height).rows
    return "\n".join("".join(text for text, _style in row) for row in rows)


def test_all_that_is_wrong_with_a_host_reaches_the_screen(
    fake_gpus: Callable[..., FakeGpus],
) -> None:
    """The one line that tells why a night's run failed may be lost at any of four hand-overs."""
    run = _record(fake_gpus)
    text = _text(_view(run), 78, 24)
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[:9]] == list("012345677")
    assert "98%" in lines[0]
    assert "31.0/80.0G" in lines[1]
    assert "612/700W" in lines[1]
    assert "701/700W" in lines[3]
    assert lines[3].endswith("!")
    assert lines[4].endswith("✗")
    assert "✗ lost" in lines[5]
    assert "MIG 1g.10gb" in lines[7]
    assert "MIG 1g.10gb" in lines[8]
    assert "✗ GPU 5 lost" in text
    assert "✗ GPU 5: XID 79: fallen off the bus" in text
    assert "✗ GPU 4: XID 94: memory error, contained in one program" in text
    assert "✗ GPU 6: XID 999" in lines
    assert "✗ GPU 4: 1 uncorrected memory error" in text
    assert "! GPU 3: power cap 50% of the last 5 min" in text
    assert "! GPU 3: hardware thermal slowdown 50% of the last 5 min" in text


def test_the_console_shows_who_else_is_on_the_gpus_and_what_failed(
    fake_gpus: Callable[..., FakeGpus],
) -> None:
    """Drawn by the whole console at the size of a plain SSH window."""
    run = _record(fake_gpus)

    async def story(driven: Driven) -> None:
        driven.app.open_run(run.id, "gpu")
        await driven.until("XID 79: fallen off the bus")
        await driven.until("612/700W")

    drive(story)

    async def large(driven: Driven) -> None:
        driven.app.open_run(run.id, "gpu")
        await driven.until(f"{1 << 22}  30.0G")

    drive(large, (140, 50))


def test_readings_without_limit_and_errors_are_shown_as_before() -> None:
    """Runs recorded by version 1 know neither; they must not look sick, nor draw 0 watts."""
    run = make_run(gpu=(GOLDEN / "gpu.jsonl").read_bytes())
    view = _view(run)
    assert [(each.power_limit_w, each.xid) for each in view.samples] == [(None, None)] * 2
    text = _text(view, 78, 20)
    assert " 412W " in text
    assert "XID" not in text
    assert "✗" not in text


def test_damaged_codes_are_passed_over() -> None:
    """A file may be damaged anywhere; a code of a million digits must not fill the screen."""
    line = json.loads((GOLDEN / "gpu.jsonl").read_bytes().splitlines()[-1])
    line["gpus"][0] |= {"xid": [True, "79", 10**100, -1, 1.5, None, 31], "power_limit_w": "much"}
    line["gpus"][1] |= {"xid": 79, "power_limit_w": 1e308}
    view = _view(make_run(gpu=[line]))
    assert [each.xid for each in view.samples] == [(31,), None]
    text = _text(view, 78, 20)
    assert "✗ GPU 0: XID 31: page fault" in text
