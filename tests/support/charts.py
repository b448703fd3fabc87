"""A chart alone on a screen, and curves to show in it."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from sdcore.runs.paths import RunDir
from sdcore.runs.status import Status
from sdtui.live.curve import Curve, curve_of
from sdtui.live.curve_columns import WIDTH, Columns
from sdtui.live.gpu import GpuView
from sdtui.live.snapshot import RunSnapshot
from sdtui.settings import Settings
from sdtui.theme import variables_for
from sdtui.widgets.chart import LossChart
from sdtui.widgets.chart_plot import Plot


def rows(loss: "list[float] | np.ndarray", first: int = 1, attempt: int = 1) -> np.ndarray:
    """Return packed rows with these losses."""
    count = len(loss)
    step = np.arange(first, first + count, dtype=float)
    table = np.full((count, WIDTH), math.nan)
    table[:, 0], table[:, 1], table[:, 2] = attempt, 1e9 + step, step
    table[:, 3], table[:, 4], table[:, 5] = step / 100, loss, 1e-5
    table[:, 6], table[:, 7] = 0.4, 40.0
    return table


def noisy(count: int, seed: int = 1, level: float = 0.1) -> np.ndarray:
    """Return losses that look like those of a diffusion model."""
    noise = np.random.default_rng(seed).gamma(4, 0.25, count)
    return (level + 0.2 * np.exp(-np.arange(count) / 2000)) * noise


def curve(loss: "list[float] | np.ndarray") -> Curve:
    columns = Columns()
    if len(loss):
        columns.take(rows(loss))
    return curve_of(columns)


def snapshot(of: Curve, **changes: Any) -> RunSnapshot:
    status = Status("20260806-070640-a", "a", "running", total=changes.pop("total", None))
    made = RunSnapshot(RunDir(Path("/nowhere/a")), status, of, (), GpuView(), (), ())
    return made._replace(**changes)


class Bare(App[None]):
    """A chart and nothing else."""

    CSS = "* { scrollbar-size: 0 0; }"

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[dict[str, Any]] = []
        self.settings = Settings()

    def change_settings(self, chart: dict[str, Any]) -> None:
        self.kept.append(chart)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return variables_for(dark=True)

    def compose(self) -> ComposeResult:
        yield LossChart()

    @property
    def chart(self) -> LossChart:
        return self.query_one(LossChart)

    def lines(self) -> list[str]:
        return [strip.text.rstrip() for strip in self.screen._compositor.render_strips()]

    def text(self) -> str:
        return "\n".join(self.lines())


Story = Callable[[Bare, "Pilot[None]"], Awaitable[None]]


def play(story: Story, size: tuple[int, int] = (80, 24)) -> None:
    async def run() -> None:
        app = Bare()
        async with app.run_test(size=size) as pilot:
            app.query_one(Plot).focus()
            await pilot.pause()
            await story(app, pilot)

    asyncio.run(run())
