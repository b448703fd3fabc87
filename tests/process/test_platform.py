"""The platform's procedure: somebody's own train.sh, and the one that we write."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sdcore.launch.project import SCRIPT
from sdcore.runs.follow import Follower
from sdcore.task.presets import load_preset
from sdcore.train.arguments import parse
from support.commands import Console

# In the manner of the page: variables in capitals, a folder whose name is never set, `python`
# where the platform's image has one; and a trainer that sdtui knows nothing of.
TRAIN_SH = """\
export DATASET=/mnt/dataset MODEL=/mnt/model
if [ -n "$DATASET_DIR" ]; then DATASET=$DATASET_DIR MODEL=$MODEL_DIR; fi
mkdir -p ${SAVE_MODEL_PATH}
"$PYTHON" "$(dirname "$0")/train.py" --data "$DATASET" --model "$MODEL" \\
  --steps ${max_train_steps} --lr ${lr} --output "$OUTPUT_DIR"
"""
TRAIN_PY = """\
import argparse, os, sys, time
from tqdm.auto import tqdm
parser = argparse.ArgumentParser()
for name in ("data", "model", "steps", "lr", "output"):
    parser.add_argument("--" + name)
args = parser.parse_args()
assert os.listdir(args.data) and os.listdir(args.model)
for _ in tqdm(range(7), desc="Loading pipeline components..."):
    pass
bar = tqdm(range(int(args.steps)), desc="Steps")
for step in range(1, int(args.steps) + 1):
    time.sleep(0.04)
    bar.update(1)
    bar.set_postfix(step_loss=1 / step, lr=float(args.lr))
open(args.output + "/weights.bin", "w").write("trained")
sys.exit(3)
"""


def page_project(folder: Path, data: Path, model: Path, command: str) -> Path:
    """Write the project and its task; return the preset."""
    project = folder / "my project"
    project.mkdir()
    (project / "train.sh").write_text(TRAIN_SH)
    (project / "train.py").write_text(TRAIN_PY)
    mounts = "".join(
        f"[[mounts]]\nsource = {json.dumps(str(source))}\ntarget = '/mnt/{role}'\n"
        f"read_only = {str(role != 'project').lower()}\n"
        for role, source in (("dataset", data), ("model", model), ("project", project))
    )
    preset = folder / "page.toml"
    preset.write_text(
        f"name = 'page'\nimage = 'colossalai 0.3.4'\ncommand = {json.dumps(command)}\n"
        f"[gpu]\ncount = 0\n{mounts}[env]\nmax_train_steps = '30'\nlr = '1e-05'\n"
    )
    return preset


@pytest.mark.parametrize(
    ("runtime", "command"),
    [("auto", "bash /mnt/project/train.sh"), ("host", "bash {project}/train.sh")],
)
def test_a_train_sh_in_the_manner_of_the_page_is_seen_live_and_ends_exactly(
    sdtui: Console, tmp_path: Path, data: Path, model: Path, runtime: str, command: str
) -> None:
    """A trainer that nobody here wrote: its loss is in the run's metrics, its 3 in exit.json."""
    preset = page_project(tmp_path, data, model, command)

    answer = sdtui("--run", preset, "--set", f"runtime={runtime}", env={"PYTHON": sys.executable})

    if "no mount point" in answer.err:
        pytest.skip("this host lets nobody make mount points")
    assert answer.code == 1, answer.err
    record, [run] = sdtui.record(), sdtui.runs()
    assert (record["code"], record["cause"], record["metrics_source"]) == (3, "error", "log")
    assert (record["last_step"], record["total_steps"]) == (30, 30)
    follower = Follower(run)
    follower.poll()
    assert len(follower.steps) >= 2, "nothing was seen while it ran"
    assert all(line.loss == float(f"{1 / line.step:.3g}") for line in follower.steps)
    assert (run.output / "weights.bin").read_text() == "trained"
    shown = sdtui("show", "last").out
    assert "read from train.log" in shown
    assert "30/30" in shown
    answer.says("mkdir: missing operand", "its progress bar shows step_loss")
    sdtui.nothing_left()


def test_a_new_project_trains_as_it_is(
    sdtui: Console, tmp_path: Path, data: Path, model: Path
) -> None:
    """What a newcomer is given must work as it is, also in a folder with a space."""
    folder = tmp_path / "my project"
    made = sdtui("new-project", folder, "--dataset", data, "--model", model, "--gpus", "0")
    assert made.code == 0, made.err
    task = folder / "task.toml"
    assert made.out.split("\n")[:3] == [str(folder / n) for n in ("train.sh", "task.toml",
                                                                 "README.md")]  # fmt: skip
    small = ["--env", "resolution=32", "--env", "gradient_accumulation_steps=1"]
    small += ["--env", "lr=1e-3"]

    first = sdtui("--run", task, *small, "--env", "max_train_steps=2")

    assert first.code == 0, first.err
    record, [run] = sdtui.record(), sdtui.runs()
    assert (record["code"], record["last_step"], record["state"]) == (0, 2, "done")
    assert Path(first.out.strip()) == run.pipeline
    follower = Follower(run)
    follower.poll()
    assert [line.step for line in follower.steps] == [1, 2]
    sdtui.nothing_left()


def test_a_new_project_overwrites_nothing(sdtui: Console, tmp_path: Path) -> None:
    """Somebody's own train.sh is weeks of work."""
    (tmp_path / "train.sh").write_text("mine\n")

    answer = sdtui("new-project", tmp_path)

    assert answer.code == 2
    answer.says("train.sh would be overwritten", "another folder")
    assert (tmp_path / "train.sh").read_text() == "mine\n"
    assert not (tmp_path / "task.toml").exists()


@pytest.mark.parametrize("name", ["a,b", "a:b", "file"])
def test_a_folder_that_cannot_be_a_project_is_refused(
    sdtui: Console, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("")

    answer = sdtui("new-project", tmp_path / name)

    assert answer.code == 2
    answer.says("no project can be written", "remedy")
    assert not (tmp_path / "a,b").exists()


def test_a_project_that_cannot_be_written_is_told_with_its_own_next_step(sdtui: Console) -> None:
    """The folder of all state has nothing to do with it."""
    answer = sdtui("new-project", "/proc/nowhere")

    assert answer.code == 3
    answer.says("no project can be written to /proc/nowhere", "name a folder")
    assert "SDTUI_HOME" not in answer.err


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_the_train_sh_that_we_write_is_clean() -> None:
    """A quote that is missing shows on the first path with a space, on somebody's machine."""
    done = subprocess.run(
        ["shellcheck", "--enable=quote-safe-variables,require-variable-braces", "--severity=style",
         "--exclude=SC2250", str(SCRIPT)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_the_train_sh_passes_on_the_six_variables_as_they_are(tmp_path: Path) -> None:
    """Its words reach the trainer through a recording stand-in for accelerate."""
    record = tmp_path / "accelerate"
    record.write_text('#!/bin/bash\nprintf "%s\\0" "$@"\n')
    record.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "DATASET_DIR": "/a b/$(x) 'y'", "lr": "3e-06",
           "batch_size": "7", "CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2"}  # fmt: skip

    launcher, trainer = told_to(env, "--seed=1")

    spec = parse(trainer, {}).spec
    assert "--multi_gpu" in launcher
    assert "--mixed_precision=fp16" in launcher
    assert (spec.train_data_dir, spec.learning_rate) == ("/a b/$(x) 'y'", 3e-06)
    assert (spec.train_batch_size, spec.max_train_steps, spec.resolution) == (7, 15000, 512)
    assert (spec.use_ema, spec.center_crop, spec.random_flip) == (True, True, True)
    assert (spec.gradient_checkpointing, spec.lr_scheduler, spec.seed) == (True, "constant", 1)
    assert (spec.max_grad_norm, spec.gradient_accumulation_steps) == (1.0, 4)
    assert spec.output_dir == "/output"
    assert {"--num_machines=1", "--num_processes=2", "--main_process_port=0"} <= set(launcher)
    # On the second of three machines, and where NPROC_PER_NODE says how many.
    here = {"NNODES": "3", "NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "20007"}
    launcher, _ = told_to({**env, **here, "NPROC_PER_NODE": "4"})
    assert {"--num_machines=3", "--machine_rank=1", "--num_processes=12", "--multi_gpu",
            "--main_process_ip=10.0.0.1", "--main_process_port=20007"} <= set(launcher)  # fmt: skip
    # In a run the trainer knows its folder, a second attempt goes on, and half precision waits
    # for a GPU.
    again = {**env, "SDTUI_RUN_DIR": "/r", "SDTUI_ATTEMPT": "2", "ACCELERATE_USE_CPU": "true"}
    launcher, trainer = told_to({**again, "CUDA_VISIBLE_DEVICES": ""})
    spec = parse(trainer, {}).spec
    assert (spec.output_dir, spec.resume_from_checkpoint) == (None, "latest")
    assert "--mixed_precision=no" in launcher
    assert "--multi_gpu" not in launcher


def told_to(env: dict[str, str], *more: str) -> tuple[list[str], list[str]]:
    """Return what train.sh gives to accelerate, and what to the trainer."""
    done = subprocess.run(["bash", SCRIPT, *more], env=env, capture_output=True, check=True)
    words = done.stdout.decode().split("\0")[:-1]
    return words[: words.index("-m")], words[words.index("-m") + 2 :]


def test_the_page_s_task_is_the_page_s_to_the_letter() -> None:
    task = load_preset("platform-page").task

    assert (task.image, task.gpu.type, task.gpu.count) == ("colossalai 0.3.4", "NVIDIA-H800", 1)
    assert task.command == "bash /mnt/project/train.sh"
    assert [m.target for m in task.mounts] == ["/mnt/dataset", "/mnt/model", "/mnt/project"]
    assert [m.read_only for m in task.mounts] == [True, True, False]
    assert list(task.env) == ["resolution", "batch_size", "gradient_accumulation_steps",
                              "max_train_steps", "lr", "max_grad_norm"]  # fmt: skip
    assert [float(value) for value in task.env.values()] == [512, 1, 4, 15000, 1e-05, 1]
