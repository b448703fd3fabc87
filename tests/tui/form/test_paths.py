"""Paths as they are typed: what is offered, and what a slow or broken disk does to it."""

import asyncio
import threading
from pathlib import Path

import pytest

from sdcore.data import open_data
from sdcore.errors import NotReadyError
from sdtui.form.aside import apart, aside
from sdtui.form.paths import DATA_FILES, complete


def test_only_what_can_be_taken_is_offered(tmp_path: Path) -> None:
    """A completed path to a picture looks like a choice, and is refused a minute later."""
    (tmp_path / "b-folder").mkdir()
    for name in ("a.jpg", "b.csv", "b.parquet", "c.toml"):
        (tmp_path / name).touch()

    assert complete(f"{tmp_path}/a") is None
    assert complete(f"{tmp_path}/b") == f"{tmp_path}/b-folder/"
    assert complete(f"{tmp_path}/b.", DATA_FILES) == f"{tmp_path}/b.parquet"
    assert complete(f"{tmp_path}/b.") is None
    assert complete(f"{tmp_path}/c", (".toml",)) == f"{tmp_path}/c.toml"


def test_the_files_offered_as_data_are_those_that_can_be_read(tmp_path: Path) -> None:
    """Two lists of one thing drift apart."""
    for suffix in (".parquet", ".csv", ".jsonl", ".arrow", ".zip", ".png"):
        path = tmp_path / f"data{suffix}"
        path.write_bytes(b"no data")
        with pytest.raises(NotReadyError) as caught:
            open_data(str(path))
        taken = "is a file, not a data set" not in caught.value.what
        assert taken == (suffix in DATA_FILES)


@pytest.mark.parametrize("typed", ["~nobody-of-that-name/x", "/no/such/folder/x", "/\x00/x", "x"])
def test_what_is_no_path_is_not_completed(typed: str) -> None:
    """Every ``~name`` is the home of nobody while it is being typed."""
    assert asyncio.run(aside(lambda: complete(typed))) is None


def test_a_bug_in_such_a_thread_is_raised_and_a_disk_that_refuses_is_not() -> None:
    """A thread that ends in silence leaves a console that completes nothing, for ever."""

    def refuse() -> None:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(ZeroDivisionError):
        asyncio.run(aside(lambda: 1 // 0))
    assert asyncio.run(aside(refuse)) is None
    with pytest.raises(PermissionError):
        asyncio.run(apart(refuse))


def test_a_disk_that_hangs_holds_nothing_back() -> None:
    """A dead network mount must hold neither the keys nor the way out."""
    go_on = threading.Event()

    async def story() -> None:
        for _time in range(6):  # more than may hang at a time
            assert await aside(lambda: go_on.wait(30), 0.05) is None

    asyncio.run(story())  # ends, though four threads hang
    assert sum(thread.name == "sdtui-aside" for thread in threading.enumerate()) <= 4
    go_on.set()
