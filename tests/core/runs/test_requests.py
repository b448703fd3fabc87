"""Wishes of a console: whole, once, and also on a full disk."""

import errno
import os
import time
from pathlib import Path
from unittest.mock import patch

import pytest

from sdcore.runs import requests
from sdcore.runs.paths import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def test_the_first_of_two_wishes_counts(run: RunDir) -> None:
    """Two people press stop; the second must not become a new wish after the first was met."""
    assert requests.ask(run, "stop", "SIGINT", grace_s=3)
    assert not requests.ask(run, "stop", "sdtui stop")

    wish = requests.pending(run, "stop") or {}
    requests.done(run, "stop")

    assert (wish["by"], wish["grace_s"]) == ("SIGINT", 3)
    assert requests.pending(run, "stop") is None


def test_a_wish_is_never_seen_without_who_made_it(run: RunDir) -> None:
    """Between open and write a supervisor took Ctrl-C for nobody's wish: exit 143, not 130."""
    run.requests.mkdir()
    path = requests.path_of(run, "stop")
    path.touch()

    assert requests.pending(run, "stop") is None

    path.write_text('{"by": "SIGINT"}', "utf-8")
    assert requests.pending(run, "stop") == {"by": "SIGINT"}


def test_a_wish_stands_also_on_a_full_disk(run: RunDir) -> None:
    """A run must be stoppable just when it has filled the disk; only its fields are lost."""
    with patch("os.write", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        assert requests.ask(run, "stop", by="sdtui stop", grace_s=1)
    path = requests.path_of(run, "stop")
    os.utime(path, (time.time() - 5,) * 2)

    assert requests.pending(run, "stop") == {}
