"""enroot by itself and under Slurm: what pyxis and the clients are given, from facts alone."""

from pathlib import Path

import pytest

from sdcore.errors import NotReadyError
from sdcore.launch.plan import LaunchPlan
from sdcore.launch.planner import plan_launch
from sdcore.launch.runtimes.facts import Program, RuntimeFacts
from sdcore.launch.runtimes.pyxis import source
from sdcore.runs.paths import RunDir
from sdcore.task.spec import TaskSpec

RUN = RunDir(Path("/state/runs/20260101-000000-x"))
SECRET = "s3cret-value"
SLURM = {"engine": "slurm"}
MOUNTS = [
    {"source": "/data/my set", "target": "/mnt/dataset", "read_only": True},
    {"source": "/code", "target": "/mnt/project"},
]
FACTS = RuntimeFacts(
    python="/venv/bin/python",
    programs={name: Program(f"/usr/bin/{name}") for name in ("enroot", "pyxis")},
    passed=("HF_TOKEN",),
)


def plan(runtime: str, **fields: object) -> LaunchPlan:
    given = {"command": "bash /mnt/project/train.sh", "mounts": MOUNTS, "gpu": {"count": 2}}
    task = TaskSpec.model_validate({**given, "runtime": runtime, **fields})
    return plan_launch(task, RUN, facts=FACTS)


def test_pyxis_wraps_the_launcher_in_a_step_of_the_job() -> None:
    """A value in an option is on srun's command line, where every user of the node reads it."""
    env = {"NOTE": "a\nb", "MY_TOKEN": SECRET, "RANK": "0"}
    made = plan("pyxis", image="nvcr.io/nvidia/x:1", cluster=SLURM, env=env)

    client, _, words = " ".join(made.argv).partition(" -- srun ")
    assert client == f"/venv/bin/python -P -m sdcore.supervise.step {RUN.root}"
    assert words.startswith(
        "--container-image=nvcr.io#nvidia/x:1 --container-mounts=/data/my set:/mnt/dataset:ro,"
    )
    assert f",{RUN.output}:/output,{RUN.root}:{RUN.root} --container-workdir=/mnt/project" in words
    assert "HF_TOKEN,MY_TOKEN," in words
    assert "NOTE" not in words, "enroot keeps variables a line each"
    assert SECRET not in words
    assert words.endswith(f"{RUN.log} HOME=/tmp RANK=0 -- bash -c bash /mnt/project/train.sh")
    assert (made.term_to, made.end_argv) == ("launcher", [*client.split(), "--end"])
    assert made.env["NVIDIA_VISIBLE_DEVICES"] == "all", "Slurm's numbers count the job's devices"

    spread = {"command": None, "cluster": SLURM | {"nodes": 2}}
    several = plan("pyxis", image="/i/x.sqsh", env={}, **spread).argv
    assert several[several.index("sdtui-step") + 1] == "-", "nodes that append to one file tear it"


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ("ubuntu", "ubuntu"),
        ("team/name:1", "team/name:1"),
        ("docker://team/name:1", "team/name:1"),
        ("nvcr.io/nvidia/x:1", "nvcr.io#nvidia/x:1"),
        ("localhost:5000/x", "localhost:5000#x"),
        ("docker.io/library/x:1", "library/x:1"),
        ("nvcr.io#nvidia/x:1", "nvcr.io#nvidia/x:1"),
        ("dockerd://x:1", "dockerd://x:1"),
        ("/i/my x.sqsh", "/i/my x.sqsh"),
    ],
)
def test_pyxis_is_told_the_registry_in_its_own_way(image: str, wanted: str) -> None:
    """Enroot of most clusters takes nvcr.io/x for a repository of Docker's hub."""
    assert source(image) == wanted


@pytest.mark.parametrize("sign", ['"', "$", "`"])
def test_a_path_that_pyxis_would_read_as_shell_is_refused(sign: str) -> None:
    """Its mounts stand in a shell function of its own, in double quotes."""
    mounts = [{"source": f"/a{sign}(x)", "target": "/mnt/dataset"}]
    with pytest.raises(NotReadyError, match="pyxis cannot mount"):
        plan("pyxis", image="a:1", cluster=SLURM, mounts=mounts)


def test_a_value_that_enroot_would_tear_is_refused() -> None:
    """What follows the newline came up inside as a variable that nobody had set."""
    with pytest.raises(NotReadyError, match=r"cannot hand on env\.NOTE"):
        plan("enroot", image="a.sqsh", env={"NOTE": "a\nLD_PRELOAD=/x"})
