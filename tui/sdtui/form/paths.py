"""Completes paths as they are typed, without ever making the console wait for a disk."""

import os
from pathlib import Path

from textual.suggester import Suggester

from sdcore.text import from_home
from sdtui.form.aside import aside

DATA_FILES = (".parquet",)  # what ``sdcore.data.open_data`` takes beside folders
_MOST_ENTRIES = 5000


def here() -> Path:
    """Return where relative paths begin; the folder we started in may be gone."""
    try:
        return Path.cwd()
    except OSError:
        return Path("/")


def complete(typed: str, files: tuple[str, ...] = ()) -> str | None:
    """Return ``typed`` completed to the first entry that begins so; folders come first.

    Args:
        typed: A path so far.
        files: How the names of the files end that are offered, too.

    Raises:
        OSError: The folder cannot be read.
    """
    folder, slash, beginning = typed.rpartition("/")
    if not slash or not typed.isprintable():
        return None
    found: list[tuple[bool, str]] = []
    with os.scandir(from_home(folder + "/")) as entries:
        for number, entry in enumerate(entries):
            if number >= _MOST_ENTRIES:
                break
            hidden = entry.name.startswith(".") and not beginning.startswith(".")
            if entry.name.startswith(beginning) and not hidden and entry.name.isprintable():
                is_file = not entry.is_dir()
                if not is_file or entry.name.endswith(files):
                    found.append((is_file, entry.name))
    if not found:
        return None
    is_file, name = min(found)
    return f"{folder}/{name}{'' if is_file else '/'}"


class PathSuggester(Suggester):
    """Offers the rest of a path; the right arrow takes it.

    Args:
        files: How the names of the files end that are offered beside folders.
    """

    def __init__(self, *files: str) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._files = files

    async def get_suggestion(self, value: str) -> str | None:
        """Return the completed path."""
        if not value.startswith(("/", "~", ".")):
            return None
        return await aside(lambda: complete(value, self._files))
