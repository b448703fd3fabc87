"""What a run may be called: its name is a folder's name and is shown on terminals."""

import re

from sdcore.errors import UsageError

NAME_RULE = "a name starts with a letter or digit and has up to 64 letters, digits, . _ -"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# `last` stands for the newest run on the command line; a run of that name could not be reached.
_TAKEN = {"last"}


def check_name(name: str) -> str:
    """Return ``name`` if it can be a run's name.

    Raises:
        UsageError: It could leave the run folder, hide itself, steer a terminal, or is taken.
    """
    if NAME.fullmatch(name) is None:
        raise UsageError(
            f"the name {name!r} cannot be used",
            cause=NAME_RULE,
            remedy="choose another name, for example pokemon-sd",
        )
    if name in _TAKEN:
        raise UsageError(
            f"the name {name!r} cannot be used",
            cause="it stands for the newest run",
            remedy="choose another name, for example pokemon-sd",
        )
    return name
