"""Filters, searches and windows find what a look at every line finds, and no more is read."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdtui.live import log_scan, log_tries, logfile
from sdtui.live.log_levels import Level
from sdtui.live.log_query import BadPatternError, Filter, Query
from sdtui.live.log_scan import Ask, Count, Matches, collect, grown, next_hit, window
from sdtui.live.log_tries import TooSlowError, Tries
from sdtui.live.logfile import LogFile
from tui.test_logfile import all_rows, finish, opened

LINES = st.lists(
    st.sampled_from(
        [b"step 1 loss=0.5", b"WARNING slow", b"[rank1]: ERROR bad", b"[rank0]: x", b"DEBUG y",
         b"Traceback (most recent call last):", b"  File f", b"ValueError: z", "图 loss".encode(),
         b"lo\x1b[1mss", b"key hf_secret end", b"a\rloss=2", b"Loss\tlong " + b"q" * 90, b""]
    ),
    max_size=50,
)  # fmt: skip
FILTERS = st.builds(Filter, st.sampled_from(list(Level)), st.sampled_from([None, 0, 1]))
PATTERNS = st.sampled_from(
    ["loss", "Loss", "loss=0.5", "^step", "x$", r"\d", "s.*=", "secret", r"\*\*\*", "key .{3} end",
     "(?i)LOSS", "loss?", "lo{1}ss", "q+", "图", "a|z", "[^a]$", "", r"\w+.*\d",
     "(lo|s)+", r"(o).*\1"]
)  # fmt: skip
reused = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(scope="module")
def tries() -> Iterator[Tries]:
    """Return one process for all that is tried here."""
    made = Tries()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_tries, "LIMIT_S", 0.3)
        yield made
    made.close()


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (logfile, log_scan):
        monkeypatch.setattr(module, "PAGE", 128)


def written(tmp_path: Path, lines: list[bytes]) -> LogFile:
    path = tmp_path / "train.log"
    path.write_bytes(b"\n".join(lines))
    return opened(path)


@reused
@given(LINES, FILTERS, st.integers(-1, 900), st.integers(1, 9), st.integers(0, 9))
def test_a_window_holds_the_rows_around_its_place_and_knows_its_ends(
    tmp_path: Path, lines: list[bytes], only: Filter, at: int, before: int, after: int
) -> None:
    """A row left out at the edge of a page would never be seen by anyone who scrolls."""
    log = written(tmp_path, lines)
    rows = [row for row in all_rows(log) if only.passes(row)]

    ask = Ask(None if at < 0 else at, before, after, only)
    found = finish(window(log, ask))
    log.close()

    place = log.size if at < 0 else at
    above = [row for row in rows if row.at < place]
    below = [row for row in rows if row.at >= place]
    assert list(found.rows) == above[-before:] + below[:after]
    assert found.at_start == (len(above) <= before)
    assert found.at_end == (len(below) <= after)


@reused
@given(LINES, LINES, FILTERS, st.integers(-1, 300))
def test_a_window_that_reached_the_end_grows_with_the_file(
    tmp_path: Path, lines: list[bytes], more: list[bytes], only: Filter, at: int
) -> None:
    """To look for a rare error through the whole file on every tick would never come to an end."""
    log = written(tmp_path, lines)
    ask = Ask(None if at < 0 else at, 10, 10, only)
    old = finish(window(log, ask))
    with log.path.open("ab") as file:
        file.write(b"\n".join(more))
    log.refresh()

    if old.at_end:
        new = finish(grown(log, old))
        fresh = finish(window(log, ask))
        if at < 0:
            assert new.rows == fresh.rows
        else:  # it may keep more rows than were asked for
            assert set(fresh.rows) <= set(new.rows) or not new.at_end
            assert [r.at for r in new.rows] == sorted({r.at for r in new.rows})
    log.close()


@reused
@given(LINES, LINES, FILTERS, PATTERNS)
def test_a_search_finds_every_line_that_matches_what_is_shown(
    tmp_path: Path,
    tries: Tries,
    lines: list[bytes],
    more: list[bytes],
    only: Filter,
    pattern: str,
) -> None:
    """Pages are passed over by their raw bytes; what is shown of them is something else."""
    query = Query.of(pattern)
    log = written(tmp_path, lines)
    matches = Matches(query, only, 0, tries)
    list(matches.scan(log))
    with log.path.open("ab") as file:
        file.write(b"\n".join(more))
    log.refresh()
    list(matches.scan(log))

    rows = all_rows(log)
    log.close()

    right = [row.at for row in rows if only.passes(row) and query.regex.search(row.text)]
    assert list(matches.places) == right
    assert matches.upto == log.size


@reused
@given(LINES, PATTERNS, st.integers(-1, 900), st.booleans())
def test_the_next_match_is_the_nearest_and_going_round_is_told(
    tmp_path: Path, tries: Tries, lines: list[bytes], pattern: str, start: int, up: bool
) -> None:
    """N that leaves one out makes a person believe it is not there."""
    query = Query.of(pattern)
    log = written(tmp_path, lines)
    found = finish(next_hit(log, query, Filter(), start, up=up, tries=tries))
    places = [row.at for row in all_rows(log) if query.regex.search(row.text)]
    log.close()

    ahead = [at for at in places if (at < start if up else at > start)]
    pick: Callable[[list[int]], int] = max if up else min
    assert found.at == (pick(ahead or places) if places else None)
    assert found.wrapped == (not ahead and bool(places))


def test_small_letters_find_capitals_and_capitals_only_themselves() -> None:
    r"""Smart case, as in every editor; an escape like \S is no capital."""
    assert Query.of("cuda").spans("CUDA cuda") == [(0, 4), (5, 9)]
    assert Query.of("CUDA").spans("CUDA cuda") == [(0, 4)]
    assert Query.of(r"\Suda").regex.flags & re.IGNORECASE


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("(a|a)*$", "a" * 60 + "b"),
        ("(a|aa)+$", "a" * 200 + "b"),
        ("a?" * 60 + "a" * 60, "a" * 60),
        (".*.*.*.*=", "x" * 16_000),
        (r"(.+)\1$", "x" * 8001 + "y"),
        (r"\w+=", "x" * 16_000),
    ],
)
def test_no_pattern_holds_the_interpreter(pattern: str, line: str, tries: Tries) -> None:
    """In this process such a search keeps every key waiting, for years; nothing interrupts it."""
    query = Query.of(pattern)
    assert not query.quick(len(line))

    with suppress(TooSlowError):
        assert query.matching([line], tries) in ([], [0])
    with suppress(TooSlowError):
        query.learn([line], tries)
    query.spans(line)

    usual = Query.of(r"loss=(\d+)\.(\d+)")
    assert usual.matching(["loss=0.5", "loss", "a loss=1.25"], tries) == [0, 2]


def test_a_pattern_without_end_is_ended(tries: Tries) -> None:
    """The search must say that it found no end, not go on unseen."""
    with pytest.raises(TooSlowError):
        Query.of("(a|a)*$").matching(["a" * 60 + "b"], tries)


def test_what_is_learnt_is_set_apart_as_if_it_were_quick(tries: Tries) -> None:
    """A number after a name is what people search for; they look for its marks on the screen."""
    query = Query.of(r"loss=\d+\.\d+")
    assert query.spans("a loss=0.5 b loss=1.25") == []
    assert query.learn(["a loss=0.5 b loss=1.25", "none"], tries)
    assert not query.learn(["none"], tries)
    assert query.spans("a loss=0.5 b loss=1.25") == [(2, 10), (13, 22)]


@pytest.mark.parametrize("pattern", ["(", "[", "*a", "a" * 501, "(a+)+$", "(.*)*", r"((\w+)\s?)+x"])
def test_what_cannot_be_searched_is_refused_with_words(pattern: str) -> None:
    """A pattern that never ends would hold the console for ever: nothing can interrupt it."""
    with pytest.raises(BadPatternError, match=r"\w+"):
        Query.of(pattern)


def test_a_copy_is_cut_at_its_limit_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marks over a gigabyte would fill the memory of both ends."""
    log = written(tmp_path, [b"line %03d" % i for i in range(200)])
    whole = finish(collect(log, 17, 35, Filter()))
    monkeypatch.setattr(log_scan, "COPY_BYTES", 100)
    cut = finish(collect(log, 0, log.size, Filter()))
    log.close()

    assert (whole.text, whole.lines, whole.cut) == ("line 001\nline 002\nline 003", 3, False)
    assert (cut.lines, cut.cut) == (11, True)


def test_lines_are_counted_in_pieces_and_guessed_meanwhile(tmp_path: Path) -> None:
    """A gigabyte takes a second; until then a number is better than none."""
    log = written(tmp_path, [b"x" * 9] * 1000)
    count = Count(0)
    steps = count.scan(log)
    next(steps)
    guess = count.estimate(log.size)
    list(steps)
    log.close()

    assert 900 < guess < 1100
    assert count.estimate(log.size) == 1000


def test_a_filter_reads_no_page_that_cannot_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Line by line, a gigabyte without an error takes minutes."""
    log = written(tmp_path, [b"step %04d" % i for i in range(500)] + [b"ERROR x"])
    seen: list[int] = []
    page = LogFile.page
    monkeypatch.setattr(LogFile, "page", lambda self, n: seen.append(n) or page(self, n))

    found = finish(window(log, Ask(None, 5, 0, Filter(Level.ERROR))))
    log.close()

    assert [(row.text, row.level) for row in found.rows] == [("ERROR x", Level.ERROR)]
    assert set(seen) == {log.pages - 1}
