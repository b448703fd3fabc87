"""The world as a task's command sees it: under which paths, with which Python, started where."""

import hashlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import sdcore
from sdcore.launch.runtimes import apptainer, bubblewrap, docker, enroot, podman, pyxis, unshare
from sdcore.launch.runtimes.choice import CONTAINERS, LAYOUTS
from sdcore.launch.runtimes.facts import RuntimeFacts
from sdcore.launch.runtimes.job import Bind, Job, Wrapped
from sdcore.runs.paths import RunDir
from sdcore.task.image import image_kind, rootfs_of
from sdcore.task.spec import DATASET, MODEL, OUTPUT, PROJECT, TaskSpec
from sdcore.text import from_home

# Told to a start command as {dataset} and as $DATASET_DIR, and so on.
ROLES = {"dataset": DATASET, "model": MODEL, "project": PROJECT}
# Where an image sees our package; beside it nothing of this host's Python is shown.
_PACKAGE = "/opt/sdtui/sdcore"
_PLANNERS = {
    "bubblewrap": bubblewrap.plan,
    "unshare": unshare.plan,
    "docker": docker.plan,
    "podman": podman.plan,
    "apptainer": apptainer.plan,
    "enroot": enroot.plan,
    "pyxis": pyxis.plan,
}


@dataclass(frozen=True, slots=True)
class Inside:
    """Where a command finds things.

    Attributes:
        runtime: What surrounds it.
        mounted: Mount points are real; else paths are those of this host.
        folders: By role: dataset, model, project where mounted, and output.
        start_folder: Of the launcher, on this host.
        python: The interpreter that runs the built-in trainer.
        package: Where our package lies.
        binds: All that is mounted.
        run: The run's folder, the same inside and outside.
        image: Without ``rootfs:``; None for the host's own root.
        gpus: How many devices the task wants.
        given: A cluster gives the devices.
        log: The run's log; None where several nodes write it.
        env: What the built-in trainer needs to be found.
    """

    runtime: str
    mounted: bool
    folders: dict[str, str]
    start_folder: str
    python: str
    package: str
    binds: tuple[Bind, ...]
    run: str
    image: str | None = None
    gpus: int = 0
    given: bool = False
    log: str | None = None
    env: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, task: TaskSpec, run: RunDir, runtime: str) -> Self:
        """Return what a command of ``task`` sees under ``runtime``."""
        mounted = runtime != "host"
        folders = {
            role: mount.target if mounted else mount.source
            for role, target in ROLES.items()
            if (mount := task.mount(target))
        }
        output = OUTPUT if mounted else str(run.output)
        start = folders.get("project", str(run.output)) if not mounted else str(run.root)
        package = str(Path(sdcore.__file__).parent)
        image = _image(task, runtime)
        own_python = image is not None and task.command is None
        return cls(
            runtime=runtime,
            mounted=mounted,
            folders={**folders, "output": output},
            start_folder=start,
            python="python3" if own_python else sys.executable,
            package=_PACKAGE if own_python else package,
            binds=_binds(task, run, package if own_python else None, image) if mounted else (),
            run=str(run.root),
            image=image,
            gpus=task.gpu.count,
            given=task.cluster is not None,
            log=None if task.spread else str(run.log),
            env={"PYTHONPATH": str(Path(_PACKAGE).parent)} if own_python else {},
        )


def _image(task: TaskSpec, runtime: str) -> str | None:
    if task.image is None or runtime == "host":
        return None
    if runtime in LAYOUTS:
        is_root = image_kind(task.image) == "rootfs"
        return from_home(rootfs_of(task.image)) if is_root else None
    return from_home(task.image) if runtime in CONTAINERS else task.image


def _binds(task: TaskSpec, run: RunDir, package: str | None, image: str | None) -> tuple[Bind, ...]:
    found = [Bind(m.source, m.target, m.read_only) for m in task.mounts]
    found.append(Bind(str(run.output), OUTPUT))
    if image is not None:  # the host's own root shows it anyhow
        found.append(Bind(str(run.root), str(run.root)))
    if package is not None:
        found.append(Bind(package, _PACKAGE, read_only=True))
    return tuple(found)


def surround(
    inside: Inside, argv: list[str], env: dict[str, str], facts: RuntimeFacts, attempt: int
) -> Wrapped:
    """Put the runtime around a command.

    Args:
        inside: What the command sees.
        argv: The command.
        env: Its variables.
        facts: About the host.
        attempt: Of the run; each has a container of its own.

    Raises:
        NotReadyError: A mount point cannot be made.
    """
    if not inside.mounted:
        return Wrapped(argv)
    return _PLANNERS[inside.runtime](job_of(inside, argv, env, facts, attempt))


def job_of(
    inside: Inside, argv: list[str], env: dict[str, str], facts: RuntimeFacts, attempt: int
) -> Job:
    """Return what a planner of a runtime is given; see ``surround``."""
    # Other users of this host's daemon may have a run of the same id.
    mark = hashlib.sha256(inside.run.encode()).hexdigest()[:8]
    return Job(
        argv=argv,
        env=env,
        binds=inside.binds,
        folder=inside.folders.get("project", OUTPUT),
        run=inside.run,
        image=inside.image,
        name=f"sdtui-{Path(inside.run).name}-{attempt}-{mark}",
        gpus=inside.gpus,
        given=inside.given,
        log=inside.log,
        facts=facts,
    )
