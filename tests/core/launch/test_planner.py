"""From a task to argv and environment."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from sdcore.launch.plan import LaunchPlan
from sdcore.launch.planner import command_line, data_source, plan_launch
from sdcore.launch.runtimes.facts import Program, RuntimeFacts
from sdcore.masking import MASK
from sdcore.runs.paths import RunDir
from sdcore.task.spec import TaskSpec
from sdcore.train.arguments import parse

RUN = RunDir(Path("/runs/20260101-000000-x"))
MOUNTS = [
    {"source": "/data/my set", "target": "/mnt/dataset"},
    {"source": "/models/sd", "target": "/mnt/model"},
]
HOSTILE = ["$(touch pwn)", "; touch pwn", "`id`", "a\nb", "-rf", "--wrap=x", "' \" \\", "日本 ü"]


def task(**fields: object) -> TaskSpec:
    return TaskSpec.model_validate({"mounts": MOUNTS, **fields})


def test_the_built_in_trainer_is_started_with_the_fields_own_names() -> None:
    """What runs must be what a diffusers user would have typed."""
    fields = {
        "gpu": {"count": 1},
        "env": {"lr": "1e-05"},
        "train": {"use_ema": True, "mixed_precision": "fp16", "center_crop": True},
    }

    plan = plan_launch(task(**fields), RUN)

    line = shlex.join(plan.argv[1:])
    assert line.startswith("-m sdcore.train "), "one process needs no launcher"
    assert "--mixed_precision=fp16" in plan.argv
    assert "--use_ema" in plan.argv
    assert "--pretrained_model_name_or_path=/models/sd" in plan.argv
    assert "--train_data_dir=/data/my set" in plan.argv
    assert "--resolution=512" in plan.argv, "left out, it would be what the model was made for"
    assert "learning_rate" not in line, "the platform's variable stays where it was given"
    assert plan.env["lr"] == "1e-05"
    assert plan.env["ACCELERATE_USE_CPU"] == "false"
    assert plan.cooperative


def test_accelerate_starts_as_many_processes_as_there_are_devices() -> None:
    """It guesses from what it sees; a shared box shows it too much."""
    plan = plan_launch(task(gpu={"count": 8}, train={"mixed_precision": "bf16"}), RUN)

    line = shlex.join(plan.argv[1:])
    assert line.startswith("-m accelerate.commands.launch --num_machines 1 --main_process_port 0 ")
    assert "--num_processes 8 --multi_gpu --mixed_precision bf16" in line
    assert plan.gpu_count == 8


def test_what_a_launcher_left_in_the_shell_moves_no_run_of_one_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``WORLD_SIZE=8`` of a pod would have it wait for seven that never come."""
    for name, value in {"WORLD_SIZE": "8", "RANK": "3", "ACCELERATE_USE_CPU": "true"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")

    plan = plan_launch(task(gpu={"count": 1}), RUN)

    told = {**os.environ, **plan.env}
    assert (told["WORLD_SIZE"], told["RANK"], told["LOCAL_RANK"]) == ("1", "0", "-1")
    assert told["ACCELERATE_USE_CPU"] == "false"
    assert told["ACCELERATE_MIXED_PRECISION"] == "no"


def test_threads_of_a_run_on_the_cpu_wait_as_the_user_says_or_else_a_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not at all halves the speed of two cores; long makes a busy machine ten times slower."""
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)

    def spins(gpus: int = 0, **env: str) -> str | None:
        return plan_launch(task(gpu={"count": gpus}, env=env), RUN).env.get("GOMP_SPINCOUNT")

    assert spins() == "1000"
    assert spins(gpus=1) is None
    assert spins(OMP_WAIT_POLICY="active") is None
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert spins() is None


def test_an_old_accelerate_config_moves_no_run_to_other_gpus(tmp_path: Path) -> None:
    """Its ``gpu_ids`` would replace the devices that the run has locked."""
    config = tmp_path / "accelerate" / "default_config.yaml"
    config.parent.mkdir()
    config.write_text(
        "distributed_type: MULTI_GPU\ngpu_ids: 0,1\nnum_processes: 3\nuse_cpu: true\n"
    )
    script = tmp_path / "show.py"
    script.write_text("import os; print({n: os.environ.get(n) for n in ('CUDA_VISIBLE_DEVICES',"
                      " 'WORLD_SIZE')})\n")  # fmt: skip
    argv = plan_launch(task(gpu={"count": 2}), RUN).argv
    launcher = argv[: argv.index("sdcore.train") - 1]

    done = subprocess.run(
        [*launcher, str(script)], capture_output=True, text=True, check=True,
        env={**os.environ, "HF_HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": "GPU-7,GPU-8"},
    )  # fmt: skip

    assert done.stdout.count("'CUDA_VISIBLE_DEVICES': 'GPU-7,GPU-8'") == 2
    assert done.stdout.count("'WORLD_SIZE': '2'") == 2


@pytest.mark.parametrize("prompts", [[], ["-a red square", "--use_ema"], ["a b"]])
def test_prompts_arrive_whatever_they_begin_with(prompts: list[str]) -> None:
    """A prompt with a dash was taken for a flag, an empty list for a missing value."""
    argv = plan_launch(task(train={"validation_prompts": prompts}), RUN).argv
    spec = parse(argv[argv.index("sdcore.train") + 1 :], {}).spec

    assert list(spec.validation_prompts or ()) == prompts
    assert not spec.use_ema


def test_what_the_shell_exports_under_a_platform_name_is_not_part_of_the_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``lr`` and ``resolution`` are common words; the check would not know of them."""
    monkeypatch.setenv("lr", "0.5")
    monkeypatch.setenv("resolution", "1920")
    plan = plan_launch(task(env={"resolution": "256"}), RUN)
    spec = parse(plan.argv[plan.argv.index("sdcore.train") + 1 :], {**os.environ, **plan.env}).spec

    assert (spec.learning_rate, spec.resolution) == (1e-4, 256)
    assert "lr" not in plan_launch(task(command="python t.py"), RUN).env


def test_the_data_that_is_checked_is_the_data_that_is_trained_on() -> None:
    """With both named the trainer takes dataset_name."""
    both = task(train={"dataset_name": "a/b", "train_data_dir": "/elsewhere"})

    assert data_source(both) == "a/b"


def test_paths_below_a_mount_become_paths_of_this_host() -> None:
    """The host runtime makes no mount points, so /mnt/model must not reach the trainer."""
    train = {
        "train_data_dir": "/mnt/dataset/part",
        "pretrained_model_name_or_path": "/mnt/model/v2",
        "pretrained_vae_model_name_or_path": "/mnt/model/vae",
    }

    plan = plan_launch(task(train=train), RUN)

    assert "--train_data_dir=/data/my set/part" in plan.argv
    assert "--pretrained_model_name_or_path=/models/sd/v2" in plan.argv
    assert "--pretrained_vae_model_name_or_path=/models/sd/vae" in plan.argv


def test_a_hook_sees_the_folders_of_this_host_whatever_surrounds_the_task() -> None:
    """It runs beside the supervisor, where /output is no folder."""
    hooks = {"end": "cp -r $OUTPUT_DIR /nas", "timeout_s": 9}
    plain = plan_launch(task(), RUN)
    assert (plain.end_hook, plain.hook_env) == ("", {})
    facts = RuntimeFacts(programs={"docker": Program(path="/usr/bin/docker")})
    for surrounded in ({"runtime": "host"}, {"runtime": "docker", "image": "repo/image:1"}):
        told = task(command="true", hooks=hooks, **surrounded)
        plan = plan_launch(told, RUN, facts=facts)
        assert (plan.end_hook, plan.hook_limit_s) == (hooks["end"], 9.0)
        assert plan.hook_env["OUTPUT_DIR"] == str(RUN.output)
        assert plan.hook_env["DATASET_DIR"] == "/data/my set"
        assert plan.hook_cwd == str(RUN.output)


def test_a_second_attempt_goes_on_from_the_newest_checkpoint() -> None:
    """A resume that starts over loses what it should save."""
    assert "--resume_from_checkpoint=latest" in plan_launch(task(), RUN, attempt=2).argv
    assert "--resume_from_checkpoint=latest" not in plan_launch(task(), RUN).argv
    back = plan_launch(task(), RUN, attempt=2, back_to="step-2").argv
    assert [word for word in back if "resume" in word] == ["--resume_from_checkpoint=step-2"]


def test_every_attempt_knows_where_the_first_one_began() -> None:
    """One that was killed before it saved would begin at step 0 of the plain model."""
    begun = task(train={"resume_from_checkpoint": "/runs/a/step-9"})
    plans = [plan_launch(begun, RUN, attempt=attempt) for attempt in (1, 2)]

    assert "--resume_from_checkpoint=/runs/a/step-9" in plans[0].argv
    assert "--resume_from_checkpoint=latest" in plans[1].argv
    assert {plan.env["SDTUI_FIRST_CHECKPOINT"] for plan in plans} == {"/runs/a/step-9"}
    latest = plan_launch(task(train={"resume_from_checkpoint": "latest"}), RUN)
    assert "--resume_from_checkpoint=latest" in latest.argv  # a job file is started again so
    for plan in (latest, plan_launch(task(), RUN)):
        assert "SDTUI_FIRST_CHECKPOINT" not in plan.env


def test_placeholders_are_filled_in_and_shell_variables_are_left_alone() -> None:
    """A start command is the user's own text; only our four names change."""
    command = "bash {project}/train.sh {dataset} ${dataset} ${HOME} {other}"

    plan = plan_launch(task(command=command, runtime="host"), RUN)

    expected = "bash {project}/train.sh '/data/my set' ${dataset} ${HOME} {other}"
    assert plan.argv == ["bash", "-c", expected]
    assert not plan.cooperative


@pytest.mark.parametrize("text", HOSTILE)
def test_only_the_start_command_is_a_command(text: str) -> None:
    """Every other field travels as one argument or one variable, byte for byte."""
    path = "/d" + text.replace("\n", "")  # which a mount refuses
    mounts = [{"source": path, "target": "/mnt/dataset"}, MOUNTS[1]]
    made = TaskSpec.model_validate(
        {
            "mounts": mounts,
            "env": {"NOTE": text},
            "train": {"validation_prompts": [text], "caption_column": text},
            "description": "" if "\n" in text else text,
        }
    )

    plan = plan_launch(made, RUN)

    assert f"--train_data_dir={path}" in plan.argv
    assert f"--caption_column={text}" in plan.argv
    assert plan.env["NOTE"] == text
    # Read by bash itself: a line break is written as only a shell knows it.
    script = f"cd() {{ :; }}; env() {{ printf '%s\\0' \"$@\"; }}; {command_line(plan)}"
    read = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    words = read.stdout.split("\0")[:-1]
    assert words[-len(plan.argv) :] == plan.argv, "the printed line is the argv, quoted"


def test_secrets_are_in_the_plan_and_in_nothing_that_is_shown() -> None:
    """Logs and screens get pasted."""
    names = ["HF_TOKEN", "WANDB_API_KEY", "MY_SECRET", "db_password"]
    plan = plan_launch(task(env=dict.fromkeys(names, "s3cret-value")), RUN)

    assert all(plan.env[name] == "s3cret-value" for name in names)
    assert "s3cret-value" not in command_line(plan)
    assert "s3cret-value" not in json.dumps(plan.masked().to_record())
    assert plan.masked().env["HF_TOKEN"] == MASK


def test_a_plan_survives_the_pipe() -> None:
    """The supervisor must start exactly what was planned; an unknown key is from a newer client."""
    plan = plan_launch(task(env={"A": "ü\n"}), RUN, attempt=3, total_steps=7)
    record = {**plan.to_record(), "later": 1}

    assert LaunchPlan.from_json(json.dumps(record)) == plan


def test_an_upload_is_named_after_the_task() -> None:
    """Each run's pipeline lies in a folder called checkpoint, which is no name for a repository."""
    upload = {"push_to_hub": True}

    plan = plan_launch(task(name="my-style", train=upload), RUN)
    named = plan_launch(task(train={**upload, "hub_model_id": "me/own"}), RUN)

    assert "--hub_model_id=my-style" in plan.argv
    assert "--hub_model_id=me/own" in named.argv
