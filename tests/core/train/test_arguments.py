"""The command line: the reference's flags by name and default, and errors that name a remedy."""

import subprocess
import sys
from pathlib import Path

import pytest

from sdcore.errors import UsageError
from sdcore.task.train_spec import TrainSpec
from sdcore.train.arguments import parse

# train_text_to_image.py of diffusers 58eb52c, in its order: every flag and its default.
REFERENCE: dict[str, object] = {
    "input_perturbation": 0, "pretrained_model_name_or_path": None, "revision": None,
    "variant": None, "dataset_name": None, "dataset_config_name": None, "train_data_dir": None,
    "image_column": "image", "caption_column": "text", "max_train_samples": None,
    "validation_prompts": None, "output_dir": "sd-model-finetuned", "cache_dir": None,
    "seed": None, "resolution": 512, "center_crop": False, "random_flip": False,
    "train_batch_size": 16, "num_train_epochs": 100, "max_train_steps": None,
    "gradient_accumulation_steps": 1, "gradient_checkpointing": False, "learning_rate": 1e-4,
    "scale_lr": False, "lr_scheduler": "constant", "lr_warmup_steps": 500, "snr_gamma": None,
    "dream_training": False, "dream_detail_preservation": 1.0, "use_8bit_adam": False,
    "allow_tf32": False, "use_ema": False, "offload_ema": False, "foreach_ema": False,
    "non_ema_revision": None, "dataloader_num_workers": 0, "adam_beta1": 0.9,
    "adam_beta2": 0.999, "adam_weight_decay": 1e-2, "adam_epsilon": 1e-8, "max_grad_norm": 1.0,
    "push_to_hub": False, "hub_token": None, "prediction_type": None, "hub_model_id": None,
    "logging_dir": "logs", "mixed_precision": None, "report_to": "tensorboard",
    "local_rank": -1, "checkpointing_steps": 500, "checkpoints_total_limit": None,
    "resume_from_checkpoint": None, "enable_xformers_memory_efficient_attention": False,
    "noise_offset": 0, "validation_epochs": 5, "tracker_project_name": "text2image-fine-tune",
    "image_interpolation_mode": "lanczos",
}  # fmt: skip
# Decided elsewhere: by the run directory (the drop-in's default is the reference's, see
# places.py), and by the number of cores.
LATER = {"output_dir", "dataloader_num_workers"}


def test_every_flag_of_the_reference_is_there_with_its_default() -> None:
    """A user's train.sh changes one word; a default that differs would change the result."""
    assert len(REFERENCE) == 57
    spec = parse([], {}).spec.model_dump()
    assert REFERENCE.keys() <= spec.keys()
    assert {name: spec[name] for name in REFERENCE.keys() - LATER} == {
        name: value for name, value in REFERENCE.items() if name not in LATER
    }


def test_the_readmes_command_is_understood() -> None:
    """The command of diffusers' README, word for word after the script's name."""
    command = (
        "--pretrained_model_name_or_path=m --dataset_name=d --use_ema --resolution=512 "
        "--center_crop --random_flip --train_batch_size=1 --gradient_accumulation_steps=4 "
        "--gradient_checkpointing --max_train_steps=15000 --learning_rate=1e-05 "
        "--max_grad_norm=1 --lr_scheduler=constant --lr_warmup_steps=0 "
        "--output_dir=sd-pokemon-model"
    )
    spec = parse(command.split(), {}).spec
    assert (spec.use_ema, spec.learning_rate, spec.max_grad_norm) == (True, 1e-5, 1)


def test_validation_prompts_are_a_list_and_switches_can_be_taken_back() -> None:
    spec = parse(["--use_ema", "--validation_prompts", "a b", "c", "--no-use_ema"], {}).spec
    assert spec.validation_prompts == ("a b", "c")
    assert not spec.use_ema


def test_the_platforms_variables_count_inside_a_run_alone_and_flags_win() -> None:
    """`lr` in some user's shell must not set the learning rate of a drop-in."""
    env = {"lr": "1e-5", "batch_size": "3", "resolution": "64", "max_grad_norm": ""}
    assert parse([], env).spec.learning_rate == 1e-4
    spec = parse(["--resolution", "128"], {**env, "SDTUI_RUN_DIR": "/run"}).spec
    assert (spec.learning_rate, spec.train_batch_size, spec.resolution) == (1e-5, 3, 128)
    assert spec.max_grad_norm == 1.0
    with pytest.raises(UsageError, match="environment variable lr is 'fast'"):
        parse([], {"lr": "fast", "SDTUI_RUN_DIR": "/run"})


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--resolutoin", "512"], ["--resolutoin", "write --resolution"]),
        (["--resolution", "100"], ["--resolution is '100'", "multiple of 8"]),
        (["--learning_rate", "nan"], ["--learning_rate", "finite"]),
        (["--lr_scheduler", "cosin"], ["--lr_scheduler is 'cosin'", "'cosine'"]),
        (["--res", "512"], ["--res", "--help"]),
        (["--dream_training", "--input_perturbation", "0.1"], ["cannot be combined"]),
        (["word"], ["'word'", "does not know"]),
        (["--seed"], ["expected one argument"]),
    ],
)
def test_a_wrong_flag_is_named_with_what_would_be_right(argv: list[str], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse(argv, {})
    for word in words:
        assert word in str(caught.value)


def test_flags_without_effect_are_accepted_and_said() -> None:
    """A flag that silently does nothing is how hours are lost."""
    argv = ["--local_rank", "0", "--foreach_ema", "--dataset_name", "d", "--train_data_dir", "t",
            "--hub_model_id", "m", "--offload_ema", "--lr_warmup_steps", "10"]  # fmt: skip
    notes = " ".join(parse(argv, {}).notes)
    for flag in ("local_rank", "foreach_ema", "train_data_dir", "hub_model_id", "offload_ema",
                 "lr_warmup_steps"):  # fmt: skip
        assert flag in notes


def test_a_token_on_the_command_line_never_reaches_the_stored_settings() -> None:
    arguments = parse(["--hub_token", "hf_secret"], {})
    assert arguments.hub_token == "hf_secret"
    assert "hf_secret" not in str(arguments.spec)
    assert "hf_secret" not in " ".join(arguments.notes)


def test_a_wrong_flag_costs_no_import_of_torch(tmp_path: Path) -> None:
    """Five seconds for a typo, times two ranks; and the record must exist for the supervisor."""
    code = (
        "import sys; from sdcore.train.entry import main; code = main(['--bogus'])\n"
        "print(code, sorted({'torch', 'diffusers', 'numpy'} & set(sys.modules)))"
    )
    env = {"SDTUI_RUN_DIR": str(tmp_path), "PATH": "/usr/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout.strip() == "2 []"
    assert "the flag --bogus" in done.stderr
    assert '"outcome": "failed"' in (tmp_path / "ranks/rank-0.json").read_text()


def test_every_setting_has_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"], {})
    text = capsys.readouterr().out
    assert all(f"--{name}" in text for name in TrainSpec.model_fields)


def test_the_document_lists_every_flag_with_its_default() -> None:
    """docs/trainer.md is what people read; a flag added later must come to stand there."""
    text = (Path(__file__).parents[3] / "docs/trainer.md").read_text()
    for name, field in TrainSpec.model_fields.items():
        shown = {"None": "–", "True": "on", "False": "off"}.get(str(field.default), field.default)
        assert f"| `{name}` | {shown} | " in text
