"""Where presets and their schema lie, and the platform's names: cheap to import, for completion."""

from pathlib import Path

SCHEMA = "preset.schema.json"
# The six names of the platform's environment table, and the settings they stand for.
PLATFORM_ENV: dict[str, str] = {
    "resolution": "resolution",
    "batch_size": "train_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "max_train_steps": "max_train_steps",
    "lr": "learning_rate",
    "max_grad_norm": "max_grad_norm",
}


def shipped_folder() -> Path:
    """Return the folder of the presets that come with the program."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "presets"
    return installed if installed.is_dir() else package.parents[1] / "presets"
