"""Tensors of one shape out of a record store: in memory when they are few, else mapped."""

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from sdcore.train.cache import Place, RecordStore

# Sets up to this size are copied into memory; larger ones are left to the page cache, which
# all ranks of a host share.
IN_MEMORY = 1 << 30


def record_bytes(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    """Return the bytes of a tensor as it is stored."""
    return prod(shape) * dtype.itemsize


def to_record(tensor: Tensor) -> memoryview:
    """Return the raw bytes of a tensor, wherever it is; bit for bit what ``take`` gives back."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


class TensorRecords:
    """Tensors by slot number.

    Args:
        store: Holds them; its index of keys is dropped, for 200 bytes a record.
        places: Where the tensor of each slot is.
        shape: Of each.
        dtype: Of each.
        in_memory: Whether to copy them; left out, if they are few.
    """

    def __init__(
        self,
        store: RecordStore,
        places: Sequence[Place],
        shape: tuple[int, ...],
        dtype: torch.dtype,
        *,
        in_memory: bool | None = None,
    ) -> None:
        self._store, self._shape, self._dtype = store, shape, dtype
        self._packs = np.fromiter((place.pack for place in places), np.int32, len(places))
        self._index = np.fromiter((place.index for place in places), np.int64, len(places))
        store.forget_keys()
        self._memory: Tensor | None = None
        if in_memory is None:
            in_memory = len(places) * store.record_bytes <= IN_MEMORY
        if in_memory:
            self._memory = self._read(range(len(places)))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of each."""
        return self._shape

    def take(self, slots: Sequence[int]) -> Tensor:
        """Return a copy of the tensors of ``slots``, (N, *shape), on the CPU."""
        if self._memory is not None:
            return self._memory[torch.tensor(slots, dtype=torch.int64)]
        return self._read(slots)

    def _read(self, slots: Sequence[int]) -> Tensor:
        places = (Place(int(self._packs[slot]), int(self._index[slot])) for slot in slots)
        raw = torch.from_numpy(self._store.gather(places))
        return raw.view(self._dtype).reshape(len(slots), *self._shape)
