"""How a person left the log: kept for as long as the console is open, shared by both its views."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from textual.app import App

from sdtui.language import N_, _
from sdtui.live.log_levels import Level
from sdtui.live.log_query import Filter, Query

LEVEL_WORDS = {
    Level.DEBUG: N_("all levels"), Level.INFO: N_("level I+"),
    Level.WARNING: N_("level W+"), Level.ERROR: N_("level E"),
}  # fmt: skip


@dataclass(slots=True)
class LogChoices:
    """What is shown of which log, and how.

    Attributes:
        run: Id of the run; ``rank``, ``source`` and place belong to it.
        source: Index of the file among those of a run.
        level: The least level shown.
        rank: The only rank shown; None for all.
        wrap: Whether long lines go on below.
        query: The search.
        at: Address of the top row; None while the end is followed.
    """

    run: str = ""
    source: int = 0
    level: Level = Level.DEBUG
    rank: int | None = None
    wrap: bool = False
    query: Query | None = None
    at: int | None = None

    @property
    def only(self) -> Filter:
        """The filter that these choices make."""
        return Filter(self.level, self.rank)

    @property
    def following(self) -> bool:
        """Whether the end of the log stays in sight."""
        return self.at is None

    def take_run(self, run: str) -> None:
        """Forget what belongs to another run."""
        if run != self.run:
            self.run, self.source, self.rank, self.at = run, 0, None, None

    def words(self) -> list[str]:
        """Return what a title says of them."""
        words = [_("following") if self.following else _("paused")]
        words.append(_(LEVEL_WORDS[self.level]))
        if self.rank is not None:
            words.append(_("rank {number}").format(number=self.rank))
        if self.wrap:
            words.append(_("wrapped"))
        return words


_OF_APP: "WeakKeyDictionary[App[object], LogChoices]" = WeakKeyDictionary()


def choices_of(app: "App[object]") -> LogChoices:
    """Return the choices of a console."""
    return _OF_APP.setdefault(app, LogChoices())
