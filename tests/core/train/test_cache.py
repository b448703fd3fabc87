"""The store of records: whatever is killed or full, what is read was written whole."""

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdcore.errors import ExitCode, NotReadyError
from sdcore.train import cache
from sdcore.train.cache import KEY_BYTES, PackWriter, RecordStore, key_of, usage

SIZE = 48


def key(number: int) -> bytes:
    return key_of(str(number))


def record(number: int) -> bytes:
    return (number.to_bytes(4, "little") * SIZE)[:SIZE]


def put(writer: PackWriter, numbers: range) -> None:
    with writer:
        for number in numbers:
            writer.put(key(number), record(number))


def fill(folder: Path, numbers: range) -> None:
    put(RecordStore(folder, SIZE).writer(), numbers)


def held(folder: Path, numbers: range) -> list[int]:
    """Return which of ``numbers`` are there, each checked for its content."""
    store = RecordStore(folder, SIZE)
    found = []
    for number in numbers:
        place = store.place(key(number))
        if place is not None:
            assert store.record(place).tobytes() == record(number)
            found.append(number)
    assert len(store) == len(found)
    return found


def test_what_was_put_is_found_by_any_later_reader(tmp_path: Path) -> None:
    fill(tmp_path / "a" / "b", range(20))
    fill(tmp_path / "a" / "b", range(20, 30))
    assert held(tmp_path / "a" / "b", range(40)) == list(range(30))
    store = RecordStore(tmp_path / "a" / "b", SIZE)
    places = [store.place(key(n)) for n in (7, 25, 7)]
    rows = store.gather(place for place in places if place)
    assert [row.tobytes() for row in rows] == [record(7), record(25), record(7)]


@settings(max_examples=80, deadline=None)
@given(records=st.integers(0, 6 * SIZE), keys=st.integers(0, 6 * KEY_BYTES))
def test_a_pack_cut_at_any_byte_gives_its_whole_records(records: int, keys: int) -> None:
    """A kill or power cut ends either file anywhere; a half record read as latents is noise."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, range(6))
        (pack,) = folder.glob("*.bin")
        os.truncate(pack, records)
        os.truncate(pack.with_suffix(".keys"), keys)
        whole = min(records // SIZE, keys // KEY_BYTES)
        assert held(folder, range(6)) == list(range(whole))
        fill(folder, range(whole, 6))  # the next start does the rest, in a pack of its own
        assert held(folder, range(6)) == list(range(6))


_WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_cache import SIZE, key, record
from sdcore.train import cache
cache._GROUP_BYTES = 5 * SIZE
with cache.RecordStore(Path(sys.argv[1]), SIZE).writer() as writer:
    print("go", flush=True)
    for number in range(20_000):
        writer.put(key(number), record(number))
"""


def test_a_writer_killed_at_any_moment_leaves_only_whole_records(tmp_path: Path) -> None:
    """SIGKILL cannot be caught, so the files themselves have to be right at every moment."""
    argv = [sys.executable, "-c", _WRITER, str(tmp_path / "store"), str(Path(__file__).parent)]
    seen = 0
    for attempt in range(3):
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.01 + 0.03 * attempt)
            writer.send_signal(signal.SIGKILL)
        found = held(tmp_path / "store", range(20_000))
        assert found == list(range(len(found)))  # no hole either
        assert len(found) >= seen
        seen = len(found)
    assert seen > 0


def test_writers_and_readers_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Eight ranks fill one folder at once; each has its own pack."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda rank: fill(tmp_path, range(rank, 400, 8)), range(8)))
    assert held(tmp_path, range(400)) == list(range(400))
    assert len(list(tmp_path.glob("*.bin"))) == 8


def test_refresh_shows_what_others_added_and_keeps_old_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_GROUP_BYTES", 2 * SIZE)
    store = RecordStore(tmp_path, SIZE)
    with RecordStore(tmp_path, SIZE).writer() as writer:
        writer.put(key(0), record(0))
        writer.put(key(1), record(1))
        store.refresh()
        first = store.place(key(1))
        writer.put(key(2), record(2))
        store.refresh()
        assert key(2) not in store  # not synced yet: it could still be lost
        writer.put(key(3), record(3))
    store.refresh()
    assert all(key(n) in store for n in range(4))
    assert first is not None
    assert store.record(first).tobytes() == record(1)


def test_files_and_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    """Latents of a private data set can be decoded by who reads them."""
    old = os.umask(0)
    try:
        fill(tmp_path / "cache" / "latents", range(3))
    finally:
        os.umask(old)
    for path in (tmp_path / "cache").rglob("*"):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


def test_a_full_disk_is_said_with_folder_and_bytes_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk ends in the middle of a record: it must not shift those written later."""
    fill(tmp_path, range(3))
    whole_write = os.write
    room = 100

    def write(descriptor: int, data: Any) -> int:
        nonlocal room
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = whole_write(descriptor, data[:room])
        room -= done
        return done

    monkeypatch.setattr(os, "write", write)
    writer = RecordStore(tmp_path, SIZE).writer()
    with pytest.raises(NotReadyError) as caught:
        put(writer, range(3, 9))
    monkeypatch.undo()
    assert caught.value.exit_code == ExitCode.NOT_READY
    assert str(tmp_path) in caught.value.what
    assert "48 B are needed" in caught.value.cause
    assert "No space left" in caught.value.cause
    assert "train.cache_latents=false" in caught.value.remedy
    with pytest.raises(ValueError, match="cut short"):
        writer.put(key(9), record(9))
    assert held(tmp_path, range(9)) == [0, 1, 2]


def test_too_little_room_is_said_before_the_work_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after an hour of encoding."""
    store = RecordStore(tmp_path, SIZE)
    free = type("Free", (), {"free": 1000})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    store.need(12)
    with pytest.raises(NotReadyError, match="no room") as caught:
        store.need(13)
    assert "only 0.977 KiB are free" in caught.value.cause


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotReadyError, match=r"the cache folder .* cannot be used"):
        RecordStore(tmp_path / "file" / "cache", SIZE)


def test_usage_counts_what_the_cache_takes(tmp_path: Path) -> None:
    assert usage(tmp_path / "nothing").size == 0
    fill(tmp_path / "a", range(5))
    fill(tmp_path / "b", range(5))
    assert usage(tmp_path).files == 4
    assert usage(tmp_path).size == 10 * (SIZE + KEY_BYTES)


def test_emptying_the_cache_under_a_reader_does_not_disturb_it(tmp_path: Path) -> None:
    fill(tmp_path, range(5))
    store = RecordStore(tmp_path, SIZE)
    for path in tmp_path.iterdir():
        path.unlink()
    place = store.place(key(4))
    assert place is not None
    assert store.record(place).tobytes() == record(4)
    assert held(tmp_path, range(5)) == []


def test_keys_keep_their_parts_apart() -> None:
    """Else "512" + "1" and "51" + "21" would share a record."""
    assert key_of("ab", "c") != key_of("a", "bc")
    assert key_of("ab") == key_of(b"ab")
