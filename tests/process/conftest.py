"""What the tests of real processes share: a tiny model, a tiny data set, the command."""

from collections.abc import Iterator
from contextlib import suppress
from os import kill
from pathlib import Path
from signal import SIGKILL

import pytest

from support.commands import Console
from support.tiny_model import make_dataset, make_pipeline


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pipeline(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data") / "squares", 4)


@pytest.fixture
def sdtui(home: Path) -> Iterator[Console]:
    """The command, and the end of all that a failed test left."""
    console = Console(home)
    yield console
    for pid in console.processes():
        with suppress(ProcessLookupError):
            kill(pid, SIGKILL)
