"""The one file that image programs load holds every weight of the pipeline, under their names."""

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.loaders import single_file_utils as reader
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from sdcore.errors import NotReadyError
from sdcore.runs.paths import SINGLE_FILE
from sdcore.task.train_spec import SingleFile, TrainSpec
from sdcore.train import original, single_file
from sdcore.train.checkpoint import DiskFullError
from support.tiny_model import make_sdxl

PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
# What sets the U-Nets of 1.5 and 2.1 apart from diffusers' defaults and from each other.
SIZES = {
    "1.5": {"cross_attention_dim": 768, "attention_head_dim": 8},
    "2.1": {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20),
            "use_linear_projection": True},
}  # fmt: skip
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
}  # fmt: skip


def _text(**config: Any) -> CLIPTextModel:
    return CLIPTextModel(CLIPTextConfig(**{
        "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 3, "vocab_size": 514,
        "num_attention_heads": 2, "bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513,
        **config,
    }))  # fmt: skip


@pytest.fixture(scope="module")
def second(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion 2.x: linear projections, three layers, OpenCLIP's text encoder."""
    pipeline = StableDiffusionPipeline.from_pretrained(model)
    unet = UNet2DConditionModel(
        block_out_channels=(4, 8, 8), layers_per_block=2, sample_size=16, cross_attention_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=2, use_linear_projection=True, attention_head_dim=(2, 4, 4),
    )  # fmt: skip
    pipeline.register_modules(unet=unet, text_encoder=_text(hidden_act="gelu"))
    folder = tmp_path_factory.mktemp("second") / "tiny2"
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SDXL."""
    return make_sdxl(tmp_path_factory.mktemp("xl") / "tiny")


def _kind(folder: Path) -> Any:
    return StableDiffusionXLPipeline if "xl" in folder.parts[-2] else StableDiffusionPipeline


def _read_back(file: Path, folder: Path) -> Any:
    return _kind(folder).from_single_file(
        file, config=str(folder), local_files_only=True, torch_dtype=torch.float32
    )


def _assert_same(file: Path, folder: Path, precision: SingleFile) -> None:
    """Compare every weight, bit for bit after rounding, and what the U-Net computes."""
    ours, theirs = _kind(folder).from_pretrained(folder), _read_back(file, folder)
    for part in PARTS[: 3 + hasattr(ours, "text_encoder_2")]:
        wanted, got = getattr(ours, part).state_dict(), getattr(theirs, part).state_dict()
        assert wanted.keys() == got.keys()
        for name, weight in wanted.items():
            exact = weight.half().float() if precision == "fp16" else weight
            assert torch.equal(exact, got[name]), f"{part} {name}"
    latents = torch.randn((1, 4, 16, 16), generator=torch.Generator().manual_seed(0))
    width = ours.unet.config.cross_attention_dim
    text = torch.randn((1, 77, width), generator=torch.Generator().manual_seed(1))
    added = {"time_ids": torch.arange(6.0)[None], "text_embeds": torch.ones(1, 6)}
    with torch.no_grad():
        mine, other = (
            p.unet(latents, 500, text, added_cond_kwargs=added).sample for p in (ours, theirs)
        )
    assert (mine - other).abs().max() < (5e-3 if precision == "fp16" else 1e-6)


@pytest.mark.parametrize("version", ["model", "second", "xl"])
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_every_weight_is_read_back(
    version: str, precision: SingleFile, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A swapped pair of equal shapes (to_k and to_v, two norms) loads and draws mud."""
    folder = request.getfixturevalue(version)
    file = single_file.export(folder, tmp_path / "one.safetensors", precision)
    _assert_same(file, folder, precision)
    assert [path.name for path in tmp_path.iterdir()] == ["one.safetensors"]


@pytest.mark.parametrize("version", ["model", "second", "xl"])
def test_every_number_is_in_the_file_once(
    version: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A reader that ignores what it misses would hide a weight that is written twice or never."""
    folder = request.getfixturevalue(version)
    written = load_file(single_file.export(folder, tmp_path / "one.safetensors", "fp32"))
    read = [t for part in PARTS for f in (folder / part).glob("*.safetensors")
            for t in load_file(f).values()]  # fmt: skip
    mine, theirs = (torch.cat([t.flatten() for t in ts]).sort().values
                    for ts in (read, list(written.values())))  # fmt: skip
    assert torch.equal(mine, theirs)
    text = "conditioner.embedders." if version == "xl" else "cond_stage_model."
    stems = ("model.diffusion_model.", "first_stage_model.", text)
    assert all(name.startswith(stems) for name in written)


def test_open_clip_joins_query_key_and_value_in_that_order(second: Path, tmp_path: Path) -> None:
    """Joined in another order the file loads everywhere and reads every prompt wrongly."""
    written = load_file(single_file.export(second, tmp_path / "one.safetensors", "fp32"))
    (file,) = (second / "text_encoder").glob("*.safetensors")
    text = {name.removeprefix("text_model."): t for name, t in load_file(file).items()}
    block = "cond_stage_model.model.transformer.resblocks.1"
    for kind in ("weight", "bias"):
        parts = [text[f"encoder.layers.1.self_attn.{which}_proj.{kind}"] for which in "qkv"]
        assert torch.equal(written[f"{block}.attn.in_proj_{kind}"], torch.cat(parts))
    assert not [name for name in written if ".self_attn." in name or "q_proj" in name]
    assert torch.equal(written["cond_stage_model.model.positional_embedding"],
                       text["embeddings.position_embedding.weight"])  # fmt: skip


def test_at_full_size_the_names_of_xl_are_those_of_its_published_checkpoint() -> None:
    """It has three levels, the first without attention, and transformers of two and ten blocks."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(320, 640, 1280), layers_per_block=2, cross_attention_dim=2048,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(5, 10, 20), transformer_layers_per_block=(1, 2, 10),
            use_linear_projection=True, addition_embed_type="text_time",
            addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
        )  # fmt: skip
    names = original.names_of(unet.config, VAE, {}, {"hidden_act": "gelu"})
    mine = {names.unet(name).name: tensor for name, tensor in unet.state_dict().items()}
    back = reader.convert_ldm_unet_checkpoint(mine, unet.config)
    assert len(mine) == 1680
    assert all(back[name] is mine[names.unet(name).name] for name in unet.state_dict())
    prefix = "model.diffusion_model."
    assert mine.keys() >= {
        prefix + name for name in (
            "label_emb.0.0.weight", "label_emb.0.2.bias", "input_blocks.6.0.op.weight",
            "input_blocks.8.1.transformer_blocks.9.attn2.to_k.weight",
            "middle_block.1.transformer_blocks.9.norm3.weight", "output_blocks.2.2.conv.bias",
            "output_blocks.5.1.transformer_blocks.1.ff.net.0.proj.weight",
            "output_blocks.8.0.skip_connection.weight",
        )
    }  # fmt: skip
    second = names.parts["text_encoder_2"]
    assert second("text_projection.weight") == original.Place(
        "conditioner.embedders.1.model.text_projection", turned=True
    )
    assert second("text_model.encoder.layers.31.self_attn.k_proj.bias") == original.Place(
        "conditioner.embedders.1.model.transformer.resblocks.31.attn.in_proj_bias", order=1
    )
    assert names.text_encoder("text_model.final_layer_norm.bias").name == (
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias"
    )


@pytest.mark.parametrize("version", SIZES)
def test_at_full_size_the_names_are_those_of_the_published_checkpoints(version: str) -> None:
    """The tiny model has too few blocks to show a wrong count, as of output_blocks.11."""
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**SIZES[version]), AutoencoderKL(**VAE)
    names = original.names_of(unet.config, vae.config, {})
    mine = {names.unet(name).name: tensor for name, tensor in unet.state_dict().items()}
    back = reader.convert_ldm_unet_checkpoint(mine, unet.config)
    assert len(mine) == 686
    assert back.keys() == unet.state_dict().keys()
    prefix = "model.diffusion_model."
    assert mine.keys() >= {
        prefix + name for name in (
            "input_blocks.3.0.op.weight", "input_blocks.11.0.out_layers.3.bias",
            "middle_block.1.transformer_blocks.0.attn2.to_k.weight", "output_blocks.2.1.conv.bias",
            "output_blocks.5.2.conv.weight", "output_blocks.11.1.transformer_blocks.0.norm1.bias",
            "output_blocks.11.0.skip_connection.weight", "time_embed.2.bias", "out.2.weight",
        )
    }  # fmt: skip
    for name in unet.state_dict():
        assert back[name] is mine[names.unet(name).name]
    places = {name: names.vae(name) for name in vae.state_dict()}
    kernels = {place.name for place in places.values() if place.kernel}
    assert kernels == {
        f"first_stage_model.{side}.mid.attn_1.{layer}.weight"
        for side in ("encoder", "decoder")
        for layer in ("q", "k", "v", "proj_out")
    }
    assert len({place.name for place in places.values()}) == 248
    assert places["decoder.up_blocks.3.resnets.0.conv_shortcut.bias"].name == (
        "first_stage_model.decoder.up.0.block.0.nin_shortcut.bias"
    )


def test_names_of_older_files_are_understood(model: Path, tmp_path: Path) -> None:
    """Files of transformers 4 have a level more, and a count that is no weight."""
    folder = tmp_path / "older"
    subprocess.run(["cp", "-r", str(model), str(folder)], check=True)
    file = folder / "text_encoder" / "model.safetensors"
    old = {f"text_model.{name}": tensor for name, tensor in load_file(file).items()}
    save_file(old | {"text_model.embeddings.position_ids": torch.arange(77)[None]}, file)
    new, older = (load_file(single_file.export(source, tmp_path / f"{i}.safetensors"))
                  for i, source in enumerate((model, folder)))  # fmt: skip
    assert new.keys() == older.keys()
    assert all(torch.equal(new[name], older[name]) for name in new)


def test_training_writes_what_it_publishes(train: Any) -> None:
    """Taken from the wrong place, the file would hold the raw weights, not their average."""
    done = train("--use_ema", "--save_single_file", "fp16")
    assert done.code == 0, done.err
    assert f"single file: {done.out / SINGLE_FILE}" in done.err
    _assert_same(done.out / SINGLE_FILE, done.out, "fp16")
    again = train("--resume_from_checkpoint", "latest")
    assert again.code == 0, again.err
    assert f"{SINGLE_FILE} is of an earlier training" in again.err


def test_a_full_disk_costs_neither_the_pipeline_nor_the_run(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of days must not fail, nor hold its GPUs, for a file that can be made afterwards."""
    with monkeypatch.context() as patched:
        patched.setattr(single_file, "free_bytes", lambda _: 1000)
        done = train("--save_single_file", "fp32")
    assert done.code == 0, done.err
    (warning,) = [e["text"] for e in done.events("warning") if "single" in e["text"]]
    assert " KiB, and 0.977 KiB are free; make room there, then run" in warning
    assert (done.out / "model_index.json").is_file()
    assert not list(done.out.glob("*single*"))
    command = warning.partition("`")[2].partition("`")[0].split()
    assert single_file.main(command[3:]) == 0
    _assert_same(done.out / SINGLE_FILE, done.out, "fp32")


def test_a_disk_that_fills_up_half_way_leaves_the_file_that_was_there(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written in place, half a file would have the name of a whole one."""
    target = tmp_path / "one.safetensors"
    target.write_bytes(b"the file of last week")

    def half(file: Any, *_: Any) -> None:
        file.write(b"0" * 1000)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(single_file, "_write", half)
    with pytest.raises(DiskFullError, match="could not be written"):
        single_file.export(model, target)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    assert target.read_bytes() == b"the file of last week"


def test_a_model_without_such_a_form_is_refused_before_it_is_trained(
    train: Any, model: Path, tmp_path: Path
) -> None:
    """Told after ten hours, it is told too late."""
    pipeline = StableDiffusionPipeline.from_pretrained(model)
    pipeline.register_modules(text_encoder=_text(hidden_act="gelu_new"))
    pipeline.save_pretrained(tmp_path / "strange")
    flags = "--pretrained_model_name_or_path", str(tmp_path / "strange")
    done = train(*flags, "--save_single_file", "fp16")
    assert done.code == 3
    assert "save_single_file with this model" in done.err
    assert "computes with gelu_new" in done.err
    assert not (done.out / "metrics.jsonl").exists() or not done.metrics()


def test_blocks_of_other_models_are_named() -> None:
    """Written under a guessed name, a weight would be ignored by every reader."""
    config = {**_config(), "mid_block_type": None}
    with pytest.raises(original.UnknownLayoutError, match="U-Net has mid_block_type None"):
        original.names_of(config, VAE, {})
    names = original.names_of(_config(), VAE, {})
    with pytest.raises(original.UnknownLayoutError, match=r"tensor add_embedding\.linear_1"):
        names.unet("add_embedding.linear_1.weight")
    with pytest.raises(original.UnknownLayoutError, match="tensor encoder"):
        names.vae("encoder.mid_block.attentions.0.spatial_norm.weight")


def _config() -> dict[str, Any]:
    return {
        "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"],
        "mid_block_type": "UNetMidBlock2DCrossAttn", "layers_per_block": [2],
    }  # fmt: skip


def test_numbers_beyond_fp16_are_named_and_fit_fp32(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As infinity, one weight would make every picture black."""
    folder = tmp_path / "large"
    subprocess.run(["cp", "-r", str(model), str(folder)], check=True)
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["decoder.conv_out.bias"][0] = 1e5
    save_file(weights, file)
    with pytest.raises(NotReadyError, match=r"decoder\.conv_out\.bias") as refused:
        single_file.export(folder)
    assert "1e+05" in refused.value.cause
    assert single_file.main([str(folder), "--precision", "fp32"]) == 0
    assert str(folder / SINGLE_FILE) in capsys.readouterr().out
    _assert_same(folder / SINGLE_FILE, folder, "fp32")


def test_what_is_no_such_pipeline_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Others have another layout; a folder without an index may be anything."""
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    assert single_file.main([str(tmp_path)]) == 3
    assert "tells of FluxPipeline" in capsys.readouterr().err


def test_adapters_are_one_file_already() -> None:
    """Ignored, the setting would let someone wait for a file that never comes."""
    with pytest.raises(ValidationError, match="adapters are one file already"):
        TrainSpec(train_lora=True, save_single_file="fp16")


def test_converting_loads_no_models() -> None:
    """It is run on a login node, where diffusers alone takes seconds and half a gigabyte."""
    heavy = "{'diffusers', 'transformers', 'accelerate', 'peft'}"
    probe = f"import sys, sdcore.train.single_file; print({heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
