"""Copies a pipeline folder in half precision, as the demo ships it."""

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline


def pack(source: Path, target: Path) -> None:
    """Write ``source`` to ``target`` in fp16, without the paths of the machine it was made on."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        source, dtype=torch.float16, safety_checker=None, requires_safety_checker=False
    )
    if target.exists():
        shutil.rmtree(target)
    pipeline.save_pretrained(target)
    for file in target.rglob("*"):
        if file.is_file():
            file.chmod(0o644)  # safetensors writes 0600, and a mount may be read by another user
        if file.suffix == ".json":
            _drop_path(file)


def _drop_path(file: Path) -> None:
    """Remove the key in which diffusers keeps the folder a part was loaded from."""
    record = json.loads(file.read_text(encoding="utf-8"))
    if record.pop("_name_or_path", None) is not None:
        file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Pack one pipeline folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("source", type=Path, help="a pipeline folder")
    parser.add_argument("target", type=Path, help="where to write; replaced if it exists")
    args = parser.parse_args()
    pack(args.source, args.target)


if __name__ == "__main__":
    main()
