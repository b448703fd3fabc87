"""A log read page by page says what the plain reader says of the whole file."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdcore.runs.logs import LogReader, Mask
from sdtui.live import log_scan, logfile
from sdtui.live.log_cells import LONGEST, settle
from sdtui.live.log_levels import Level
from sdtui.live.logfile import LogFile, Row

ResultT = TypeVar("ResultT")
SECRET = "hf_secret"
PIECES = st.sampled_from(
    [b"a", b"b" * 20, b"\n", b"\n", b"\r", b"\r\n", b"\t", b"\x1b[31m", b"\x1b]52;c;eA==\x07",
     "图".encode(), b"\xff", b"\x00", b"hf_secret", b"hf_\x1b[0msecret", b"step 1", b"ERROR x"]
)  # fmt: skip
RAW = st.lists(PIECES, max_size=60).map(b"".join)
reused = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> int:
    """Make a page so small that everything happens at an edge of one."""
    size = 128
    for module in (logfile, log_scan):
        monkeypatch.setattr(module, "PAGE", size)
    return size


def opened(path: Path) -> LogFile:
    log = LogFile(path, Mask([SECRET]))
    log.refresh()
    return log


def all_rows(log: LogFile) -> list[Row]:
    pages = [log.page(number) for number in range(log.pages)]
    return [page.row(index) for page in pages for index in range(len(page))]


def finish(walk: Generator[object, None, ResultT]) -> ResultT:
    while True:
        try:
            next(walk)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]


def plainly(path: Path) -> list[str]:
    lines = LogReader(path, Mask([SECRET])).read(1 << 30, final=True)
    return [settle(line) for line in lines]


@reused
@given(raw=RAW)
def test_page_by_page_a_log_says_what_it_says_read_whole(
    tmp_path: Path, small_pages: int, raw: bytes
) -> None:
    """A line lost, doubled or shown with its secret where two pages meet."""
    lines = raw.split(b"\n")
    raw = b"\n".join(line if b"\r" in line else line[:small_pages] for line in lines)
    path = tmp_path / "train.log"
    path.write_bytes(raw)
    log = opened(path)

    rows = all_rows(log)
    log.close()

    # One that has just been overwritten by nothing is not shown by the plain reader.
    assert [row.text for row in rows] == plainly(path)
    assert [row.at for row in rows] == sorted({row.at for row in rows})
    assert not any(SECRET in row.text for row in rows)


@reused
@given(raw=RAW, more=RAW)
def test_what_grows_is_read_as_if_it_had_always_been_there(
    tmp_path: Path, small_pages: int, raw: bytes, more: bytes
) -> None:
    """A page kept from before must not hide what was written into it since."""
    path = tmp_path / "train.log"
    path.write_bytes(raw)
    log = opened(path)
    all_rows(log)
    with path.open("ab") as file:
        file.write(more)
    log.refresh()

    grown, fresh = all_rows(log), opened(path)

    assert grown == all_rows(fresh)
    log.close()
    fresh.close()


def test_a_progress_bar_of_a_day_is_one_row_and_the_end_is_read_alone(tmp_path: Path) -> None:
    """One line of 200 MB would be loaded to show its last 80 characters."""
    path = tmp_path / "train.log"
    path.write_bytes(b"start\n" + b"".join(b"step %07d\r" % i for i in range(60_000)))
    log = opened(path)

    assert [row.text for row in all_rows(log)] == ["start", "step 0059999"]
    last = log.page(log.pages - 1)
    assert [last.texts, last.ats] == [["step 0059999"], [log.size - 1]]
    log.close()


def test_a_line_of_ten_megabytes_without_end_is_shown_in_pieces(tmp_path: Path) -> None:
    """A dump of a tensor must not freeze the view, nor hide the line after it."""
    path = tmp_path / "train.log"
    path.write_bytes(b"before\n" + b"x" * 10_000_000 + b"\nafter\n")
    log = opened(path)
    rows = all_rows(log)
    log.close()

    assert (rows[0].text, rows[-1].text) == ("before", "after")
    assert 100 < len(rows) < 200
    assert max(len(row.text) for row in rows) == LONGEST


def test_a_log_may_come_late_be_cut_and_be_replaced(tmp_path: Path) -> None:
    """The console is open before the first line, and while a resume rotates the file."""
    path = tmp_path / "train.log"
    log = opened(path)
    assert all_rows(log) == []
    path.write_bytes(b"one\ntwo\n")
    assert log.refresh()
    assert not log.refresh()
    first = log.generation
    path.write_bytes(b"three\n")
    assert log.refresh()
    assert log.generation > first
    assert [row.text for row in all_rows(log)] == ["three"]
    other = tmp_path / "other"
    other.write_bytes(b"fourth\nfifth\n")
    other.replace(path)
    assert log.refresh()
    assert [row.text for row in all_rows(log)] == ["fourth", "fifth"]
    path.unlink()
    assert log.refresh()
    assert all_rows(log) == []
    log.close()


@pytest.mark.parametrize("place", [0, 60_000, 65_500, 131_000])
def test_the_launchers_own_traceback_is_left_out_wherever_it_stands(
    tmp_path: Path, place: int
) -> None:
    """It reads like a crash of the trainer; also when it lies across two pages."""
    path = tmp_path / "train.log"
    end = (
        b"Traceback (most recent call last):\n"
        b'  File "/x/accelerate/commands/launch.py", line 1, in f\n'
        + b"    frame\n" * 30
        + b"subprocess.CalledProcessError: Command 'x' returned non-zero exit status 1.\n"
    )
    own = b'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: bad\n'
    path.write_bytes(b"x" * 99 + (b"\n" + b"y" * 99) * (place // 100) + b"\n" + own + end + b"ok\n")
    log = opened(path)
    rows = all_rows(log)
    log.close()

    assert [row.text for row in rows] == plainly(path)
    assert [row.text for row in rows[-2:]] == ["ValueError: bad", "ok"]
    assert [row.level for row in rows[-4:]] == [Level.ERROR] * 3 + [Level.INFO]


def test_a_gigabyte_opens_at_its_end_with_a_few_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To count or index it first would take seconds."""
    path = tmp_path / "train.log"
    with path.open("wb") as file:
        file.truncate(1 << 30)  # a hole: costs nothing
        file.seek(1 << 30)
        file.write(b"\n" + b"".join(b"line %d\n" % i for i in range(20_000)))
    reads: list[int] = []
    read = os.pread
    monkeypatch.setattr(os, "pread", lambda *a: reads.append(a[1]) or read(*a))
    log = opened(path)

    found = finish(log_scan.window(log, log_scan.Ask(before=200, after=0)))
    log.close()

    assert found.rows[-1].text == "line 19999"
    assert len(found.rows) == 200
    assert sum(reads) < 1 << 20
