"""Opens the console: prepares the terminal's side before Textual is imported."""

import gc
import os
import sys
from dataclasses import replace

from sdcore.errors import ExitCode, UsageError
from sdtui.language import _
from sdtui.live.hub import Hub
from sdtui.settings import Settings, load_settings

# A key waits this long for a thread that reads a log; Python's own 5 ms come several times a key.
_SWITCH_S = 0.0005


def open_console(*, read_only: bool = False) -> int:
    """Run the console until it is left; return an exit code of ``ExitCode``.

    Raises:
        UsageError: There is no terminal to open it in.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        raise UsageError(
            "the console cannot be opened",
            cause="standard input and output are no terminal that it could draw on",
            remedy="in scripts use the commands, for example: sdtui --run demo, sdtui ls --json",
        )
    settings = load_settings()
    prepare(settings)
    import_asyncio()
    gc.disable()  # nothing that is imported is garbage; see ``tidying``
    sys.setswitchinterval(_SWITCH_S)
    hub = Hub(settings.period_s)
    hub.start()  # the runs are read while Textual is imported
    from sdtui.app import SdTui  # noqa: PLC0415  # after the environment is set

    app = SdTui(replace(settings, read_only=read_only), hub)
    live = app.run(mouse=settings.mouse) or ()
    for run in live:
        words = _("{name} goes on: come back with sdtui, or sdtui attach {id}")
        sys.stdout.write(words.format(name=run.name, id=run.id) + "\n")
    return int(app.return_code or ExitCode.DONE)


def import_asyncio() -> None:
    """Import asyncio as a Python without ssl does: nothing here speaks TLS, and it takes 6 ms."""
    if "ssl" not in sys.modules:
        sys.modules["ssl"] = None  # type: ignore[assignment]
        import asyncio  # noqa: F401, PLC0415

        del sys.modules["ssl"]


def prepare(settings: Settings) -> None:
    """Set what Textual reads from the environment when it is imported.

    The first is not a matter of taste: asked to report all keys, iTerm2 and VS Code's terminal
    lose what an input method composes, so Chinese could not be typed.
    """
    os.environ.setdefault("TEXTUAL_DISABLE_KITTY_KEY", "1")
    if not os.environ.get("NO_COLOR", "unset"):  # an empty one counts as unset: no-color.org
        del os.environ["NO_COLOR"]
    for name in ("COLUMNS", "LINES"):  # set by `eval $(resize)`; they would outlive the next resize
        os.environ.pop(name, None)
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    os.environ.setdefault("TEXTUAL_SMOOTH_SCROLL", "0")
    if settings.slow:
        os.environ.setdefault("TEXTUAL_FPS", "30")
