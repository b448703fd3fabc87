"""Looks at a data set before a run: what is in it, and what would spoil the training."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sdcore.checks.findings import Finding
from sdcore.checks.tokens import CLIP_LENGTH, TokenCounter
from sdcore.data import BadImageError, DataIndex, DataProblems, Few, decode_image
from sdcore.data.buckets import Buckets, Size, too_small
from sdcore.data.wording import SHOWN, listed, shown
from sdcore.units import count

BUDGET_S = 2.0  # for looking into images: a check is run often and should not be dreaded
_THREADS = 4
_FORMS = {"captions": "images with .txt files"}  # the others are called what people call them


@dataclass(frozen=True, slots=True)
class Fault:
    """An image that cannot be used, and why."""

    name: str
    cause: str


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """What was found in a data set.

    Attributes:
        form: Which form of data it is.
        images: Rows.
        captions: Captions over all rows.
        unique_captions: Different ones.
        token_limit: Tokens that the text encoder sees, its two ends included.
        too_long: Captions beyond it, with examples; None when no tokenizer was at hand.
        images_checked: How many images were decoded; all when it equals ``images``.
        corrupt: Images that cannot be decoded, among those checked; each with its cause.
        upscaled: Images with a side below the resolution, among those checked; none with buckets.
        resolution: Side of the training square, px.
        buckets: How many of those checked go to each size; None without buckets.
        problems: What is odd about files and rows.
    """

    form: str
    images: int
    captions: int
    unique_captions: int
    token_limit: int
    too_long: Few | None
    images_checked: int
    corrupt: tuple[Fault, ...]
    upscaled: Few
    resolution: int
    problems: DataProblems
    buckets: Mapping[Size, int] | None = None

    def words(self) -> str:
        """Describe the set in one line."""
        kept = count(self.images, "image")
        texts = count(self.captions, "caption")
        looked = (
            "all decoded"
            if self.images_checked == self.images
            else f"{self.images_checked:,} of them decoded as a sample"
        )
        if self.unique_captions != self.captions:
            texts += f" ({self.unique_captions:,} different)"
        line = f"{kept}, {texts}, {_FORMS.get(self.form, self.form)}, {looked}"
        return line if self.buckets is None else f"{line}; {self._bucket_words(self.buckets)}"

    def _bucket_words(self, buckets: Mapping[Size, int]) -> str:
        fullest = sorted(buckets.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
        shown_ones = [f"{wide}x{high}: {number:,}" for (wide, high), number in fullest]
        return f"{count(len(buckets), 'bucket')}, {listed(shown_ones, len(buckets))}"


def dataset_facts(
    index: DataIndex,
    *,
    tokenizer_folder: Path | None,
    resolution: int,
    sample: int | None,
    budget_s: float = BUDGET_S,
    buckets: Buckets | None = None,
) -> DatasetFacts:
    """Gather the facts; decodes images until all are seen or the time is up.

    Args:
        index: The data.
        tokenizer_folder: Of the model; None leaves the length of captions unknown.
        resolution: Side of the training square, px.
        sample: Most images to decode; None for as many as the time allows.
        budget_s: Seconds for decoding.
        buckets: The sizes that images are trained in, if not the one square.

    Raises:
        NotReadyError: The tokenizer or an image file cannot be read.
    """
    texts = dict.fromkeys(text for row in index.rows for text in row.captions)
    counter = TokenCounter(tokenizer_folder) if tokenizer_folder else None
    checked, corrupt, sizes = _look(index, sample, budget_s)
    targets, unfit = _targets(index, sizes, buckets) if buckets else (None, [])
    small = [
        f"{index.rows[row].name} ({width} x {height})"
        for row, (width, height) in sizes
        if buckets is None and min(width, height) < resolution
    ]
    return DatasetFacts(
        form=index.form,
        images=len(index),
        captions=sum(len(row.captions) for row in index.rows),
        unique_captions=len(texts),
        token_limit=counter.limit if counter else CLIP_LENGTH,
        too_long=_too_long(counter, list(texts)) if counter else None,
        images_checked=checked,
        corrupt=tuple(sorted(corrupt + unfit, key=lambda fault: fault.name)),
        upscaled=Few.of(sorted(small)),
        resolution=resolution,
        problems=index.problems,
        buckets=targets,
    )


def dataset_findings(facts: DatasetFacts, *, on_bad_image: str = "stop") -> list[Finding]:
    """Judge the facts. Pure.

    Args:
        facts: From ``dataset_facts``.
        on_bad_image: The setting of the same name: ``stop`` makes corrupt images errors.
    """
    return [
        *_corrupt_findings(facts, on_bad_image),
        *_caption_findings(facts),
        *_size_findings(facts),
        *_problem_findings(facts.problems),
    ]


def _too_long(counter: TokenCounter, texts: list[str]) -> Few:
    return Few.of(f"{shown(text, 80)} ({n} tokens)" for text, n in counter.too_long(texts))


def spread(total: int) -> Iterator[int]:
    """Yield 0 … total-1, each once, so that any beginning is spread over the whole.

    Counts with the bits reversed: 0, 1/2, 1/4, 3/4, 1/8, … of the next power of two.
    """
    bits = max(1, (total - 1).bit_length())
    for k in range(2**bits):
        row = int(f"{k:0{bits}b}"[::-1], 2)
        if row < total:
            yield row


def _look(
    index: DataIndex, sample: int | None, budget_s: float
) -> tuple[int, list[Fault], list[tuple[int, Size]]]:
    """Decode images until ``sample`` or the time is up; return how many, the bad, the sizes."""
    limit = len(index) if sample is None else min(sample, len(index))
    order = spread(len(index))
    corrupt: list[Fault] = []
    sizes: list[tuple[int, Size]] = []
    end, done = time.monotonic() + budget_s, 0
    with ThreadPoolExecutor(_THREADS, "check") as pool:
        while done < limit and (done == 0 or time.monotonic() < end):
            group = [next(order) for _ in range(min(2 * _THREADS, limit - done))]
            for row, found in zip(group, pool.map(lambda r: _decode(index, r), group), strict=True):
                if isinstance(found, Fault):
                    corrupt.append(found)
                else:
                    sizes.append((row, found))
            done += len(group)
    return done, corrupt, sizes


def _targets(
    index: DataIndex, sizes: Sequence[tuple[int, Size]], buckets: Buckets
) -> tuple[Mapping[Size, int], list[Fault]]:
    """Return how many images go to each size, and those too small for any."""
    targets: Counter[Size] = Counter()
    unfit = []
    for row, (width, height) in sizes:
        target = buckets.size_for(width, height)
        if target is None:
            unfit.append(Fault(index.rows[row].name, too_small(width, height, buckets)))
        else:
            targets[target] += 1
    return targets, unfit


def _decode(index: DataIndex, row: int) -> Fault | tuple[int, int]:
    name = index.rows[row].name
    try:
        return decode_image(index.read(row), name).size
    except BadImageError as fault:
        return Fault(name, fault.cause)


def _corrupt_findings(facts: DatasetFacts, on_bad_image: str) -> list[Finding]:
    if not facts.corrupt:
        return []
    bad = facts.corrupt
    number = count(len(bad), "image")
    seen = "" if facts.images_checked == facts.images else f" of {facts.images_checked:,} checked"
    causes = "; ".join(f"{shown(f.name)}: {f.cause}" for f in bad[:SHOWN])
    more = f"; and {len(bad) - SHOWN:,} more" if len(bad) > SHOWN else ""
    if on_bad_image == "skip":
        remedy = "nothing to do: the training leaves them out; or replace them"
        return [Finding("warning", f"{number}{seen} cannot be used", causes + more, remedy)]
    remedy = 'replace or remove them, or set train.on_bad_image = "skip" to train without them'
    return [Finding("error", f"{number}{seen} cannot be used", causes + more, remedy)]


def _caption_findings(facts: DatasetFacts) -> list[Finding]:
    if not facts.too_long or not facts.too_long.count:
        return []
    few = facts.too_long
    share = 100 * few.count / facts.unique_captions
    return [
        Finding(
            "warning",
            f"{count(few.count, 'caption')} ({share:.2g} %) of more than {facts.token_limit} "
            "tokens",
            cause=f"the text encoder sees the first {facts.token_limit} tokens; the rest is "
            f"cut off: {listed(few.names, few.count)}",
            remedy="shorten them, or put first what matters most",
        )
    ]


def _size_findings(facts: DatasetFacts) -> list[Finding]:
    few = facts.upscaled
    if not few.count:
        return []
    seen = "" if facts.images_checked == facts.images else f" of {facts.images_checked:,} checked"
    return [
        Finding(
            "warning",
            f"{count(few.count, 'image')}{seen} smaller than {facts.resolution} px",
            cause="they are enlarged, and the model learns the blur: "
            + listed(few.names, few.count),
            remedy="use larger images or a lower resolution, or ignore this for a few",
        )
    ]


def _problem_findings(problems: DataProblems) -> list[Finding]:
    cases = [
        (problems.images_without_row, "image", "without a caption", "left out of the training",
         "add a row (or a .txt) for them if they belong to the set"),
        (problems.captions_without_image, "caption file", "without an image", "not used",
         "check the names: a.txt belongs to a.png"),
        (problems.duplicates, "image", "with more than one row", "each row counts as an image",
         'write several captions as one list, or remove the doubles'),
        (problems.empty_captions, "row", "with an empty caption",
         "trained on without a text", "add a caption, unless that is meant"),
        (problems.other_splits, "file", "of other splits left out", "only train is trained on",
         "name the files by themselves to use them"),
    ]  # fmt: skip
    return [
        Finding(
            "warning",
            f"{count(few.count, noun)} {which}",
            cause=f"{cause}: {listed(few.names, few.count)}",
            remedy=remedy,
        )
        for few, noun, which, cause, remedy in cases
        if few.count
    ]
