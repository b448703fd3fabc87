"""Start commands of one's own on several nodes: every node's machine does its share."""

import json
from pathlib import Path

import pytest

from process.slurm.runs import Run, write_task
from sdcore.runs.files import read_json
from support.slurm import Slurm

# In the manner of a person's own train.sh: its steps are printed on every node.
SHARE = r"""
echo "$NODE_RANK of $NNODES at $MASTER_ADDR:$MASTER_PORT with $GPUS_PER_NODE $NPROC_PER_NODE"
echo "devices $CUDA_VISIBLE_DEVICES and $(cat /mnt/dataset/file)"
touch /mnt/dataset/x 2>/dev/null || echo "data is read-only"
echo "share $NODE_RANK" > "/output/share-$NODE_RANK"
for n in 1 2 3; do echo "step=$n loss=$NODE_RANK.5"; done
"""
WAITS = r"""
trap 'echo "told $NODE_RANK"; sleep 0.3; echo saved > "/output/saved-$NODE_RANK"; exit 7' TERM
cat /mnt/dataset/file
if [ "$NODE_RANK" = "$FAILS" ]; then
  until [ -e /output/up-0 ]; do sleep 0.05; done
  echo "no luck here"; exit 9
fi
touch "/output/up-$NODE_RANK"
while :; do sleep 0.05; done
"""


def own_task(folder: Path, script: str, env: dict[str, str] | None = None, **shape: object) -> Path:
    """Write a task on two nodes with its script in a mounted project and read-only data."""
    for name in ("data", "code"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "data/file").write_text("the data\n")
    (folder / "code/train.sh").write_text(script)
    task = write_task(
        folder, command="bash /mnt/project/train.sh", gpu={"count": 4},
        cluster={"nodes": 2, **shape},
        mounts={"/mnt/dataset": folder / "data", "/mnt/project": folder / "code"},
    )  # fmt: skip
    text = task.read_text()
    text = text.replace('target = "/mnt/dataset"', 'target = "/mnt/dataset"\nread_only = true')
    variables = "".join(f"{name} = {json.dumps(value)}\n" for name, value in (env or {}).items())
    task.write_text(f"{text}[env]\n{variables}")
    return task


def log_of(run: Run, node: str) -> str:
    path = run.dir.log if node == "n1" else run.dir.log_of(node)
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("runtime", ["bubblewrap", "unshare"])
def test_every_node_does_its_share_under_real_mounts(
    slurm: Slurm, tmp_path: Path, runtime: str
) -> None:
    """Started on the first node alone, half of what was reserved would stand idle."""
    run = Run.submit(slurm, own_task(tmp_path, SHARE), f"runtime={runtime}")

    assert slurm.sdtui("wait", "last").code == 0, log_of(run, "n1")

    port = 20_000 + int(run.job) % 20_000
    for rank, node in enumerate(("n1", "n2")):
        log = log_of(run, node).splitlines()
        assert f"{rank} of 2 at 127.0.0.1:{port} with 4 4" in log
        assert "devices 0,1,2,3 and the data" in log
        assert "data is read-only" in log
        assert (run.dir.output / f"share-{rank}").read_text() == f"share {rank}\n"
        assert f"step=3 loss={1 - rank}.5" not in log
    losses = [json.loads(line)["loss"] for line in run.dir.metrics.read_text().splitlines()]
    assert losses == [0.5, 0.5, 0.5], "those of the first node, and no other's"
    assert run.dir.log_of("n2").stat().st_mode & 0o077 == 0
    run.until_gone()


def test_the_first_node_that_fails_is_told_with_its_code_and_ends_the_others(
    slurm: Slurm, tmp_path: Path
) -> None:
    """Of all codes srun returns the highest: that of a node that was only ended for it."""
    run = Run.submit(slurm, own_task(tmp_path, WAITS, {"FAILS": "1"}))

    assert slurm.sdtui("wait", "last").code == 1

    record = read_json(run.dir.exit) or {}
    assert (record["code"], record["state"]) == (9, "failed"), record
    assert record["reason"] == "the start command ended with code 9 on n2"
    assert "the start command failed on n2; the end of train-n2.log:\n" in log_of(run, "n1")
    assert "\nno luck here\n" in log_of(run, "n1")
    run.until_gone(20.0)


def test_a_stop_reaches_the_handlers_on_all_nodes(slurm: Slurm, tmp_path: Path) -> None:
    """A node that is not told loses what it has not saved."""
    run = Run.submit(slurm, own_task(tmp_path, WAITS, {"FAILS": "none"}))
    slurm.until(lambda: len(list(run.dir.output.glob("up-*"))) == 2)

    assert slurm.sdtui("stop", "last").code == 0

    record = read_json(run.dir.exit) or {}
    assert (record["state"], record["code"]) == ("stopped", 7), record
    for rank, node in enumerate(("n1", "n2")):
        assert log_of(run, node).count(f"told {rank}\n") == 1
        assert (run.dir.output / f"saved-{rank}").exists()
    run.until_gone()


def test_the_train_sh_of_a_new_project_trains_on_all_nodes_and_saves(
    slurm: Slurm, model: Path, data: Path, tmp_path: Path
) -> None:
    """What a newcomer is given must take the one field as the built-in trainer does."""
    folder, sets = tmp_path / "project", ("--gpus", "0", "--dataset", data, "--model", model)
    assert slurm.sdtui("new-project", folder, *sets).code == 0
    wishes = ("cluster.engine=slurm", "cluster.nodes=2", "gpu.processes=2")

    run = Run.submit(slurm, folder / "task.toml", *wishes, fake=True)
    ranks = run.until_ranks(4)
    assert [rank["node"] for rank in ranks] == ["n1", "n1", "n2", "n2"]
    assert slurm.sdtui("stop", "last").code == 0

    ranks = [read_json(run.dir.rank(number)) or {} for number in range(4)]
    assert [rank["outcome"] for rank in ranks] == ["stopped"] * 4
    assert (read_json(run.dir.exit) or {})["state"] == "stopped"
    run.until_gone()


def exported(slurm: Slurm, task: Path, folder: Path) -> tuple[str, Path]:
    """Submit the batch file of a task; return the number of its job, and where it works."""
    file, root = folder / "job.sbatch", folder / "results of it"
    made = slurm.sdtui("export", "slurm", task, "-o", file, "--set", "gpu.type=NVIDIA-H800")
    assert made.code == 0, made.err
    assert "#SBATCH --gres=gpu:h800:4\n" in file.read_text()
    log = f"--output={folder}/job.log"
    answer = slurm.run("sbatch", "--parsable", log, file, env={"RUN": str(root)})
    assert answer.code == 0, answer.err
    return answer.out.strip(), root


def state_of(slurm: Slurm, job: str) -> str:
    told = slurm.run("scontrol", "-o", "show", "job", job).out
    words = dict(word.split("=", 1) for word in told.split() if "=" in word)
    return f"{words['JobState']} {words['ExitCode']}"


@pytest.mark.parametrize("nodes", [1, 2])
def test_an_exported_file_mounts_tells_and_returns_as_a_run_does(
    slurm: Slurm, tmp_path: Path, nodes: int
) -> None:
    """Its mounts were dropped, its SIGTERM ended in a shell, and the code was another node's."""
    slow = own_task(tmp_path, WAITS, {"FAILS": "none"}, nodes=nodes)
    job, root = exported(slurm, slow, tmp_path)
    slurm.until(lambda: len(list(root.glob("output/up-*"))) == nodes)
    assert slurm.run("scancel", "--batch", "--signal=USR2", job).code == 0
    slurm.until(lambda: state_of(slurm, job).startswith("PENDING"))
    slurm.run("scancel", job)
    said = (tmp_path / "job.log").read_text()
    for rank in range(nodes):
        assert said.count(f"told {rank}\n") == 1, said
        assert (root / f"output/saved-{rank}").exists()

    (tmp_path / "job.sbatch").unlink()
    failing = own_task(tmp_path, WAITS, {"FAILS": str(nodes - 1)}, nodes=nodes)
    (root / "output/up-0").unlink(missing_ok=True)
    if nodes == 1:
        (root / "output/up-0").touch()
    job, _ = exported(slurm, failing, tmp_path)
    slurm.until(lambda: state_of(slurm, job).startswith("FAILED"))
    assert state_of(slurm, job) == "FAILED 9:0"


def test_a_command_that_spreads_itself_starts_once_on_the_first_node(
    slurm: Slurm, tmp_path: Path
) -> None:
    """Trainers that call srun would start on each node as many times as there are nodes."""
    script = 'echo "$NODE_RANK of $NNODES"; srun --overlap --export=ALL printenv SLURM_PROCID\n'
    task = own_task(tmp_path, script)
    command = ("runtime=host", f"command=bash {tmp_path}/code/train.sh")

    run = Run.submit(slurm, task, "cluster.command_on=first node", *command)

    assert slurm.sdtui("wait", "last").code == 0, log_of(run, "n1")
    assert log_of(run, "n1").splitlines()[0] == "0 of 1"
    assert sorted(log_of(run, "n1").splitlines()[1:]) == ["0", "1"]
    assert not run.dir.log_of("n2").exists()
