"""Looks at a root in which mount points are to be made; see ``facts.Tree``."""

import os
import posixpath
from collections.abc import Iterable

from sdcore.launch.runtimes.facts import Entry, Kind, Tree

# A folder with more entries is not built anew: each is one more mount.
_MOST_ENTRIES = 200
_MOST_LINKS = 40  # as the kernel


def look(targets: Iterable[str], root: str = "/") -> Tree:
    """List what a layout with these mount points needs to know.

    Args:
        targets: Paths inside, absolute and normal.
        root: The folder of this host that becomes ``/``.

    Raises:
        OSError: ``root`` cannot be listed.
    """
    folders = {"/": _entries(root)}
    places: dict[str, str] = {}
    kinds: dict[str, Kind] = {}
    crowded: dict[str, str] = {}
    for target in targets:
        place = places[target] = _real(target, root)
        if (kind := _kind(_on_host(place, root))) is not None:
            kinds[place] = kind
            continue
        parent = posixpath.dirname(place)
        while not os.path.isdir(_on_host(parent, root)):  # noqa: PTH112 - a path inside, as text
            parent = posixpath.dirname(parent)
        if parent in folders or parent in crowded:
            continue
        try:
            found = _entries(_on_host(parent, root))
        except OSError as error:
            crowded[parent] = f"cannot be listed ({error.strerror})"
            continue
        if len(found) > _MOST_ENTRIES:
            crowded[parent] = f"has {len(found):,} entries, too many to bind each"
        else:
            folders[parent] = found
    return Tree(root, folders, places, kinds, crowded)


def _on_host(path: str, root: str) -> str:
    return path if root == "/" else root.rstrip("/") + path


def _entries(folder: str) -> tuple[Entry, ...]:
    with os.scandir(folder) as found:
        return tuple(sorted((_entry(each) for each in found), key=lambda entry: entry.name))


def _entry(entry: os.DirEntry[str]) -> Entry:
    if entry.is_symlink():
        return Entry(entry.name, "link", os.readlink(entry.path))  # noqa: PTH115
    return Entry(entry.name, "folder" if entry.is_dir(follow_symlinks=False) else "file")


def _kind(path: str) -> Kind | None:
    if not os.path.lexists(path):
        return None
    return "folder" if os.path.isdir(path) else "file"  # noqa: PTH112


def _real(path: str, root: str) -> str:
    """Follow the symlinks of a path inside ``root``, where an absolute one begins at ``root``."""
    pending = [part for part in reversed(path.split("/")) if part]
    real, links = "/", 0
    while pending:
        part = pending.pop()
        here = posixpath.normpath(posixpath.join(real, part))
        where = _on_host(here, root)
        if os.path.islink(where) and links < _MOST_LINKS:  # noqa: PTH114
            links += 1
            link = os.readlink(where)  # noqa: PTH115
            pending += [piece for piece in reversed(link.split("/")) if piece]
            real = "/" if link.startswith("/") else real
        else:
            real = here
    return real
