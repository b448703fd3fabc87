"""Command lines of diffusers' LoRA and SDXL scripts work as they are, word for word."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from sdcore.errors import UsageError
from sdcore.task.train_spec import TrainSpec
from sdcore.train import choices
from sdcore.train.arguments import parse
from sdcore.train.families import FAMILIES
from sdcore.train.lora import adapted

# train_text_to_image_sdxl.py and its LoRA sister, diffusers 58eb52c: what the first script lacks.
FULL = {
    "pretrained_vae_model_name_or_path", "proportion_empty_prompts", "timestep_bias_strategy",
    "timestep_bias_multiplier", "timestep_bias_begin", "timestep_bias_end",
    "timestep_bias_portion",
}  # fmt: skip
LORA = {"pretrained_vae_model_name_or_path", "train_text_encoder", "rank"}
COMMAND = (
    "--pretrained_model_name_or_path=stabilityai/stable-diffusion-xl-base-1.0 "
    "--pretrained_vae_model_name_or_path=madebyollin/sdxl-vae-fp16-fix --dataset_name=d "
    "--resolution=512 --center_crop --random_flip --proportion_empty_prompts=0.2 "
    "--train_batch_size=1 --gradient_accumulation_steps=4 --gradient_checkpointing "
    "--max_train_steps=10000 --use_8bit_adam --learning_rate=1e-06 --lr_scheduler=constant "
    "--lr_warmup_steps=0 --mixed_precision=fp16 --report_to=wandb --validation_epochs 5 "
    "--checkpointing_steps=5000 --output_dir=o --push_to_hub"
)


def test_the_sdxl_scripts_command_is_understood() -> None:
    """Their users change one word, too."""
    assert TrainSpec.model_fields.keys() >= FULL | LORA
    arguments = parse([*COMMAND.split(), "--validation_prompt", "a cat in the snow"], {})
    spec = arguments.spec
    assert spec.validation_prompts == ("a cat in the snow",)
    assert spec.pretrained_vae_model_name_or_path == "madebyollin/sdxl-vae-fp16-fix"
    assert (spec.learning_rate, spec.proportion_empty_prompts) == (1e-6, 0.2)
    assert arguments.notes == []


def test_a_command_line_of_the_lora_scripts_never_trains_the_whole_model() -> None:
    """It says nowhere that it is LoRA; its rank may be the default's value."""
    with pytest.raises(UsageError, match=r"sdcore\.train\.lora"):
        parse(["--rank", "4"], {})
    argv = ["--rank=8", "--validation_prompt", "-a cat", "--num_validation_images", "4", "--seed=1",
            "--train_text_encoder", "--debug_loss"]  # fmt: skip
    arguments = parse(adapted(argv), {})
    spec = arguments.spec
    assert (spec.train_lora, spec.rank, spec.seed, spec.train_text_encoder) == (True, 8, 1, True)
    assert spec.validation_prompts == ("-a cat",)
    told = " ".join(arguments.notes)
    assert "num_validation_images has no effect" in told
    assert "debug_loss has no effect" in told


def test_attention_of_another_makers_chip_is_refused_in_words() -> None:
    with pytest.raises(UsageError) as caught:
        parse(["--enable_npu_flash_attention"], {})
    assert "Ascend" in caught.value.cause
    assert "leave it out" in caught.value.remedy


@pytest.mark.parametrize(
    ("argv", "sides"),
    [([], [512, 1024]), (["--resolution", "512"], [512, 512]), (["--resolution", "96"], [96, 96])],
)
def test_a_size_that_is_not_given_is_the_one_the_model_was_made_for(
    argv: list[str], sides: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDXL scripts default to 1024; at 512 that model is spoiled without a word."""
    told: list[tuple[Any, ...]] = []
    monkeypatch.setattr(choices, "replace", lambda job, spec: SimpleNamespace(spec=spec))
    report = SimpleNamespace(choice=lambda *words: told.append(words))
    job = cast("Any", SimpleNamespace(spec=parse(argv, {}).spec, report=report))
    found = [choices.settle_resolution(job, family).spec.resolution for family in FAMILIES]
    assert found == sides
    assert len(told) == (not argv)
