"""What a person does to runs: stop, save, sample, resume, delete."""

import json
import time
from collections.abc import Callable

import pytest

from sdcore import units
from sdcore.runs import requests
from sdcore.runs.paths import RunDir
from sdcore.runs.status import Status, read_status
from sdtui import actions
from sdtui.removal import size_on_disk
from sdtui.screens.dialogs import Confirm, ErrorBox
from sdtui.settings import Settings
from support.console import Driven, drive
from support.fake_runs import Supervised, exit_record, make_run, metric

MANY = ("--steps", "100000", "--delay", "0.02")


def state_of(run: RunDir) -> Callable[[], str]:
    """Return a look at the state of a run, by its files."""
    return lambda: read_status(run).state


async def dialog(console: Driven, kind: type[Confirm | ErrorBox]) -> None:
    """Wait for a box."""
    await console.until(lambda: isinstance(console.app.screen, kind))
    await console.pilot.pause()


def test_stop_saves_first_and_goes_further_only_after_a_question() -> None:
    """A key pressed twice in a hurry must not cost the checkpoint."""
    run = make_run()
    with Supervised(run, *MANY, "--save", "60"):

        async def story(console: Driven) -> None:
            await console.until("● shapes")
            await console.press("s")
            await console.until(lambda: state_of(run)() == "stopping")
            asked = requests.pending(run, "stop")
            assert asked is not None
            assert asked["by"] == "console"
            await console.until("SIGTERM in 4m")

            await console.press("s")
            await dialog(console, Confirm)
            assert "SIGTERM" in console.text()
            await console.press("n")
            assert requests.pending(run, "term") is None
            await console.press("s")
            await dialog(console, Confirm)
            await console.press("y")
            await console.until(lambda: state_of(run)() == "stopped")
            await console.until("■ shapes")

            assert console.app.screen.offers("stop") is False  # type: ignore[attr-defined]

        drive(story, (100, 30))


def test_a_second_press_before_the_supervisor_answers_offers_the_next_rung() -> None:
    """A supervisor that hangs is when one needs the next rung."""
    run = make_run()
    with Supervised(run, "--gate", "--state", "running"):

        async def story(console: Driven) -> None:
            await console.until("● shapes")
            await console.press("s")
            await console.told("is asked to")
            await console.press("s")
            await dialog(console, Confirm)
            await console.press("escape")
            assert requests.pending(run, "term") is None

        drive(story)


def test_after_sigterm_comes_sigkill(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last rung is a key away, and told as such."""
    asked: list[str] = []

    def ask(_run: RunDir, kind: str, by: str) -> bool:
        asked.append(kind)
        return True

    monkeypatch.setattr(requests, "ask", ask)
    run = make_run()
    with Supervised(run, "--gate"):
        deadline = time.time() + 30

        async def story(console: Driven) -> None:
            term = Status(run.id, run.name, "stopping", stop_step="term", deadline=deadline)
            actions.stop(console.app, [term])
            await dialog(console, Confirm)
            assert "SIGKILL in" in console.text()
            await console.press("y")
            await console.until(lambda: asked == ["kill"])

            actions.stop(console.app, [Status(run.id, run.name, "stopping", stop_step="kill")])
            await console.told("SIGKILL was sent")

        drive(story)


def test_a_command_that_cannot_save_is_ended_only_after_a_question() -> None:
    """Its stop is a SIGTERM: what it computed since its last save is lost."""
    run = make_run(launch={"cooperative": False})
    with Supervised(run, *MANY):
        run.launch.write_text(json.dumps({"cooperative": False}))

        async def story(console: Driven) -> None:
            await console.until("● shapes")
            await console.press("s")
            await dialog(console, Confirm)
            assert "SIGTERM" in console.text()
            assert requests.pending(run, "stop") is None
            await console.press("n", "enter")
            await console.until(lambda: console.app.current_mode == "run")
            await console.until(lambda: console.app.view.run is not None)
            await console.press("c")
            await dialog(console, ErrorBox)
            assert "shapes cannot be asked" in console.text()
            assert requests.pending(run, "checkpoint") is None

        drive(story)


def test_wishes_reach_the_trainer_once() -> None:
    """A wish that waits is not repeated, and the person is told."""
    run = make_run()
    with Supervised(run, *MANY):

        async def story(console: Driven) -> None:
            await console.until("● shapes")
            status = console.app.view.runs[0] if console.app.view.runs else None
            assert status is not None
            actions.checkpoint(console.app, status)
            actions.samples(console.app, status)
            await console.until(lambda: requests.pending(run, "checkpoint") is not None)
            await console.until(lambda: requests.pending(run, "sample") is not None)
            actions.samples(console.app, status)
            await console.told("was asked already")

        drive(story)


@pytest.mark.parametrize("state", ["done", "queued", "stopping"])
def test_wishes_that_make_no_sense_are_refused_in_words(state: str) -> None:
    """A request nobody reads would wait for ever, and surprise a resumed run."""
    run = make_run()
    status = Status(run.id, run.name, state)  # type: ignore[arg-type]

    async def story(console: Driven) -> None:
        actions.checkpoint(console.app, status)
        words = {"done": "is over", "queued": "has not begun", "stopping": "saves by itself"}
        await console.told(words[state])
        assert not run.requests.exists()

    drive(story)


def test_several_marked_runs_are_stopped_together() -> None:
    """The night before a maintenance there are eight of them."""
    one, two = make_run("20260101-000000-one"), make_run("20260102-000000-two")
    with Supervised(one, *MANY, "--save", "0"), Supervised(two, *MANY, "--save", "0"):

        async def story(console: Driven) -> None:
            await console.until("2 live")
            await console.press("space", "space", "s")
            await console.told("2 runs are asked to stop")
            await console.until(lambda: {state_of(one)(), state_of(two)()} == {"stopped"})

        drive(story)


def test_delete_names_what_goes_and_asks() -> None:
    """Weeks of training can lie under one key."""
    run = make_run(exit=exit_record())
    for step in (1, 2):
        folder = run.checkpoints / f"step-{step}"
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(bytes(300_000))
    run.pipeline.mkdir()
    (run.pipeline / "model_index.json").write_text("{}")
    kept = make_run("20260101-000000-kept", exit=exit_record())

    async def story(console: Driven) -> None:
        await console.until("✓ shapes")
        await console.press("d")
        await dialog(console, Confirm)
        text = console.text()
        size = units.size(size_on_disk(run))
        for words in ("Delete shapes?", run.id, "2 checkpoints", "the trained pipeline", size):
            assert words in text
        assert size.endswith("KiB")
        await console.press("enter")
        assert run.root.exists(), "enter is not yes"

        await console.press("d")
        await dialog(console, Confirm)
        await console.press("y")
        await console.until(lambda: not run.root.exists())
        await console.told("1 run is deleted")
        await console.until(lambda: "✓ shapes" not in console.text())
        assert kept.root.exists()

    drive(story)


def test_a_live_run_is_not_deleted() -> None:
    """Its trainer would write into a folder that is gone."""
    run = make_run()
    with Supervised(run, *MANY):

        async def story(console: Driven) -> None:
            await console.until("● shapes")
            await console.press("d")
            await dialog(console, ErrorBox)
            assert "stop it first" in console.text()
            assert run.root.exists()

        drive(story)


def test_a_read_only_console_touches_nothing() -> None:
    """It is opened to look over a colleague's shoulder."""
    run, over = make_run(), make_run("20260101-000000-over", exit=exit_record())
    with Supervised(run, *MANY):

        async def story(console: Driven) -> None:
            await console.until("● shapes")
            for verb in (actions.stop, actions.resume, actions.delete):
                verb(console.app, console.app.view.runs or ())
            for wish in (actions.checkpoint, actions.samples):
                wish(console.app, (console.app.view.runs or ())[0])
            await console.told("This console only looks")
            assert list(run.requests.iterdir()) == []
            assert over.root.exists()
            assert console.app.screen_stack[-1].__class__.__name__ == "TasksScreen"

        drive(story, settings=Settings(link="fast", language="en", read_only=True))


def test_a_key_that_makes_no_sense_now_says_why() -> None:
    """Silence is taken for a lost link, and the key is pressed again and again."""
    saved = exit_record(checkpoint="output/checkpoints/step-10")
    make_run(exit=saved, metrics=[metric(1)])

    async def story(console: Driven) -> None:
        await console.until("✓ shapes")
        await console.press("r")
        await console.told("shapes is done: R trains it longer")
        await console.press("s")
        await console.told("shapes is over already")
        await console.press("enter")
        await console.until("train_loss")
        for key in ("c", "i"):
            await console.press(key)
            await console.told("shapes is over: there is nothing to ask")
            console.app.clear_notifications()
        assert "s Stop" not in console.lines()[-1]

    drive(story)


def test_one_run_that_cannot_be_deleted_does_not_keep_the_others() -> None:
    """Half of a clean-up that stops at the first trouble is found out too late."""
    first = make_run("20260102-000000-first", exit=exit_record())
    second = make_run("20260101-000000-second", exit=exit_record())

    async def story(console: Driven) -> None:
        await console.press("space", "space", "d")
        await dialog(console, Confirm)
        assert "Delete 2 runs?" in console.text()
        moved = first.root.rename(first.root.with_name("kept"))
        first.root.symlink_to(moved)
        await console.press("y")
        await console.told("1 run is deleted")
        await dialog(console, ErrorBox)
        assert not second.root.exists()
        assert moved.exists()

    drive(story)


def test_a_run_removed_meanwhile_is_told_not_raised() -> None:
    """Two consoles: one deletes, the other presses stop."""
    gone = Status("20260101-000000-gone", "gone", "running", step=1)

    async def story(console: Driven) -> None:
        actions.stop(console.app, [gone])
        await dialog(console, ErrorBox)
        assert "No such file or directory" in console.text()

    drive(story)
