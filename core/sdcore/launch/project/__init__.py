"""A project to begin with: a ``train.sh`` for the built-in trainer, and the task that runs it."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from sdcore.errors import NotReadyError, UsageError
from sdcore.names import NAME
from sdcore.text import clean_line

_TEMPLATES = Path(__file__).parent
SCRIPT = _TEMPLATES / "train.sh"


@dataclass(frozen=True, slots=True)
class Project:
    """What is written where.

    Attributes:
        folder: Of the project, absolute.
        dataset: Folder of the data set, as the preset will say it.
        model: Folder of the model, likewise.
        gpus: How many the task takes; 0 trains on the CPU.
    """

    folder: Path
    dataset: str
    model: str
    gpus: int

    @property
    def name(self) -> str:
        """What runs of the project are called: the folder's name, as far as it can be one."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", self.folder.name).strip("-._")[:64]
        return plain if NAME.fullmatch(plain) and plain != "last" else "project"

    @property
    def files(self) -> dict[str, str]:
        """Return the text of each file by its name."""
        words = {
            "name": json.dumps(self.name),
            "dataset": json.dumps(self.dataset, ensure_ascii=False),
            "model": json.dumps(self.model, ensure_ascii=False),
            "gpus": str(self.gpus),
        }
        read = {name: (_TEMPLATES / name).read_text("utf-8") for name in _FILES}
        title = clean_line(self.folder.name, 80) or self.name
        return {
            "train.sh": read["train.sh"],
            "task.toml": read["task.toml"].format(**words),
            "README.md": read["README.md"].format(name=self.name, title=title),
        }


_FILES = ("train.sh", "task.toml", "README.md")


def write_project(project: Project) -> list[Path]:
    """Write the files of a project and return their paths; what is there is left alone.

    Raises:
        UsageError: One of the files is there, or a path cannot be mounted.
        NotReadyError: The folder cannot be written.
    """
    _refuse(project)
    try:
        project.folder.mkdir(parents=True, exist_ok=True)
        return [_write(project.folder / name, text) for name, text in project.files.items()]
    except OSError as error:
        raise NotReadyError(
            _what(project),
            cause=error.strerror or str(error),
            remedy="name a folder that you may write to, on a disk with room",
        ) from None


def _write(path: Path, text: str) -> Path:
    mode = 0o777 if path.suffix == ".sh" else 0o666  # less the umask, as for any text
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _what(project: Project) -> str:
    return f"no project can be written to {clean_line(str(project.folder), 200)}"


def _refuse(project: Project) -> None:
    """Raise what stands against writing, before anything is written."""
    what = _what(project)
    if project.folder.exists() and not project.folder.is_dir():
        raise UsageError(what, cause="it is a file", remedy="name a folder, which may be new")
    there = [name for name in _FILES if os.path.lexists(project.folder / name)]
    if there:
        raise UsageError(
            what,
            cause=f"{' and '.join(there)} would be overwritten",
            remedy="name another folder, or move what is there",
        )
    for path in (str(project.folder), project.dataset, project.model):
        if any(sign in path for sign in ":,") or not path.isprintable():
            raise UsageError(
                what,
                cause=f"{clean_line(path, 200)!r} has a : or , or control characters, and such a "
                "path cannot be mounted by every runtime",
                remedy="use a folder without them",
            )
