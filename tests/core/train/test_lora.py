"""LoRA: only adapters train, what they became is what users load, and a kill loses nothing."""

import hashlib
import json
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import CLIPTextModel

from sdcore.runs.paths import RunDir
from sdcore.supervise.evidence import final_pipeline
from sdcore.task.train_spec import TrainSpec
from sdcore.train import adapters, checkpoint, loop, session
from sdcore.train.families import SD
from sdcore.train.precision import Precision
from sdtui.words import load_line
from support.trained import Trained

Spawn = Callable[..., "subprocess.Popen[str]"]
FILE = "pytorch_lora_weights.safetensors"
LORA = ["--train_lora", "--rank", "2", "--learning_rate", "0.01"]
WITH_TEXT = [*LORA, "--train_text_encoder", "--lora_alpha", "3"]


def loaded(model: Path, folder: Path) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(model)
    pipeline.load_lora_weights(folder)
    return pipeline


def predicted(unet: torch.nn.Module, text_encoder: torch.nn.Module) -> torch.Tensor:
    """What a U-Net says of fixed noise and a fixed caption."""
    unet.eval()
    text_encoder.eval()
    noisy = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    ids = torch.arange(77).repeat(2, 1)
    with torch.no_grad():
        text = text_encoder(ids, return_dict=False)[0]
        answer: torch.Tensor = unet(noisy, torch.tensor([10, 700]), text, return_dict=False)[0]
    return answer


@pytest.mark.parametrize("averaged", [False, True])
def test_the_published_file_loads_and_computes_what_was_trained(
    train: Any, kits: list[Any], model: Path, averaged: bool
) -> None:
    """An alpha other than the rank is lost where the reader has to guess it; so is a name."""
    flags = [*WITH_TEXT, *(["--use_ema", "--ema_decay", "0.5"] if averaged else [])]
    done = train(*flags)
    assert done.code == 0, done.err
    assert not (done.out / "unet").exists()
    text_encoder = kits[0].trainee.net.text_encoders["text_encoder"]
    if averaged:
        with kits[0].trainee.with_average(kits[0].ema.model) as unet:
            trained = predicted(unet, text_encoder)
    else:
        trained = predicted(kits[0].trainee.unet, text_encoder)
    base = StableDiffusionPipeline.from_pretrained(model)
    bare = predicted(base.unet, base.text_encoder)
    assert (trained - bare).abs().max() > 1e-3, "the adapters do nothing"
    for folder in [done.out, *([] if averaged else [done.out / "checkpoints/step-3/lora"])]:
        pipeline = loaded(model, folder)
        torch.testing.assert_close(
            predicted(pipeline.unet, pipeline.text_encoder), trained, rtol=1e-5, atol=1e-5
        )
        bare_text = predicted(pipeline.unet, base.text_encoder)
        assert not torch.equal(bare_text, trained), "the text encoder's adapters do nothing"


def test_only_adapters_train_and_have_a_state(
    train: Any, kits: list[Any], model: Path, flags: list[str]
) -> None:
    """A base that moves along is not in the file: the result would be lost without a word."""
    done = train(*LORA)
    assert done.code == 0, done.err
    (kit,) = kits
    source = UNet2DConditionModel.from_pretrained(model, subfolder="unet").state_dict()
    for name, tensor in kit.trainee.unet.state_dict().items():
        if "lora" not in name:
            assert torch.equal(tensor, source[name.replace(".base_layer", "")]), name
    wanting = [p for p in kit.trainee.unet.parameters() if p.requires_grad]
    assert len(wanting) == len(kit.updater.optimizer.state) == len(kit.trainee.weights) == 64
    assert all(p.dtype == torch.float32 for p in wanting)
    names = sorted(p.relative_to(done.out).as_posix() for p in done.out.rglob("*.safetensors"))
    assert names == [f"checkpoints/step-3/lora/{FILE}", FILE]
    size = (done.out / "checkpoints/step-3/lora" / FILE).stat().st_size
    assert size < 20_000, "the base is in the checkpoint"
    assert "beside 32 layers of the U-Net" in done.err


@pytest.fixture
def gradients(monkeypatch: pytest.MonkeyPatch) -> list[list[torch.Tensor]]:
    """What the optimizer was given for each of its parameters, step by step."""
    found: list[list[torch.Tensor]] = []
    step = torch.optim.AdamW.step

    def watched(self: Any, *args: Any, **options: Any) -> Any:
        (group,) = self.param_groups
        found.append([parameter.grad.clone() for parameter in group["params"]])
        return step(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    return found


def test_the_first_step_is_the_papers(
    train: Any, gradients: list[list[torch.Tensor]], model: Path
) -> None:
    """W + s B A with B = 0: the model's own loss, no gradient for A, and s (dL/dW) A^T for B."""
    once = ["--max_train_steps", "1", "--max_grad_norm", "0"]
    whole = train(*once, out="whole")
    lora = train(*once, "--train_lora", "--rank", "2", "--lora_alpha", "6")
    assert lora.metrics()[1]["loss"] == whole.metrics()[1]["loss"]
    unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
    names = [name for name, _ in unet.named_parameters()]
    of_base = dict(zip(names, gradients[0], strict=True))
    spec = TrainSpec(train_lora=True, rank=2)
    begun = adapters.attach({"unet": unet}, spec, 1, SD).tensors()
    assert len(begun) == len(gradients[1])
    for name, gradient in zip(begun, gradients[1], strict=True):
        layer = name.removeprefix("unet.").partition(".lora.")[0]
        if name.endswith("up.weight"):
            down = begun[name.replace("up.weight", "down.weight")]
            expected = 6 / 2 * of_base[f"{layer}.weight"] @ down.T
        else:
            expected = torch.zeros_like(gradient)
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-7)


def test_gradients_are_clipped(train: Any, gradients: list[list[torch.Tensor]]) -> None:
    """The LoRA script of diffusers hands the clipping a list that is used up: it clips nothing."""
    done = train(*LORA, "--max_grad_norm", "1e-4")
    assert done.code == 0, done.err
    norms = [float(torch.nn.utils.get_total_norm(step)) for step in gradients]
    assert norms == pytest.approx([1e-4] * 3, rel=1e-3)
    assert all(line["grad_norm"] > 1e-3 for line in done.metrics().values())


@pytest.mark.parametrize("flag", ["--gradient_checkpointing", "--dream_training"])
def test_other_ways_of_the_forward_pass_reach_the_adapters(train: Any, flag: str) -> None:
    """Recomputed activations of frozen layers can lose the gradient of what lies before them."""
    plain = train(*WITH_TEXT, out="plain")
    other = train(*WITH_TEXT, flag, out="other")
    assert other.code == 0, other.err
    if flag == "--gradient_checkpointing":
        for step, line in plain.metrics().items():
            assert other.metrics()[step]["grad_norm"] == pytest.approx(line["grad_norm"], rel=1e-4)


def test_the_base_is_held_in_half_precision_and_the_adapters_are_not(
    train: Any, kits: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU does, on the CPU: adapters in half precision would lose small updates."""
    monkeypatch.setattr(Precision, "frozen_dtype", lambda self, _: self.dtype)
    monkeypatch.setattr(session, "choose", lambda *_: Precision("bf16"))
    prompts = ["--validation_prompts", "a", "--validation_inference_steps", "2"]
    done = train(*WITH_TEXT, "--use_ema", *prompts)
    assert done.code == 0, done.err
    trainee = kits[0].trainee
    for model in (trainee.unet, trainee.net.text_encoders["text_encoder"]):
        found = {p.dtype for p in model.parameters() if not p.requires_grad}
        assert found == {torch.bfloat16}
    assert {p.dtype for p in trainee.weights} == {torch.float32}
    assert {t.dtype for t in load_file(done.out / FILE).values()} == {torch.float32}
    assert not done.events("warning")


def test_samples_are_drawn_with_the_adapters_and_change_nothing(train: Any) -> None:
    """Weights that are swapped for a picture must be back, to the bit, for the next step."""
    drawing = ["--validation_prompts", "a", "--validation_steps", "1",
               "--validation_inference_steps", "2"]  # fmt: skip
    flags = [*WITH_TEXT, "--use_ema", "--learning_rate", "0.5", "--lora_dropout", "0.3"]
    plain = train(*flags, out="plain")
    shown = train(*flags, *drawing, out="shown")
    assert shown.code == 0, shown.err
    assert shown.losses() == plain.losses()
    assert (shown.out / FILE).read_bytes() == (plain.out / FILE).read_bytes()
    names = ("step-0/base-00", "step-3/raw-00", "step-3/ema-00")
    pictures = {(shown.out / f"samples/{name}.png").read_bytes() for name in names}
    assert len(pictures) == 3


RESUMED = [*WITH_TEXT, "--max_train_steps", "6", "--gradient_accumulation_steps", "2",
           "--checkpointing_steps", "2", "--use_ema", "--random_flip", "--lora_dropout", "0.1",
           "--proportion_empty_prompts", "0.2"]  # fmt: skip


def bits(out: Path, step: int = 6) -> dict[str, str]:
    """Every file of a checkpoint that holds numbers, and the published adapters."""
    folder = out / f"checkpoints/step-{step}"
    files = [*folder.rglob("*.safetensors"), folder / "optimizer.pt", out / FILE]
    return {str(f.relative_to(out)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_kills_at_the_worst_moments_change_no_bit(spawn: Spawn, train: Any, tmp_path: Path) -> None:
    """Adapters, their average, optimizer, losses; with dropout and captions encoded each step."""
    process = spawn(*RESUMED, fault="kill@save=4:middle")
    _, err = process.communicate(timeout=240)
    assert process.returncode == -signal.SIGKILL, err
    assert (tmp_path / "out/checkpoints/step-4.partial/lora" / FILE).exists()
    resumed = train(*RESUMED, "--resume_from_checkpoint", "latest")
    assert resumed.code == 0, resumed.err
    assert "resumed from checkpoints/step-2, bit for bit" in resumed.err
    whole = train(*RESUMED, out="whole")
    assert whole.code == 0, whole.err
    assert bits(resumed.out) == bits(whole.out)
    assert len(bits(whole.out)) == 4
    assert resumed.losses() == whole.losses()
    assert len(whole.losses()) == 6


def test_two_processes_train_what_one_trains_and_resume_to_the_bit(
    spawn: Spawn, train: Any, tmp_path: Path
) -> None:
    """Adapters that begin differently on each rank, or whose gradients stay there, drift apart."""
    flags = [*WITH_TEXT, "--gradient_accumulation_steps", "2", "--use_ema"]

    def of_two(*more: str, out: str) -> Trained:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = str(server.getsockname()[1])
        ranks = [
            spawn(*flags, "--train_batch_size", "1", *more, out=out, RANK=rank, WORLD_SIZE="2",
                  MASTER_ADDR="127.0.0.1", MASTER_PORT=port, ACCELERATE_USE_CPU="true")
            for rank in "01"
        ]  # fmt: skip
        errors = [process.communicate(timeout=240)[1] for process in ranks]
        assert [process.returncode for process in ranks] == [0, 0], errors
        return Trained(0, tmp_path / out, errors[0])

    two = of_two("--checkpointing_steps", "2", out="two")
    again = of_two("--resume_from_checkpoint", str(two.out / "checkpoints/step-2"), out="again")
    assert again.events("resumed")[0]["exact"] is True
    assert bits(again.out, 3) == bits(two.out, 3)
    one = train(*flags, out="one")
    assert one.code == 0, one.err
    for step, line in one.metrics().items():
        assert two.metrics()[step]["loss"] == pytest.approx(line["loss"], rel=1e-5)
        assert two.metrics()[step]["grad_norm"] == pytest.approx(line["grad_norm"], rel=1e-4)
    saved, alone = load_file(two.out / FILE), load_file(one.out / FILE)
    for name, tensor in alone.items():
        torch.testing.assert_close(saved[name], tensor, rtol=1e-3, atol=1e-5)


def test_a_matrix_begins_alike_whatever_else_has_adapters(model: Path) -> None:
    """Else a run with one layer more, or on another rank, is another run from its first step."""

    def begun(*targets: str, text: bool = False, seed: int = 1) -> dict[str, torch.Tensor]:
        hosts: dict[str, Any] = {"unet": UNet2DConditionModel.from_pretrained(model / "unet")}
        if text:
            hosts["text_encoder"] = CLIPTextModel.from_pretrained(model / "text_encoder")
        spec = TrainSpec(train_lora=True, rank=2, lora_target_modules=targets)
        return adapters.attach(hosts, spec, seed, SD).tensors()

    state = torch.random.get_rng_state()
    few, more = begun("to_q"), begun("to_k", "to_q", "conv1", text=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert len(few) == 16 < len(more)
    assert all(torch.equal(tensor, more[name]) for name, tensor in few.items())
    other = begun("to_q", seed=2)
    for name, tensor in few.items():
        assert bool(tensor.any()) == name.endswith("down.weight")
        assert torch.equal(tensor, other[name]) == name.endswith("up.weight")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--lora_target_modules", "to_k", "to_x"], ["lora_target_modules to_x", "no layer"]),
        (["--lora_target_modules", "attn1"], ["it is a Attention"]),
    ],
)
def test_layers_that_are_not_there_are_refused_before_images_are_encoded(
    train: Any, argv: list[str], words: list[str]
) -> None:
    """Of two names peft leaves out the misspelt one without a word."""
    done = train("--train_lora", *argv)
    assert done.code == 2
    for part in words:
        assert part in done.err
    assert "caching" not in done.err


def test_a_checkpoint_of_another_kind_is_refused_in_words(train: Any) -> None:
    """Its weights would not fit, which shows an hour later, or fit by chance."""
    train(*LORA, "--max_train_steps", "1")
    for argv in (["--train_lora", "--rank", "3"], []):
        done = train(*argv, "--resume_from_checkpoint", "latest")
        assert done.code == 3
        assert "another kind of training" in done.err
        assert "rank was 2" in done.err


def test_a_checkpoint_from_before_these_settings_resumes_exactly(train: Any) -> None:
    first = train("--max_train_steps", "2")
    record = first.out / "checkpoints/step-2/trainer.json"
    progress = json.loads(record.read_text())
    for name in [*progress["spec"]]:
        if "lora" in name or name in {"rank", "train_text_encoder"}:
            del progress["spec"][name]
    record.write_text(json.dumps(progress))
    manifest = first.out / "checkpoints/step-2/manifest.json"
    entry = json.loads(manifest.read_text())
    entry["files"]["trainer.json"] = {
        "size": record.stat().st_size, "sha256": hashlib.sha256(record.read_bytes()).hexdigest(),
    }  # fmt: skip
    manifest.write_text(json.dumps(entry))
    done = train("--resume_from_checkpoint", "latest")
    assert done.code == 0, done.err
    assert done.events("resumed")[0]["exact"] is True


def test_a_disk_too_small_for_the_model_is_large_enough_for_adapters(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted as a whole model, they would be refused on most disks they are used on."""
    monkeypatch.setattr(checkpoint, "free_bytes", lambda _: 50_000)
    assert train(out="whole").code == 3
    done = train(*WITH_TEXT, "--use_ema")
    assert done.code == 0, done.err
    assert done.steps == ["step-3"]


def test_a_full_disk_at_the_end_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    """Half a file under the name that users load would be worse than none."""
    hosts = {"unet": UNet2DConditionModel.from_pretrained(model, subfolder="unet")}
    trained = adapters.attach(hosts, TrainSpec(train_lora=True), 1, SD)
    (tmp_path / FILE).write_bytes(b"old")

    def full(_tensors: Any, file: Path, _metadata: Any) -> None:
        file.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(adapters, "save_file", full)
        with pytest.raises(checkpoint.DiskFullError):
            adapters.publish(tmp_path, trained)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert (tmp_path / FILE).read_bytes() == b"old"
    assert adapters.publish(tmp_path, trained) == (tmp_path / FILE).stat().st_size


def test_a_run_that_left_adapters_is_finished_and_tells_how_to_load_them(tmp_path: Path) -> None:
    """A result looked for as a pipeline is shown as missing, and the run as one to resume."""
    run = RunDir(tmp_path)
    assert final_pipeline(run) is None
    run.pipeline.mkdir(parents=True)
    (run.pipeline / FILE).touch()
    assert final_pipeline(run) == "output/checkpoint"
    assert load_line(run.pipeline).startswith("pipe.load_lora_weights('/")


def test_a_gpu_that_overflows_skips_the_step(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """fp16 with loss scaling, the usual way on an older GPU, over adapters alone."""
    monkeypatch.setattr(session, "choose", lambda *_: Precision("fp16"))
    forward, left = loop.Loop.forward, [1.0, float("inf")]
    monkeypatch.setattr(
        loop.Loop,
        "forward",
        lambda self, micro: forward(self, micro) * (left.pop() if left else 1.0),
    )
    done = train(*LORA)
    assert done.code == 0, done.err
    assert done.metrics()[3]["skipped"] == 1
