"""Writes a pipeline as the one file that image programs load.

    python -m sdcore.train.single_file FOLDER [--precision fp32] [--output FILE]

The file is in the layout of the original checkpoints (see ``original``) and is written tensor by
tensor, so memory holds one of them and not a model. Neither diffusers nor a model is loaded.

The format is safetensors': a length of 8 bytes, a header in JSON, then the bytes of all tensors.
"""

import argparse
import errno
import json
import os
import shlex
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, get_args

import torch
from safetensors import SafetensorError, safe_open

from sdcore.errors import ExitCode, NotReadyError, SdError
from sdcore.runs.files import read_json, sync_folder
from sdcore.runs.paths import SINGLE_FILE
from sdcore.task.train_spec import SingleFile, TrainSpec
from sdcore.train import original
from sdcore.train.checkpoint import DiskFullError, free_bytes, means_full
from sdcore.train.original import Place, UnknownLayoutError
from sdcore.train.report import Report
from sdcore.units import size

_DTYPES: dict[SingleFile, tuple[str, torch.dtype]] = {
    "fp16": ("F16", torch.float16),
    "fp32": ("F32", torch.float32),
}
# A count from 0 that older versions of transformers saved; image programs make it themselves.
_NO_WEIGHTS = ("position_ids",)
# By class of the pipeline: the parts that have weights.
_PARTS = {
    "StableDiffusionPipeline": ("unet", "vae", "text_encoder"),
    "StableDiffusionXLPipeline": ("unet", "vae", "text_encoder", "text_encoder_2"),
}


@dataclass(frozen=True, slots=True)
class _Piece:
    """A tensor of the pipeline."""

    file: Path
    key: str
    shape: tuple[int, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class _Entry:
    """A tensor of the file: one piece, or several along the first axis."""

    name: str
    pieces: tuple[_Piece, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        first = self.pieces[0]
        if first.place.turned:
            return first.shape[::-1]
        rows = sum(piece.shape[0] for piece in self.pieces)
        return (rows, *first.shape[1:], *((1, 1) if first.place.kernel else ()))


def export(folder: Path, target: Path | None = None, precision: SingleFile = "fp16") -> Path:
    """Write the pipeline in ``folder`` as one file, which appears whole or not at all.

    Args:
        folder: A pipeline of Stable Diffusion 1.x, 2.x or XL, in safetensors.
        target: The file; left out, ``single_file.safetensors`` in the folder.
        precision: Of all weights in the file.

    Returns:
        The file.

    Raises:
        DiskFullError: There is no room for it.
        NotReadyError: The pipeline has no such form, or it cannot be read or written.
    """
    target = target or folder / SINGLE_FILE
    aside = target.with_name(f".{target.name}.partial")
    try:
        aside.unlink(missing_ok=True)  # of a kill: it may take up the room
        entries = _entries(folder)
        header = _header(entries, precision)
        _check_space(target, len(header) + sum(_bytes(entry, precision) for entry in entries))
        with aside.open("wb") as file:
            file.write(header)
            _write(file, entries, _DTYPES[precision][1])
            file.flush()
            os.fsync(file.fileno())
        aside.replace(target)
        sync_folder(target.parent)
    except UnknownLayoutError as error:
        raise _unlike(folder, error) from error
    except (OSError, SafetensorError) as error:
        kind = DiskFullError if means_full(error) else NotReadyError
        raise kind(
            f"the single file {target} could not be written",
            cause=str(error).removeprefix(f"[Errno {errno.ENOSPC}] "),
            remedy=f"{'make room there' if kind is DiskFullError else 'look at the files'}, then "
            f"run `{_command(folder, target, precision)}`: the pipeline is as it was",
        ) from error
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
    return target


def publish(folder: Path, spec: TrainSpec, report: Report) -> None:
    """Write the file if it is wanted; a failure is a warning: the pipeline is on disk by then."""
    target, earlier = folder / SINGLE_FILE, (folder / SINGLE_FILE).exists()
    if spec.save_single_file is not None:
        try:
            export(folder, target, spec.save_single_file)
        except SdError as error:
            report.warn(f"{error.what}: {error.cause}; {error.remedy}")
        else:
            report.say(f"single file: {target}  {size(target.stat().st_size)}")
            return
    if earlier and not spec.train_lora:
        report.warn(f"{target} is of an earlier training, and not of the pipeline beside it")


def check(parts: Any) -> None:
    """Refuse a model that has no such form, before it is trained for hours.

    Args:
        parts: The loaded ``models.Models``.

    Raises:
        NotReadyError: It has none.
    """
    try:
        configs = {part: _config_of(model) for part, model in parts.weights.items()}
        weights = {part: _weights(model.state_dict()) for part, model in parts.weights.items()}
        original.check_names(original.names_of(**configs), weights)
    except UnknownLayoutError as error:
        raise NotReadyError(
            "save_single_file with this model",
            cause=f"{error}, so image programs have no form of it",
            remedy="leave save_single_file out",
        ) from error


def _config_of(model: Any) -> dict[str, Any]:
    config = model.config
    return dict(config) if isinstance(config, dict) else config.to_dict()


def _entries(folder: Path) -> list[_Entry]:
    """Return what the file will hold, part by part; only headers are read."""
    kind = (read_json(folder / "model_index.json") or {}).get("_class_name")
    if kind not in _PARTS:
        known = " or ".join(_PARTS)
        raise UnknownLayoutError(f"its model_index.json tells of {kind}, and not of {known}")
    configs = {part: read_json(folder / part / "config.json") or {} for part in _PARTS[kind]}
    names = original.names_of(**configs)
    joined: dict[str, list[_Piece]] = defaultdict(list)
    for part, place in names.parts.items():
        for piece in _pieces(folder / part, place):
            joined[piece.place.name].append(piece)
    return [
        _Entry(name, tuple(sorted(pieces, key=lambda piece: piece.place.order)))
        for name, pieces in joined.items()
    ]


def _pieces(part: Path, place: Any) -> Iterator[_Piece]:
    for file in _files(part):
        with safe_open(file, "pt") as weights:
            for key in _weights(weights.keys()):
                yield _Piece(file, key, tuple(weights.get_slice(key).get_shape()), place(key))


def _files(part: Path) -> list[Path]:
    """Return a part's files of weights: one, or the pieces of a very large model."""
    for stem in ("diffusion_pytorch_model", "model"):
        whole = part / f"{stem}.safetensors"
        found = [whole] if whole.is_file() else sorted(part.glob(f"{stem}-*-of-*.safetensors"))
        if found:
            return found
    raise FileNotFoundError(f"{part} holds no weights in safetensors")


def _weights(names: Any) -> list[str]:
    return [name for name in names if not name.endswith(_NO_WEIGHTS)]


def _bytes(entry: _Entry, precision: SingleFile) -> int:
    return prod(entry.shape) * _DTYPES[precision][1].itemsize


def _header(entries: Sequence[_Entry], precision: SingleFile) -> bytes:
    """Return the length, and the header padded so that the first tensor lies at a multiple of 8."""
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for entry in entries:
        end = at + _bytes(entry, precision)
        table[entry.name] = {
            "dtype": _DTYPES[precision][0], "shape": list(entry.shape), "data_offsets": [at, end],
        }  # fmt: skip
        at = end
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _check_space(target: Path, needed: int) -> None:
    free = free_bytes(target.parent)
    if free < needed:
        raise OSError(errno.ENOSPC, f"it takes {size(needed)}, and {size(free)} are free")


def _write(file: IO[bytes], entries: Sequence[_Entry], dtype: torch.dtype) -> None:
    for entry in entries:
        for piece in entry.pieces:
            # Opened for each: a mapped file counts as memory for as long as it is open.
            with safe_open(piece.file, "pt") as weights:
                tensor = weights.get_tensor(piece.key)
            rounded = (tensor.T if piece.place.turned else tensor).to(dtype).contiguous()
            if not rounded.isfinite().all() and tensor.isfinite().all():
                raise NotReadyError(
                    f"the weights {piece.key} in {piece.file} as fp16",
                    cause=f"they reach {tensor.abs().max():.3g}, and fp16 ends at 65,504",
                    remedy="write the single file in fp32",
                )
            file.write(memoryview(rounded.flatten().view(torch.uint8).numpy()))


def _unlike(folder: Path, error: Exception) -> NotReadyError:
    return NotReadyError(
        f"the pipeline {folder} has no single-file form",
        cause=str(error),
        remedy="use the pipeline folder itself; diffusers and many image programs load it",
    )


def _command(folder: Path, target: Path, precision: SingleFile) -> str:
    """Return what a person types to try again."""
    words = ["python", "-m", "sdcore.train.single_file", str(folder)]
    words += ["--precision", precision] if precision != "fp16" else []
    words += ["--output", str(target)] if target != folder / SINGLE_FILE else []
    return shlex.join(words)


def main(argv: Sequence[str] | None = None) -> int:
    """Convert a pipeline that is there already.

    Returns:
        0 done, 2 wrong arguments, 3 the pipeline or the disk cannot do it.
    """
    parser = argparse.ArgumentParser(
        prog="python -m sdcore.train.single_file",
        description="Write a Stable Diffusion pipeline folder as the one file image programs load.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the pipeline")
    parser.add_argument("--precision", choices=get_args(SingleFile), default="fp16")
    parser.add_argument("--output", type=Path, metavar="FILE",
                        help=f"left out, {SINGLE_FILE} in FOLDER")  # fmt: skip
    given = parser.parse_args(argv)
    try:
        target = export(given.folder, given.output, given.precision)
    except SdError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{target}  {size(target.stat().st_size)}\n")
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
