"""The whole preflight, on tiny data and a tiny model's files."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sdcore.checks import judge
from sdcore.checks.check import check_task
from sdcore.checks.host import host_facts
from sdcore.checks.judge import command_findings, host_findings, output_findings, plan_findings
from sdcore.checks.plan import make_plan
from sdcore.gpu.samples import GpuSample
from sdcore.task.estimate import FamilyName, memory_needed, unet_parameters
from sdcore.task.presets import load_preset, shipped_folder
from sdcore.task.spec import TaskSpec
from sdcore.task.train_spec import TrainSpec

GIB = 1 << 30
SD15 = 859_520_964


def demo(**changes: object) -> TaskSpec:
    sets = [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
    return load_preset("demo", sets=sets).task


def whats(task: TaskSpec) -> str:
    return "\n".join(str(finding) for finding in check_task(task).findings)


def test_the_demo_passes_and_its_plan_is_told() -> None:
    """The first thing a newcomer runs."""
    report = check_task(demo())

    assert report.errors == ()
    assert report.plan is not None
    assert report.plan.max_train_steps == 300
    assert report.plan.epochs == pytest.approx(10.0)
    assert any("480 images" in words for _, words in report.facts)
    assert len(report.plan.lines()) == 4


@pytest.mark.parametrize("command", [None, "true"])
def test_what_runs_at_the_end_is_told_before_the_start(command: str | None) -> None:
    """It may come from defaults that were written months ago."""
    hooks = {"end": "notify-send\n'over'", "timeout_s": 7}
    fields = {"command": command, "gpu": {"count": 0}} if command else {}
    task = TaskSpec.model_validate({**fields, "hooks": hooks})

    assert (
        dict(check_task(task).facts)["at the end"] == "bash runs notify-send 'over' for 7 s at most"
    )
    assert "at the end" not in dict(check_task(TaskSpec.model_validate(fields)).facts)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """One finding per try makes ten tries."""
    task = TaskSpec.model_validate(
        {
            "gpu": {"count": 2},
            "mounts": [
                {"source": str(tmp_path / "none"), "target": "/mnt/dataset"},
                {"source": str(tmp_path), "target": "/mnt/model"},
            ],
        }
    )

    report = check_task(task)

    text = "\n".join(f"{f.what} {f.cause} {f.remedy}" for f in report.errors)
    assert "wants 2 GPUs" in text
    assert "gpu.count=0" in text
    assert str(tmp_path / "none") in text
    assert "model_index.json" in text
    assert report.exit_code == 3


def test_fp16_on_a_cpu_is_refused_before_anything_is_loaded() -> None:
    """Accelerate accepts it in silence, and the U-Net dies of a dtype minutes later."""
    report = check_task(demo(train__mixed_precision="fp16"))

    assert any("fp16" in f.what and "mixed_precision=no" in f.remedy for f in report.errors)


def test_the_data_set_that_left_the_hub_is_named_with_its_replacement() -> None:
    """Every old tutorial names it; its absence must not look like a typing error."""
    report = check_task(load_preset("pokemon").task)

    text = "\n".join(f"{f.cause} {f.remedy}" for f in report.errors)
    assert "no longer on the hub" in text
    assert "naruto-blip-captions" in text


def test_the_pages_own_task_is_not_sent_to_a_setting_that_it_never_reads() -> None:
    """Its train.sh takes the data from the mount: without it there are none."""
    [found] = [f for f in check_task(load_preset("platform-page").task).errors
               if "pokemon" in f.what]  # fmt: skip

    assert "train.dataset_name" not in found.remedy
    assert "mount a copy of lambdalabs/naruto-blip-captions" in found.remedy


def test_settings_that_a_start_command_does_not_read_are_named() -> None:
    """Somebody waits for a resolution of 256 that nobody was told of."""
    task = TaskSpec.model_validate(
        {"command": "true", "gpu": {"count": 0}, "train": {"resolution": 256, "seed": 1}}
    )

    [found] = check_task(task).findings

    assert (found.level, found.what) == (
        "warning", "the start command does not read train.resolution, train.seed"
    )  # fmt: skip
    plain = TaskSpec.model_validate({"command": "true", "gpu": {"count": 0}})
    assert check_task(plain).findings == ()


@pytest.mark.parametrize("runtime", ["auto", "apptainer"])
def test_an_image_file_that_is_not_there_is_told_without_a_program_to_run_it(
    tmp_path: Path, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever installs apptainer first, and then finds the file missing, was sent twice."""
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    fields = {"command": "true", "gpu": {"count": 0}, "runtime": runtime}
    gone = TaskSpec.model_validate(fields | {"image": f"{tmp_path}/a.sif"})

    assert ("there is no such file", "correct `image`") in [
        (f.cause, f.remedy) for f in check_task(gone).errors
    ]
    (tmp_path / "a.sif").touch()
    assert "no such file" not in whats(gone)


@pytest.mark.parametrize(
    ("command", "fine"),
    [("shopt -s nullglob; true", True), ("[ -d x ] || true", True), ("unset A; true", True),
     ("pushd /tmp", True), ("  ", False), ("no-such-program", False)],
)  # fmt: skip
def test_what_bash_knows_is_for_bash_to_say(command: str, fine: bool) -> None:
    """A list of its words refused scripts that run; one of blanks alone ends as done."""
    assert (command_findings(TaskSpec(command=command), command) == []) == fine


def test_a_presets_output_dir_is_not_ignored_in_silence() -> None:
    """The pipeline is in the run's folder, and somebody would look for it elsewhere."""
    report = check_task(TaskSpec(train=TrainSpec(output_dir="/data/out")))
    assert "train.output_dir has no effect" in [finding.what for finding in report.warnings]


def test_a_start_command_that_does_not_exist_is_told() -> None:
    """Bash would say so after the GPU was waited for."""
    report = check_task(TaskSpec(command="no-such-program --x"))
    mounted = check_task(TaskSpec(command="bash /mnt/project/train.sh"))

    assert "no-such-program" in report.errors[-1].what
    assert "/mnt/project" in mounted.errors[-1].what
    assert (
        check_task(TaskSpec.model_validate({"command": "true", "gpu": {"count": 0}})).errors == ()
    )


def test_a_task_without_model_or_data_is_told(tmp_path: Path) -> None:
    """An empty preset is somebody's first one."""
    report = check_task(TaskSpec.model_validate({"gpu": {"count": 0}}))

    assert [f.what for f in report.errors] == [
        "the task names no model",
        "the task names no data set",
    ]
    assert report.exit_code == 2


def test_output_that_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would otherwise show after the model was loaded."""
    monkeypatch.setenv("SDTUI_HOME", "/proc/sdtui")
    monkeypatch.setattr(judge.os, "access", lambda path, mode: False)  # root may write anywhere

    assert "SDTUI_HOME" in output_findings()[0].remedy


@pytest.mark.parametrize(
    ("name", "wanted", "warned"),
    [
        ("NVIDIA H800", "NVIDIA-H800", False),
        ("NVIDIA H800 PCIe", "NVIDIA-H800", False),
        ("NVIDIA A100-SXM4-80GB", "NVIDIA-H800", True),
    ],
)
def test_another_gpu_than_meant_is_a_warning(name: str, wanted: str, warned: bool) -> None:
    """NVML, the platform and people spell a device's name in three ways."""
    gpu = GpuSample(index=0, uuid="GPU-1", name=name)
    host = replace(host_facts(), gpus=(gpu,), gpu_reason=None)
    task = TaskSpec.model_validate({"gpu": {"type": wanted, "count": 1}, "command": "true"})

    findings = host_findings(task, host)

    assert any("meant for" in f.what for f in findings) == warned


def test_a_disk_too_small_for_one_checkpoint_forbids_the_start() -> None:
    """Peers find out at step 500, with the old checkpoint already deleted."""
    train = TrainSpec(use_ema=True, max_train_steps=1000, mixed_precision="fp16")

    def findings(free: int) -> list[str]:
        plan = make_plan(
            train,
            images=100,
            parameters=SD15,
            processes=1,
            device="1 x NVIDIA H800",
            disk_free=free,
            memory_total=80 * GIB,
        )
        assert plan.checkpoint_size is not None
        # 13.75 GB is the measured size of the reference script's checkpoint of SD 1.x.
        assert plan.checkpoint_size == pytest.approx(13.75e9, rel=0.01)
        return [finding.level for finding in plan_findings(plan)]

    assert findings(10 * GIB) == ["error"]
    assert findings(20 * GIB) == ["warning"]
    assert findings(500 * GIB) == []


def test_a_trial_on_a_large_set_is_told_how_to_be_quick() -> None:
    """Twenty steps to see whether it runs, and twelve minutes of encoding 50,000 images."""

    def notes(images: int) -> list[str]:
        train = TrainSpec(max_train_steps=20, train_batch_size=4)
        plan = make_plan(train, images=images, parameters=None, processes=2, device="2 x H800",
                         disk_free=GIB, memory_total=None)  # fmt: skip
        return [f"{note.what}: {note.remedy}" for note in plan_findings(plan)]

    (told,) = notes(50_000)
    assert told.startswith("the run shows 160 of 50,000 images")
    assert told.endswith("train.max_train_samples=160")
    assert notes(1_000) == notes(100) == []


def test_a_lora_needs_a_fraction_of_disk_and_memory() -> None:
    """Judged as a whole model it would be called too large for the GPUs it is made for."""
    preset = load_preset("sd15-lora-12gb").task.effective_train()
    plan = make_plan(
        preset,
        images=1000,
        parameters=SD15,
        processes=1,
        device="1 x NVIDIA RTX 3060",
        disk_free=GIB,
        memory_total=12 * GIB,
    )
    assert plan_findings(plan) == []
    # 16 x 199,296: in and out of 128 projections; fp32 weights and two moments.
    assert plan.checkpoint_size == 16 * 199_296 * 12
    also = preset.model_copy(update={"train_text_encoder": True, "mixed_precision": "no"})
    assert memory_needed(also, SD15) > memory_needed(preset, SD15) + 1.9e9


@pytest.mark.parametrize(
    ("name", "memory", "checkpoint"), [("sdxl-lora-24gb", 24, 0.28e9), ("sdxl-full-80gb", 80, 41e9)]
)
def test_the_presets_for_sdxl_fit_the_gpus_they_name(
    name: str, memory: int, checkpoint: float
) -> None:
    """Judged by the figures of 1.x, three times smaller, a full GPU would be told to have room."""
    preset = load_preset(name).task.effective_train()
    plan = make_plan(
        preset,
        images=1000,
        parameters=unet_parameters("SDXL"),
        processes=1,
        device="1 x GPU",
        disk_free=500 * GIB,
        memory_total=memory * GIB,
        family="SDXL",
    )
    assert plan_findings(plan) == []
    assert plan.memory_needed is not None
    assert plan.memory_needed > 0.6 * memory * GIB
    assert plan.checkpoint_size == pytest.approx(checkpoint, rel=0.01)
    bare = preset.model_copy(update={"gradient_checkpointing": False})
    assert memory_needed(bare, unet_parameters("SDXL"), "SDXL") > memory * GIB


def test_what_a_preset_leaves_to_the_gpu_is_estimated_as_the_gpu_will_have_it() -> None:
    """On a large GPU the figure of the smallest choice would be off by 40 GB."""

    def needed(name: str, memory: int, family: FamilyName) -> float:
        plan = make_plan(
            load_preset(name).task.effective_train(), images=1000,
            parameters=unet_parameters(family), processes=1, device="1 x GPU",
            disk_free=500 * GIB, memory_total=memory * GIB, family=family,
        )  # fmt: skip
        assert plan_findings(plan) == [], (name, memory)
        return (plan.memory_needed or 0) / 1e9

    cases: tuple[tuple[str, tuple[int, float], tuple[int, float], FamilyName], ...] = (
        ("sd15-full-24gb", (18, 15.3), (24, 18.3), "SD"),
        ("sd15-lora-12gb", (8, 4.0), (12, 10.1), "SD"),
        ("sdxl-lora-24gb", (24, 17.6), (80, 63.2), "SDXL"),
        ("sdxl-full-80gb", (80, 68.6), (141, 114.2), "SDXL"),
    )
    for name, small, large, family in cases:
        for memory, expected in (small, large):
            assert needed(name, memory, family) == pytest.approx(expected, abs=0.1), (name, memory)


def test_the_demo_folder_is_where_the_preset_says() -> None:
    """A wheel without its data would fail on the first command of the README."""
    assert (shipped_folder() / "demo" / "dataset" / "metadata.jsonl").is_file()
    assert (shipped_folder() / "demo" / "model" / "model_index.json").is_file()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("bash {project}/train.sh", "target = /mnt/project"),
        ("bash {projct}/train.sh", "{project}"),
        ("bash /no/such/train.sh", "/no/such/train.sh does not exist"),
        ("bash -eu /no/such/train.sh", "/no/such/train.sh does not exist"),
        ("bash -c /no/such/train.sh", None),
        ("python3 -u /no/such/t.py", "/no/such/t.py does not exist"),
        ("python3 -m x /no/such/t.py", None),
        ("torchrun --nproc-per-node 2 /no/such/t.py /a.py", "/no/such/t.py does not exist"),
        ("torchrun -m x /no/such/t.py", None),
        ("bash train.sh && awk '{print}' x ${project} {}", None),
        ("bash -c 'echo {a,b}'", None),
    ],
)
def test_a_start_command_that_cannot_start_is_told_before(
    command: str, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ready to run` for a script that is not there is the kind of lie people leave a tool for."""
    monkeypatch.setattr(judge, "_bash_knows", lambda word: True)  # torchrun, accelerate
    task = TaskSpec.model_validate({"command": command, "gpu": {"count": 0}})

    told = " ".join(f"{f.what} {f.remedy}" for f in check_task(task).errors)

    assert (words in told) if words else (told == "")


@pytest.mark.parametrize(
    ("command", "runtime", "words"),
    [
        ("bash /mnt/project/train.sh", "bubblewrap", None),
        ("bash /mnt/project/none.sh", "bubblewrap", "/mnt/project/none.sh does not exist"),
        ("bash /mnt/project/none.sh", "docker", "/mnt/project/none.sh does not exist"),
        ("bash /opt/in-the-image.sh", "docker", None),
        (
            "accelerate launch --config_file /mnt/project/a.yaml /mnt/project/none.py --x",
            "docker",
            "/mnt/project/none.py does not exist",
        ),
        ("accelerate launch -m none /mnt/project/none.py", "docker", None),
        ("bash /mnt/project/windows.sh", "bubblewrap", "has the line ends of Windows"),
        ("sh /mnt/project/windows.sh", "docker", "run: sed -i"),
        ("python /mnt/project/windows.sh", "docker", None),
        ("a-program-of-the-image", "docker", None),
        ("ls /mnt/dataset", "bubblewrap", "add a mount with target = /mnt/dataset"),
        ("ls $HOME/mnt/dataset ./output", "host", None),
        ("ls /mnt/project", "host", "write {dataset}"),
    ],
)
def test_a_command_is_judged_by_what_it_will_see(
    tmp_path: Path, command: str, runtime: str, words: str | None
) -> None:
    """Refused for a path that it would have had, a right task never starts."""
    (tmp_path / "train.sh").touch()
    (tmp_path / "windows.sh").write_bytes(b"set -e\r\necho x\r\n")
    image = {"image": "a/b:1"} if runtime == "docker" else {}
    mounts = [{"source": str(tmp_path), "target": "/mnt/project"}]
    task = TaskSpec.model_validate({"command": command, "mounts": mounts, **image})

    told = " ".join(f"{f.what} {f.remedy}" for f in command_findings(task, command, runtime))

    assert (words in told) if words else (told == "")


def test_a_folder_of_this_host_at_a_mount_point_is_not_taken_for_the_mount(tmp_path: Path) -> None:
    """Without mounts a command would train on what happens to lie there, and end well."""
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
    (tmp_path / "same").symlink_to(tmp_path / "mine")

    def told(target: str) -> str:
        mounts = [{"source": f"{tmp_path}/mine", "target": f"{tmp_path}/{target}"}]
        command = f"ls {tmp_path}/{target}"
        task = TaskSpec.model_validate({"command": command, "runtime": "host", "mounts": mounts})
        return " ".join(f"{f.what}; {f.cause}" for f in command_findings(task, command))

    assert f"uses {tmp_path}/theirs" in told("theirs")
    assert f"another folder than {tmp_path}/mine" in told("theirs")
    assert told("same") == ""


@pytest.mark.parametrize("path", [None, "/usr/bin/bwrap"])
def test_nobody_is_sent_to_install_what_is_there(
    monkeypatch: pytest.MonkeyPatch, path: str | None
) -> None:
    """Where the host forbids namespaces, an administrator would be asked for nothing."""
    monkeypatch.setattr(shutil, "which", lambda _name: path)
    task = TaskSpec(command="cp x /mnt/dataset")

    [found] = command_findings(task, "cp x /mnt/dataset")

    assert ("install bubblewrap" in found.remedy) == (path is None)
    assert "write {dataset}" in found.remedy
