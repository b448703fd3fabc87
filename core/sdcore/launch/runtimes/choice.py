"""Which runtime a task gets, and why. Pure: decided from the task and facts about the host."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sdcore.errors import NotReadyError
from sdcore.launch.runtimes.facts import RuntimeFacts
from sdcore.task.image import image_kind, unfit_for_pyxis
from sdcore.task.spec import OUTPUT, TaskSpec

CONTAINERS = ("docker", "podman", "apptainer", "enroot", "pyxis")
LAYOUTS = ("bubblewrap", "unshare")
# Absolute, not the end of another path: $HOME/output, ./output, ~/mnt/x.
BEFORE, BEHIND = r"(?<![\w.~})-])", r"(?![\w.-])"
_NAMES_A_PLACE = re.compile(rf"{BEFORE}(?:/mnt/|{OUTPUT}{BEHIND})")
_GET_MOUNTS = "install bubblewrap (apt-get install bubblewrap, dnf install bubblewrap)"


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen.

    Attributes:
        runtime: ``host``, one of ``LAYOUTS`` or one of ``CONTAINERS``.
        why: In words a person is shown.
        worry: What of the task this runtime cannot keep; None when nothing.
        remedy: The next step against the worry.
    """

    runtime: str
    why: str
    worry: str | None = None
    remedy: str = ""

    @property
    def mounts(self) -> bool:
        """True when the task sees its mount points."""
        return self.runtime != "host"

    @property
    def words(self) -> str:
        """Name and reason in one line."""
        return f"{self.runtime}: {self.why}"


def candidates(task: TaskSpec) -> tuple[str, ...]:
    """Return the runtimes that come into question, best first; the first that works is taken."""
    if task.runtime != "auto":
        return (task.runtime,)
    if task.command is None:
        return ("host",)
    kind = image_kind(task.image)
    if kind == "rootfs":
        return LAYOUTS
    if kind == "reference":
        by_number = task.cluster is not None and task.gpu.count > 0
        return (*_of_slurm(task), "apptainer", *(() if by_number else ("podman",)))
    return (*LAYOUTS, "host") if needs_mounts(task) else ("host",)


def _of_slurm(task: TaskSpec) -> tuple[str, ...]:
    """Return pyxis for a job: what srun offers here it offers on the nodes, too.

    An apptainer of this machine says nothing of theirs, and a step is Slurm's to limit and clean.
    """
    fits = task.cluster is not None and unfit_for_pyxis(task.image or "") is None
    return ("pyxis",) if fits else ()


def needs_mounts(task: TaskSpec) -> bool:
    """Say whether an own command would miss something on the host itself."""
    moved = any(m.target != m.source or m.read_only for m in task.mounts)
    return moved or _NAMES_A_PLACE.search(task.command or "") is not None


def choose(task: TaskSpec, facts: RuntimeFacts) -> Choice:
    """Choose the runtime of ``task``.

    Raises:
        NotReadyError: None of those that come into question works on this host.
    """
    names = candidates(task)
    for name in names:
        if name == "host" or facts.program(name).works:
            return _chosen(task, facts, name, names[: names.index(name)])
    raise _none(task, facts, names)


def _chosen(task: TaskSpec, facts: RuntimeFacts, name: str, passed: tuple[str, ...]) -> Choice:
    if task.runtime != "auto":
        worry = _unkept(task) if name == "host" else None
        return Choice(name, "the task asks for it", worry, 'use runtime = "auto"' if worry else "")
    if name == "host" and not passed:
        own = task.command is not None
        why = (
            "nothing is mounted elsewhere" if own else "the built-in trainer needs no mount points"
        )
        return Choice(name, why)
    instead = f"; {_troubles(facts, passed)}" if passed else ""
    if name == "host":
        return Choice(
            name,
            f"placeholders such as $DATASET_DIR stand for the folders{instead}",
            _unkept(task) or "no mount point can be made on this host",
            facts.program(passed[0]).remedy or _GET_MOUNTS,
        )
    does = "it runs the image" + (" in a step of the job" if name == "pyxis" else "")
    return Choice(name, ("it makes the mount points" if name in LAYOUTS else does) + instead)


def _unkept(task: TaskSpec) -> str | None:
    if task.command is None or not any(mount.read_only for mount in task.mounts):
        return None
    return "read_only mounts are not protected: the start command works on the folders themselves"


def _troubles(facts: RuntimeFacts, names: Iterable[str]) -> str:
    told = [(name, facts.program(name)) for name in names]
    return "; ".join(
        f"{name}: {program.trouble or 'it is not installed'}" for name, program in told
    )


def _none(task: TaskSpec, facts: RuntimeFacts, names: tuple[str, ...]) -> NotReadyError:
    kind = image_kind(task.image)
    what = f"runtime = {task.runtime!r} cannot be used here"
    if task.runtime == "auto":
        what = f"the image {task.image!r} cannot be run here"
    given = next((p.remedy for n in names if (p := facts.program(n)).remedy), None)
    ways = {
        "bubblewrap": _GET_MOUNTS,
        "unshare": _GET_MOUNTS,
        "docker": "install docker, or use --set runtime=auto",
        "podman": "install podman, or use --set runtime=auto",
        "apptainer": "install apptainer, or remove `image` to use this machine's own Python",
        "enroot": "install enroot, or use --set runtime=auto",
        "pyxis": "ask an administrator for pyxis, or use --set runtime=auto",
    }
    remedy = given or ways.get(names[0], "use --set runtime=auto")
    if kind == "reference" and task.runtime == "auto" and given is None:
        remedy = (
            "install apptainer or podman, ask for docker with --set runtime=docker, or remove "
            "`image` to use this machine's own Python"
        )
    return NotReadyError(what, cause=_troubles(facts, names), remedy=remedy)
