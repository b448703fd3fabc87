"""A start command with mounts, and hosts on which each runtime works or does not."""

from pathlib import Path

from sdcore.launch.plan import LaunchPlan
from sdcore.launch.planner import plan_launch
from sdcore.launch.runtimes.facts import Entry, Program, RuntimeFacts, Tree
from sdcore.runs.paths import RunDir
from sdcore.task.spec import TaskSpec

RUN = RunDir(Path("/state/runs/20260101-000000-x"))
SECRET = "s3cret-value"
MOUNTS = [
    {"source": "/data/my set", "target": "/mnt/dataset", "read_only": True},
    {"source": "/code", "target": "/mnt/project"},
]
TREE = Tree(
    folders={
        "/": (Entry("bin", "link", "usr/bin"), Entry("data", "folder"), Entry("dev", "folder"),
              Entry("mnt", "folder"), Entry("proc", "folder"), Entry("swap", "file")),
        "/mnt": (Entry("nas", "folder"), Entry("old", "link", "nas/old")),
    },
    places={target: target for target in ("/mnt/dataset", "/mnt/project", "/output")},
)  # fmt: skip
ALL = ("bubblewrap", "unshare", "docker", "podman", "apptainer", "enroot", "pyxis")
SLURM = {"engine": "slurm"}


def facts(*works: str, **troubles: str) -> RuntimeFacts:
    programs = {name: Program(f"/usr/bin/{name}") for name in works}
    programs |= {n: Program(f"/usr/bin/{n}", t, f"mend {n}") for n, t in troubles.items()}
    return RuntimeFacts(
        uid=1000, gid=1001, home="/home/me", python="/venv/bin/python", prefix="/venv",
        base="/pyenv/3.11",
        programs=programs, tree=TREE, passed=("HF_TOKEN",),
    )  # fmt: skip


def task(**fields: object) -> TaskSpec:
    base = {"command": "bash /mnt/project/train.sh", "mounts": MOUNTS, "gpu": {"count": 2}}
    return TaskSpec.model_validate(base | fields)


def plan(runtime: str, **fields: object) -> LaunchPlan:
    given = {"runtime": runtime, "env": {"NOTE": "a\nb", "MY_TOKEN": SECRET}} | fields
    return plan_launch(task(**given), RUN, facts=facts(*ALL))
