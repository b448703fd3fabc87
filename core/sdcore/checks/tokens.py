"""Counts tokens as the text encoder will see them, without transformers or torch."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from sdcore.data.wording import shown, why
from sdcore.errors import NotReadyError

CLIP_LENGTH = 77
_ENDS = 2  # the start and end tokens that CLIP adds to every caption
_CHUNK = 4096
_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)


class TokenCounter:
    """The tokenizer of a pipeline folder.

    Args:
        folder: ``tokenizer/``, with ``tokenizer.json`` or with ``vocab.json`` and ``merges.txt``.

    Raises:
        NotReadyError: The files are missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._tokenizer = _load(folder)
            self.limit = _limit(folder)
        # The `tokenizers` library raises plain Exception for whatever it cannot parse.
        except Exception as error:
            raise NotReadyError(
                f"the tokenizer in {shown(str(folder), 300)} cannot be read",
                cause=why(error),
                remedy="copy the model folder again, whole",
            ) from error

    def too_long(self, captions: Sequence[str]) -> Iterator[tuple[str, int]]:
        """Yield each caption of more than ``limit`` tokens, with its tokens; in order.

        A token is at least one byte of ASCII text, so short captions need no look.
        """
        room = self.limit - _ENDS
        maybe = [text for text in captions if len(text) > room or not text.isascii()]
        for start in range(0, len(maybe), _CHUNK):
            some = maybe[start : start + _CHUNK]
            found = self._tokenizer.encode_batch(some, add_special_tokens=False)
            for text, encoding in zip(some, found, strict=True):
                count = len(encoding.ids) + _ENDS
                if count > self.limit:
                    yield text, count


def _load(folder: Path) -> Tokenizer:
    whole = folder / "tokenizer.json"
    if whole.is_file():
        tokenizer = Tokenizer.from_file(str(whole))
        tokenizer.no_truncation()  # else every count would end at the limit
        tokenizer.no_padding()
        return tokenizer
    model = models.BPE.from_file(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        end_of_word_suffix="</w>",
        unk_token="<|endoftext|>",  # noqa: S106 -- a token of text
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return tokenizer


def _limit(folder: Path) -> int:
    """Return the tokens a caption may have, its two ends included; 77 where it is not said."""
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return CLIP_LENGTH
    value = json.loads(path.read_bytes()).get("model_max_length", CLIP_LENGTH)
    # A tokenizer saved without a length claims 10^30.
    return int(value) if isinstance(value, int | float) and 2 < value < 100_000 else CLIP_LENGTH
