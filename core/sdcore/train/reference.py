"""Checkpoints of diffusers' ``train_text_to_image.py``, in the layout of accelerate's states.

``checkpoint-N/`` holds ``unet/``, ``unet_ema/``, ``optimizer.bin``, ``scheduler.bin``,
``random_states_R.pkl`` and, under fp16, ``scaler.pt``. Weights, average, moments, loss scaling and
step are taken over. The rate is a function of the step here, so the scheduler is not needed; the
random states are pickles of a kind that can run code, and are never opened.
"""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from sdcore.errors import NotReadyError
from sdcore.train.checkpoint import Progress

_NAME = re.compile(r"checkpoint-(\d+)")
INEXACT = (
    "noise, timesteps and the order of the images are this trainer's own from here on",
    "it records no settings and no data: that they are the same is up to you",
    "it records no place within an epoch: the data goes on as if each step had been a full one",
    "its files have no hashes: that they can be read was all there was to check",
)


def step_of(folder: Path) -> int | None:
    """Return N of a folder named ``checkpoint-N`` that is not one of ours, or None."""
    match = _NAME.fullmatch(folder.name)
    return int(match.group(1)) if match and not (folder / "manifest.json").exists() else None


def folders(parent: Path) -> list[Path]:
    """Return the ``checkpoint-N`` folders of an ``output_dir``, by rising N."""
    if not parent.is_dir():
        return []
    found = [(step, entry) for entry in parent.iterdir() if (step := step_of(entry)) is not None]
    return [entry for _, entry in sorted(found)]


def fault_of(folder: Path) -> str | None:
    """Say why ``folder`` cannot be gone on from, or None; a cut file is found, a flipped bit not.

    Archives of torch carry a checksum for each tensor; safetensors have their length alone.
    """
    if (folder / "pytorch_lora_weights.safetensors").exists():
        return "it holds LoRA weights, and only whole U-Nets of the reference are taken over"
    averaged = ("unet_ema",) if (folder / "unet_ema").exists() else ()
    scaled = ("scaler.pt",) if (folder / "scaler.pt").exists() else ()
    faults = [_model_fault(folder, name) for name in ("unet", *averaged)]
    faults += [_archive_fault(folder / name) for name in ("optimizer.bin", *scaled)]
    return next((fault for fault in faults if fault is not None), None)


def progress(folder: Path) -> Progress:
    """Return what a checkpoint that has no fault says of its training; most is None."""
    step = step_of(folder)
    assert step is not None
    scaler = folder / "scaler.pt"
    average = folder / "unet_ema" / "config.json"
    config = json.loads(average.read_bytes()) if average.exists() else {}
    return Progress(
        step=step, window=step, samples=None, seed=None, images=None, fingerprint=None,
        world_size=1, skipped=0, scaler=_load(scaler) if scaler.exists() else {},
        ema_updates=config.get("optimization_step"), lr=0.0, device="", precision="", spec={},
    )  # fmt: skip


def load_optimizer(folder: Path, optimizer: torch.optim.Optimizer) -> None:
    """Take the moments over; the settings stay those of ``optimizer``.

    Raises:
        NotReadyError: They are of another kind of optimizer or of another model.
    """
    path, groups = folder / "optimizer.bin", optimizer.state_dict()["param_groups"]
    state = _load(path)["state"]
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    fault = _mismatch(state, weights, quantized="fused" not in optimizer.defaults)
    if fault is not None:
        raise NotReadyError(
            f"the optimizer's state {path}",
            cause=fault,
            remedy="give the model and use_8bit_adam as that training had them",
        )
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _mismatch(state: dict[int, Any], weights: list[torch.Tensor], *, quantized: bool) -> str | None:
    if len(state) != len(weights):
        return f"it is of {len(state)} weights, the model has {len(weights)}"
    mark = "state1" if quantized else "exp_avg"
    for number, weight in enumerate(weights):
        moment = state.get(number, {}).get(mark)
        if moment is None:
            return f"it is not of {'8-bit' if quantized else '32-bit'} AdamW"
        if moment.numel() != weight.numel():
            return f"weight {number} has another size than the model's"
    return None


def _model_fault(folder: Path, name: str) -> str | None:
    weights = sorted((folder / name).glob("*.safetensors"))
    if not weights or not (folder / name / "config.json").is_file():
        return f"{name}/ holds no diffusers model in safetensors"
    for path in weights:
        try:
            with safe_open(path, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            return f"{name}/{path.name} cannot be read: {error}"
    return None


def _archive_fault(path: Path) -> str | None:
    if not path.is_file():
        return f"{path.name} is missing"
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        return f"{path.name} cannot be read: {error}"
    return f"{path.name} is damaged at {broken}" if broken else None


def _load(path: Path) -> Any:
    """Read tensors and plain values; ``weights_only``: a file must not be able to run code."""
    return torch.load(path, map_location="cpu", weights_only=True)
