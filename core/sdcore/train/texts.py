"""Captions as text embeddings, each distinct one encoded once and kept on disk.

B draws, L tokens (77), D text width (768 or 1024).

An embedding follows from the token ids and the encoder alone, so the ids are the key: two
tokenizers that agree on a caption share its record, and one that differs cannot be confused.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sdcore.data import DataIndex
from sdcore.errors import NotReadyError
from sdcore.train.cache import RecordStore, key_of
from sdcore.train.encoder import freeze, module_hash, run_finite
from sdcore.train.filling import Progress
from sdcore.train.latents import Draw
from sdcore.train.records import TensorRecords, record_bytes, to_record

T = TypeVar("T")

_BATCH = 64
_TOKENIZED = 4096  # captions tokenized at once: 2.5 MB of ids


# The captions of draws as the network takes them: (B, L, D) or, where it encodes them, (B, L).
Texts = Callable[[Sequence[Draw]], Tensor]


class Captions:
    """The distinct captions of a data set, and which of them a draw shows.

    Args:
        index: The data.
        empty: Have the empty caption, too, for draws without one.

    Attributes:
        texts: Each caption once.
    """

    def __init__(self, index: DataIndex, *, empty: bool) -> None:
        numbers: dict[str, int] = {}
        slots = [numbers.setdefault(c, len(numbers)) for row in index.rows for c in row.captions]
        if empty:
            slots.append(numbers.setdefault("", len(numbers)))
        self.texts = list(numbers)
        self._slots: npt.NDArray[np.int64] = np.asarray(slots, np.int64)
        counts = (len(row.captions) for row in index.rows)
        self._first: npt.NDArray[np.int64] = np.cumsum([0, *counts], dtype=np.int64)

    def shown(self, draws: Sequence[Draw]) -> list[int]:
        """Return the place in ``texts`` of each draw's caption."""
        at = [
            -1 if draw.caption is None else int(self._first[draw.row]) + draw.caption
            for draw in draws
        ]
        return [int(slot) for slot in self._slots[at]]


class TextSource:
    """Gives the embeddings for draws.

    Args:
        records: Of each caption's embedding.
        captions: In that order.
    """

    def __init__(self, records: TensorRecords, captions: Captions) -> None:
        self._records, self._captions = records, captions

    def embeddings(self, draws: Sequence[Draw]) -> Tensor:
        """Return (B, L, D), in the encoder's precision, on the CPU; safe from several threads."""
        return self._records.take(self._captions.shown(draws))


class TokenSource:
    """Gives the token ids for draws, for a text encoder that runs at every step.

    Args:
        captions: All there are.
        tokenizer: A ``CLIPTokenizer``.
        text_encoder: A ``CLIPTextModel``, which limits their length.
    """

    def __init__(self, captions: Captions, tokenizer: Any, text_encoder: Any) -> None:
        length = _length(tokenizer, text_encoder)
        self._captions = captions
        # Four bytes each: 31 MB for 100,000 captions.
        parts = [_ids(tokenizer, s, length).int() for s in _chunks(captions.texts, _TOKENIZED)]
        self._ids_NL = torch.cat(parts)

    def ids(self, draws: Sequence[Draw]) -> Tensor:
        """Return (B, L), int64, on the CPU."""
        return self._ids_NL[self._captions.shown(draws)].long()


def build_texts(
    index: DataIndex,
    tokenizer: Any,
    text_encoder: Any,
    device: torch.device,
    dtype: torch.dtype,
    *,
    cache_root: Path,
    rank: int,
    world_size: int,
    barrier: Callable[[], None],
    progress: Progress,
    empty: bool = False,
) -> TextSource:
    """Make the captions of ``index`` ready for training.

    Tokens are padded to the tokenizer's length and cut there, and the encoder sees no attention
    mask, as in diffusers' script. Ranks share the encoding as in ``latents.build_latents``.

    Args:
        index: The data.
        tokenizer: A ``CLIPTokenizer``.
        text_encoder: A ``CLIPTextModel``; moved to ``device`` and ``dtype``, frozen.
        device: Where to encode.
        dtype: In what precision.
        cache_root: The folder of all caches.
        rank: Of this process.
        world_size: Number of processes.
        barrier: Waits for all of them.
        progress: Told (done, total) in distinct captions, of this rank's share.
        empty: Make the empty caption ready, too, for draws without one.

    Raises:
        NotReadyError: No room for the cache.
    """
    encode = _Encode(tokenizer, text_encoder, device, dtype)
    captions = Captions(index, empty=empty)
    texts = captions.texts
    keys = encode.keys(texts)
    store = RecordStore(cache_root / "texts" / encode.hash[:32], record_bytes(encode.shape, dtype))
    missing = _missing(store, keys)
    store.need(len(missing))
    # By number, not by place in this list: a rank that looks later finds fewer missing.
    own = [number for number in missing if number % world_size == rank]
    _fill(encode, store, own, texts, keys, progress)
    barrier()
    store.refresh()
    _fill(encode, store, _missing(store, keys), texts, keys, progress)
    store.refresh()
    places = [store.place(key) for key in keys]
    if None in places:
        raise NotReadyError(
            f"records are missing from the cache folder {store.folder}",
            cause="it was emptied while it was being filled",
            remedy="start again",
        )
    kept = [place for place in places if place is not None]
    return TextSource(TensorRecords(store, kept, encode.shape, dtype), captions)


class _Encode:
    """A tokenizer and its encoder as one function, with what its output depends on."""

    def __init__(
        self, tokenizer: Any, text_encoder: Any, device: torch.device, dtype: torch.dtype
    ) -> None:
        freeze(text_encoder, device, dtype)
        self._tokenizer, self._encoder = tokenizer, text_encoder
        self._device, self._dtype = device, dtype
        self._length = _length(tokenizer, text_encoder)
        self.shape = (self._length, int(text_encoder.config.hidden_size))
        self.hash = module_hash(text_encoder, dtype=dtype)

    def keys(self, texts: Sequence[str]) -> list[bytes]:
        """Return the cache key of each caption."""
        found = []
        for some in _chunks(texts, _TOKENIZED):
            ids_NL = _ids(self._tokenizer, some, self._length)
            found += [key_of(ids.numpy().tobytes()) for ids in ids_NL]
        return found

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (N, L, D), in the encoder's precision, on the CPU."""
        ids = _ids(self._tokenizer, texts, self._length).to(self._device)
        return run_finite(
            self._encoder,
            self._dtype,
            lambda _: self._encoder(ids, return_dict=False)[0],
            f"the caption {texts[0][:60]!r} and others",
        ).cpu()


def _length(tokenizer: Any, text_encoder: Any) -> int:
    # A tokenizer saved without a length claims 10^30.
    most = int(text_encoder.config.max_position_embeddings)
    return min(int(tokenizer.model_max_length), most)


def _ids(tokenizer: Any, texts: Sequence[str], length: int) -> Tensor:
    """Return token ids, (N, L), int64."""
    tokens = tokenizer(
        list(texts), max_length=length, padding="max_length", truncation=True, return_tensors="pt"
    )
    ids: Tensor = tokens.input_ids
    return ids


def _missing(store: RecordStore, keys: Sequence[bytes]) -> list[int]:
    """Return one caption for each key that has no record, in order."""
    first: dict[bytes, int] = {}
    for number, key in enumerate(keys):
        if key not in store:
            first.setdefault(key, number)
    return list(first.values())


def _fill(
    encode: _Encode,
    store: RecordStore,
    wanted: Sequence[int],
    texts: Sequence[str],
    keys: Sequence[bytes],
    progress: Progress,
) -> None:
    done = 0
    with store.writer() as writer:
        for numbers in _chunks(wanted, _BATCH):
            for number, record in zip(numbers, encode([texts[n] for n in numbers]), strict=True):
                writer.put(keys[number], to_record(record))
            done += len(numbers)
            progress(done, len(wanted))


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
