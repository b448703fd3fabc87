"""Runs beside each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdcore.runs.paths import RunDir
from sdcore.task.platform_env import PLATFORM_ENV
from sdtui.screens.compare_params import differences, flat
from sdtui.screens.run import RunScreen
from support.console import SIZES, Driven, drive
from support.fake_runs import exit_record, make_run, metric
from support.pictures import draw_step

ONE = b"""
name = "one"
[env]
lr = "1e-5"
batch_size = "4"
HF_TOKEN = "hf_secret_of_one"
[train]
seed = 7
learning_rate = 1e-05
"""
TWO = b"""
name = "two"
[env]
HF_TOKEN = "hf_secret_of_two"
[train]
seed = 8
learning_rate = 0.0001
train_batch_size = 4
"""


def test_one_setting_has_one_name_and_numbers_are_numbers() -> None:
    """``lr = "1e-5"`` and ``learning_rate = 1e-05`` are no difference."""
    env = flat({"env": {"lr": "1e-5", "batch_size": "4"}}, PLATFORM_ENV)
    train = flat({"train": {"learning_rate": 1e-05, "train_batch_size": 4}}, PLATFORM_ENV)

    assert env == train
    assert differences([env, train]) == []


def test_mounts_go_by_their_place_and_secrets_are_masked() -> None:
    """A token on a shared screen is a token lost; the order of mounts means nothing."""
    mounts = [{"source": "/a", "target": "/mnt/a"}, {"source": "/b", "target": "/mnt/b"}]
    one = flat({"mounts": mounts, "env": {"API_KEY": "k1"}}, {})
    two = flat({"mounts": mounts[::-1], "env": {"API_KEY": "k2"}}, {})

    assert differences([one, two]) == []
    assert "k1" not in str(one)


VALUES = st.one_of(st.integers(), st.text(max_size=5), st.booleans(), st.floats())
TABLES = st.recursive(
    st.dictionaries(st.text(max_size=4), VALUES, max_size=3),
    lambda inner: st.dictionaries(
        st.text(max_size=4), st.one_of(inner, st.lists(inner, max_size=2)), max_size=3
    ),
)


@given(TABLES)
def test_any_task_equals_itself(table: dict[str, object]) -> None:
    """A task made by hand may hold anything, and the screen must hold."""
    assert differences([flat(table, PLATFORM_ENV), flat(table, PLATFORM_ENV)]) == []


def test_marked_runs_are_compared_at_every_size() -> None:
    """Settings that differ, what came out, curves over one another; no secrets."""
    losses = {"one": 0.5, "two": 0.25}
    for number, (name, task) in enumerate((("one", ONE), ("two", TWO)), 1):
        make_run(
            f"2026010{number}-000000-{name}", task=task, exit=exit_record(last_loss=losses[name]),
            metrics=[metric(step, loss=losses[name]) for step in range(1, 30)],
        )  # fmt: skip

    async def story(console: Driven) -> None:
        await console.press("7")
        await console.until("Mark two")
        await console.press("1", "home", "space", "space", "7")
        await console.until("train.learning_rate")
        await console.until("0.2500 *")
        await console.press("end")
        await console.until("train.seed")
        text = console.text()
        assert "hf_secret" not in text
        assert "train_batch_size" not in text
        assert "1 two" in text
        assert "2 one" in text
        await console.until("train_loss")
        await console.press("v")
        await console.until("one: no samples")
        await console.press("v")
        await console.until(lambda: "train.seed" not in console.text())
        await console.press("escape")
        await console.until(lambda: console.app.current_mode == "tasks")

    for size in SIZES:
        drive(story, size)


def test_new_samples_come_while_runs_are_compared() -> None:
    """Looked at once, the pictures of a live run would stay those of an hour ago."""
    runs = [
        make_run(f"2026010{n}-000000-r{n}", exit=exit_record(), metrics=[metric(1)]) for n in (1, 2)
    ]

    async def story(console: Driven) -> None:
        await console.press("home", "space", "space", "7", "v")
        await console.until("r1: no samples")
        draw_step(runs[0], 10)
        await console.until("r1, step 10")
        draw_step(runs[1], 1200)
        await console.until("r2, step 1,200")
        draw_step(runs[0], 20)
        await console.until("r1, step 20")

    drive(story)


def test_a_run_screen_composed_meanwhile_takes_nothing_from_the_comparison(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It lays its own curves over its run: those that are compared went away after some seconds."""
    runs = [
        make_run(f"2026010{n}-000000-r{n}", exit=exit_record(), metrics=[metric(1)]) for n in (1, 2)
    ]

    begun = []
    begin = RunScreen._begin

    def begins(screen: RunScreen, run: RunDir) -> None:
        begin(screen, run)
        begun.append(run.id)

    monkeypatch.setattr(RunScreen, "_begin", begins)

    async def story(console: Driven) -> None:
        await console.press("home", "space", "space", "7")
        await console.until(lambda: [i for i, _c in console.app.view.overlays] == [runs[0].id])
        await console.until(lambda: console.app.view.run is not None)
        console.app.compose_ahead(["run"], typed=0.0)
        await console.until(lambda: runs[1].id in begun)
        await console.pilot.pause(0.6)
        assert [i for i, _c in console.app.view.overlays] == [runs[0].id]
        await console.press("3")
        await console.until(lambda: console.app.view.overlays == ())

    drive(story)
