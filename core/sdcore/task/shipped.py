"""Where the presets that come with the program lie, and their schema; cheap to import."""

from pathlib import Path

SCHEMA = "preset.schema.json"


def shipped_folder() -> Path:
    """Return the folder of the presets that come with the program."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "presets"
    return installed if installed.is_dir() else package.parents[1] / "presets"
