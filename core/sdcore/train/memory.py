"""How much host memory this process may still take: the machine's, and its group's limit."""

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_GROUPS = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")


def available() -> int | None:
    """Return the bytes that can be taken before something is killed; None where nobody says.

    A container's limit is its control group's, which the machine's figure knows nothing of.
    """
    figures = [_of_machine(), *(_of_group(folder) for folder in _groups())]
    known = [figure for figure in figures if figure is not None]
    return min(known, default=None)


def _of_machine() -> int | None:
    for line in _lines(_MEMINFO):
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    return None


def _groups() -> list[Path]:
    """Return the folders of our group and those above it; each can set a limit."""
    folders = []
    for line in _lines(_GROUPS):
        _, controllers, path = line.split(":", 2)
        if controllers not in {"", "memory"} and "memory" not in controllers.split(","):
            continue
        root = _ROOT / "memory" if controllers else _ROOT
        # Inside a container the path can be the host's, and the mount the container's own.
        own = root / path.lstrip("/")
        folders += [folder for folder in (own, *own.parents) if folder.is_relative_to(root)]
    return folders


def _of_group(folder: Path) -> int | None:
    for limit, usage, pages in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        most, used = _number(folder / limit), _number(folder / usage)
        if most is not None and used is not None:
            return max(0, most - used + _statistic(folder / "memory.stat", pages))
    return None


def _number(path: Path) -> int | None:
    word = "".join(_lines(path)).strip()
    return int(word) if word.isdecimal() else None  # "max": no limit


def _statistic(path: Path, name: str) -> int:
    """Return the page cache that is given back before anything is killed."""
    for line in _lines(path):
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii").splitlines()
    except OSError:  # another kind of control group, or none
        return []
