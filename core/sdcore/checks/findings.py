"""One thing that a check found, in the words and with the weight it is shown with."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from sdcore.errors import ExitCode, SdError

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should know before a run starts.

    Attributes:
        level: ``error`` forbids the start; ``warning`` may spoil the result; ``note`` is news.
        what: The thing, by name.
        cause: Why, or how much.
        remedy: One next action; empty where there is nothing to do.
        exit_code: What the command returns for it, when it is an error.
        where: The path or setting it is about, to join findings on one thing.
    """

    level: Level
    what: str
    cause: str
    remedy: str
    exit_code: ExitCode = ExitCode.NOT_READY
    where: str | None = None

    @classmethod
    def from_error(cls, error: SdError, where: str | None = None) -> "Finding":
        """Take over the words and the code of ``error``."""
        return cls("error", error.what, error.cause, error.remedy, error.exit_code, where)

    def to_record(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self) | {"exit_code": int(self.exit_code)}
