"""Text embeddings: each distinct caption encoded once, as the reference encodes it."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from sdcore.data import DataIndex, open_data
from sdcore.train import records, texts
from sdcore.train.families import SD
from sdcore.train.latents import Draw
from sdcore.train.texts import TextSource, build_texts

CPU = torch.device("cpu")
LENGTH = 12


def tokenizer() -> Any:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    marks = ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: i for i, word in enumerate([*words, *marks])}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=LENGTH)


def encoder(seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CLIPTextModel(
            CLIPTextConfig(
                vocab_size=80, hidden_size=8, intermediate_size=16, num_hidden_layers=2,
                num_attention_heads=2, max_position_embeddings=LENGTH,
                bos_token_id=72, eos_token_id=73, pad_token_id=73,
            )
        )  # fmt: skip


def write(root: Path, captions: list[Any]) -> DataIndex:
    root.mkdir()
    Image.new("RGB", (4, 4)).save(root / "a.png")
    rows = [{"file_name": "a.png", "text": caption} for caption in captions]
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return open_data(str(root))


def build(
    index: DataIndex,
    root: Path,
    *,
    model: Any | None = None,
    dtype: torch.dtype = torch.float32,
    rank: int = 0,
    world_size: int = 1,
    barrier: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TextSource:
    return build_texts(
        index, SD, [tokenizer()], [model if model is not None else encoder()], CPU,
        dtype,
        cache_root=root, rank=rank, world_size=world_size, barrier=barrier, progress=progress,
    )  # fmt: skip


def draw(row: int, caption: int = 0) -> Draw:
    return Draw(position=0, row=row, caption=caption, flip=False, crop=(0.0, 0.0))


def direct(text: str) -> Tensor:
    """Return the embedding as diffusers' script computes it."""
    ids = tokenizer()(
        text, max_length=LENGTH, padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        output: Tensor = encoder().eval()(ids, return_dict=False)[0]
    return output[0]


def test_each_draw_gets_the_embedding_of_its_own_caption(tmp_path: Path) -> None:
    """Rows have different numbers of captions; an offset gone wrong pairs images with others'."""
    long = "a very long caption that the encoder cannot see to its end"
    index = write(tmp_path / "d", [["red bird", "bird"], ["blue"], ["", long, "red bird"]])
    source = build(index, tmp_path / "c")
    draws = [draw(2, 1), draw(0, 1), draw(1), draw(2, 2), draw(2, 0), draw(0, 0)]
    got = source.embeddings(draws).states
    assert got.shape == (6, LENGTH, 8)
    for text, one in zip([long, "bird", "blue", "red bird", "", "red bird"], got, strict=True):
        torch.testing.assert_close(one, direct(text), rtol=1e-4, atol=1e-5)


def test_distinct_captions_are_encoded_once_and_kept(tmp_path: Path) -> None:
    """A million rows often have a thousand captions; a restart encodes none of them."""
    index = write(tmp_path / "d", ["red", "blue", "red", "RED ", "red"])
    told: list[tuple[int, int]] = []
    first = build(index, tmp_path / "c", progress=lambda *at: told.append(at))
    assert told == [(2, 2)]  # "RED " has the tokens of "red"
    again: list[tuple[int, int]] = []
    second = build(index, tmp_path / "c", progress=lambda *at: again.append(at))
    assert again == []
    draws = [draw(i) for i in range(5)]
    assert torch.equal(first.embeddings(draws).states, second.embeddings(draws).states)


def test_another_encoder_never_gets_the_old_embeddings(tmp_path: Path) -> None:
    index = write(tmp_path / "d", ["red"])
    one = build(index, tmp_path / "c").embeddings([draw(0)]).states
    other = build(index, tmp_path / "c", model=encoder(seed=1)).embeddings([draw(0)]).states
    half = build(index, tmp_path / "c", dtype=torch.bfloat16).embeddings([draw(0)]).states
    assert not torch.equal(one, other)
    assert half.dtype == torch.bfloat16


def test_ranks_share_the_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = write(tmp_path / "d", [f"bird {i}" for i in range(9)])
    monkeypatch.setattr(texts, "_BATCH", 2)
    meet = threading.Barrier(2, timeout=60)
    told: list[list[tuple[int, int]]] = [[], []]
    models = [encoder(), encoder()]  # here: the seed is one for all threads

    def one(rank: int) -> Tensor:
        source = build(
            index, tmp_path / "c", model=models[rank], rank=rank, world_size=2,
            barrier=lambda: (meet.wait(), None)[1], progress=lambda *at: told[rank].append(at),
        )  # fmt: skip
        return source.embeddings([draw(i) for i in range(9)]).states

    with ThreadPoolExecutor(2) as pool:
        got = list(pool.map(one, range(2)))
    assert [progress[-1] for progress in told] == [(5, 5), (4, 4)]
    assert torch.equal(got[0], got[1])


def test_many_captions_are_read_from_the_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = write(tmp_path / "d", ["red", "blue"])
    in_memory = build(index, tmp_path / "c").embeddings([draw(1), draw(0)]).states
    monkeypatch.setattr(records, "IN_MEMORY", 0)
    mapped = build(index, tmp_path / "c").embeddings([draw(1), draw(0)]).states
    assert torch.equal(mapped, in_memory)


def test_a_tokenizer_without_a_length_takes_the_encoders(tmp_path: Path) -> None:
    """It claims 10^30 tokens; padding to that would fill any memory."""
    index = write(tmp_path / "d", ["red"])
    words = tokenizer()
    words.model_max_length = int(1e30)
    source = build_texts(
        index, SD, [words], [encoder()], CPU, torch.float32,
        cache_root=tmp_path / "c", rank=0, world_size=1, barrier=lambda: None,
        progress=lambda done, total: None,
    )  # fmt: skip
    (one,) = source.embeddings([draw(0)]).states
    torch.testing.assert_close(one, direct("red"), rtol=1e-4, atol=1e-5)
