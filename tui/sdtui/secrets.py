"""The values that no output may show, as far as they can be known."""

import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from sdcore.masking import MASK, is_secret
from sdcore.runs.files import read_plain
from sdcore.runs.logs import Mask
from sdcore.runs.paths import RunDir
from sdcore.runs.status import Status

# Texts of a status that a record brings along; any program may have written that record.
_TOLD = ("reason", "remedy", "waiting_for", "phase", "phase_unit", "cause", "signal_name",
         "gpus", "last_lines")  # fmt: skip
# What follows the name of a secret, in TOML, in JSON and in a shell; the name as in ``is_secret``.
_ASSIGNED = re.compile(
    r"(?i)((?:token|key|secret|password)[\w.-]{0,40}[\"']?[ \t]{0,3}[=:][ \t]{0,3})"
    r"(\"[^\"\n]{6,400}\"|'[^'\n]{6,400}'|[^\s\"',;}]{6,})"
)
_SHAPED = re.compile(r"\b(?:hf_|sk-|ghp_)\w{16,}")  # of well-known services


class PatternMask(Mask):
    """Also takes out what looks like a secret: for a run whose secrets are not known."""

    def __call__(self, text: str) -> str:
        """Return ``text`` without what a secret's name stands before, or looks like a token."""
        text = _ASSIGNED.sub(lambda found: found[1] + MASK, super().__call__(text))
        return _SHAPED.sub(MASK, text)


def mask_of(run: RunDir, own: Sequence[str] | None = None) -> Mask:
    """Return what masks the secrets in the run's environment table and in our own environment.

    The second covers a token that the launching shell passed on, as long as it is set here too.
    Of a task that cannot be read its secrets are not known: then their looks have to do.

    Args:
        run: The run.
        own: ``own_secrets``, from who asks for many runs.
    """
    import tomllib  # noqa: PLC0415  # some lists of runs need none of them masked

    own = own_secrets() if own is None else own
    try:
        text = read_plain(run.task).decode("utf-8", "replace")
    except OSError:
        return PatternMask(own)
    try:
        table = tomllib.loads(text).get("env", {})
        return Mask([*_secrets(table.items()), *own])
    except (ValueError, RecursionError, AttributeError):  # no TOML, or no table
        damaged = (found[2].strip("\"'") for found in _ASSIGNED.finditer(text))
        return PatternMask([*(value for value in damaged if value != MASK), *own])


def own_secrets() -> list[str]:
    """Return the values of our environment that no output may show."""
    return _secrets(os.environ.items())


def _secrets(pairs: Iterable[tuple[str, Any]]) -> list[str]:
    return [v for name, v in pairs if is_secret(name) and isinstance(v, str) and v != MASK]


def masked(value: Any, mask: Mask) -> Any:
    """Return plain data, lists and objects in each other, with every text in it masked."""
    if isinstance(value, dict):
        return {key: masked(item, mask) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item, mask) for item in value]
    return mask(value) if isinstance(value, str) else value


def tells(status: Status) -> bool:
    """Say whether a status has any text that could hold a secret."""
    return any(getattr(status, name) for name in _TOLD)


def masked_status(status: Status, mask: Mask) -> Status:
    """Return a status whose texts are masked, whoever wrote the record they are from."""
    changed: dict[str, Any] = {}
    for name in _TOLD:
        value = getattr(status, name)
        new = tuple(map(mask, value)) if isinstance(value, tuple) else value and mask(value)
        if new != value:
            changed[name] = new
    return status._replace(**changed) if changed else status
