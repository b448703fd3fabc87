"""What a person sees of a cluster: the console's Create, and the GPUs of every node."""

import sys
from collections.abc import Callable
from pathlib import Path

from process.slurm.runs import FAKE, Run, spread, write_task
from sdcore.runs.files import last_records
from sdtui.live.gpu_nodes import NodesReader
from support.commands import Answer
from support.nvml import GIB, FakeGpus, fake_gpus, gpu, nvml_library
from support.slurm import Slurm

__all__ = ["fake_gpus", "nvml_library"]
TESTS = Path(__file__).parents[2]


def uuids(path: Path) -> list[str]:
    return [device["uuid"] for line in last_records(path) for device in line.get("gpus", [])]


def test_create_in_the_console_submits_and_shows_the_job(slurm: Slurm, tmp_path: Path) -> None:
    """The form's start is another door to the same sbatch, and was never gone through in a test."""
    task = write_task(tmp_path, command="exit 5", cluster={"nodes": 2, "extra": ["--hold"]})
    argv = (sys.executable, "-m", "support.create_in_console", task, "queued", "scontrol release")

    answer = slurm.run(*argv, env={"PYTHONPATH": str(TESTS), "TERM": "xterm-256color"})

    assert answer.code == 0, answer.err
    name, _, screen = answer.out.partition("\n")
    run = Run(slurm, Answer(0, name, ""))
    assert run.job in screen, screen
    assert slurm.run("squeue", "-h", "-j", run.job, "-o", "%T|%D").out.strip() == "PENDING|2"
    slurm.run("scontrol", "release", run.job)
    assert slurm.sdtui("wait", run.dir.id).code == 1
    assert run.status()["code"] == 5


def test_the_gpus_of_every_node_are_sampled_and_shown_with_their_node(
    slurm: Slurm, model: Path, data: Path, tmp_path: Path, fake_gpus: Callable[..., FakeGpus]
) -> None:
    """Half of the devices of a run would burn unseen."""
    gpus = fake_gpus()
    for node in ("n1", "n2"):
        lines = [gpu(f"GPU-{node}-{index}") for index in range(8)]
        (tmp_path / f"gpus.txt.{node}").write_text("\n".join(lines) + "\n")
    env = {**gpus.env, "PYTHONPATH": str(FAKE)}
    task = spread(tmp_path, model, data, gpu={"count": 2})
    run = Run(slurm, slurm.sdtui("--run", task, "--detach", env=env))
    wanted = ["GPU-n1-0", "GPU-n1-1", "GPU-n2-0", "GPU-n2-1"]
    slurm.until(lambda: uuids(run.dir.gpu) == wanted[:2])
    slurm.until(lambda: uuids(run.dir.gpu_of("n2")) == wanted[2:])

    slurm.until(lambda: run.status()["gpus"] == wanted)

    assert ", ".join(wanted) in " ".join(slurm.sdtui("show", run.dir.id).out.split())
    reader = NodesReader(run.dir)
    slurm.until(lambda: len(reader.poll().samples) == 4)
    named = [(sample.name, sample.uuid) for sample in reader.poll().samples]
    reader.close()
    assert named == [(f"{uuid[4:6]} NVIDIA H800", uuid) for uuid in wanted]
    assert slurm.sdtui("stop", run.dir.id).code == 0
    over = run.status()
    assert (over["gpus"], over["peak_gpu_memory"]) == (wanted, 2 * GIB)

    # A start command's are sampled by the supervisor itself, which needs to find the library, too.
    own = write_task(tmp_path, command="sleep 600", gpu={"count": 3})
    run = Run(slurm, slurm.sdtui("--run", own, "--detach", env=env))
    slurm.until(lambda: uuids(run.dir.gpu) == ["GPU-n1-0", "GPU-n1-1", "GPU-n1-2"])
    assert slurm.sdtui("stop", run.dir.id).code == 0
