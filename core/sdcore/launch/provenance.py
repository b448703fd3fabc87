"""What a result depends on beyond the task: versions of packages, state of a mounted project."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from sdcore import __version__
from sdcore.task.spec import PROJECT, TaskSpec

_PACKAGES = ("torch", "diffusers", "accelerate", "transformers", "datasets", "safetensors")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages a result depends on, without importing."""
    found = {"sdtui": __version__, "python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state(task: TaskSpec) -> dict[str, Any] | None:
    """Return commit and cleanliness of a mounted project, or None when it is no git checkout."""
    mount = task.mount(PROJECT)
    if mount is None or not Path(mount.source, ".git").exists():
        return None
    git = ["git", "-C", mount.source, "-c", "core.fsmonitor="]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
        status = subprocess.run(
            [*git, "status", "--porcelain"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.stdout.strip(), "dirty": bool(status.stdout.strip())}
