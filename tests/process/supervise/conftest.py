"""What the tests of the supervisor share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from process.supervise.harness import Bench
from support.nvml import fake_gpus, nvml_library

__all__ = ["bench", "fake_gpus", "nvml_library"]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("SDTUI_HOME", str(home))
    bench = Bench(home)
    yield bench
    bench.clean_up()
