"""Low-rank adapters (LoRA): small trained matrices beside the frozen layers of a model.

A layer of weights W computes with W + (alpha / rank) B A, where A is (rank, in) and B is
(out, rank): Hu et al. 2021, arXiv:2106.09685, section 4.1. peft puts the matrices in; B begins at
zero, so that training begins with the model as it is.

A host is a part of the pipeline that gets adapters: ``unet``, ``text_encoder`` and, of SDXL,
``text_encoder_2``. Files are in the
layout of diffusers' ``save_lora_weights``, so ``pipe.load_lora_weights`` takes any of them, those
of checkpoints included.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sdcore.errors import NotReadyError, UsageError
from sdcore.runs.files import sync_folder
from sdcore.runs.paths import LORA_WEIGHTS
from sdcore.task.train_spec import TrainSpec
from sdcore.train.checkpoint import unpublished
from sdcore.train.families import Family
from sdcore.train.hiding import hidden
from sdcore.train.parts import HostMemory, Write
from sdcore.train.randomness import Stream, normal

UNET = "unet"
# The projections of attention in CLIP, whose names transformers fixes.
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")
_ADAPTER = "default"
_FRAMEWORK = {"format": "pt"}
_METADATA = "lora_adapter_metadata"  # diffusers' own: how to build the adapters again
_ENDINGS = {
    True: {"lora_A": "lora.down.weight", "lora_B": "lora.up.weight"},
    False: {"lora_A": "lora_linear_layer.down.weight", "lora_B": "lora_linear_layer.up.weight"},
}


Targets = Mapping[str, Sequence[str]]  # by host: ends of the names of its layers that get adapters


class Adapters(nn.Module):
    """The trained matrices of all hosts, under their names in a file.

    They are the hosts' own parameters, and no copies; a deep copy of this module holds copies of
    the matrices and nothing of the hosts.

    Args:
        hosts: By name; adapters are in them.
        scale: alpha / rank.
        targets: The layers that have adapters.
    """

    def __init__(self, hosts: Mapping[str, nn.Module], scale: float, targets: Targets) -> None:
        super().__init__()
        found = {
            _name(host, model, name): parameter
            for host, model in hosts.items()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        self.names, self.scale, self.targets = list(found), scale, targets
        self.weights = nn.ParameterList(found.values())

    def tensors(self) -> dict[str, Tensor]:
        """Return the matrices by name, by reference."""
        return {
            name: weight.detach() for name, weight in zip(self.names, self.weights, strict=True)
        }

    def folded(self) -> dict[str, Tensor]:
        """Return the matrices with the scale in them.

        Outside of diffusers alpha is taken for the rank where a file does not say otherwise, and
        each program wants it said in another way: a file with nothing to say is read alike by all.
        """
        return {
            name: tensor * self.scale if name.endswith("up.weight") else tensor
            for name, tensor in self.tensors().items()
        }

    def load(self, file: Path) -> None:
        """Take the matrices of a checkpoint.

        Raises:
            NotReadyError: They are of other layers or another rank.
        """
        saved = load_file(file)
        shapes = {name: tuple(tensor.shape) for name, tensor in saved.items()}
        if shapes != {name: tuple(tensor.shape) for name, tensor in self.tensors().items()}:
            raise NotReadyError(
                f"the adapters in {file}",
                cause="they are of other layers, or of another rank, than the model's",
                remedy="resume with the model and the LoRA settings that the run began with",
            )
        for name, weight in self.tensors().items():
            weight.copy_(saved[name])

    @contextmanager
    def swapped(self, other: "Adapters") -> Iterator[None]:
        """Let the hosts compute with the matrices of ``other``, and with their own afterwards."""
        mine = [weight.data for weight in self.weights]
        try:
            for weight, theirs in zip(self.weights, other.weights, strict=True):
                weight.data = theirs.data.to(weight.device)
            yield
        finally:
            for weight, own in zip(self.weights, mine, strict=True):
                weight.data = own


def _name(host: str, model: nn.Module, name: str) -> str:
    """Return the name in a file of a parameter of peft: ``….to_q.lora_A.default.weight``."""
    layer, _, matrix = name.removesuffix(f".{_ADAPTER}.weight").rpartition(".")
    # CLIP lost a level of its names in transformers 5; files keep it, and readers drop it.
    inner = "" if host == UNET or hasattr(model, "text_model") else "text_model."
    return f"{host}.{inner}{layer}.{_ENDINGS[host == UNET][matrix]}"


def _targets(hosts: Mapping[str, nn.Module], spec: TrainSpec, family: Family) -> Targets:
    """Return the layers that get adapters.

    Those of a text encoder that have no effect on what is drawn, such as the last one of SDXL's
    first, get none: they would never have a gradient.
    """
    found: dict[str, Sequence[str]] = {}
    for host, model in hosts.items():
        found[host] = spec.lora_target_modules
        if host != UNET:
            layers: int = model.config.num_hidden_layers  # type: ignore[assignment,union-attr]
            used = range(layers - family.idle[host]) if host in family.idle else None
            found[host] = TEXT_TARGETS if used is None else [
                f"layers.{n}.self_attn.{end}" for n in used for end in TEXT_TARGETS
            ]  # fmt: skip
    return found


def attach(hosts: Mapping[str, nn.Module], spec: TrainSpec, seed: int, family: Family) -> Adapters:
    """Put adapters into frozen models; only the adapters then want gradients.

    Args:
        hosts: On their device and in their precision; the adapters are fp32 in any case.
        spec: Rank, alpha, dropout.
        seed: Of the run. What a matrix begins with follows from it and the matrix's name.
        family: Of the model.
    """
    targets = _targets(hosts, spec, family)
    for host, model in hosts.items():
        # Its first numbers come from torch's own generator, and are replaced below.
        # Where peft finds bitsandbytes it loads it, as diffusers does: see ``session``.
        with torch.random.fork_rng(devices=[]), hidden("bitsandbytes"):
            inject_adapter_in_model(_config(spec, targets[host]), model, _ADAPTER)
        for module in model.modules():
            if isinstance(module, LoraLayer):
                # Autocast does that: peft would make an fp32 copy of every input, to no effect.
                module.cast_input_dtype_enabled = False
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    adapters = Adapters(hosts, (spec.lora_alpha or spec.rank) / spec.rank, targets)
    for name, tensor in adapters.tensors().items():
        if name.endswith("down.weight"):
            # As diffusers' script begins, which asks peft for "gaussian": deviation 1 / rank.
            start = normal(seed, Stream.ADAPTER, [_position(name)], tuple(tensor.shape))[0]
            tensor.copy_(start / spec.rank)
        else:
            tensor.zero_()
    return adapters


def _config(spec: TrainSpec, targets: Sequence[str]) -> LoraConfig:
    return LoraConfig(
        r=spec.rank,
        lora_alpha=spec.lora_alpha or spec.rank,
        lora_dropout=spec.lora_dropout,
        target_modules=list(targets),
    )


def _position(name: str) -> int:
    """Return a position for a name, in [0, 2^63): no matrix's start depends on the others."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def check_targets(unet: nn.Module, targets: tuple[str, ...]) -> None:
    """Refuse names that no layer of the U-Net has; peft leaves them out without a word.

    Raises:
        UsageError: A name ends no layer's, or that of one that is not linear or convolutional.
    """
    layers = {name: module for name, module in unet.named_modules() if name}
    for target in targets:
        hits = [m for name, m in layers.items() if f".{name}".endswith(f".{target}")]
        if hits and all(isinstance(module, nn.Linear | nn.Conv2d) for module in hits):
            continue
        kind = f"it is a {type(hits[0]).__name__}" if hits else "no layer's name ends so"
        raise UsageError(
            f"lora_target_modules {target}",
            cause=f"{kind}, and adapters go into linear and convolutional layers of the U-Net",
            remedy="name layers such as to_q, to_k, to_v, to_out.0, proj_in, ff.net.2 or conv1",
        )


class AdaptersPart:
    """Adapters in a checkpoint; see ``parts.Part``.

    Args:
        name: The folder.
        adapters: Read at each snapshot.
        spec: For the file's note on alpha and rank.
    """

    def __init__(self, name: str, adapters: Adapters, spec: TrainSpec) -> None:
        self.name, self._adapters, self._memory = name, adapters, HostMemory()
        # One entry alone: safetensors writes several in an order that changes from run to run.
        self._metadata = {_METADATA: json.dumps(_described(adapters, spec))}

    @property
    def size(self) -> int:
        """Bytes of the matrices."""
        return sum(tensor.nbytes for tensor in self._adapters.weights)

    @property
    def held(self) -> int:
        """Bytes of host memory that copies hold already."""
        return self._memory.size

    def snapshot(self, *, copied: bool) -> Write:
        """See ``parts.Part``."""
        tensors = self._adapters.tensors()
        if copied:
            tensors = self._memory.copy(tensors, dense=True)

        def write(folder: Path) -> None:
            (folder / self.name).mkdir()
            _write(folder / self.name / LORA_WEIGHTS, tensors, self._metadata)

        return write


def _described(adapters: Adapters, spec: TrainSpec) -> dict[str, Any]:
    """Say how diffusers builds the adapters again: without it, it takes alpha for the rank."""
    hosts = {name.partition(".")[0] for name in adapters.names}
    return {
        f"{host}.{key}": value
        for host in sorted(hosts)
        for key, value in {
            "r": spec.rank,
            "lora_alpha": spec.lora_alpha or spec.rank,
            "target_modules": list(adapters.targets[host]),
        }.items()
    }


def publish(folder: Path, adapters: Adapters) -> int:
    """Write the file that users load, into a folder that may hold other things.

    Returns:
        Bytes written.

    Raises:
        DiskFullError: There is no room for it now.
        NotReadyError: It cannot be written.
    """
    final = folder / LORA_WEIGHTS
    aside = final.with_name(f".{LORA_WEIGHTS}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(aside, adapters.folded(), _FRAMEWORK)
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(final)
        sync_folder(folder)
    except (OSError, SafetensorError) as error:
        aside.unlink(missing_ok=True)
        raise unpublished("adapters", folder, error) from error
    return final.stat().st_size


def _write(file: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    save_file({name: t.cpu().contiguous() for name, t in tensors.items()}, file, metadata)
