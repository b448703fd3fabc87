"""Logs that are hostile, endless or of a form of their own: read without harm."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdcore.supervise.foreign.bars import parse_bar
from sdcore.supervise.foreign.curve import (
    Curve,
    Matched,
)
from sdcore.supervise.foreign.lines import parse_line
from sdcore.supervise.foreign.own import TOO_SLOW, OwnPattern
from sdcore.supervise.foreign.pieces import CHUNK, Tail
from sdcore.task.pattern import compile_pattern
from support.foreign import bar, read

HOSTILE = st.text(
    st.sampled_from(list("0123456789.,%|/[]{}()<>'\"=: \t\r\n\x1b\0eE+-naifloss#stepochlr_")) |
    st.characters(), max_size=400,
)  # fmt: skip


@given(text=HOSTILE | st.binary(max_size=400).map(lambda b: b.decode("utf-8", "replace")))
@settings(max_examples=300, deadline=None)
def test_no_text_breaks_a_parser(text: str) -> None:
    """The log is anybody's; a parser that raises ends the reading of all that follows."""
    parse_bar(text)
    said = parse_line(text)
    assert said.loss is None or said.loss_name


@given(
    chunks=st.lists(
        st.binary(max_size=200) | HOSTILE.map(lambda t: t.encode("utf-8", "replace")), max_size=8
    )
)
@settings(max_examples=60, deadline=None)
def test_no_bytes_break_the_tail(
    chunks: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("log") / "train.log"
    tail, curve = Tail(log), Curve()
    for chunk in chunks:
        with log.open("ab") as file:
            file.write(chunk)
        for each in read(tail, curve, final=False):
            assert each.step is not None
            assert each.step >= 1
    list(read(tail, curve))


@pytest.mark.parametrize(
    "text",
    [
        "loss" * 40_000,
        "1" * 160_000,
        "100%|" * 30_000,
        "100%|" + "#" * 80_000,
        "loss=" * 30_000 + "1",
        "{" * 80_000 + "loss",
        "a" * 4000 + "-" * 4000,
        " \t" * 60_000 + "loss =",
        "12%|#| 1/2 [" + "00:" * 40_000,
    ],
)
def test_a_long_line_takes_no_time(text: str) -> None:
    """A pattern that is quadratic in a line of 160,000 characters takes minutes for one line."""
    began = time.process_time()
    parse_bar(text)
    parse_line(text)
    assert time.process_time() - began < 10


def test_a_flood_of_redraws_costs_little_and_tells_the_newest(tmp_path: Path) -> None:
    """A bar with mininterval 0 redraws thousands of times a second."""
    log = tmp_path / "train.log"
    one = bar("Steps", 7, 500, "lr=1e-05, step_loss=0.5").encode()
    log.write_bytes(one * 100_000 + bar("Steps", 8, 500, "step_loss=0.25").encode())
    began = time.process_time()

    found = [(each.step, each.loss) for each in read(Tail(log), Curve())]

    assert time.process_time() - began < 10
    assert found == [(7, 0.5), (8, 0.25)]


def test_a_line_longer_than_memory_is_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_bytes(b"x" * (3 * CHUNK) + b" step=1 loss=1\nstep=2 loss=0.5\n")

    assert [each.step for each in read(Tail(log), Curve())] == [2]


def test_a_pattern_of_ones_own_finds_what_it_names(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("it 7 of 9 ## L=0.5 @1e-4\nit 8 of 9 ## L=nan @1e-4\rit 9 of 9 ## L=x @1\n")
    pattern = r"it (?P<step>\d+) of (?P<total>\d+) ## L=(?P<loss>\S+) @(?P<lr>\S+)"
    curve = Matched(OwnPattern(compile_pattern(pattern).pattern))

    found = list(read(Tail(log, every_line=True), curve))

    assert [(each.step, each.total, each.lr) for each in found] == [(7, 9, 1e-4)]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"(?P<step>\d+", "regular expression"),
        (r"step (?P<step>\d+)", "loss"),
        (r"(?P<step>\d+) (?P<loss>\S+) (?P<los>x)", "los"),
        (r"(?:a+)+(?P<step>\d+) (?P<loss>\S+)", "repeat inside a repeat"),
        (r"(?:(?:a|b)*c)*(?P<step>\d) (?P<loss>.)", "repeat inside a repeat"),
        (r".*.*.*.*.*.*(?P<step>\d+) (?P<loss>\S+)", "endless"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_in_words(pattern: str, words: str) -> None:
    """Found when the task is read, not after ten minutes of training without a curve."""
    with pytest.raises(ValueError, match=words):
        compile_pattern(pattern)


def test_a_pattern_that_takes_for_ever_is_given_up() -> None:
    """What is exponential without a repeat in a repeat gets past the look at its form."""
    own = OwnPattern(r"(?:aa|a|ab){1,60}c(?P<step>\d+) (?P<loss>\d+)")
    began = time.process_time()

    assert own("a" * 60) is None

    assert own.trouble == TOO_SLOW
    assert time.process_time() - began < 20
    assert own("ac7 1") is None
