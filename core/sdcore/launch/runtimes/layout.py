"""The root that a task sees: the host's or an image's, with mount points where it wants them.

Written as the options of bubblewrap, which ``enter`` understands as well: one layout, two
programs. With the host's root bound as a whole nobody could make ``/output`` there, and a folder
made below it would be made on the host. So the root is an empty file system into which every
folder of the host is bound, and a folder that lacks a mount point is built anew from its entries.
"""

import posixpath

from sdcore.errors import NotReadyError
from sdcore.launch.runtimes.facts import Entry, Tree
from sdcore.launch.runtimes.job import Bind, Job

# Of an image's own root these are the host's, or empty.
_HOSTS = ("dev", "proc", "sys")
_EMPTY = ("tmp", "run")
# Names, addresses and users are the host's; a file that an image lacks cannot be covered.
_ETC = ("/etc/resolv.conf", "/etc/hosts", "/etc/passwd", "/etc/group")


# Where an image's root shows the libraries of the host's driver.
_DRIVER = "/.driver"


def driver_env(job: Job) -> dict[str, str]:
    """Return what makes programs in an image's root find the driver of this host."""
    if not job.facts.driver:
        return {}
    own = job.env.get("LD_LIBRARY_PATH")
    return {"LD_LIBRARY_PATH": f"{_DRIVER}:{own}" if own else _DRIVER}


def wanted_paths(binds: tuple[Bind, ...], home: str, *, image: bool) -> list[str]:
    """Return the paths inside at which something is mounted, in any order."""
    own = [bind.target for bind in binds]
    return [*own, home, *_ETC] if image else own


def layout(job: Job, tree: Tree) -> list[str]:
    """Return the options that build the root of ``job``.

    Args:
        job: What to mount where.
        tree: Of the root, looked at for the job's targets.

    Raises:
        NotReadyError: A mount point cannot be made, or would hide what the run needs.
    """
    _refuse_hiding(job)
    if "/" in tree.crowded:
        raise NotReadyError(
            f"the root {tree.root} cannot be used",
            cause=f"it {tree.crowded['/']}",
            remedy="correct the folder after `rootfs:` in `image`",
        )
    image = tree.root != "/"
    binds = (*_own_binds(job, tree), *job.binds) if image else job.binds
    places = [tree.places.get(bind.target, bind.target) for bind in binds]
    rebuilt = [folder for folder in sorted(tree.folders) if folder != "/" and _holds(folder, tree)]
    options = [word for entry in tree.folders.get("/", ()) for word in _top(entry, tree, image)]
    for folder in rebuilt:
        options += ["--tmpfs", folder]
        for entry in tree.folders[folder]:
            options += _entry(entry, folder, tree, read_only=image)
    for bind, place in sorted(zip(binds, places, strict=True), key=lambda pair: pair[1]):
        _refuse_impossible(bind, place, tree)
        options += ["--ro-bind" if bind.read_only else "--bind", bind.source, place]
    # What is written beside the mount points would be lost with the file system in memory.
    for folder in [*rebuilt, "/"]:
        options += ["--remount-ro", folder]
    return [*options, "--chdir", job.folder]


def _holds(folder: str, tree: Tree) -> bool:
    """Say whether a listed folder is one of the root's: an image's /tmp is made empty."""
    return not (tree.root != "/" and folder.split("/")[1] in (*_HOSTS, *_EMPTY))


def _top(entry: Entry, tree: Tree, image: bool) -> list[str]:
    """Bind one folder of the root. Plain files there are of no use to a task."""
    path = f"/{entry.name}"
    if image and entry.name in _EMPTY:
        return ["--tmpfs", path]
    if entry.name in _HOSTS:
        return ["--dev-bind" if entry.name == "dev" else "--bind", path, path]
    return [] if entry.kind == "file" else _entry(entry, "/", tree, read_only=image)


def _entry(entry: Entry, folder: str, tree: Tree, *, read_only: bool) -> list[str]:
    path = posixpath.join(folder, entry.name)
    if entry.kind == "link":
        return ["--symlink", entry.link, path]
    source = path if tree.root == "/" else tree.root.rstrip("/") + path
    # It may have gone since it was listed, and the task does not depend on it.
    return ["--ro-bind-try" if read_only else "--bind-try", source, path]


def _own_binds(job: Job, tree: Tree) -> list[Bind]:
    """Return what a root that is not the host's needs of the host."""
    files = [Bind(path, path, read_only=True) for path in _ETC if tree.kinds.get(path) == "file"]
    files += [Bind(p, f"{_DRIVER}/{posixpath.basename(p)}", True) for p in job.facts.driver]
    targets = {bind.target for bind in job.binds}
    home = job.facts.home
    return files if home in targets or home == "/" else [*files, Bind(home, home)]


def _refuse_impossible(bind: Bind, place: str, tree: Tree) -> None:
    if tree.kinds.get(place) == "file" and bind.target not in _ETC:
        raise NotReadyError(
            f"the mount {bind.source} -> {bind.target} cannot be made",
            cause=f"{place} is a file",
            remedy="choose another target, for example below /mnt",
        )
    for folder, reason in tree.crowded.items():
        if place.startswith(folder.rstrip("/") + "/") and place not in tree.kinds:
            raise NotReadyError(
                f"the mount {bind.source} -> {bind.target} cannot be made",
                cause=f"there is no folder {place}, and {folder} {reason}",
                remedy=f"make an empty folder {place}, or choose a target below /mnt",
            )


def _refuse_hiding(job: Job) -> None:
    """What the run writes and what runs it must not vanish behind a mount."""
    needed = {job.run: "the run's own folder"} if job.run else {}
    if job.image is None:
        pythons = [folder for folder in (job.facts.prefix, job.facts.base) if folder]
        needed |= dict.fromkeys(pythons, "the Python that runs sdtui")
    for bind in job.binds:
        for path, words in needed.items():
            if bind.source != bind.target and f"{path}/".startswith(f"{bind.target}/"):
                raise NotReadyError(
                    f"the mount {bind.source} -> {bind.target} cannot be made",
                    cause=f"it would hide {words}, {path}",
                    remedy="choose another target, for example below /mnt",
                )
