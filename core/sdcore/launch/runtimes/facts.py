"""What the planners of runtimes know of the host: plain data that survives JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

Kind = Literal["folder", "file", "link"]


@dataclass(frozen=True, slots=True)
class Program:
    """A program that can surround a task.

    Attributes:
        path: Where it lies; None when it is not on PATH.
        trouble: Why it cannot be used, in words; None when it works.
        remedy: One next step where there is trouble.
        version: As it told.
    """

    path: str | None = None
    trouble: str | None = None
    remedy: str | None = None
    version: str | None = None

    @property
    def works(self) -> bool:
        """True when a task can be started with it."""
        return self.path is not None and self.trouble is None


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder of the root that the task will see.

    Attributes:
        name: Without its folder.
        kind: A link is not followed.
        link: Where a link points, as it is written.
    """

    name: str
    kind: Kind
    link: str = ""


@dataclass(frozen=True, slots=True)
class Tree:
    """What there is in a root where mount points are to be made.

    Attributes:
        root: The folder of this host that becomes ``/``.
        folders: The entries of ``/`` and of every folder in which a mount point is missing: it
            has to be built anew from its entries, since nobody but root may add one there, and
            root should not.
        places: Where each wanted path really lies, symlinks followed.
        kinds: What stands at a place already.
        crowded: Folders with a missing mount point and too many entries to build them anew, or
            that cannot be listed; by the reason.
    """

    root: str = "/"
    folders: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    crowded: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuntimeFacts:
    """The host, as far as one task's surroundings need it.

    Attributes:
        uid: Whose files the task writes.
        gid: Likewise.
        home: The user's home folder.
        python: The interpreter that runs sdtui.
        prefix: Folder of its environment.
        base: Folder of the Python that the environment was made from; may be the same.
        env: An ``env`` that gives ignored signals back (coreutils 8.31); None where there is none.
        programs: Those that were looked at, by the runtime's name.
        tree: Of the root in which mount points are made; None when none are.
        passed: Variables of the shell that a container gets, too: proxies and tokens.
        gpu_names: Names of devices in the container device interface's files, for podman.
        driver: Libraries of the NVIDIA driver, which an unpacked root does not bring along.
        missing_image: Why the image is not there, when that could be asked.
    """

    uid: int = 0
    gid: int = 0
    home: str = "/root"
    python: str = "python3"
    prefix: str = ""
    base: str = ""
    env: str | None = None
    programs: Mapping[str, Program] = field(default_factory=dict)
    tree: Tree | None = None
    passed: tuple[str, ...] = ()
    gpu_names: tuple[str, ...] = ()
    driver: tuple[str, ...] = ()
    missing_image: str | None = None

    def program(self, runtime: str) -> Program:
        """Return what is known of a runtime's program; one not looked at is not there."""
        return self.programs.get(runtime, Program())

    def to_record(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what ``to_record`` returned, also when it went through JSON."""
        plain = dict(record)
        tree = plain["tree"]
        plain["programs"] = {n: Program(**p) for n, p in plain["programs"].items()}
        for name in ("passed", "gpu_names", "driver"):
            plain[name] = tuple(plain[name])
        if tree is not None:
            folders = {f: tuple(Entry(**e) for e in each) for f, each in tree["folders"].items()}
            plain["tree"] = Tree(**{**tree, "folders": folders})
        return cls(**plain)
