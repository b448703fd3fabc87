"""What a check says of a data set."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdcore.checks.dataset import DatasetFacts, dataset_facts, dataset_findings, spread
from sdcore.checks.findings import Finding
from sdcore.checks.tokens import TokenCounter
from sdcore.data import DataIndex, open_data
from sdcore.data.buckets import Buckets
from sdcore.errors import ExitCode, NotReadyError, UsageError


def write_set(root: Path, captions: list[Any], side: int = 16) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    out = BytesIO()
    Image.new("RGB", (side, side + 4)).save(out, "PNG")
    for i in range(len(captions)):
        (root / f"{i}.png").write_bytes(out.getvalue())
    lines = [json.dumps({"file_name": f"{i}.png", "text": c}) for i, c in enumerate(captions)]
    (root / "metadata.jsonl").write_text("\n".join(lines))
    return root


def write_tokenizer(folder: Path, *, limit: int | None = None, whole: bool = False) -> Path:
    """Write CLIP's tokenizer for single letters; ``whole`` as one file, as transformers 5 does."""
    folder.mkdir(parents=True)
    letters = [*"abcdefghijklmnopqrstuvwxyz", *(f"{c}</w>" for c in "abcdefghijklmnopqrstuvwxyz")]
    marks = ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: i for i, word in enumerate([*letters, *marks])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\nr e\nre d</w>\n")
    vocabulary |= {"re": 90, "red</w>": 91}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    if limit is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": limit}))
    if whole:
        counter = TokenCounter(folder)
        counter._tokenizer.enable_truncation(5)
        counter._tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "vocab.json").unlink()
    return folder


def facts_of(root: Path, **options: Any) -> DatasetFacts:
    settings: dict[str, Any] = {"tokenizer_folder": None, "resolution": 16, "sample": None}
    return dataset_facts(open_data(str(root)), **(settings | options))


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_a_good_set_is_counted_and_has_no_findings(tmp_path: Path) -> None:
    facts = facts_of(write_set(tmp_path, [["a", "b"], ["a"]]))
    assert (facts.images, facts.captions, facts.unique_captions) == (2, 3, 2)
    assert facts.words() == "2 images, 3 captions (2 different), imagefolder, all decoded"
    assert dataset_findings(facts) == []
    assert replace(facts, form="captions").words().endswith(", images with .txt files, all decoded")


def test_images_are_counted_by_bucket_and_those_too_small_for_any_are_errors(
    tmp_path: Path,
) -> None:
    """Told after an hour of caching, it costs an hour."""
    root = write_set(tmp_path, ["a", "b", "c"], side=64)  # 64 x 68
    Image.new("RGB", (200, 96)).save(root / "1.png")
    Image.new("RGB", (15, 90)).save(root / "2.png")
    buckets = Buckets(64, 32, 128, 16)
    facts = facts_of(root, resolution=64, buckets=buckets)
    assert facts.words().endswith("all decoded; 2 buckets, 64x64: 1, 80x48: 1")
    finding = only(dataset_findings(facts))
    assert finding.level == "error"
    assert "2.png: it has 15 x 90 px, and no bucket is that small" in finding.cause
    assert only(dataset_findings(facts, on_bad_image="skip")).level == "warning"


@pytest.mark.parametrize("whole", [False, True])
def test_captions_beyond_the_encoders_length_are_counted_with_an_example(
    tmp_path: Path, *, whole: bool
) -> None:
    """What is cut off trains nothing; the usual script says no word of it."""
    folder = write_tokenizer(tmp_path / "tokenizer", limit=8, whole=whole)
    captions = ["red red", "abcdef", "abcdefg", "RED " * 6, "red " * 7]  # 4, 8, 9, 8, 9 tokens
    facts = facts_of(write_set(tmp_path / "d", captions), tokenizer_folder=folder)
    finding = only(dataset_findings(facts))
    assert finding.level == "warning"
    assert "2 captions (40 %) of more than 8 tokens" in finding.what
    assert "abcdefg (9 tokens), red red red red red red red" in finding.cause


def test_without_a_length_in_its_files_a_tokenizer_counts_to_77(tmp_path: Path) -> None:
    assert TokenCounter(write_tokenizer(tmp_path / "a")).limit == 77
    assert TokenCounter(write_tokenizer(tmp_path / "b", limit=10**30)).limit == 77


def test_token_counts_are_those_of_transformers(tmp_path: Path) -> None:
    """Counted without transformers, which would add seconds to every check."""
    folder = write_tokenizer(tmp_path / "t")
    texts = ["Red  red, it's x1 é", "ab" * 50, "", "日本"]
    probe = (
        "import json, sys; from transformers import CLIPTokenizer;"
        "t = CLIPTokenizer(vocab=sys.argv[1] + '/vocab.json', merges=sys.argv[1] + '/merges.txt');"
        "print(json.dumps([len(i) for i in t(json.loads(sys.argv[2])).input_ids]))"
    )
    argv = [sys.executable, "-W", "ignore", "-c", probe, str(folder), json.dumps(texts)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    counter = TokenCounter(folder)
    counter.limit = 0  # so that all are told
    counted = dict(counter.too_long(texts))
    assert [counted[text] for text in texts] == json.loads(done.stdout)


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(NotReadyError, match=r"the tokenizer in .*cannot be read"):
        TokenCounter(tmp_path)


def test_corrupt_images_are_named_with_their_cause(tmp_path: Path) -> None:
    root = write_set(tmp_path, ["a"] * 9)
    (root / "3.png").write_bytes(b"GIF89a")
    (root / "7.png").write_bytes((root / "0.png").read_bytes()[:40])
    facts = facts_of(root)
    finding = only(dataset_findings(facts))
    assert (finding.level, finding.exit_code) == ("error", ExitCode.NOT_READY)
    assert finding.what == "2 images cannot be used"
    assert "3.png: it cannot be decoded" in finding.cause or "3.png: it is not" in finding.cause
    assert "7.png" in finding.cause
    assert 'train.on_bad_image = "skip"' in finding.remedy
    assert only(dataset_findings(facts, on_bad_image="skip")).level == "warning"


def test_images_below_the_resolution_are_a_warning(tmp_path: Path) -> None:
    """They are enlarged, and the model learns to draw blur."""
    facts = facts_of(write_set(tmp_path, ["a", "b"], side=10), resolution=12)
    finding = only(dataset_findings(facts))
    assert finding.level == "warning"
    assert finding.what == "2 images smaller than 12 px"
    assert "0.png (10 x 14)" in finding.cause


def test_a_large_set_is_sampled_in_time_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check of a million images must still take seconds."""
    read = DataIndex.read

    def slow(index: DataIndex, i: int) -> bytes:
        time.sleep(0.02)
        return read(index, i)

    monkeypatch.setattr(DataIndex, "read", slow)
    root = write_set(tmp_path, ["a"] * 400)
    facts = facts_of(root, budget_s=0.2)
    assert 8 <= facts.images_checked < 400
    assert f"{facts.images_checked:,} of them decoded as a sample" in facts.words()
    assert facts_of(root, sample=5).images_checked == 5
    small = replace(facts, resolution=64, upscaled=facts_of(root, sample=5, resolution=64).upscaled)
    assert f"of {facts.images_checked} checked" in only(dataset_findings(small)).what


@given(total=st.integers(0, 3000))
def test_a_sample_is_spread_and_meets_each_image_once(total: int) -> None:
    """Corrupt files come in runs: a disk that was full for an hour."""
    order = list(spread(total))
    assert sorted(order) == list(range(total))
    if total >= 100:
        tenths = {row * 10 // total for row in order[:30]}
        assert tenths == set(range(10))


def test_problems_of_the_files_are_warnings_with_names(tmp_path: Path) -> None:
    root = write_set(tmp_path, ["a", ""])
    (root / "extra.png").write_bytes((root / "0.png").read_bytes())
    with (root / "metadata.jsonl").open("a") as file:
        file.write('\n{"file_name": "0.png", "text": "again"}')
    findings = dataset_findings(facts_of(root))
    assert {finding.level for finding in findings} == {"warning"}
    said = [f"{finding.what}: {finding.cause}" for finding in findings]
    assert said == [
        "1 image without a caption: left out of the training: extra.png",
        "1 image with more than one row: each row counts as an image: 0.png",
        "1 row with an empty caption: trained on without a text: 1.png",
    ]


def test_findings_take_over_words_and_code_of_an_error() -> None:
    error = UsageError("what", cause="why", remedy="do")
    finding = Finding.from_error(error, where="/data")
    assert finding.to_record() == {
        "level": "error",
        "what": "what",
        "cause": "why",
        "remedy": "do",
        "exit_code": 2,
        "where": "/data",
    }
    assert json.dumps(finding.to_record())
