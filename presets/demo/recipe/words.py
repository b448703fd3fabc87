"""Makes the tokenizer of the demo: CLIP's, with a vocabulary of the little world's words.

Every word of the world is one token. Any other text still works, byte by byte, as in the
real CLIP tokenizer.
"""

from itertools import pairwise

from transformers import CLIPTokenizer

from world import PALETTE, RADII, SHAPES

WORDS = ("a", "on", "background", *RADII, *PALETTE, *SHAPES)
WORD_END = "</w>"
LENGTH = 16  # tokens; the world's captions take 10 with their start and end
START, END = "<|startoftext|>", "<|endoftext|>"


def make_tokenizer() -> CLIPTokenizer:
    """Build the tokenizer from ``WORDS``."""
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        _learn(word, merges)
    letters = _byte_letters()
    joined = dict.fromkeys(left + right for left, right in merges)
    tokens = [*letters, *(letter + WORD_END for letter in letters), *joined, START, END]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def _learn(word: str, merges: list[tuple[str, str]]) -> None:
    """Append the merges that make ``word`` one token.

    Earlier merges come first in byte-pair encoding and split a word where they please, so the
    new ones start from what is left after them. They cannot undo an earlier word: while that
    is in parts, one of its own merges always applies, and goes before.
    """
    parts = _encode(word, merges)
    while len(parts) > 1:
        merges.append((parts[0], parts[1]))
        parts = _encode(word, merges)


def _encode(word: str, merges: list[tuple[str, str]]) -> list[str]:
    """Split ``word`` as byte-pair encoding does, the earliest merge first."""
    rank = {pair: i for i, pair in enumerate(merges)}
    parts = [*word[:-1], word[-1] + WORD_END]
    while True:
        found = [(rank[p], i) for i, p in enumerate(pairwise(parts)) if p in rank]
        if not found:
            return parts
        at = min(found)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def _byte_letters() -> list[str]:
    """Return the 256 letters by which byte-level encoding writes bytes, as in GPT-2 and CLIP."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in shown] + [chr(256 + i) for i in range(256 - len(shown))]
