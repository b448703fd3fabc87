"""Going on with runs that are over: plainly, from another checkpoint, or beyond the end."""

import re
import sys
from pathlib import Path

import pytest

from sdcore.errors import UsageError
from sdcore.runs.paths import RunDir
from sdcore.runs.status import Status
from sdtui import actions
from sdtui.screens.dialogs import ErrorBox
from sdtui.screens.resume_box import ResumeBox
from sdtui.widgets.bars import offered_keys
from support.console import Driven, drive
from support.fake_runs import T0, exit_record, make_run, metric


def test_resume_tells_what_it_did_and_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure in a thread would else be seen by nobody."""
    run = make_run(exit=exit_record("stopped", checkpoint="output/checkpoints/step-1"))
    resumed: list[Path] = []

    def resume(run_dir: RunDir) -> RunDir:
        if resumed:
            raise UsageError("it cannot be resumed", cause="a reason", remedy="a remedy")
        resumed.append(run_dir.root)
        return run_dir

    import sdcore.supervise.begin  # noqa: F401, PLC0415  # so that it can be replaced

    monkeypatch.setattr(sys.modules["sdcore.supervise.begin"], "resume_run", resume)

    async def story(console: Driven) -> None:
        await console.until("■ shapes")
        await console.press("r")
        await console.told("goes on from its newest checkpoint")
        assert resumed == [run.root]
        await console.press("r")
        await console.until(lambda: isinstance(console.app.screen, ErrorBox))
        assert "a remedy" in console.text()

    drive(story)


def test_what_is_done_or_alive_is_not_resumed() -> None:
    """Resuming a run that is done would train past its end, and one that lives twice."""

    async def story(console: Driven) -> None:
        saved = Path("step-10")
        actions.resume(console.app, [Status("20260101-000000-a", "a", "done", checkpoint=saved)])
        await console.told("a is done: R trains it longer")
        actions.resume(console.app, [Status("20260101-000000-b", "b", "running")])
        await console.told("b is alive")

    drive(story)


def test_a_run_goes_back_to_a_checkpoint_or_on_beyond_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both could be asked for on the command line alone; the copy in the form began at step 0."""
    saved = [{"kind": "checkpoint", "at": T0 + n, "attempt": 1, "step": n, "path": f"x/step-{n}",
              "size": 1 << 20, "seconds": 1.0} for n in (5, 8, 10)]  # fmt: skip
    losses = [{"kind": "validation", "at": T0 + n, "attempt": 1, "step": n, "loss": loss,
               "visits": 64} for n, loss in ((5, 0.2), (8, 0.1), (10, 0.3))]  # fmt: skip
    run = make_run(exit=exit_record(checkpoint="output/checkpoints/step-10"), metrics=[metric(1)],
                   events=saved + losses)  # fmt: skip
    for n in (5, 8, 10):
        (run.checkpoints / f"step-{n}").mkdir(parents=True)
    asked: list[list[str]] = []

    def resume(run_dir: RunDir, *, sets: list[str]) -> RunDir:
        asked.append(sets)
        return run_dir

    import sdcore.supervise.begin  # noqa: F401, PLC0415  # so that it can be replaced

    monkeypatch.setattr(sys.modules["sdcore.supervise.begin"], "resume_run", resume)

    async def story(console: Driven) -> None:
        await console.until("✓ shapes")
        await console.press("R")
        await console.until(lambda: isinstance(console.app.screen, ResumeBox))
        assert re.search(r"step 8 .*the lowest validation loss", console.text())
        await console.press("ctrl+a", "ctrl+k")
        await console.type("10")
        await console.press("enter")
        await console.until("the last step must be above 10")
        await console.type("-x0.0")  # a length has digits alone
        await console.press("enter")
        await console.told("shapes goes on from its newest checkpoint")
        await console.press("R")
        await console.until(lambda: isinstance(console.app.screen, ResumeBox))
        await console.press("shift+tab", "down", "enter")
        await console.told("shapes goes on from step 8; later checkpoints are set aside")
        assert asked == [
            ["train.max_train_steps=1000"], ["train.resume_from_checkpoint=step-8"]
        ]  # fmt: skip
        await console.press("enter")
        await console.until("val_loss 0.1")
        assert re.search(r"★ +8 .*\n.*val_loss 0.1", console.text())

    drive(story, (140, 40))


def test_what_cannot_be_trained_longer_is_not_offered_and_says_why() -> None:
    """A key that leads to a refusal is a promise broken; of marked runs only one can be asked."""
    make_run("20260102-000000-first", exit=exit_record())
    saved = exit_record(checkpoint="output/checkpoints/step-10")
    make_run("20260101-000000-second", exit=saved)

    async def story(console: Driven) -> None:
        def offered() -> bool:
            keys = offered_keys(console.app.screen)
            return any(active.binding.id == "tasks.resume_from" for active in keys)

        await console.press("space", "space", "home")
        await console.until("2 marked")
        assert not offered()
        await console.press("r")
        await console.told("first is done, and has no checkpoint to go on from")
        await console.press("down")
        await console.until(offered)

    drive(story)
