"""What speaks against a task on its cluster, asked of the cluster itself in milliseconds."""

from dataclasses import dataclass
from pathlib import Path

from sdcore import units
from sdcore.checks.findings import Finding
from sdcore.cluster.submission import offered_types, rehearse
from sdcore.errors import SdError
from sdcore.launch.slurm import gres_type
from sdcore.runs.paths import home
from sdcore.task.spec import TaskSpec

# Folders that every node has for itself.
_LOCAL = ("/tmp", "/var/tmp", "/dev/shm", "/run")  # noqa: S108 -- compared, never written


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What the cluster said.

    Attributes:
        refused: Why it would not take the job.
        types: The GPU types of its nodes.
        home: Where runs are kept.
    """

    refused: SdError | None
    types: tuple[str, ...]
    home: Path


def cluster_facts(task: TaskSpec) -> ClusterFacts:
    """Ask Slurm about the job of ``task``; nothing is submitted."""
    refused = None
    types: list[str] = []
    try:
        rehearse(task)
        types = offered_types() if task.gpu.count and task.gpu.type else []
    except SdError as error:
        refused = error
    return ClusterFacts(refused, tuple(types), home())


def cluster_findings(task: TaskSpec, facts: ClusterFacts) -> list[Finding]:
    """Judge what the cluster said. Pure."""
    assert task.cluster is not None, "asked only for a task of a cluster"
    found = [] if facts.refused is None else [Finding.from_error(facts.refused, "cluster")]
    wanted, types = task.gpu.type, ", ".join(facts.types)
    if wanted and types and gres_type(wanted, facts.types) is None:
        cause = f"its GPU types are {types}"
        remedy = "write one of them as gpu.type; else any GPU will be taken"
        found.append(Finding("warning", f"this cluster has no {wanted}", cause, remedy))
    if any(facts.home.is_relative_to(folder) for folder in _LOCAL):
        found.append(
            Finding(
                "warning",
                f"runs are kept in {facts.home}",
                cause="every machine usually has a folder of that name to itself, and the job "
                "would not find its run",
                remedy="set SDTUI_HOME to a folder that all nodes share",
            )
        )
    if task.command is not None and task.cluster.nodes > 1 and not task.spread:
        found.append(
            Finding(
                "note",
                f"the start command runs once, on the first of {task.cluster.nodes} nodes",
                cause="cluster.command_on says so; it reaches the others by srun, and the mounts "
                "are there on the first alone",
                remedy="",
            )
        )
    return found


def shape_words(task: TaskSpec) -> str:
    """Write nodes and devices of a task in words: ``2 nodes x 8 NVIDIA-H800``."""
    assert task.cluster is not None, "asked only for a task of a cluster"
    nodes = units.count(task.cluster.nodes, "node")
    if task.gpu.count:
        return f"{nodes} x {task.gpu.count} {task.gpu.type or 'GPU'}"
    return f"{nodes} x {units.count(task.gpu.ranks, 'CPU process', 'CPU processes')}"
