"""Scalars that a trainer writes for TensorBoard, read as they come with TensorBoard's own reader.

That reader is imported when there is an event file to read, and not before: it costs this process
about 60 MB. It is kept from importing TensorFlow, which would cost a gigabyte.
"""

import importlib
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from sdcore.supervise.foreign.said import Said, best_loss, said
from sdcore.text import clean_line

_LOOK_EVERY_S = 5.0
_MAX_DEPTH, _MAX_FOLDERS, _MAX_FILES = 6, 500, 20
NOT_INSTALLED = (
    "{file} is there, but the package tensorboard is not, so it is not read; install it beside "
    "sdtui: pip install tensorboard"
)


class Board:
    """Follows the event files below a folder.

    Args:
        folder: Of the run's output.
        since: Events from before, of an earlier attempt, do not count; seconds since the epoch.

    Attributes:
        found: What is read, for a person; None until there is a loss.
        trouble: Why files that are there cannot be read.
    """

    def __init__(self, folder: Path, since: float) -> None:
        self._folder, self._since = folder, since
        self.found: str | None = None
        self.trouble: str | None = None
        self._files: dict[Path, _EventFile] = {}
        self._unread: set[Path] = set()
        self._looked = float("-inf")
        self._last = 0

    def look(self, now: float, *, at_once: bool = False) -> bool:
        """Look for event files, once in a while; say whether there are any."""
        if self.trouble is not None:
            return False
        if at_once or now - self._looked >= _LOOK_EVERY_S:
            self._looked = now
            self._unread = set(_event_files(self._folder, self._since)) - self._files.keys()
        return bool(self._unread or self._files)

    def read(self, *, final: bool = False) -> Iterator[tuple[float, Said]]:
        """Yield new steps in rising order, each with the time that its event names.

        Args:
            final: Nothing will follow, so the newest step is complete.
        """
        for path in sorted(self._unread):
            self._open(path)
        self._unread.clear()
        for file in self._files.values():
            for at, told in file.read(self._since, final=final):
                if (self.found or file.found) != file.found:
                    continue  # another file's; one curve is followed
                self.found = file.found
                if (told.step or 0) > self._last:
                    self._last = told.step or 0
                    yield at, told

    def _open(self, path: Path) -> None:
        loader = _loader()
        shown = clean_line(str(path.relative_to(self._folder)), 200)
        if loader is None:
            self.trouble = NOT_INSTALLED.format(file=f"output/{shown}")
            return
        self._files[path] = _EventFile(loader, path, clean_line(shown.rpartition("/")[0] or "."))


class _EventFile:
    """One file; ``found`` names its folder and the scalar that is the loss."""

    def __init__(self, loader: ModuleType, path: Path, folder: str) -> None:
        self._loader = loader.LegacyEventFileLoader(str(path))
        self._folder, self._broken = folder, False
        self.found: str | None = None
        self._step, self._at = 0, 0.0
        self._scalars: dict[str, float] = {}

    def read(self, since: float, *, final: bool) -> Iterator[tuple[float, Said]]:
        """Yield the steps that are complete: a step is, once nothing more of it comes."""
        grown = False
        for event in self._events():
            if event.wall_time < since:
                continue
            grown = True
            if event.step != self._step:
                yield from self._told()
                self._step = event.step
            self._at = event.wall_time
            self._scalars.update(_scalars(event))
        if final or not grown:
            yield from self._told()

    def _events(self) -> Iterator[Any]:
        if self._broken:
            return
        try:
            yield from self._loader.Load()
        except (OSError, ValueError, MemoryError, importlib.import_module(
            "google.protobuf.message").DecodeError):  # fmt: skip
            self._broken = True  # cut or no event file at all: what was read stands

    def _told(self) -> Iterator[tuple[float, Said]]:
        scalars, self._scalars = self._scalars, {}
        told = said(scalars.items())
        if told.loss is not None and self._step > 0:
            name = best_loss(scalars)
            self.found = f"event files in output/{self._folder} have {clean_line(name or '', 60)}"
            yield self._at, replace(told, step=self._step)


def _scalars(event: Any) -> Iterator[tuple[str, float]]:
    for value in event.summary.value if event.HasField("summary") else ():
        kind = value.WhichOneof("value")
        if kind == "simple_value":
            yield value.tag, float(value.simple_value)
        elif kind == "tensor" and len(value.tensor.float_val) == 1:
            yield value.tag, float(value.tensor.float_val[0])


def _loader() -> ModuleType | None:
    """Import TensorBoard's reader, with its own stand-in for TensorFlow; None: not installed."""
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
    try:
        return importlib.import_module("tensorboard.backend.event_processing.event_file_loader")
    except ImportError:
        return None


def _event_files(folder: Path, since: float) -> Iterator[Path]:
    """Yield event files that were written to since then, some folders deep."""
    found, pending, seen = 0, [(folder, 0)], 0
    while pending and seen < _MAX_FOLDERS and found < _MAX_FILES:
        here, depth = pending.pop()
        seen += 1
        try:
            entries = list(os.scandir(here))
        except OSError:  # removed meanwhile, or closed to us
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and depth < _MAX_DEPTH:
                pending.append((Path(entry.path), depth + 1))
            elif ".tfevents." in entry.name and _is_newer(entry, since):
                found += 1
                yield Path(entry.path)


def _is_newer(entry: "os.DirEntry[str]", since: float) -> bool:
    try:
        known = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISREG(known.st_mode) and known.st_mtime >= since
