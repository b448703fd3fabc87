"""The GPU pane and screen in the console: keys, mouse, sizes, what is drawn again."""

import json
import os
import time

import pytest

from sdcore.gpu.samples import to_line
from sdcore.runs.paths import RunDir
from sdcore.supervise import procs
from sdtui.widgets.gpu_lines import GpuLines
from sdtui.widgets.gpu_pane import GpuBody
from support.console import SIZES, Driven, drive
from support.fake_runs import Supervised, exit_record, make_run, metric
from support.gpu_lines import GIB, busy, host_of_eight, lines


def _finished(maker: object = host_of_eight, seconds: int = 120) -> RunDir:
    metrics = [{**metric(i), "gpu_allocated": 54 * GIB, "gpu_peak": 58 * GIB} for i in range(1, 4)]
    ended = exit_record(peak_gpu_memory=62 * GIB, gpus=["GPU-0", "GPU-1"])
    start = time.time() - seconds
    return make_run(exit=ended, metrics=metrics, gpu=lines(maker, seconds, start))


@pytest.mark.parametrize("size", [*SIZES, (60, 16)])
def test_eight_devices_fit_every_screen(size: tuple[int, int]) -> None:
    """At 80x24 eight GPUs, one of them lost, are the case this screen exists for."""
    run = _finished()

    async def story(driven: Driven) -> None:
        driven.app.open_run(run.id, "gpu")
        await driven.until("✗ lost")
        lines = driven.lines()
        assert [line.split()[0] for line in lines[2:10]] == list("01234567")
        assert "last reading" in driven.text()
        assert all(len(line) <= size[0] for line in lines)

    drive(story, size)


def test_keys_change_window_and_device_and_last_from_pane_to_pane() -> None:
    """The pane of the Run screen and the GPU screen are one view of one thing."""
    run = _finished()

    async def story(driven: Driven) -> None:
        driven.app.open_run(run.id, "gpu")
        await driven.until("GPU 0 over 10m")
        await driven.press("w")
        await driven.until("GPU 0 over 1h")
        await driven.press("w")
        await driven.until("GPU 0 over run")
        await driven.press("w", "down")
        await driven.until("GPU 1 over 1m")
        await driven.press("up", "up")
        await driven.until("GPU 7 over 1m")
        driven.app.go("tasks")
        await driven.pilot.pause()
        driven.app.go("gpu")
        await driven.until("GPU 7 over 1m")

    drive(story)


def test_a_click_chooses_a_device() -> None:
    """The mouse works, though nothing needs it."""
    run = _finished()

    async def story(driven: Driven) -> None:
        driven.app.open_run(run.id, "gpu")
        await driven.until("GPU 0 over 10m")
        await driven.pilot.click(GpuBody, offset=(10, 3))
        await driven.until("GPU 3 over 10m")

    drive(story)


def test_only_the_lines_that_changed_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight lines a second for one changed figure are eight times the bytes."""
    run = _finished(lambda second: [busy(0, second), busy(1, second)])
    drawn: list[int] = []
    render = GpuLines.render_line

    def counted(self: GpuLines, y: int) -> object:
        drawn.append(y)
        return render(self, y)

    async def story(driven: Driven) -> None:
        driven.app.open_run(run.id, "gpu")
        await driven.until("peak 62.0G")
        await driven.until(lambda: driven.app.view.run is not None)
        await driven.pilot.pause(0.6)
        monkeypatch.setattr(GpuLines, "render_line", counted)
        body = driven.app.screen.query_one(GpuBody)
        body.draw()
        await driven.pilot.pause(0.2)
        assert drawn == []
        rows = list(body._rows)
        body.set_rows((*rows[:1], (("changed", ""),), *rows[2:]))
        await driven.pilot.pause(0.2)
        assert set(drawn) == {1}

    drive(story)


def test_a_live_run_is_followed() -> None:
    """Figures of a run that goes on are those of this second."""
    run = make_run()

    async def story(driven: Driven) -> None:
        driven.app.open_run(run.id, "gpu")
        await driven.until("GPU")
        with run.gpu.open("a") as file:
            file.write(json.dumps(to_line([busy(0, 1, utilization=41)], time.time())) + "\n")
        await driven.until("41%")
        with run.gpu.open("a") as file:
            file.write(json.dumps(to_line([busy(0, 2, utilization=73)], time.time())) + "\n")
        await driven.until("73%")

    with Supervised(run, "--steps", "4000"):
        drive(story)


def test_a_run_on_the_cpu_shows_the_host_it_trains_on() -> None:
    """The demo runs on any laptop; an empty pane would be its first impression."""
    run = make_run()

    with Supervised(run, "--steps", "4000") as supervised:
        pid = supervised.process.pid
        record = {"pid": pid, "start_ticks": procs.start_ticks(pid), "boot_id": procs.boot_id(),
                  "host": os.uname().nodename}  # fmt: skip
        run.supervisor.write_text(json.dumps(record))

        async def story(driven: Driven) -> None:
            driven.app.open_run(run.id, "gpu")
            await driven.until("training on the CPU")
            await driven.until(f"{pid}")
            await driven.until("% of ")  # the second look has something to compare with
            assert "RAM" in driven.text()

        drive(story)


def test_hostile_names_change_nothing() -> None:
    """A device name is text from outside; with markup or an escape it could repaint the screen."""
    record = to_line([busy(0, 1)], time.time())
    record["gpus"][0]["name"] = "[bold]\x1b]0;x\x07显卡显卡显卡[/bold]"
    run = make_run(exit=exit_record(), gpu=[record])

    async def story(driven: Driven) -> None:
        driven.app.open_run(run.id, "gpu")
        await driven.until("显卡")
        assert "\x1b" not in driven.text()

    drive(story)
