"""What a checkpoint is made of, each part saved in two halves: a copy now, a file later.

The copy is all that training waits for. It lies in host memory that is kept from save to save:
page-locking gigabytes anew takes longer than filling them. Files are written from it by another
thread, while the weights themselves move on.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from sdcore.train.footprint import state_bytes

Write = Callable[[Path], None]


class Part(Protocol):
    """One file or folder of a checkpoint.

    Attributes:
        name: Its name in the checkpoint's folder.
    """

    name: str

    @property
    def size(self) -> int:
        """About the bytes on disk, also before the first update."""

    @property
    def held(self) -> int:
        """Bytes of host memory that copies hold already."""

    def snapshot(self, *, copied: bool) -> Write:
        """Return what writes the state of now into the folder of a checkpoint.

        Args:
            copied: Copy the state to host memory, so that what is returned may be called from
                another thread while training goes on. From a GPU the copy is queued ahead of
                the next update, and is there once the device was waited for. The next snapshot
                fills the same memory again. If not, it must be called before the state changes.
        """


class HostMemory:
    """Copies of tensors in host memory, filled anew at each save; page-locked for a GPU's."""

    def __init__(self) -> None:
        self._copies: dict[str, Tensor] = {}

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(tensor.nbytes for tensor in self._copies.values())

    def copy(self, tree: Any, *, dense: bool = False) -> Any:
        """Return ``tree`` of dicts, lists and tuples with every tensor copied.

        From a GPU the copies are queued when this returns; see ``Part.snapshot``.

        Args:
            tree: Other leaves must not change later.
            dense: Copies are contiguous, whatever the order of the original's memory.
        """
        return self._copy(tree, "", dense=dense)

    def _copy(self, tree: Any, path: str, *, dense: bool) -> Any:
        if isinstance(tree, Tensor):
            return self._take(tree.detach(), path, dense=dense)
        if isinstance(tree, dict):
            return {key: self._copy(v, f"{path}/{key}", dense=dense) for key, v in tree.items()}
        if isinstance(tree, list | tuple):
            return type(tree)(self._copy(v, f"{path}/{i}", dense=dense) for i, v in enumerate(tree))
        return tree

    def _take(self, tensor: Tensor, path: str, *, dense: bool) -> Tensor:
        layout = torch.contiguous_format if dense else torch.preserve_format
        kept = self._copies.get(path)
        if kept is None or kept.shape != tensor.shape or kept.dtype != tensor.dtype:
            kept = torch.empty_like(
                tensor, device="cpu", pin_memory=tensor.is_cuda, memory_format=layout
            )
            self._copies[path] = kept
        return kept.copy_(tensor, non_blocking=True)


class ModelPart:
    """A diffusers model, as its ``save_pretrained`` writes it: fp32 safetensors and a config.

    Args:
        name: The folder.
        model: Of diffusers; its weights are read at each snapshot.
    """

    def __init__(self, name: str, model: Any) -> None:
        self.name, self._model, self._memory = name, model, HostMemory()

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        return sum(p.numel() * p.element_size() for p in self._model.parameters())

    @property
    def held(self) -> int:
        """Bytes of host memory that copies hold already."""
        return self._memory.size

    def snapshot(self, *, copied: bool) -> Write:
        """See ``Part``."""
        model = self._model
        if copied:
            weights = self._memory.copy(dict(model.state_dict()), dense=True)
            model = copy.copy(model)  # the config is shared, the weights are replaced
            model.state_dict = lambda: weights
        return lambda folder: model.save_pretrained(folder / self.name)


class OptimizerPart:
    """The state of an optimizer, by number of the parameter: ``optimizer.pt``."""

    name = "optimizer.pt"

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer, self._memory = optimizer, HostMemory()

    @property
    def size(self) -> int:
        """About the bytes on disk: before the first update there is no state to measure."""
        return state_bytes(self._optimizer)

    @property
    def held(self) -> int:
        """Bytes of host memory that copies hold already."""
        return self._memory.size

    def snapshot(self, *, copied: bool) -> Write:
        """See ``Part``."""
        state = self._optimizer.state_dict()
        if copied:
            state = self._memory.copy(state)
        return lambda folder: torch.save(state, folder / self.name)
