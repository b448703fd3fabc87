"""``python -I -S enter.py OPTIONS -- COMMAND``: a root of its own by mount namespace, then exec.

Understands the few options of bubblewrap that ``layout`` writes, each with its paths as further
arguments; nothing passes through a shell. Only the standard library, and not our package: it is
run by its path. Ends with 125 and one line when the root cannot be made.
"""

import ctypes
import os
import sys

TYPE_CHECKING = False  # as in typing, whose import is a third of a start; so is that of signal
if TYPE_CHECKING:
    from typing import NoReturn

_NEWNS, _NEWUSER = 0x00020000, 0x10000000
_RDONLY, _REMOUNT, _BIND, _REC, _SLAVE, _NOSUID, _NODEV = 1, 32, 4096, 16384, 1 << 19, 2, 4
_DETACH, _SET_PDEATHSIG, _SIGTERM = 2, 1, 15
# statvfs flags and the mount flags of the same meaning: a user namespace may not drop them.
_KEPT = {1: _RDONLY, 2: _NOSUID, 4: _NODEV, 8: 8, 1024: 1024, 2048: 2048, 4096: 1 << 21}
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "ppc64le": 203}
_BASE = "/tmp"  # noqa: S108 - covered in our own namespace while the root is built
_FAILED = 125

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    words = (os.fsencode(source), os.fsencode(target), kind and kind.encode())
    _checked(_libc.mount(*words, ctypes.c_ulong(flags), data.encode()), target)


def _pivot(new: str, old: str) -> None:
    number = _PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(0, f"not known on {os.uname().machine}", "pivot_root")
    call = _libc.syscall(ctypes.c_long(number), os.fsencode(new), os.fsencode(old))
    _checked(call, "pivot_root")


def own_namespaces() -> None:
    """Leave the host's mount namespace, keeping the user's own ids.

    Raises:
        OSError: The host allows no user namespaces.
    """
    uid, gid = os.getuid(), os.getgid()
    if uid == 0 and _libc.unshare(_NEWNS) == 0:
        return  # root keeps its rights over other users' files
    _checked(_libc.unshare(_NEWNS | _NEWUSER), "unshare")
    maps = {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
    for name, line in maps.items():
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(line)


class _Root:
    """The root while it is built: sources were opened before the host's root went away."""

    def __init__(self, options: list[list[str]]) -> None:
        self._sources = {o[1]: _open(o[1], o[0]) for o in options if "bind" in o[0]}
        _mount("none", "/", None, _SLAVE | _REC)  # nothing of ours reaches the host
        _mount("tmpfs", _BASE, "tmpfs", _NOSUID | _NODEV, "mode=755")
        os.chdir(_BASE)
        os.mkdir("new", 0o755)  # noqa: PTH102
        os.mkdir("old", 0o755)  # noqa: PTH102
        _mount("tmpfs", "new", "tmpfs", _NOSUID | _NODEV, "mode=755")
        _pivot(".", "old")
        os.chdir("/")

    def bind(self, source: str, target: str, *, read_only: bool, devices: bool) -> None:
        descriptor = self._sources[source]
        if descriptor is None:
            return
        where, link = f"/new{target}", f"/proc/self/fd/{descriptor}"
        is_folder = os.path.isdir(f"/old{link}")  # noqa: PTH112
        _place(where, is_folder=is_folder)
        _mount(f"/old{link}", where, None, _BIND | _REC)
        added = _NOSUID | (0 if devices else _NODEV) | (_RDONLY if read_only else 0)
        for point in self._mounts_below(where):
            _remount(point, added, must=point == where)

    def _mounts_below(self, where: str) -> list[str]:
        """Return the mount points of a bind: each has flags of its own."""
        points = []
        with open("/old/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            for line in file:
                point = line.split(" ")[4]
                for code in ("\\040", "\\011", "\\012", "\\134"):
                    point = point.replace(code, chr(int(code[1:], 8)))
                if point == where or point.startswith(f"{where}/"):
                    points.append(point)
        return points

    def enter(self, folder: str) -> None:
        _checked(_libc.umount2(b"/old", _DETACH), "/old")
        for descriptor in self._sources.values():
            if descriptor is not None:
                os.close(descriptor)
        os.chdir("/new")
        _pivot(".", ".")
        _checked(_libc.umount2(b".", _DETACH), "/")
        os.chdir(folder)


def _open(source: str, option: str) -> int | None:
    try:
        return os.open(source, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        if option.endswith("-try"):
            return None
        raise


def _place(where: str, *, is_folder: bool) -> None:
    """Make the mount point where it is missing: in a file system of ours, see ``layout``."""
    if os.path.lexists(where):
        return
    os.makedirs(where if is_folder else os.path.dirname(where), 0o755, exist_ok=True)  # noqa: PTH103, PTH120
    if not is_folder:
        os.close(os.open(where, os.O_WRONLY | os.O_CREAT, 0o644))


def _remount(point: str, added: int, *, must: bool) -> None:
    try:
        flags = os.statvfs(point).f_flag
        kept = sum(value for flag, value in _KEPT.items() if flags & flag)
        _mount("none", point, None, _BIND | _REMOUNT | kept | added)
    except OSError:
        if must or added & _RDONLY:
            raise


def _parse(words: list[str]) -> tuple[list[list[str]], str, list[str]]:
    """Split the arguments into options, the folder to start in, and the command."""
    paths = {"--tmpfs": 1, "--remount-ro": 1, "--chdir": 1}
    options, folder = [], "/"
    while words and words[0] != "--":
        count = 1 + paths.get(words[0], 2)
        option, words = words[:count], words[count:]
        if option[0] == "--chdir":
            folder = option[1]
        else:
            options.append(option)
    return options, folder, words[1:]


def _build(root: _Root, option: list[str]) -> None:
    name, paths = option[0], option[1:]
    if name == "--tmpfs":
        _place(f"/new{paths[0]}", is_folder=True)
        _mount("tmpfs", f"/new{paths[0]}", "tmpfs", _NOSUID | _NODEV, "mode=755")
    elif name == "--symlink":
        os.symlink(paths[0], f"/new{paths[1]}")  # noqa: PTH211
    elif name == "--remount-ro":
        _remount(f"/new{paths[0]}".rstrip("/"), _RDONLY, must=True)
    else:
        root.bind(*paths, read_only=name.startswith("--ro-"), devices=name.startswith("--dev-"))


def main(arguments: list[str]) -> "NoReturn":
    """Build the root, enter it and become the command."""
    parent = os.getppid()
    options, folder, command = _parse(arguments)
    doing = "this host allows no mount namespace"
    try:
        own_namespaces()
        doing = "the root of the task cannot be made"
        root = _Root(options)
        for option in options:
            doing = f"{option[0]} {' -> '.join(option[1:])}"
            _build(root, option)
        doing = f"the folder {folder} cannot be entered"
        root.enter(folder)
    except OSError as error:
        about = f": {error.filename}" if error.filename else ""
        _fail(f"{doing}{about}: {error.strerror or error}")
    # A new user namespace took it away. Whoever lost its parent before has nobody to tell.
    _libc.prctl(_SET_PDEATHSIG, ctypes.c_ulong(_SIGTERM), 0, 0, 0)
    if os.getppid() != parent:
        _fail("the supervisor is gone")
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        _fail(
            f"{command[0]}: {error.strerror}", 127 if isinstance(error, FileNotFoundError) else 126
        )


def _fail(words: str, code: int = _FAILED) -> "NoReturn":
    sys.stderr.write(f"sdtui: {words}\n")
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
