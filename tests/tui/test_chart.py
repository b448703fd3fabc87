import math
from dataclasses import replace

import numpy as np
import pytest
from textual.pilot import Pilot

from sdtui.live.checkpoints import Checkpoint
from sdtui.live.curve import UNREAD, curve_of
from sdtui.live.curve_columns import Columns
from sdtui.widgets import chart_body
from sdtui.widgets.chart import LossChart
from sdtui.widgets.chart_canvas import dash_sample
from sdtui.widgets.chart_plot import Plot
from support.charts import Bare, curve, noisy, play, rows, snapshot

LOSSES: dict[str, "list[float] | np.ndarray"] = {
    "empty": [],
    "one": [0.5],
    "nan": [math.nan] * 30,
    "constant": [0.25] * 30,
    "mixed": [math.inf, 1.0, -1.0, math.nan] * 8,
    "usual": noisy(3000),
}


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *((name, size) for name in LOSSES for size in [(80, 24), (20, 3)]),
        *(("usual", size) for size in [(24, 6), (100, 30), (200, 60)]),
    ],
)
def test_every_curve_looks_sane_at_every_size(name: str, size: tuple[int, int]) -> None:
    """Empty, one point, no number at all: the first minute of a run has all of them."""
    loss = LOSSES[name]

    async def story(app: Bare, pilot: "Pilot[None]") -> None:
        app.chart.show(snapshot(curve(loss), total=15_000))
        await pilot.pause()
        for keys in ("y", "left", "h", "left_square_bracket", "b", "plus", "f", "w", "t"):
            await pilot.press(keys)
        assert len(app.lines()) == size[1]
        assert all(len(line) <= size[0] for line in app.lines())
        if not len(loss):
            assert "no steps yet" in app.text()

    play(story, size)


def test_a_curve_that_was_not_read_yet_is_not_told_as_a_run_without_steps() -> None:
    """Compare said "no steps yet" of runs of a thousand steps, until their files were read."""

    async def story(app: Bare, pilot: "Pilot[None]") -> None:
        await pilot.pause()
        assert "no steps yet" not in app.text()
        assert "reading…" in app.text()
        app.chart.show(snapshot(UNREAD, total=15_000))
        await pilot.pause()
        assert "no steps yet" not in app.text()
        app.chart.show(snapshot(curve([]), total=15_000))
        await pilot.pause()
        assert "no steps yet" in app.text()

    play(story)


def test_the_memory_of_the_gpu_is_read_off_under_the_same_cursor() -> None:
    """Which step made it grow is what one looks for after running out of memory."""

    async def story(app: Bare, pilot: "Pilot[None]") -> None:
        columns = Columns()
        table = rows([0.5, 0.4, 0.3])
        table[:, 8] = [1 << 30, 3 << 30, 2 << 30]
        columns.take(table)
        app.chart.show(snapshot(curve_of(columns)))
        await pilot.pause()
        await pilot.press("left", "left")
        assert "GPU   3.0G" in app.text()

    play(story, (100, 30))


def test_a_tick_of_a_live_run_changes_a_handful_of_cells() -> None:
    """Over SSH every cell is paid for; the axes must not move with each step."""

    async def story(app: Bare, pilot: "Pilot[None]") -> None:
        columns, plot = Columns(), app.query_one(Plot)
        columns.take(rows(noisy(6000)))
        app.chart.show(snapshot(curve_of(columns), total=15_000))
        await pilot.pause()
        changed = []
        for tick in range(30):
            before = (plot._grid.chars.copy(), plot._grid.styles.copy())
            columns.take(rows(noisy(10, tick + 2), 6001 + tick * 10))
            app.chart.show(snapshot(curve_of(columns), total=15_000))
            differs = (before[0] != plot._grid.chars) | (before[1] != plot._grid.styles)
            changed.append(int(differs.sum()))
            await pilot.pause()
        assert sorted(changed)[15] <= 8
        assert max(changed) <= 20

    play(story, (140, 40))


def test_the_same_snapshot_is_not_drawn_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(app: Bare, pilot: "Pilot[None]") -> None:
        shown = snapshot(curve([1.0, 2.0]))
        app.chart.show(shown)
        await pilot.pause()
        monkeypatch.setattr(LossChart, "draw", lambda _self: pytest.fail("drawn again"))
        app.chart.show(shown._replace())
        monkeypatch.undo()

    play(story)


def test_only_the_lines_that_differ_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(app: Bare, pilot: "Pilot[None]") -> None:
        columns, plot, drawn = Columns(), app.query_one(Plot), list[int]()
        columns.take(rows(np.full(120, 0.5)))
        app.chart.show(snapshot(curve_of(columns), total=150))
        await pilot.pause()
        make = Plot._strip
        monkeypatch.setattr(Plot, "_strip", lambda self, y: (drawn.append(y), make(self, y))[1])
        columns.take(rows(np.full(20, 0.5), 121))
        app.chart.show(snapshot(curve_of(columns), total=150))
        await pilot.pause()
        assert 1 <= len(drawn) <= 2
        assert plot.size.height > 10

    play(story)


def test_the_cursor_reads_every_value_off_and_esc_puts_it_away() -> None:
    async def story(app: Bare, pilot: "Pilot[None]") -> None:
        over = (("other", curve(np.full(50, 0.75))),)
        app.chart.show(snapshot(curve([0.5] * 99 + [0.25])), over)
        await pilot.press("left")
        assert "@100  .2500  EMA .4" in app.text()
        await pilot.press("home")
        assert "@1  .5000" in app.text()
        assert "lr 1e-5" in app.text()
        assert "grad .4000" in app.text()
        assert ".7500" in app.lines()[-1]  # the run laid over
        await pilot.press("right")
        step = int(app.lines()[-1].split()[0].lstrip("@"))
        assert 1 < step < 5
        await pilot.press("shift+right")
        assert int(app.lines()[-1].split()[0].lstrip("@")) >= step + 8
        await pilot.press("escape")
        assert "last .2500" in app.text()
        assert "min .2500 @100" in app.text()

    play(story)


def test_the_cursor_meets_every_step_where_there_is_room_for_each() -> None:
    """With 5 steps on 70 columns a key that moved one column would seem dead."""

    async def story(app: Bare, pilot: "Pilot[None]") -> None:
        app.chart.show(snapshot(curve([1.0, 2.0, 3.0, 4.0, 5.0])))
        await pilot.press("end")
        seen = []
        for _ in range(6):
            seen.append(app.lines()[-1].split()[0])
            await pilot.press("left")
        assert seen == ["@5", "@4", "@3", "@2", "@1", "@1"]

    play(story)


def test_nan_is_a_gap_in_the_line_and_a_mark_on_the_axis() -> None:
    async def story(app: Bare, pilot: "Pilot[None]") -> None:
        loss = np.full(2000, 0.5)
        loss[1000] = math.nan
        loss[1500] = math.inf
        app.chart.show(snapshot(curve(loss), total=2000))
        await pilot.pause()
        axis = next(line for line in app.lines() if "└" in line)
        assert axis.count("✗") == 2
        place = axis.index("✗")
        filled = [
            line for line in app.lines()[1:-4] if len(line) > place - 1 and line[place - 1] > "⠀"
        ]
        assert filled
        assert all(line[place] == " " for line in filled)
        assert "NaN 2" in app.text()

    play(story)


def test_checkpoints_and_resumes_are_marked_up_to_the_last_step() -> None:
    async def story(app: Bare, pilot: "Pilot[None]") -> None:
        events = (
            {"kind": "checkpoint", "step": 200}, {"kind": "checkpoint", "step": 400},
            {"kind": "resumed", "step": 300}, {"kind": "checkpoint", "step": 900},
            {"kind": "checkpoint", "step": "x"}, {"kind": "resumed"},
        )  # fmt: skip
        saved = (Checkpoint(400), Checkpoint(900))
        app.chart.show(snapshot(curve(noisy(500)), total=1000, events=events, checkpoints=saved))
        await pilot.pause()
        axis = next(line for line in app.lines() if "└" in line)
        assert [sign for sign in axis if sign in "▵▴↻"] == ["▵", "↻", "▴"]
        assert "▴ saved  ▵ removed  ↻ resumed" in app.lines()[-1]
        assert "✗" not in app.lines()[-1]  # only what is to be seen

    play(story, (120, 24))


def test_runs_laid_over_differ_by_dash_and_the_legend_names_them() -> None:
    """Nothing is told by colour alone; a hostile name must not reach the terminal."""

    async def story(app: Bare, pilot: "Pilot[None]") -> None:
        names = ["b", "c\x1b[31m", "d", "e", "f", "g" * 60]
        over = tuple((name, curve(np.full(900, 0.2 + i / 10))) for i, name in enumerate(names))
        app.chart.show(snapshot(curve(np.full(900, 0.1)), total=1000), over)
        await pilot.pause()
        legend = app.lines()[1]
        samples = {dash_sample(number) for number in range(7)}
        assert len(samples) == 7
        assert all(sample in legend for sample in samples)
        assert "\x1b" not in app.text()
        lines = {line[30:70] for line in app.lines()[2:-4] if line[30:70].strip(" │")}
        assert len(lines) == 7  # seven straight lines, no two alike
        await pilot.resize_terminal(80, 6)
        await pilot.pause(0.5)
        assert "6 laid over" in app.lines()[0]

    play(story, (140, 40))


def test_zoom_and_pan_by_keys_and_mouse_and_the_way_back() -> None:
    async def story(app: Bare, pilot: "Pilot[None]") -> None:
        chart = app.chart
        chart.show(snapshot(curve(noisy(10_000)), total=10_000))
        await pilot.pause()
        await pilot.press("plus", "plus")
        assert "zoomed" in app.text()
        assert chart.view.span == pytest.approx(2500)
        assert chart.view.high == 10_000  # at the end, where a run is looked at
        await pilot.press("less_than_sign")
        assert chart.view.high == pytest.approx(9375)
        for _ in range(16):  # until there is room between two points
            await pilot.press("plus")
        assert chart.view.span < 1
        await pilot.press("a")
        assert chart.view == (0, 10_000)
        plot = app.query_one(Plot)
        plot.post_message(Plot.Wheeled(40, 0.5))
        await pilot.pause()
        middle = chart.view.low + chart.view.span * (40 - 5 + 0.5) / 75
        assert middle == pytest.approx(10_000 * (40 - 5 + 0.5) / 75)
        before = chart.view
        await pilot.mouse_down(Plot, offset=(30, 5))
        await pilot.hover(Plot, offset=(40, 5))
        await pilot.mouse_up(Plot, offset=(40, 5))
        assert chart.view.low < before.low
        await pilot.click(Plot, offset=(30, 5))
        assert app.lines()[-1].startswith(" @")
        await pilot.press("minus", "minus", "minus", "minus")
        assert "zoomed" not in app.text()

    play(story)


def test_metrics_that_a_run_does_not_have_are_passed_over() -> None:
    async def story(app: Bare, pilot: "Pilot[None]") -> None:
        app.chart.show(snapshot(curve(noisy(100))))
        titles = []
        for _ in range(5):
            titles.append(app.lines()[0].split()[1])
            await pilot.press("t")
        assert titles == ["train_loss", "lr", "grad_norm", "images/s", "train_loss"]

    play(story)


def test_every_metric_is_one_key_away_and_one_key_back() -> None:
    async def story(app: Bare, pilot: "Pilot[None]") -> None:
        app.chart.show(snapshot(curve(noisy(100))))
        for key, name in (("N", "grad_norm"), ("I", "images/s"), ("L", "lr"), ("L", "train_loss")):
            await pilot.press(key)
            assert app.lines()[0].split()[1] == name
        await pilot.press("V")  # was not measured
        assert app.lines()[0].split()[1] == "train_loss"

    play(story)


def test_how_the_chart_is_left_is_kept_once_and_not_with_every_key() -> None:
    async def story(app: Bare, pilot: "Pilot[None]") -> None:
        app.chart.show(snapshot(curve(noisy(100))))
        await pilot.press("y", "right_square_bracket", "right_square_bracket")
        assert app.kept == []
        await app.chart.remove()
        assert app.kept == [{"log": True, "decay": 0.995}]

    play(story)


def test_a_sample_of_a_long_file_says_that_it_is_one() -> None:
    async def story(app: Bare, pilot: "Pilot[None]") -> None:
        app.chart.show(snapshot(replace(curve(noisy(100)), coarse=True)))
        await pilot.pause()
        assert "reading…" in app.lines()[0]
        assert "min" not in app.lines()[-1]  # of a sample it would be wrong

    play(story)


def test_a_run_that_is_resumed_from_far_back_is_drawn_anew() -> None:
    """The tracks add to what they know; they must see that it was taken back."""

    async def story(app: Bare, pilot: "Pilot[None]") -> None:
        columns = Columns()
        columns.take(rows(np.full(100, 0.5)))
        app.chart.show(snapshot(curve_of(columns)))
        await pilot.pause()
        columns.take(rows(np.full(60, 0.25), 50, attempt=2))
        app.chart.show(snapshot(curve_of(columns)))
        await pilot.press("end")
        assert "@109  .2500  EMA .3" in app.text()
        own = app.chart._tracks[0]
        assert len(own.smooth) == len(own.x) == 109

    play(story)


def test_a_long_run_is_smoothed_aside_and_no_key_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chart_body, "_LONG", 1000)

    async def story(app: Bare, pilot: "Pilot[None]") -> None:
        columns = Columns()
        columns.take(rows(noisy(5000)))
        app.chart.show(snapshot(curve_of(columns)))
        assert app.chart._preparing
        await pilot.press("left", "y", "right_square_bracket")
        columns.take(rows([0.5], 5001))
        app.chart.show(snapshot(curve_of(columns)))
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "EMA .99  log" in app.lines()[0]
        assert "reading" not in app.text()
        await pilot.press("end")
        assert "@5,001  .5000" in app.text()

    play(story)
