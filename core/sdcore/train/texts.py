"""Captions as text embeddings, each distinct one encoded once and kept on disk.

B draws, N captions, E text encoders (1, or 2 of SDXL), L tokens (77), D text width (768, 1024 or
2048), P width of the pooled text (0, or 1280).

An embedding follows from the token ids and the encoders alone, so the ids are the key: two
tokenizers that agree on a caption share its record, and one that differs cannot be confused.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sdcore.data import DataIndex
from sdcore.errors import NotReadyError
from sdcore.train.cache import RecordStore, key_of
from sdcore.train.encoder import freeze, module_hash, run_finite
from sdcore.train.families import Family, Text, Widths
from sdcore.train.filling import Progress
from sdcore.train.latents import Draw
from sdcore.train.records import TensorRecords, record_bytes, to_record

T = TypeVar("T")

_BATCH = 64
_TOKENIZED = 4096  # captions tokenized at once: 2.5 MB of ids


# The captions of draws as the network takes them.
Texts = Callable[[Sequence[Draw]], Text]


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
        records: Of each caption's embedding, as ``_packed`` puts it together.
        captions: In that order.
        length: Tokens L.
        widths: D and P.
    """

    def __init__(
        self, records: TensorRecords, captions: Captions, length: int, widths: Widths
    ) -> None:
        self._records, self._captions = records, captions
        self._length, self._widths = length, widths

    def embeddings(self, draws: Sequence[Draw]) -> Text:
        """Return the text in the encoders' precision, on the CPU; safe from several threads."""
        packed_BW = self._records.take(self._captions.shown(draws))
        end = self._length * self._widths.states
        states_BLD = packed_BW[:, :end].reshape(-1, self._length, self._widths.states)
        return Text(states_BLD, packed_BW[:, end:] if self._widths.pooled else None)


def _packed(text: Text) -> Tensor:
    """Return states and then pooled text of each caption in one row, (N, L * D + P)."""
    rows_NW = text.states.flatten(1)
    return rows_NW if text.pooled is None else torch.cat([rows_NW, text.pooled], dim=1)


class Tokens:
    """Tokenizers and the encoders they are for.

    Args:
        tokenizers: Of ``CLIPTokenizer``.
        encoders: Text encoders, in that order, which limit the length.

    Attributes:
        length: Tokens L of every caption.
    """

    def __init__(self, tokenizers: Sequence[Any], encoders: Sequence[Any]) -> None:
        self._tokenizers = tokenizers
        pairs = zip(tokenizers, encoders, strict=True)
        self.length = min(_length(tokenizer, encoder) for tokenizer, encoder in pairs)

    def ids(self, texts: Sequence[str]) -> Tensor:
        """Return token ids, (N, E, L), int64, padded and cut to the length."""
        return torch.stack([_ids(one, texts, self.length) for one in self._tokenizers], dim=1)


class TokenSource:
    """Gives the token ids for draws, for text encoders that run at every step.

    Args:
        captions: All there are.
        tokens: Makes the ids.
    """

    def __init__(self, captions: Captions, tokens: Tokens) -> None:
        self._captions = captions
        # Four bytes each: 31 MB for 100,000 captions and one encoder.
        parts = [tokens.ids(some).int() for some in _chunks(captions.texts, _TOKENIZED)]
        self._ids_NEL = torch.cat(parts)

    def ids(self, draws: Sequence[Draw]) -> Text:
        """Return (B, E, L), int64, on the CPU."""
        return Text(self._ids_NEL[self._captions.shown(draws)].long(), None)


def build_texts(
    index: DataIndex,
    family: Family,
    tokenizers: Sequence[Any],
    encoders: Sequence[Any],
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

    Tokens are padded to the tokenizer's length and cut there, and the encoders see no attention
    mask, as in diffusers' scripts. Ranks share the encoding as in ``latents.build_latents``.

    Args:
        index: The data.
        family: How text is encoded.
        tokenizers: Of ``CLIPTokenizer``.
        encoders: In that order; moved to ``device`` and ``dtype``, frozen.
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
    encode = _Encode(family, tokenizers, encoders, device, dtype)
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
    records = TensorRecords(store, kept, encode.shape, dtype)
    return TextSource(records, captions, encode.length, encode.widths)


class _Encode:
    """Tokenizers and their encoders as one function, with what its output depends on."""

    def __init__(
        self,
        family: Family,
        tokenizers: Sequence[Any],
        encoders: Sequence[Any],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        for encoder in encoders:
            freeze(encoder, device, dtype)
        self._family, self._encoders = family, encoders
        self._device, self._dtype = device, dtype
        self._tokens = Tokens(tokenizers, encoders)
        self.length, self.widths = self._tokens.length, family.widths(encoders)
        self.shape = (self.length * self.widths.states + self.widths.pooled,)
        hashes = [module_hash(encoder, dtype=dtype) for encoder in encoders]
        # Of one alone its own, under which records were kept before there were two.
        self.hash = hashes[0] if len(hashes) == 1 else key_of(*hashes).hex()

    def keys(self, texts: Sequence[str]) -> list[bytes]:
        """Return the cache key of each caption."""
        found = []
        for some in _chunks(texts, _TOKENIZED):
            found += [key_of(ids_EL.numpy().tobytes()) for ids_EL in self._tokens.ids(some)]
        return found

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (N, L * D + P), in the encoders' precision, on the CPU."""
        ids_NEL = self._tokens.ids(texts).to(self._device)
        return run_finite(
            nn.ModuleList(self._encoders),
            self._dtype,
            lambda _: _packed(self._family.encode(self._encoders, ids_NEL)),
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
