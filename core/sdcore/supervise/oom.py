"""Counts the kernel's out-of-memory kills, to tell "no memory" from "somebody sent signal 9"."""

import re
from pathlib import Path

_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def kills(root: Path = Path("/")) -> int:
    """Return a number that rises whenever the kernel kills a process for want of memory.

    The sum of what the host and our control group count; a kernel that counts neither gives 0.

    Args:
        root: The file system; another one in tests.
    """
    return sum(_count(path) for path in [root / "proc/vmstat", *_of_our_group(root)])


def _of_our_group(root: Path) -> list[Path]:
    """Return where version 1 or 2 of control groups counts for the group we are in."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, kinds, group = line.split(":", 2)
        if kinds == "":
            found.append(root / "sys/fs/cgroup" / group.lstrip("/") / "memory.events")
        elif "memory" in kinds.split(","):
            found.append(root / "sys/fs/cgroup/memory" / group.lstrip("/") / "memory.oom_control")
    return found


def _count(path: Path) -> int:
    try:
        match = _COUNT.search(path.read_text())
    except OSError:
        return 0
    return int(match.group(1)) if match else 0
