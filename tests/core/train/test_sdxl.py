"""SDXL: text of two encoders, sizes and crops as they were, and a result that others load."""

import json
import random
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from sdcore.train import loop
from support.against_plain import assert_equal, both
from support.killing import Killed, let_saves_end
from support.plain_sdxl import PlainXl
from support.tiny_model import make_pipeline, make_sdxl
from support.trained import Trained

Spawn = Callable[..., "subprocess.Popen[str]"]
FILE = "pytorch_lora_weights.safetensors"

# Wide, high, square and too small; once resized to 32 px, what is cut off is an even number, so
# that the middle is the middle of the mirrored image, too.
SIZES = [(48, 40), (40, 65), (64, 64), (20, 24), (96, 32)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdxl")
    return make_sdxl(folder / "tiny", force_zeros_for_empty_prompt=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "data"
    folder.mkdir()
    rng, lines = random.Random(0), []
    for i, size in enumerate(SIZES * 2):
        Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1])).resize(
            (size[0] // 4, size[1] // 4)
        ).resize(size).save(folder / f"{i}.png")
        lines.append(json.dumps({"file_name": f"{i}.png", "text": f"a shape {i}"}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines))
    return folder


CASES: dict[str, list[str]] = {
    "cached": ["--center_crop", "--random_flip", "--use_ema", "--proportion_empty_prompts", "0.3"],
    "random crops": ["--random_flip", "--snr_gamma", "5", "--dream_training",
                     "--timestep_bias_strategy", "later", "--timestep_bias_multiplier", "9"],
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_losses_norms_rates_and_weights_are_those_of_a_plain_training(
    case: str, train: Any, model: Path, data: Path
) -> None:
    """A crop that is told otherwise than it was cut teaches the model to cut heads off."""
    assert_equal(*both(train, model, data, CASES[case], kind=PlainXl))


@pytest.fixture
def killed(train: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Train, and be killed as the sixth forward pass begins, in the middle of the third step."""
    forward, passes = loop.Loop.forward, [0]

    def dying(self: Any, micro: int) -> Any:
        passes[0] += 1
        if passes[0] == 6:
            raise Killed
        return forward(self, micro)

    def run(*flags: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(loop.Loop, "forward", dying)
            with pytest.raises(Killed):
                train(*flags)
        let_saves_end()

    return run


def drawn(pipeline: Any) -> Any:
    """A small picture of a fixed prompt, (32, 32, 3)."""
    pipeline.set_progress_bar_config(disable=True)
    source = torch.Generator().manual_seed(1)
    shown = pipeline("a shape", height=32, width=32, num_inference_steps=2, generator=source)
    return np.asarray(shown.images[0]).astype(int)


def bits(out: Path, step: int) -> dict[str, bytes]:
    """Every file of a checkpoint and of the result that holds numbers."""
    folder = out / f"checkpoints/step-{step}"
    files = [*out.rglob("*.safetensors"), folder / "optimizer.pt"]
    return {str(f.relative_to(out)): f.read_bytes() for f in files}


LONG = ["--max_train_steps", "5", "--gradient_accumulation_steps", "2", "--checkpointing_steps",
        "2", "--checkpoints_total_limit", "1", "--use_ema", "--random_flip", "--learning_rate",
        "0.01", "--proportion_empty_prompts", "0.2"]  # fmt: skip


def test_a_whole_model_that_was_killed_is_published_as_one_that_was_not(
    train: Any, killed: Callable[..., None], model: Path, tmp_path: Path
) -> None:
    """With random crops, a VAE of the user's own, and what the model's index says beside parts."""
    own = make_pipeline(tmp_path / "other", seed=9) / "vae"
    flags = [*LONG, "--pretrained_vae_model_name_or_path", str(own),
             "--validation_prompt", "a shape", "--validation_inference_steps", "2"]  # fmt: skip
    killed(*flags)
    cut = train(*flags, "--resume_from_checkpoint", "latest")
    assert "resumed from checkpoints/step-2, bit for bit" in cut.err
    whole = train(*flags, out="whole")
    assert bits(cut.out, 5) == bits(whole.out, 5)
    assert len(bits(cut.out, 5)) == 7  # U-Net, average, optimizer; and four parts of the pipeline
    assert cut.losses() == whole.losses()
    names = {path.name for path in (cut.out / "samples/step-5").iterdir()}
    assert names == {"raw-00.png", "ema-00.png", "samples.json"}

    pipeline = StableDiffusionXLPipeline.from_pretrained(cut.out)
    assert pipeline.config.force_zeros_for_empty_prompt is False
    assert type(pipeline.scheduler).__name__ == "EulerDiscreteScheduler"
    given = AutoencoderKL.from_pretrained(own).state_dict()
    assert all(torch.equal(t, given[n]) for n, t in pipeline.vae.state_dict().items())
    base = StableDiffusionXLPipeline.from_pretrained(model)
    base.vae = pipeline.vae
    assert np.abs(drawn(pipeline) - drawn(base)).max() > 3


LORA = ["--train_lora", "--train_text_encoder", "--rank", "2", "--lora_alpha", "3",
        "--learning_rate", "0.05"]  # fmt: skip


def predicted(unet: Any, encoders: list[Any]) -> torch.Tensor:
    """What a U-Net says of fixed noise, a fixed caption and fixed sizes."""
    for module in (unet, *encoders):
        module.eval()
    noisy = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    ids = torch.arange(77).repeat(2, 1)
    with torch.no_grad():
        told = [encoder(ids, output_hidden_states=True) for encoder in encoders]
        text = torch.cat([one.hidden_states[-2] for one in told], dim=-1)
        added = {"text_embeds": told[1].text_embeds, "time_ids": torch.arange(12.0).view(2, 6)}
        answer: torch.Tensor = unet(noisy, torch.tensor([10, 700]), text,
                                    added_cond_kwargs=added, return_dict=False)[0]  # fmt: skip
    return answer


def test_adapters_that_were_killed_load_and_compute_what_was_trained(
    train: Any, killed: Callable[..., None], kits: list[Any], model: Path
) -> None:
    """In the U-Net and both text encoders; a name of one of them wrong, and it is left out."""
    flags = [*LONG, *LORA, "--center_crop"]
    killed(*flags)
    cut = train(*flags, "--resume_from_checkpoint", "latest")
    assert "resumed from checkpoints/step-2, bit for bit" in cut.err
    whole = train(*flags, out="whole")
    assert bits(cut.out, 5) == bits(whole.out, 5)
    assert len(bits(cut.out, 5)) == 4
    assert cut.losses() == whole.losses()
    assert "the U-Net and the text encoder and the second text encoder" in whole.err

    trainee = kits[-1].trainee
    parts = list(trainee.net.text_encoders.values())
    with trainee.with_average(kits[-1].ema.model) as unet:
        trained = predicted(unet, parts)
    current = predicted(trainee.unet, parts)
    base = StableDiffusionXLPipeline.from_pretrained(model)
    before = drawn(base)
    for folder, expected in (
        (whole.out, trained),
        (whole.out / "checkpoints/step-5/lora", current),
    ):
        pipeline = StableDiffusionXLPipeline.from_pretrained(model)
        pipeline.load_lora_weights(folder)
        encoders = [pipeline.text_encoder, pipeline.text_encoder_2]
        torch.testing.assert_close(
            predicted(pipeline.unet, encoders), expected, rtol=1e-5, atol=1e-5
        )
        for half in ([base.text_encoder, encoders[1]], [encoders[0], base.text_encoder_2]):
            assert not torch.allclose(predicted(pipeline.unet, half), expected, atol=1e-6)
        assert np.abs(drawn(pipeline) - before).max() > 3


def test_two_processes_that_recompute_train_the_adapters_that_one_trains(
    spawn: Spawn, train: Any, tmp_path: Path
) -> None:
    """A weight that never has a gradient, as of a layer without effect, ends the second step.

    Recomputed text encoders must still give the states of each of their layers.
    """
    flags = [*LORA, "--gradient_accumulation_steps", "2"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    ranks = [
        spawn(*flags, "--train_batch_size", "1", "--gradient_checkpointing", out="two", RANK=rank,
              WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port, ACCELERATE_USE_CPU="true")
        for rank in "01"
    ]  # fmt: skip
    errors = [process.communicate(timeout=240)[1] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], errors
    one, two = train(*flags, out="one"), Trained(0, tmp_path / "two", errors[0])
    for step, line in one.metrics().items():
        assert two.metrics()[step]["loss"] == pytest.approx(line["loss"], rel=1e-5)
        assert two.metrics()[step]["grad_norm"] == pytest.approx(line["grad_norm"], rel=1e-4)
    saved, alone = load_file(two.out / FILE), load_file(one.out / FILE)
    for name, tensor in alone.items():
        torch.testing.assert_close(saved[name], tensor, rtol=1e-3, atol=1e-5)


def edited(folder: Path, file: str, **changes: Any) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def without(file: Path, name: str) -> None:
    tensors = load_file(file)
    del tensors[name]
    save_file(tensors, file, {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: edited(f, "unet/config.json", addition_embed_type=None), "takes no sizes"),
        (lambda f: edited(f, "model_index.json", _class_name="StableDiffusionXLImg2ImgPipeline"),
         "and the trainer takes a StableDiffusionPipeline or StableDiffusionXLPipeline"),
        (lambda f: shutil.rmtree(f / "text_encoder_2"), "the text_encoder_2 of the folder"),
        (lambda f: shutil.copytree(f / "text_encoder_2", f / "text_encoder", dirs_exist_ok=True),
         "the U-Net takes 20, the model gives 24"),
        (lambda f: shutil.rmtree(f / "tokenizer_2"), "the tokenizer_2 of the folder"),
        (lambda f: without(f / "text_encoder_2/model.safetensors", "text_projection.weight"),
         "lack 1 of its weights, such as text_projection.weight"),
        (lambda f: without(f / "unet/diffusion_pytorch_model.safetensors", "conv_in.bias"),
         "lack 1 of its weights, such as conv_in.bias"),
        (lambda f: edited(f, "unet/config.json", projection_class_embeddings_input_dim=None),
         "the unet of the folder"),
        (lambda f: edited(f, "scheduler/scheduler_config.json",
                          _class_name="EDMDPMSolverMultistepScheduler"), "another kind of noise"),
        (lambda f: edited(f, "vae/config.json", latents_mean=[0.1] * 4), "the model's VAE"),
    ],
)  # fmt: skip
def test_parts_that_do_not_belong_together_are_refused_in_words(
    train: Any, model: Path, tmp_path: Path, damage: Callable[[Path], Any], words: str
) -> None:
    """Else the first step fails in the middle of a network, after an hour of caching.

    Or nothing fails: without a tokenizer transformers makes one that knows no word, and a weight
    that is in no file is a random number.
    """
    folder = Path(shutil.copytree(model, tmp_path / "damaged"))
    damage(folder)
    done = train("--pretrained_model_name_or_path", str(folder))
    assert done.code == 3
    assert words in done.err
    assert "caching" not in done.err
