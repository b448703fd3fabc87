"""What a person does to runs from the console: stop, save, sample, resume, delete.

Each act runs in a thread and leaves a request or starts a process; none of them waits for a run,
and none is needed by one. What makes no sense is refused in words before anything is touched.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from sdcore.errors import SdError, UsageError
from sdcore.runs import requests
from sdcore.runs.fields import Fields, read_fields
from sdcore.runs.files import last_records
from sdcore.runs.paths import RunDir
from sdcore.runs.status import Status, read_status
from sdcore.runs.store import remove_run
from sdcore.text import clean_line
from sdtui import phrases
from sdtui.keymap import keyed
from sdtui.language import _, ngettext
from sdtui.removal import what_goes

if TYPE_CHECKING:
    from sdtui.app import SdTui
    from sdtui.live.checkpoints import Checkpoint
    from sdtui.screens.resume_box import Going

BY = "console"
_EVENTS = 5000  # the last of a run, among which those of the checkpoints on disk are
VERBS = (
    "stop",
    "checkpoint",
    "samples",
    "resume",
    "resume_from",
)  # whose sense depends on the run's state


def _in_background(app: "SdTui", act: Callable[[], None]) -> None:
    """Do ``act`` in a thread; tell what fails."""

    def work() -> None:
        try:
            act()
        except (SdError, OSError) as error:
            app.call_from_thread(app.tell, as_told(error))
        finally:
            app.hub.look()

    app.run_worker(work, thread=True, group="actions")


def _ask_end(run: RunDir, kind: requests.Kind) -> bool:
    """Ask for a run's end; False where the wish is there already, see ``ask_end``."""
    from sdcore.supervise.wishes import ask_end  # noqa: PLC0415  # not before the first picture

    return ask_end(run, kind, by=BY)


def as_told(error: SdError | OSError) -> SdError:
    """Return an error in the form in which it is told."""
    if isinstance(error, SdError):
        return error
    where = clean_line(str(error.filename or ""))
    return SdError(
        _("that could not be done"),
        cause=f"{error.strerror}: {where}",
        remedy=_("look whether the run and its folder are still there"),
    )


def _say(app: "SdTui", words: str, *, warn: bool = False) -> None:
    app.notify(words, severity="warning" if warn else "information", markup=False)


def refused_to_write(app: "SdTui") -> bool:
    """Say so where this console may only look; return whether it was said."""
    if app.settings.read_only:
        _say(app, _("This console only looks: it was opened with --view"), warn=True)
    return app.settings.read_only


def offered(verb: str, status: Status | None) -> bool:
    """Say whether one of ``VERBS`` makes sense for a run in that state."""
    if status is None:
        return False
    if verb == "resume":
        return status.over and status.state != "done"
    if verb == "resume_from":
        return status.over and status.checkpoint is not None
    if verb == "stop":
        return not status.over
    return not _why_no_wish(status)


def cooperative(run: RunDir) -> bool:
    """Say whether what runs there reads requests; a start command of a person's own does not."""
    launch = read_fields(run.launch) or Fields(None)
    return launch.record.get("cooperative") is not False


# Stopping: a rung of the ladder at each press.
def stop(app: "SdTui", runs: Sequence[Status]) -> None:
    """Ask runs to save and stop; for one that is stopping already, offer the next rung."""
    if refused_to_write(app) or not runs:
        return
    live = [status for status in runs if not status.over]
    if not live:
        over = runs[0]
        words = _("{name} is over already: {state}")
        _say(app, words.format(name=over.name, state=phrases.state_name(over.state)), warn=True)
    elif len(live) == 1:
        _stop_one(app, live[0])
    else:
        waiting = [status for status in live if status.state != "stopping"]
        _in_background(app, lambda: _ask_all(app, waiting))


def _stop_one(app: "SdTui", status: Status) -> None:
    if status.state != "stopping":
        _in_background(app, lambda: _begin_stop(app, status))
    elif status.stop_step == "kill":
        _say(app, _("SIGKILL was sent to {name} already").format(name=status.name), warn=True)
    else:
        _offer_rung(app, status, "kill" if status.stop_step == "term" else "term")


def _begin_stop(app: "SdTui", status: Status) -> None:
    """Ask for a stop with save; what cannot save is ended only after a question."""
    run = app.hub.run_of(status.id)
    if status.state != "queued" and not cooperative(run):
        title = _("End {name}?").format(name=status.name)
        body = _("It runs a start command of its own, which cannot be asked to save: it gets "
                 "SIGTERM, and SIGKILL half a minute later.")  # fmt: skip
        app.call_from_thread(_confirm, app, title, body, lambda: _ask(app, status, "stop"))
    elif _ask_end(run, "stop"):
        app.call_from_thread(_say, app, keyed(_asked_words(status), on=app.current_mode))
    else:
        app.call_from_thread(_offer_rung, app, status, "term")


def _asked_words(status: Status) -> str:
    words = (
        _("{name} is asked to stop; [run.stop] again goes further")
        if status.state == "queued" or status.step is None
        else _("{name} is asked to save and stop; [run.stop] again goes further")
    )
    return words.format(name=status.name)


def _ask_all(app: "SdTui", runs: Iterable[Status]) -> None:
    asked = [status for status in runs if _ask_end(app.hub.run_of(status.id), "stop")]
    words = ngettext("{n} run is asked to stop", "{n} runs are asked to stop", len(asked))
    app.call_from_thread(_say, app, words.format(n=len(asked)))


def _offer_rung(app: "SdTui", status: Status, rung: requests.Kind) -> None:
    if rung == "kill":
        title = _("Kill {name}?").format(name=status.name)
        body = _("SIGKILL ends it at once; nothing more is saved.")
    else:
        title = _("End {name} without waiting for its checkpoint?").format(name=status.name)
        body = _("It gets SIGTERM now; steps since its last checkpoint may be lost.")
    left = phrases.countdown(status)
    if left:
        body = _("{body}\nBy itself: {left}.").format(body=body, left=left)
    _confirm(app, title, body, lambda: _ask(app, status, rung))


def _confirm(app: "SdTui", title: str, body: str, act: Callable[[], None]) -> None:
    """Ask, and do ``act`` in a thread if the answer is yes."""
    from sdtui.screens.dialogs import Confirm  # noqa: PLC0415  # rare

    def answered(yes: bool | None) -> None:
        if yes:
            _in_background(app, act)

    app.push_screen(Confirm(title, body), answered)


def _ask(app: "SdTui", status: Status, kind: requests.Kind) -> None:
    """Leave a request, unless the run ended while the question stood on the screen."""
    run = app.hub.run_of(status.id)
    now = read_status(run)
    if now.over:
        words = _("{name} is over already: {state}")
        words = words.format(name=now.name, state=phrases.state_name(now.state))
        app.call_from_thread(_say, app, words)
    else:
        _ask_end(run, kind)


# Wishes to the trainer.
def checkpoint(app: "SdTui", status: Status) -> None:
    """Ask for a checkpoint at the next step."""
    _wish(app, status, "checkpoint", _("{name} saves a checkpoint after this step"))


def samples(app: "SdTui", status: Status) -> None:
    """Ask for samples at the next step."""
    _wish(app, status, "sample", _("{name} draws samples after this step"))


def _wish(app: "SdTui", status: Status, kind: requests.Kind, words: str) -> None:
    if refused_to_write(app):
        return
    why = _why_no_wish(status)
    if why:
        _say(app, why.format(name=status.name), warn=True)
        return

    def ask() -> None:
        run = app.hub.run_of(status.id)
        if not cooperative(run):
            raise UsageError(
                _("{name} cannot be asked").format(name=status.name),
                cause=_("it runs a start command of its own, which does not read requests"),
                remedy=_("save from within that command, or use the built-in trainer"),
            )
        new = requests.ask(run, kind, by=BY)
        told = words if new else _("{name} was asked already, and has not come to it yet")
        app.call_from_thread(_say, app, told.format(name=status.name))

    _in_background(app, ask)


def _why_no_wish(status: Status) -> str:
    if status.over:
        return _("{name} is over: there is nothing to ask")
    if status.state == "queued":
        return _("{name} waits in the queue: it has not begun")
    if status.state == "stopping":
        return _("{name} is stopping: it saves by itself if it can")
    return ""


# Going on, and removing.
def resume(app: "SdTui", runs: Sequence[Status]) -> None:
    """Start runs again from their newest good checkpoints."""
    if refused_to_write(app) or not runs:
        return
    able = [status for status in runs if status.over and status.state != "done"]
    if not able:
        first = runs[0]
        if not first.over:
            words = _("{name} is alive: only what is over is resumed")
        elif first.checkpoint is None:
            words = _("{name} is done, and has no checkpoint to go on from")
        else:
            words = _("{name} is done: [run.resume_from] trains it longer")
        _say(app, keyed(words.format(name=first.name), on=app.current_mode), warn=True)
        return

    def start(status: Status) -> None:
        from sdcore.supervise.begin import resume_run  # noqa: PLC0415  # loads pydantic

        resume_run(app.hub.run_of(status.id))
        words = (
            _("{name} goes on from its newest checkpoint")
            if status.checkpoint is not None
            else _("{name} starts again from step 0: it has no checkpoint")
        )
        app.call_from_thread(_say, app, words.format(name=status.name))

    _in_background(app, lambda: _each(able, start))


def resume_from(app: "SdTui", status: Status) -> None:
    """Ask from which checkpoint a run that is over goes on, and how far."""
    if refused_to_write(app):
        return
    if not status.over:
        words = _("{name} is alive: only what is over is resumed")
        _say(app, words.format(name=status.name), warn=True)
        return

    def look() -> None:
        from sdtui.live.checkpoints import checkpoints  # noqa: PLC0415  # rare

        run = app.hub.run_of(status.id)
        kept = checkpoints(run, last_records(run.events, want=_EVENTS)) if cooperative(run) else ()
        if kept:
            app.call_from_thread(_ask_where, app, status, kept)
        else:
            words = _("{name} has no checkpoint to choose from")
            app.call_from_thread(_say, app, words.format(name=status.name), warn=True)

    _in_background(app, look)


def _ask_where(app: "SdTui", status: Status, kept: "tuple[Checkpoint, ...]") -> None:
    from sdtui.screens.resume_box import Going, ResumeBox  # noqa: PLC0415  # rare

    def answered(going: Going | None) -> None:
        if going is not None:
            _in_background(app, lambda: _go_on(app, status, going))

    app.push_screen(ResumeBox(status, kept), answered)


def _go_on(app: "SdTui", status: Status, going: "Going") -> None:
    from sdcore.supervise.begin import resume_run  # noqa: PLC0415  # loads pydantic

    sets = []
    if going.step is not None:
        sets.append(f"train.resume_from_checkpoint=step-{going.step}")
    if going.total is not None:
        sets.append(f"train.max_train_steps={going.total}")
    resume_run(app.hub.run_of(status.id), sets=sets)
    words = (
        _("{name} goes on from its newest checkpoint")
        if going.step is None
        else _("{name} goes on from step {step}; later checkpoints are set aside")
    )
    step = "" if going.step is None else f"{going.step:,}"
    app.call_from_thread(_say, app, words.format(name=status.name, step=step))


def _each(runs: Sequence[Status], act: Callable[[Status], None]) -> None:
    """Do ``act`` to every run: one that fails does not keep the others; it is told at the end."""
    failed: SdError | OSError | None = None
    for status in runs:
        try:
            act(status)
        except (SdError, OSError) as error:
            failed = failed or error
    if failed is not None:
        raise failed


def delete(app: "SdTui", runs: Sequence[Status]) -> None:
    """Remove runs that are over, after a question that names what goes with them."""
    if refused_to_write(app) or not runs:
        return
    live = [status for status in runs if not status.over]
    if live:
        app.tell(
            UsageError(
                _("{name} is not deleted").format(name=live[0].name),
                cause=_("it is alive: {state}").format(state=phrases.state_name(live[0].state)),
                remedy=keyed(_("stop it first: [run.stop]"), on=app.current_mode),
            )
        )
        return

    def look() -> None:
        body = what_goes([app.hub.run_of(status.id) for status in runs])
        words = ngettext("Delete {name}?", "Delete {n} runs?", len(runs))
        title = words.format(name=runs[0].name, n=len(runs))
        app.call_from_thread(_confirm, app, title, body, lambda: _remove(app, runs))

    _in_background(app, look)


def _remove(app: "SdTui", runs: Sequence[Status]) -> None:
    removed: list[str] = []

    def remove(status: Status) -> None:
        run = app.hub.run_of(status.id)
        remove_run(run)
        removed.append(run.id)
        if app.hub.run == run:
            app.hub.open(None)

    try:
        _each(runs, remove)
    finally:
        words = ngettext("{n} run is deleted", "{n} runs are deleted", len(removed))
        app.call_from_thread(_say, app, words.format(n=len(removed)))
