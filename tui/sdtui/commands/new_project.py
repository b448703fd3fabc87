"""``sdtui new-project``: a project to begin with."""

import argparse
import os
import shlex
from pathlib import Path

from sdcore.launch.project import Project, write_project
from sdcore.text import clean_line, from_home
from sdtui.terminal import out, out_json, say


def _absolute(path: str) -> str:
    """Return a path that means the same in a preset, which may lie elsewhere; ~ stays."""
    return path if path.startswith("~") else os.path.abspath(path)  # noqa: PTH100  # links stay


def run(args: argparse.Namespace) -> int:
    """Write the project and tell what comes next."""
    folder = Path(_absolute(from_home(args.folder)))
    project = Project(folder, _absolute(args.dataset), _absolute(args.model), args.gpus)
    written = write_project(project)
    if args.json:
        out_json([str(path) for path in written])
        return 0
    for path in written:
        out(clean_line(str(path), 4096))
    task = clean_line(shlex.quote(str(folder / "task.toml")), 4096)
    there = all(Path(from_home(path)).is_dir() for path in (args.dataset, args.model))
    first = "" if there else f"write your data set and model into {task}, then: "
    say(f"{first}sdtui check {task}; sdtui --run {task}")
    return 0
