"""The whole preflight, on tiny data and a tiny model's files."""

from dataclasses import replace
from pathlib import Path

import pytest

from sdcore.checks import judge
from sdcore.checks.check import check_task
from sdcore.checks.host import host_facts
from sdcore.checks.judge import host_findings, output_findings, plan_findings
from sdcore.checks.plan import make_plan
from sdcore.gpu.samples import GpuSample
from sdcore.task.estimate import FamilyName, memory_needed, unet_parameters
from sdcore.task.presets import load_preset
from sdcore.task.shipped import shipped_folder
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


def test_a_presets_output_dir_is_not_ignored_in_silence() -> None:
    """The pipeline is in the run's folder, and somebody would look for it elsewhere."""
    report = check_task(TaskSpec(train=TrainSpec(output_dir="/data/out")))
    assert "train.output_dir has no effect" in [finding.what for finding in report.warnings]


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
