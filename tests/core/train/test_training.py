"""What a training leaves: streams, checkpoints, samples, a pipeline; and how it ends."""

import json
import math
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from pydantic import TypeAdapter

from sdcore.runs import requests
from sdcore.runs.events import Event, Metrics
from sdcore.runs.paths import RunDir
from sdcore.train import building, keeping, loop, optimizing, samples, session
from sdcore.train.entry import main
from sdcore.train.precision import Precision
from support.tiny_model import make_dataset


def fault(monkeypatch: pytest.MonkeyPatch, step: int, strike: Any) -> None:
    """Let ``strike(loss)`` happen to the loss of a step."""
    forward = loop.Loop.forward

    def faulty(self: Any, micro: int) -> Any:
        loss = forward(self, micro)
        return strike(loss) if self.step + 1 == step else loss

    monkeypatch.setattr(loop.Loop, "forward", faulty)


def test_a_run_leaves_streams_samples_checkpoints_and_a_pipeline_that_draws(train: Any) -> None:
    """Every consumer reads these files; a line that does not fit its model is a lost line."""
    done = train(
        "--use_ema", "--checkpointing_steps", "2", "--validation_prompts", "a red square", "b",
        "--validation_steps", "2", "--validation_inference_steps", "2",
    )  # fmt: skip
    assert done.code == 0, done.err
    adapter: TypeAdapter[Any] = TypeAdapter(Event)
    events = [adapter.validate_python(event) for event in done.events()]
    phases = [event.phase for event in events if event.kind == "phase"]
    assert list(dict.fromkeys(phases)) == [
        "loading", "caching", "sampling", "training", "saving", "finished",
    ]  # fmt: skip
    assert {event.kind for event in events} >= {"data", "model", "plan", "checkpoint", "pipeline"}
    metrics = [Metrics.model_validate(line) for line in done.metrics().values()]
    assert [line.step for line in metrics] == [1, 2, 3]
    assert [line.epoch for line in metrics] == [0.2, 0.4, 0.6]
    assert all(line.grad_norm and line.images_per_s for line in metrics)
    assert done.steps == ["step-2", "step-3"]
    drawn = {path.name: len(list(path.glob("*.png"))) for path in (done.out / "samples").iterdir()}
    assert drawn == {"step-0": 2, "step-2": 4, "step-3": 4}
    pipeline = StableDiffusionPipeline.from_pretrained(done.out)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a red square", num_inference_steps=2, height=32, width=32).images[0]
    assert image.size == (32, 32)
    averaged = done.out / "checkpoints/step-3/unet_ema/diffusion_pytorch_model.safetensors"
    assert (done.out / "unet/diffusion_pytorch_model.safetensors").read_bytes() == (
        averaged.read_bytes()
    )
    assert done.rank()["outcome"] == "done"


def test_a_prompts_picture_does_not_depend_on_the_other_prompts(train: Any) -> None:
    """With one generator for all, adding a prompt changes every later picture."""
    flags = ["--max_train_steps", "1", "--validation_inference_steps", "2"]
    alone = train(*flags, "--validation_prompts", "a red square", out="alone")
    second = train(*flags, "--validation_prompts", "other", "a red square", out="second")
    pictures = [alone.out / "samples/step-1/raw-00.png", second.out / "samples/step-1/raw-01.png"]
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    record = json.loads((second.out / "samples/step-1/samples.json").read_text())
    assert [image["prompt"] for image in record["images"]] == ["other", "a red square"]


def test_pictures_and_saves_change_nothing_of_the_training(train: Any) -> None:
    """A sampler that draws from the global generator makes every run with prompts another run."""
    plain = train(out="plain")
    shown = train("--validation_prompts", "a", "--validation_steps", "1", "--checkpointing_steps",
                  "1", "--validation_inference_steps", "2", out="shown")  # fmt: skip
    assert plain.losses() == shown.losses()


def test_inside_a_run_directory_files_go_where_the_console_reads(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    run = RunDir(tmp_path / "run")
    monkeypatch.setenv("SDTUI_RUN_DIR", str(run.root))
    monkeypatch.setenv("SDTUI_ATTEMPT", "2")
    monkeypatch.setenv("max_train_steps", "1")
    del flags[flags.index("--max_train_steps") : flags.index("--max_train_steps") + 2]
    assert main(flags) == 0
    assert len(run.metrics.read_text().splitlines()) == 1
    assert (run.pipeline / "model_index.json").is_file()
    assert (run.checkpoints / "step-1/manifest.json").is_file()
    record = json.loads(run.rank(0).read_text())
    assert (record["attempt"], record["checkpoint"]) == (2, "output/checkpoints/step-1")


def test_captions_may_be_lists_and_each_is_drawn(train: Any, tmp_path: Path) -> None:
    captions = [[f"one {i}", f"two {i}", ""] for i in range(4)]
    folder = make_dataset(tmp_path / "lists", 4, captions=captions)
    done = train("--train_data_dir", str(folder))
    assert done.code == 0, done.err
    assert done.events("data")[0]["captions"] == 12


def test_random_crops_train_without_a_cache(train: Any, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "wide", 4)
    for path in folder.glob("*.png"):
        Image.new("RGB", (48, 40), "red").save(path)
    done = train("--train_data_dir", str(folder), "--random_flip", "--max_train_steps", "2")
    assert done.code == 0, done.err


def test_a_loss_that_is_not_finite_stops_at_once_and_is_never_saved(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint of NaN weights would be the newest, and every resume would start from it."""
    fault(monkeypatch, 3, lambda loss: loss * math.nan)
    done = train("--checkpointing_steps", "1", "--max_train_steps", "6")
    assert done.code == 6
    assert done.steps == ["step-1", "step-2"]
    (event,) = done.events("non_finite")
    assert (event["step"], event["good_checkpoint"]) == (3, "checkpoints/step-2")
    assert len(event["files"]) == len(event["timesteps"]) == 2
    assert event["files"][0].endswith(".png")
    assert done.rank()["outcome"] == "non_finite"
    assert not (done.out / "model_index.json").exists()


def test_a_full_gpu_ends_with_the_settings_that_help(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strike(_loss: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    fault(monkeypatch, 2, strike)
    done = train("--use_ema")
    assert done.code == 5
    record = done.rank()
    assert record["outcome"] == "out_of_memory"
    for words in ("train_batch_size 2 -> 1", "gradient_accumulation_steps 1 -> 2",
                  "gradient_checkpointing", "offload_ema", "mixed_precision auto"):  # fmt: skip
        assert words in record["remedy"]


def test_an_unexpected_error_leaves_its_traceback(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strike(_loss: Any) -> Any:
        raise RuntimeError("injected\x1b[2J fault")

    fault(monkeypatch, 2, strike)
    done = train()
    assert done.code == 1
    record = done.rank()
    assert record["reason"] == "RuntimeError: injected fault"
    assert "in strike" in record["traceback"]
    assert "\x1b" not in done.err


def test_sigterm_saves_at_the_step_and_leaves(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stop lands inside a step; that step must be finished, saved, and not be repeated."""

    def strike(loss: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return loss

    fault(monkeypatch, 2, strike)
    done = train("--max_train_steps", "50")
    assert done.code == 4
    assert done.steps == ["step-3"]  # read one step late, and the step under way is finished
    assert sorted(done.metrics()) == [1, 2, 3]
    assert done.rank()["outcome"] == "stopped"
    assert not (done.out / "model_index.json").exists()


def test_requests_are_fulfilled_between_steps(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoint and picture on demand, each once, and then a stop."""
    run = RunDir(tmp_path / "out")
    wishes = {2: "checkpoint", 6: "sample", 10: "stop"}
    forward = loop.Loop.forward

    def asking(self: Any, micro: int) -> Any:
        if self.step in wishes:
            requests.ask(run, wishes.pop(self.step), by="a test")  # type: ignore[arg-type]
        return forward(self, micro)

    monkeypatch.setattr(loop.Loop, "forward", asking)
    monkeypatch.setattr(loop, "_POLL", 0.0)
    done = train("--max_train_steps", "50", "--validation_prompts", "a",
                 "--validation_inference_steps", "1")  # fmt: skip
    assert done.code == 4
    assert done.steps == ["step-12", "step-4"]
    assert [event["step"] for event in done.events("sample")] == [0, 8]
    assert [path.name for path in (done.out / "requests").iterdir()] == ["stop.json"]


def test_a_stop_while_images_are_encoded_leaves_at_once(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoding can take half an hour; the stop ladder would kill after five minutes."""
    timer = threading.Timer(0.0, os.kill, (os.getpid(), signal.SIGTERM))
    build = building.build_latents
    monkeypatch.setattr(
        building, "build_latents", lambda *a, **k: (timer.start(), timer.join(), build(*a, **k))[2]
    )
    done = train()
    assert done.code == 4
    assert "before the first step" in done.rank()["reason"]


def test_a_failing_picture_never_stops_training(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*_: Any) -> Any:
        raise RuntimeError("no picture")

    monkeypatch.setattr(samples.Sampler, "draw", draw)
    done = train("--validation_prompts", "a")
    assert done.code == 0
    assert [event["text"] for event in done.events("warning")] == [
        "no samples of step 0: RuntimeError: no picture",
        "no samples of step 3: RuntimeError: no picture",
    ]


def test_a_tracker_that_is_not_there_is_a_warning(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = train("--report_to", "wandb,nonsense", "--max_train_steps", "1")
    assert done.code == 0
    text = " ".join(event["text"] for event in done.events("warning"))
    assert "wandb is left out" in text
    assert "nonsense is not known" in text


def test_an_upload_that_fails_is_a_warning_at_both_ends(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = train("--push_to_hub", "--max_train_steps", "1")
    assert done.code == 0
    texts = [event["text"] for event in done.events("warning")]
    assert "push_to_hub will fail" in texts[0]
    assert "hf upload" in texts[1]


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--mixed_precision", "fp16"], 3, "a CPU cannot train in fp16"),
        (["--train_data_dir", "nowhere"], 3, "nowhere"),
        (["--pretrained_model_name_or_path", "/nowhere"], 3, "there is no such folder"),
        (["--enable_xformers_memory_efficient_attention"], 3, "xformers"),
        (["--resume_from_checkpoint", "step-9"], 3, "there is no such folder"),
        (["--dream_training", "--prediction_type", "v_prediction"], 2, "DREAM"),
        (["--lr_scheduler", "polynomial", "--learning_rate", "1e-9"], 2, "polynomial"),
    ],
)
def test_what_cannot_work_is_refused_with_a_remedy(
    train: Any, argv: list[str], code: int, words: str
) -> None:
    done = train(*argv)
    assert done.code == code
    assert words in done.err
    assert "remedy:" in done.err
    assert done.rank()["outcome"] == "failed"


def test_a_folder_that_is_no_pipeline_is_named(train: Any, data: Path, model: Path) -> None:
    assert "no model_index.json" in train("--pretrained_model_name_or_path", str(data)).err
    assert "would be overwritten" in train("--output_dir", str(model), out="x").err


def test_auto_precision_says_what_it_chose(train: Any) -> None:
    done = train("--mixed_precision", "auto", "--max_train_steps", "1")
    assert done.events("choice")[0]["chosen"] == "no"


@pytest.mark.parametrize("argv", [["--gradient_checkpointing"], ["--mixed_precision", "bf16"]])
def test_other_ways_of_the_forward_pass_give_the_same_loss(train: Any, argv: list[str]) -> None:
    plain = train(out="plain").metrics()
    other = train(*argv, out="other").metrics()
    tolerance = 1e-6 if argv == ["--gradient_checkpointing"] else 0.02
    assert other[3]["loss"] == pytest.approx(plain[3]["loss"], rel=tolerance)


def test_an_overflow_under_loss_scaling_is_no_step() -> None:
    """The reference counts it: schedule and average move, the weights do not."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
    updater = optimizing.Updater(
        [weight], optimizer, lambda step: 0.1, torch.amp.GradScaler("cpu", init_scale=8.0), 1.0
    )
    updater.scaler.scale((weight * torch.tensor([1.0, math.inf, 1.0])).sum()).backward()
    _, changed = updater.apply(0)
    assert not changed
    assert (weight.tolist(), updater.skipped, updater.loss_scale) == ([1.0] * 3, 1, 4.0)
    updater.scaler.scale((weight * 3).sum()).backward()
    norm, changed = updater.apply(0)
    assert changed
    assert float(norm) == pytest.approx(3 * math.sqrt(3))
    assert weight.tolist() == pytest.approx([0.9 - 0.1 * 0.01] * 3, abs=1e-3)
    assert int(optimizer.state[weight]["step"]) == 1


@pytest.fixture
def _fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the CPU compute in fp16, loss scaling and all: the path that a GPU takes."""
    monkeypatch.setattr(session, "choose", lambda *_: Precision("fp16"))


@pytest.mark.usefixtures("_fp16")
def test_fp16_counts_made_updates_alone_and_resumes_to_the_bit(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One window overflows: the step is tried again on the next images, and nothing else moves."""
    left = [1.0, math.inf]  # step 2 takes two windows: the first overflows

    def strike(loss: Any) -> Any:
        return loss * (left.pop() if left else 1.0)

    fault(monkeypatch, 2, strike)
    whole = train("--max_train_steps", "4", "--use_ema", "--lr_scheduler", "cosine", out="whole")
    assert whole.code == 0, whole.err
    assert sorted(whole.metrics()) == [1, 2, 3, 4]
    assert whole.metrics()[2]["skipped"] == 1
    assert whole.metrics()[2]["loss_scale"] == whole.metrics()[1]["loss_scale"] / 2
    state = json.loads((whole.out / "checkpoints/step-4/trainer.json").read_text())
    assert (state["step"], state["window"], state["samples"]) == (4, 5, 10)
    assert state["ema_updates"] == 4
    common = ["--use_ema", "--lr_scheduler", "cosine", "--max_train_steps", "4"]
    save = keeping.Keeper.save

    def stop(self: Any, progress: Any, *, wait: bool, must: bool) -> None:
        save(self, progress, wait=True, must=must)
        raise KeyboardInterrupt

    left[:] = [1.0, math.inf]
    with monkeypatch.context() as patch:
        patch.setattr(keeping.Keeper, "save", stop)
        assert train(*common, "--checkpointing_steps", "3").code == 130
    resumed = train(*common, "--resume_from_checkpoint", "latest")
    assert resumed.code == 0, resumed.err
    assert resumed.losses() == whole.losses()
    assert resumed.metrics()[4]["loss_scale"] == whole.metrics()[4]["loss_scale"]


@pytest.mark.usefixtures("_fp16")
def test_fp16_gives_up_after_twenty_overflows_in_a_row(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a limit a diverged fp16 run halves its scale for days and never makes a step."""
    fault(monkeypatch, 3, lambda loss: loss * math.inf)
    done = train("--max_train_steps", "9")
    assert done.code == 6
    assert sorted(done.metrics()) == [1, 2]
    assert done.events("non_finite")[0]["step"] == 3
    assert done.steps == []


def test_the_log_of_a_run_is_short(train: Any) -> None:
    """train.log of a night is read over SSH: no bars, no notes of third parties."""
    begun = time.monotonic()
    lines = train("--max_train_steps", "40", "--checkpointing_steps", "100").err.splitlines()
    assert len(lines) < 35 + (time.monotonic() - begun) / 10  # a line of steps every 10 s
    assert lines[0] == "loading …"
    assert any(line.startswith("step 40/40  100%  loss ") for line in lines)
