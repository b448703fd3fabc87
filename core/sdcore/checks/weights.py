"""Weight files of a pipeline: which there are, and what their headers say. Reads no weights."""

import json
import struct
from math import prod
from pathlib import Path
from typing import Any

from sdcore.data.wording import shown, why
from sdcore.errors import NotReadyError

_LFS = b"version https://git-lfs"
_MOST_HEADER = 100 << 20  # safetensors' own limit: a false length must not be read into memory
_DTYPES = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F64": "fp64"}


def broken(path: Path, cause: str) -> NotReadyError:
    """Build the error for a file of the model that is damaged."""
    return NotReadyError(
        f"{shown(str(path), 300)} cannot be read",
        cause=shown(cause, 200),
        remedy="copy the model folder again, whole",
    )


def weight_files(folder: Path, variant: str | None, suffix: str = "safetensors") -> list[Path]:
    """Return the weight files of a part that would be loaded, shards included."""
    middle = f".{variant}" if variant else ""
    stem = "model" if folder.name.startswith("text_encoder") else "diffusion_pytorch_model"
    if suffix == "bin" and stem == "model":
        stem = "pytorch_model"
    whole = folder / f"{stem}{middle}.{suffix}"
    if whole.is_file():
        return [whole]
    shards = [*folder.glob(f"{stem}{middle}-*-of-*.{suffix}")]
    if variant:
        shards += folder.glob(f"{stem}-*-of-*{middle}.{suffix}")
    return sorted(shards)


def is_pointer(path: Path) -> bool:
    """Tell whether a file is empty or a Git LFS pointer: its content was never downloaded."""
    with path.open("rb") as file:
        start = file.read(len(_LFS))
    return start in {b"", _LFS}


def count_parameters(files: list[Path]) -> tuple[int | None, str | None]:
    """Return parameters and precision from the headers of safetensors; None if there are none.

    Raises:
        NotReadyError: A file is cut short or is no safetensors.
    """
    total, kinds = 0, set()
    for path in files:
        header = _header(path)
        if header is None:
            return None, None
        for name, tensor in header.items():
            if name != "__metadata__":
                total += prod(tensor["shape"])
                kinds.add(tensor["dtype"])
    words = sorted(_DTYPES.get(kind, kind.lower()) for kind in kinds)
    return (total, " and ".join(words)) if total else (None, None)


def _header(path: Path) -> dict[str, Any] | None:
    if is_pointer(path):
        return None  # reported by name elsewhere
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(_MOST_HEADER, path.stat().st_size):
                raise broken(path, f"its header claims {length:,} bytes: the file is cut short")
            header = json.loads(file.read(length))
    except (OSError, ValueError, RecursionError, struct.error) as error:
        raise broken(path, why(error)) from error
    _check_length(path, 8 + length, header)
    return header if isinstance(header, dict) else None


def _check_length(path: Path, start: int, header: dict[str, Any]) -> None:
    """Refuse a file that ends before its last tensor: a download that was interrupted."""
    try:
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name[0] != "_"]
        short = start + max(ends, default=0) - path.stat().st_size
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise broken(path, "its header is not one of safetensors") from error
    if short > 0:
        raise broken(path, f"{short:,} bytes are missing at its end")
