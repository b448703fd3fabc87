"""A bell and a line when a run ends that was seen to live."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sdcore.runs.status import LIVE, Status
from sdcore.text import clean_line
from sdtui.language import _
from sdtui.settings import load_settings

if TYPE_CHECKING:
    from sdtui.app import SdTui

_MOST = 3  # told one by one; a stop of a whole queue must not fill the screen
_SHOWN_S = 12.0


class Ends:
    """Tells which runs ended between two looks; what ended before the first is no news."""

    def __init__(self) -> None:
        self._live: frozenset[str] = frozenset()

    def among(self, runs: Iterable[Status]) -> list[Status]:
        """Return the runs that lived at the last look and are over now."""
        seen = tuple(runs)
        ended = [status for status in seen if status.over and status.id in self._live]
        self._live = frozenset(status.id for status in seen if status.state in LIVE)
        return ended


def tell_ends(app: "SdTui", ended: list[Status]) -> None:
    """Ring once, if that is wanted, and say which runs are over and how."""
    if not ended:
        return
    from sdtui.phrases import reason_words, state_name  # noqa: PLC0415  # not for the first paint

    for status in ended[:_MOST]:
        words = _("{name}: {state}").format(
            name=clean_line(status.name, 80), state=state_name(status.state)
        )
        why = "" if status.state == "done" else clean_line(reason_words(status), 200)
        app.notify(
            f"{words}\n{why}" if why else words,
            title=_("A run is over"),
            severity="information" if status.state in {"done", "stopped"} else "warning",
            markup=False,
            timeout=_SHOWN_S,
        )
    if len(ended) > _MOST:
        more = _("and {n} more").format(n=len(ended) - _MOST)
        app.notify(more, title=_("A run is over"), markup=False, timeout=_SHOWN_S)
    if app.settings.bell:
        app.bell()


def ring() -> None:
    """Ring the bell of the terminal behind stderr, if there is one and it is wanted."""
    if sys.stderr.isatty() and load_settings().bell:
        sys.stderr.write("\a")
        sys.stderr.flush()
