"""Starts the run of a form, in a thread: it waits for disks and for another process."""

from typing import TYPE_CHECKING, Any

from sdcore.errors import SdError
from sdcore.supervise.begin import freeze, start_run
from sdcore.task.spec import TaskSpec
from sdtui.language import _

if TYPE_CHECKING:
    from sdtui.screens.new import NewScreen


def begin(screen: "NewScreen", task: TaskSpec, report: dict[str, Any]) -> None:
    """Start ``task``, which was just checked, and show its run."""
    screen.run_worker(
        lambda: _begin(screen, task, report), thread=True, exclusive=True, group="start"
    )


def _begin(screen: "NewScreen", task: TaskSpec, report: dict[str, Any]) -> None:
    app = screen.console_app
    steps = (report["plan"] or {}).get("max_train_steps")
    try:
        run = start_run(freeze(task), total_steps=steps, fingerprint=report["data_fingerprint"])
    except SdError as error:
        app.call_from_thread(app.tell, error)
        return
    except OSError as error:
        words = SdError(
            _("the run cannot be started"),
            cause=error.strerror or str(error),
            remedy=_("free some room, or set SDTUI_HOME to a folder of yours"),
        )
        app.call_from_thread(app.tell, words)
        return
    app.call_from_thread(_started, screen, run.id)


def _started(screen: "NewScreen", id_: str) -> None:
    """Show the run; what stood in the form is now its record."""
    screen.forget()
    screen.console_app.open_run(id_)
