"""What a check says of a model, without loading it."""

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from diffusers import UNet2DConditionModel

from sdcore.checks.findings import Finding
from sdcore.checks.model import ModelFacts, model_facts
from sdcore.checks.model_findings import model_findings
from sdcore.errors import ExitCode, NotReadyError
from support.tiny_model import make_pipeline, make_sdxl


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline as diffusers writes it; never changed."""
    return make_pipeline(tmp_path_factory.mktemp("model") / "tiny", prediction_type="v_prediction")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def facts_of(folder: Path | str, variant: str | None = None) -> ModelFacts:
    return model_facts(str(folder), None, variant, None)


def findings(folder: Path, resolution: int = 32, variant: str | None = None) -> list[Finding]:
    return model_findings(facts_of(folder, variant), resolution=resolution)


def only(found: list[Finding], level: str = "error") -> Finding:
    (finding,) = found
    assert finding.level == level
    assert finding.exit_code == ExitCode.NOT_READY
    assert finding.remedy
    return finding


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_whole_pipeline_is_described_and_has_no_findings(whole: Path) -> None:
    facts = facts_of(whole)
    assert facts.pipeline == "StableDiffusionPipeline"
    assert (facts.vae_factor, facts.unet_factor, facts.latent_channels) == (2, 2, 4)
    assert (facts.family, facts.dtype, facts.prediction_type) == ("tiny", "fp32", "v_prediction")
    assert "tiny, U-Net of" in facts.words()
    assert findings(whole) == []


def test_parameters_are_counted_from_the_headers(whole: Path) -> None:
    """As torch counts them; a wrong count makes every estimate of memory and disk wrong."""
    unet = UNet2DConditionModel.from_pretrained(whole / "unet")
    assert facts_of(whole).parameters == sum(weight.numel() for weight in unet.parameters())


@pytest.mark.parametrize(("width", "family"), [(768, "SD 1.x"), (1024, "SD 2.x"), (32, "tiny")])
def test_the_family_follows_from_the_text_width(folder: Path, width: int, family: str) -> None:
    edit(folder / "unet" / "config.json", cross_attention_dim=width)
    assert facts_of(folder).family == family


@pytest.mark.parametrize(
    "name", ["StableDiffusionXLImg2ImgPipeline", "FluxPipeline", "StableDiffusionInpaintPipeline"]
)
def test_other_pipelines_are_refused_by_name(folder: Path, name: str) -> None:
    edit(folder / "model_index.json", _class_name=name)
    finding = only(findings(folder))
    assert f"is of class {name}" in finding.what
    assert "StableDiffusionXLPipeline" in finding.cause


@pytest.fixture(scope="module")
def whole_xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SDXL pipeline as diffusers writes it; never changed."""
    return make_sdxl(tmp_path_factory.mktemp("xl") / "tiny")


@pytest.fixture
def xl(whole_xl: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole_xl, tmp_path / "xl"))


def test_sdxl_is_described_and_needs_all_its_parts(xl: Path) -> None:
    """A second encoder found missing after an hour of caching has cost the hour."""
    facts = facts_of(xl)
    assert (facts.family, facts.pipeline) == ("SDXL", "StableDiffusionXLPipeline")
    unet = UNet2DConditionModel.from_pretrained(xl / "unet")
    assert facts.parameters == sum(weight.numel() for weight in unet.parameters())
    assert "SDXL, U-Net of" in facts.words()
    assert findings(xl) == []
    (xl / "text_encoder_2" / "model.safetensors").unlink()
    shutil.rmtree(xl / "tokenizer_2")
    assert only(findings(xl)).cause == "missing: tokenizer_2/, text_encoder_2/*.safetensors"


def test_parts_of_two_families_do_not_belong_together(folder: Path, xl: Path) -> None:
    edit(folder / "unet" / "config.json", addition_embed_type="text_time")
    edit(xl / "unet" / "config.json", addition_embed_type=None)
    for mixed, words in ((folder, "U-Net is one of SDXL"), (xl, "U-Net is not one of SDXL")):
        finding = only(findings(mixed))
        assert "do not belong together" in finding.what
        assert words in finding.cause


def test_a_resolution_far_below_what_sdxl_was_made_for_is_a_warning(xl: Path) -> None:
    """A preset of 1.x with another model: it trains for a day and draws worse than before."""
    finding = only(findings(xl, resolution=16), "warning")
    assert "was made for 32 px" in finding.cause


def test_a_vae_of_ones_own_stands_in_for_the_models(xl: Path, whole: Path) -> None:
    """It is what the images are encoded with: the model's own is not looked at then."""
    shutil.rmtree(xl / "vae")
    given = model_facts(str(xl), None, None, None, str(whole / "vae"))
    assert model_findings(given, resolution=32) == []
    assert (given.vae_factor, given.latent_channels) == (2, 4)
    for wrong, words in ((whole, "holds no config.json"), (whole / "vea", "no such folder"),
                         (whole / "model_index.json", "a single file")):  # fmt: skip
        with pytest.raises(NotReadyError, match=words):
            model_facts(str(xl), None, None, None, str(wrong))
    elsewhere = model_facts(str(xl), None, None, None, "someone/vae")
    assert model_findings(elsewhere, resolution=32) == []


def test_a_folder_that_is_no_pipeline_says_what_one_is(tmp_path: Path) -> None:
    finding = only(findings(tmp_path))
    assert f"{tmp_path} is not a pipeline folder" in finding.what
    assert "model_index.json" in finding.cause


@pytest.mark.parametrize(
    ("gone", "missing"),
    [
        ("vae", "vae/"),
        ("unet/config.json", "unet/config.json"),
        ("scheduler/scheduler_config.json", "scheduler/scheduler_config.json"),
        ("text_encoder/model.safetensors", "text_encoder/*.safetensors"),
        ("tokenizer/tokenizer.json", "tokenizer/vocab.json, tokenizer/merges.txt"),
    ],
)
def test_missing_parts_are_listed(folder: Path, gone: str, missing: str) -> None:
    path = folder / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    finding = only(findings(folder))
    assert "is not whole" in finding.what
    assert finding.cause == f"missing: {missing}"


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid"])
def test_files_that_were_never_downloaded_are_listed(folder: Path, content: bytes) -> None:
    """`git clone` without LFS leaves 130 bytes where 3 GB should be."""
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(content)
    finding = only(findings(folder))
    assert "unet/diffusion_pytorch_model.safetensors" in finding.cause
    assert "git lfs pull" in finding.remedy


def test_pickled_weights_alone_are_a_warning(folder: Path) -> None:
    part = folder / "unet"
    (part / "diffusion_pytorch_model.safetensors").rename(part / "diffusion_pytorch_model.bin")
    finding = only(findings(folder), "warning")
    assert "weights only as .bin" in finding.what
    assert "unet" in finding.cause


def test_weights_of_a_variant_are_found_or_pointed_to(folder: Path) -> None:
    for part, stem in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        (folder / part / f"{stem}.safetensors").rename(folder / part / f"{stem}.fp16.safetensors")
    assert findings(folder, variant="fp16") == []
    assert facts_of(folder, "fp16").parameters
    assert 'set train.variant = "fp16"' in only(findings(folder)).remedy


def test_a_variant_that_is_not_there_is_to_be_left_out(folder: Path) -> None:
    assert "leave train.variant out" in only(findings(folder, variant="fp16")).remedy


@pytest.mark.parametrize("damage", ["cut", "length", "json"])
def test_a_damaged_weight_file_is_named(folder: Path, damage: str) -> None:
    """A download that stopped at 2 of 3 GB must not be found after the data was cached."""
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    data = path.read_bytes()
    path.write_bytes(
        {
            "cut": data[: len(data) // 2],
            "length": struct.pack("<Q", 1 << 62) + data[8:],
            "json": data[:8] + b"!" + data[9:],
        }[damage]
    )
    with pytest.raises(NotReadyError, match=r"diffusion_pytorch_model\.safetensors cannot be read"):
        facts_of(folder)


def test_a_resolution_must_fit_the_vae(folder: Path) -> None:
    finding = only(findings(folder, resolution=33))
    assert finding.what == "train.resolution = 33 does not fit the model"
    assert "no multiple of 2" in finding.cause
    assert finding.remedy == "set it to 32"


def test_a_resolution_off_the_unets_levels_is_a_warning(folder: Path) -> None:
    finding = only(findings(folder, resolution=34), "warning")
    assert "no multiple of 4" in finding.cause


def test_an_inpainting_unet_does_not_fit(folder: Path) -> None:
    edit(folder / "unet" / "config.json", in_channels=9)
    assert "it takes 9 channels, the VAE gives 4" in only(findings(folder)).cause


@pytest.mark.parametrize(
    ("file", "key", "value", "words"),
    [
        ("scheduler/scheduler_config.json", "_class_name", "EDMEulerScheduler", "kind of noise"),
        ("vae/config.json", "latents_std", [2.0] * 4, "the VAE of"),
    ],
)
def test_a_model_that_training_would_spoil_unseen_is_refused(
    xl: Path, file: str, key: str, value: Any, words: str
) -> None:
    """Playground 2.5 is called an SDXL pipeline, and is neither trained nor scaled as one."""
    edit(xl / file, **{key: value})
    assert words in only(findings(xl)).what


def test_a_broken_configuration_is_named(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")
    with pytest.raises(NotReadyError, match=r"model_index\.json cannot be read"):
        facts_of(folder)


def test_a_single_file_is_to_be_converted(tmp_path: Path) -> None:
    (tmp_path / "sd.safetensors").write_bytes(b"x")
    with pytest.raises(NotReadyError, match="is a single file") as caught:
        facts_of(tmp_path / "sd.safetensors")
    assert "from_single_file" in caught.value.remedy


@pytest.mark.parametrize("source", ["/nowhere/model", "./model-of-mine", "a/b/c", "", "bad name/x"])
def test_a_folder_that_is_not_there_is_said(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotReadyError, match="does not exist"):
        facts_of(source)


def test_a_hub_model_is_looked_up_only_on_this_machine(whole: Path, tmp_path: Path) -> None:
    """A check asks no network; what is in the hub's cache is checked like a folder."""
    unknown = model_facts("someone/model", None, None, str(tmp_path))
    finding = only(model_findings(unknown, resolution=512), "warning")
    assert "someone/model cannot be checked" in finding.what
    repository = tmp_path / "models--someone--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    shutil.copytree(whole, repository / "snapshots" / "abc")
    known = model_facts("someone/model", None, None, str(tmp_path))
    assert known.family == "tiny"
    assert model_findings(known, resolution=32) == []


def test_a_check_loads_no_large_library(whole: Path) -> None:
    """Torch and diffusers would make every check take seconds."""
    probe = (
        "import sys; from sdcore.checks.model import model_facts; import sdcore.checks.dataset;"
        f"model_facts({str(whole)!r}, None, None, None);"
        "print({'torch', 'diffusers', 'transformers', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
