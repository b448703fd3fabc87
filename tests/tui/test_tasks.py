"""The list of tasks: find a run, look at it, act on it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from sdcore.runs.status import Status
from sdtui.screens.tasks_list import SORTS, Listing
from sdtui.widgets.cells import fit
from sdtui.widgets.task_table import TaskTable, layout, progress_bar
from sdtui.widgets.welcome import Host
from support.console import SIZES, Driven, assert_snapshot, drive
from support.fake_runs import Supervised, exit_record, make_run, metric

GIB = 1 << 30
HOSTILE = "\x1b]52;c;ZXZpbA==\x07\x1b[2J[bold red]x[/] 内存不足\u202e"


def some_runs() -> None:
    """One of each end, with names and reasons of several lengths."""
    make_run("20260801-000000-shapes", exit=exit_record(), metrics=[metric(1)])
    make_run(
        "20260802-000000-flowers-512",
        exit=exit_record(
            "failed", last_step=41, total_steps=15000, reason="CUDA out of memory: 2.00 GiB",
            remedy="lower train_batch_size", last_lines=["Traceback", "OutOfMemoryError: CUDA"],
        ),
    )  # fmt: skip
    make_run("20260803-000000-birds", metrics=[metric(n) for n in range(1, 5)],
             launch={"total_steps": 40})  # fmt: skip
    make_run(
        "20260804-000000-pokemon-512-ema-with-a-long-name",
        exit=exit_record("stopped", last_step=4210, total_steps=15000, last_loss=0.1183,
                         reason="stopped by console, saved", checkpoint="output/c/step-1"),
    )  # fmt: skip


def names(console: Driven) -> list[str]:
    """Return the names in the order of the table."""
    return [row.name for row in console.app.screen.query_one(TaskTable).rows]


def current(console: Driven) -> str:
    """Return the name under the cursor."""
    status = console.app.screen.query_one(TaskTable).current
    return status.name if status else ""


# Pure parts.
@given(st.integers(20, 300), st.booleans())
def test_the_columns_fit_every_width(width: int, figures: bool) -> None:
    """One cell too many wraps every row of the table."""
    chosen = layout(width, figures=figures)

    ids = {column.id for column, _cells in chosen}
    if width >= 56:
        assert 4 + sum(cells + 1 for _column, cells in chosen) <= width
        assert ids >= ({"name", "step", "speed"} if figures else {"name", "progress", "loss"})
    if width >= 78:
        assert ids >= ({"gpus", "elapsed", "eta"} if figures else {"eta", "age", "note"})


@given(st.text("ab 宽字👩‍👧é·", max_size=40), st.integers(2, 30), st.booleans())
def test_cells_are_cut_and_padded_by_their_width(text: str, cells: int, right: bool) -> None:
    """A wide character counted as one shifts every column after it."""
    assert cell_len(fit(text, cells, right=right)) == cells


@given(st.floats(0, 1), st.integers(1, 200))
def test_a_bar_has_its_width(share: float, width: int) -> None:
    """A bar that grew by a cell would push the percent out of its column."""
    assert cell_len(progress_bar(share, width)) == width
    assert progress_bar(1.0, width) == "█" * width


def test_every_figure_of_a_run_can_be_seen_in_the_list_at_80_columns() -> None:
    """Steps, speed, GPUs and time stood in the peek alone, for one run at a time."""
    some_runs()

    async def story(it: Driven) -> None:
        await it.until("15,000")  # in the peek of the run under the cursor
        table = it.app.screen.query_one(TaskTable)
        await it.press("v")
        await it.until(lambda: "step" in it.lines()[1])
        assert "4,210/15,000" in it.lines()[1 + table.cursor + 1]
        for title in ("img/s", "GPUs", "elapsed"):
            assert title in it.lines()[1]
        await it.press("v")
        await it.until(lambda: "note" in it.lines()[1])

    drive(story)


STATUSES = st.builds(
    Status,
    id=st.from_regex(r"2026010[1-9]-00000[0-9]-[ab]{1,2}", fullmatch=True),
    name=st.sampled_from(["a", "ab", "b"]),
    state=st.sampled_from(["running", "done", "failed"]),
    loss=st.one_of(st.none(), st.floats()),
    step=st.one_of(st.none(), st.integers(0, 9)),
    total=st.one_of(st.none(), st.integers(0, 9)),
    checkpoint=st.none(),
    pipeline=st.none(),
)


@given(st.lists(STATUSES, unique_by=lambda run: run.id), st.sampled_from(sorted(SORTS)))
def test_sorting_loses_no_run_and_turns_round(runs: list[Status], sort: str) -> None:
    """NaN compares with nothing: sorted by loss, it must not scatter the others."""
    runs.sort(key=lambda run: run.id, reverse=True)
    listing = Listing(sort=sort)

    rows = listing.rows(tuple(runs))
    listing.reverse = True

    assert sorted(run.id for run in rows) == sorted(run.id for run in runs)
    assert listing.rows(tuple(runs)) == rows[::-1]
    if sort == "loss":
        known = [run.loss for run in rows if run.loss is not None and abs(run.loss) < 1e308]
        assert known == sorted(known)


def test_every_word_of_the_filter_must_fit() -> None:
    """Name, id and state are what a person remembers of a run."""
    runs = (
        Status("20260102-000000-birds", "birds", "failed"),
        Status("20260101-000000-birds-2", "birds-2", "done"),
    )

    assert Listing(words="BIRDS fail").rows(runs) == [runs[0]]
    assert Listing(words="20260101").rows(runs) == [runs[1]]
    assert Listing(words="x").rows(runs) == []


# The screen.
@pytest.mark.parametrize("size", SIZES)
def test_the_list_looks_as_it_was_considered(size: tuple[int, int]) -> None:
    """What is worth a look at every size: columns, peek, words."""
    some_runs()

    async def story(console: Driven) -> None:
        await console.press("down", "down")
        await console.until("remedy" if size[0] >= 100 else "lower train_batch_size")
        rows = console.lines()
        assert "✗ flowers-512" in console.text()
        assert "CUDA out of mem" in console.text()
        if size[0] >= 100:
            await console.until("the log ends")
        assert all(cell_len(row) <= size[0] for row in rows)

    drive(story, size)


def test_the_list_at_80x24_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layout that is pinned cannot slip by accident."""
    some_runs()
    monkeypatch.setattr("sdtui.phrases.age_words", lambda _seconds: "2d")

    async def story(console: Driven) -> None:
        await console.press("down")
        await console.until("> ■" if "> ■" in console.text() else "> !")
        assert_snapshot("tasks-80x24", [line.rstrip() for line in console.lines()[1:-1]])

    drive(story)


def test_the_cursor_stays_on_its_run() -> None:
    """Enter, pressed as a new run appears on top, would open another one than was meant."""
    some_runs()

    async def story(console: Driven) -> None:
        await console.press("down", "down")
        assert current(console) == "flowers-512"

        make_run("20260805-000000-newest", exit=exit_record())
        await console.until("newest")
        assert current(console) == "flowers-512"

        shutil.rmtree(Path(console.app.hub.run_of("20260802-000000-flowers-512").root))
        await console.until(lambda: "flowers-512" not in names(console))
        assert current(console) == "shapes"

    drive(story)


def test_filter_sort_and_marks_by_keys() -> None:
    """All of it without a mouse."""
    some_runs()

    async def story(console: Driven) -> None:
        await console.press("slash")
        await console.type("birds")
        assert names(console) == ["birds"]
        await console.press("q")  # in the field it is a letter
        assert names(console) == []
        await console.press("backspace", "enter", "escape")
        assert len(names(console)) == 4

        await console.press("o", "o")
        assert names(console)[0] == "birds"
        await console.press("O")
        assert names(console)[-1] == "birds"
        await console.press("home", "space", "space")
        assert len(console.app.marked) == 2
        assert console.app.marked[0].endswith(names(console)[0])
        await console.until("2 marked")
        await console.press("escape")
        assert not console.app.listing.marked

    drive(story)


def test_the_mouse_works_too() -> None:
    """A click moves, a second one opens, a title sorts, the wheel scrolls."""
    some_runs()

    async def story(console: Driven) -> None:
        table = console.app.screen.query_one(TaskTable)
        await console.pilot.click(TaskTable, offset=(8, 3))
        assert table.cursor == 2
        await console.pilot.click(TaskTable, offset=(6, 0))
        await console.until(lambda: names(console)[0] == "birds")
        await console.pilot.click(TaskTable, offset=(8, 1), times=2)
        await console.until(lambda: console.app.current_mode == "run")
        assert console.app.hub_run is not None
        assert console.app.hub_run.name == "birds"

    drive(story)


def test_thousands_of_runs_answer_a_key_at_once() -> None:
    """Only what is visible is drawn: a list drawn whole would take a second a key."""
    for number in range(1500):
        make_run(f"20260101-{number:06}-many-{number}", exit=exit_record())

    async def story(console: Driven) -> None:
        for _ in range(5):
            await console.press("pagedown")
        await console.press("end")
        assert current(console) == "many-0"
        table = console.app.screen.query_one(TaskTable)
        assert len(table._drawn) <= 24

    drive(story)


def test_hostile_text_is_shown_as_text() -> None:
    """An escape sequence in a reason would be obeyed by the terminal."""
    make_run(exit=exit_record("failed", reason=HOSTILE, remedy=HOSTILE, last_lines=[HOSTILE]))

    async def story(console: Driven) -> None:
        await console.until("[bold red]x[/] 内存不足")
        assert not {"\x1b", "\x07", "\u202e"} & set(console.text())

    drive(story, (140, 40))


def test_a_live_run_shows_its_way_and_what_it_waits_for() -> None:
    """Percent and pace of what runs; of what is queued, why."""
    with (
        Supervised(make_run("20260101-000000-live"), "--steps", "50", "--gate") as live,
        Supervised(make_run("20260102-000000-later"), "--state", "queued", "--gate"),
    ):

        async def story(console: Driven) -> None:
            await console.until("2 live")
            await console.until("2 free GPUs")
            live.go()
            await console.until(lambda: "● live" in console.text() and "0.5000" in console.text())
            await console.until("100%")

        drive(story, (100, 30))


def test_the_first_start_offers_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """From nothing to a running demo in a few keys."""
    gpus = (("NVIDIA H800", 2 * GIB, 80 * GIB),)
    host = Host(8, GIB, 2 * GIB, 3 * GIB, "/home/x", gpus, "", "sd15-full-80gb", "All weights", 5)
    monkeypatch.setattr("sdtui.widgets.welcome.look_at_host", lambda: host)

    async def story(console: Driven) -> None:
        edited: list[object] = []
        monkeypatch.setattr(console.app, "edit_task", lambda *a, **k: edited.append(a))
        await console.until("NVIDIA H800")
        await console.until("sd15-full-80gb, which fits this host")
        await console.press("d", "enter", "s", "slash")
        assert edited == [("demo",), ("sd15-full-80gb",)]

        make_run(exit=exit_record())
        await console.until("✓ shapes")
        await console.press("space")
        assert len(console.app.marked) == 1

    drive(story)


def test_the_first_paint_loads_nothing_heavy() -> None:
    """Each of these costs 50 to 200 ms, on every start, before anything is seen."""
    probe = (
        "import sys, sdtui.app, sdtui.screens.tasks\n"
        "heavy = {'pydantic', 'numpy', 'PIL', 'tomlkit', 'pynvml', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"
