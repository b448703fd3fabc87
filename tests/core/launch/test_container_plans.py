"""What docker, podman, apptainer and enroot are told, as argv and variables."""

import csv
import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sdcore.launch.planner import plan_launch
from sdcore.launch.runtimes.facts import Program
from sdcore.launch.runtimes.oci import TELLING
from support.launching import RUN, SECRET, SLURM, facts, plan, task


@pytest.mark.parametrize("runtime", ["docker", "podman", "apptainer", "enroot"])
def test_a_container_gets_mounts_ids_and_variables_and_no_secret_is_an_argument(
    runtime: str,
) -> None:
    """`ps` shows arguments to everybody; a value with a newline breaks an env file."""
    env = {"NOTE": "a\nb", "MY_TOKEN": SECRET} if runtime != "enroot" else {"MY_TOKEN": SECRET}
    made = plan(runtime, image="team/sd:1", env=env)
    line = "\n".join(made.argv)

    assert SECRET not in line + "\n".join(made.end_argv)
    assert "a\nb" not in line
    assert made.env["MY_TOKEN"] == SECRET
    expected = {
        "docker": ["type=bind,src=/data/my set,dst=/mnt/dataset,readonly", "--user\n1000:1001",
                   "--env\nMY_TOKEN", "--env\nHF_TOKEN", "--init", "--workdir\n/mnt/project"],
        "podman": ["type=bind,src=/data/my set,dst=/mnt/dataset,readonly", "--userns=keep-id",
                   "--env\nNOTE", "--workdir\n/mnt/project"],
        "apptainer": ["/data/my set:/mnt/dataset:ro", "--cleanenv", "--no-eval", "--nv",
                      "--pwd\n/mnt/project", "docker://team/sd:1"],
        "enroot": ["/data/my set:/mnt/dataset:none:x-create=dir,bind,ro", "--env\nMY_TOKEN"],
    }[runtime]  # fmt: skip
    assert [word for word in expected if word not in line] == []
    assert str(RUN.root) in line, "the trainer's records go there"
    assert made.argv[-3:] == ["bash", "-c", "bash /mnt/project/train.sh"]
    if runtime == "apptainer":
        assert made.env["APPTAINERENV_NOTE"] == "a\nb"
    assert bool(made.end_argv) == (runtime in {"docker", "podman"})


def test_a_process_that_ends_while_it_is_told_is_not_waited_for() -> None:
    """A stop then took the whole grace, and a SIGKILL took the place of the command's own code."""
    vanishing = """\
sleep 60 & victim=$!
mine() { [ "$1" = "$victim" ] && kill -KILL "$1" && wait "$1" 2>/dev/null; [ "$1" = "$victim" ]; }
"""
    words = ["bash", "-c", vanishing + TELLING, "x", "bash", "-c", "echo up; sleep 0.4; exit 5"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(20) == 5
        finally:
            process.kill()


def test_apptainer_gets_the_tokens_that_only_the_shell_has(tmp_path: Path) -> None:
    """It cleans the environment: without its token a gated model is "not found" inside."""
    program = tmp_path / "apptainer"
    program.write_text("#!/bin/sh\nenv\n")
    program.chmod(0o755)
    known = replace(facts(), programs={"apptainer": Program(str(program))},
                    passed=("HF_TOKEN", "MY_TOKEN", "WANDB_API_KEY"))  # fmt: skip
    given = task(runtime="apptainer", image="a:1", env={"MY_TOKEN": "the task's"})

    made = plan_launch(given, RUN, facts=known)
    shell = {"PATH": os.defpath, "HF_TOKEN": SECRET, "MY_TOKEN": "the shell's"}
    told = subprocess.run(made.argv, env=shell | made.env, capture_output=True, text=True,
                          check=True).stdout.splitlines()  # fmt: skip

    assert SECRET not in json.dumps(made.to_record())
    assert f"APPTAINERENV_HF_TOKEN={SECRET}" in told
    assert "APPTAINERENV_MY_TOKEN=the task's" in told
    assert "APPTAINERENV_WANDB_API_KEY" not in "".join(told), "empty, it would count as a key"


@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_a_quote_in_a_folders_name_reaches_a_container(runtime: str) -> None:
    """The clients read a mount as comma-separated values: a bare quote there is an error."""
    made = plan(runtime, image="a:1", mounts=[{"source": '/my "set"', "target": "/mnt/dataset"}])

    [fields] = [next(csv.reader([w], strict=True)) for w in made.argv if "/mnt/dataset" in w]
    assert fields == ["type=bind", 'src=/my "set"', "dst=/mnt/dataset"]


def test_containers_are_told_their_devices_by_uuid_at_the_start() -> None:
    """The supervisor takes them then; an index means another GPU inside than outside."""
    docker, podman = (plan(r, image="a:1") for r in ("docker", "podman"))

    argv = docker.argv_for("GPU-a,GPU-b")
    assert argv[argv.index("--gpus") + 1] == '"device=GPU-a,GPU-b"'
    assert argv.index("--gpus") < argv.index("a:1")
    assert [w for w in podman.argv_for("GPU-a,GPU-b") if w.startswith("--device")] == [
        "--device=nvidia.com/gpu=GPU-a",
        "--device=nvidia.com/gpu=GPU-b",
    ]
    assert docker.argv_for("") == docker.argv
    enroot = plan("enroot", image="a.sqsh", env={}).env_for("GPU-a")
    assert enroot["NVIDIA_VISIBLE_DEVICES"] == "GPU-a"
    assert enroot["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility", "else there is no CUDA"
    job = plan("enroot", image="a.sqsh", env={}, cluster=SLURM).env_for("2,3")
    assert job["NVIDIA_VISIBLE_DEVICES"] == "all", "two devices inside are numbers 0 and 1"
    apptainer = plan("apptainer", image="a:1").env_for("GPU-a")
    assert apptainer["APPTAINERENV_CUDA_VISIBLE_DEVICES"] == "GPU-a"
