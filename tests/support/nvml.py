"""GPUs for tests on a host without any: a small C library that the real pynvml loads."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from sdcore.runs.paths import RunDir

SOURCE = Path(__file__).parent / "fake_nvml" / "nvml.c"
GIB = 1 << 30


def gpu(uuid: str, name: str = "NVIDIA H800", **readings: object) -> str:
    """Return the line that describes one healthy GPU, changed by ``readings``; None removes."""
    words: dict[str, object] = {
        "uuid": uuid, "name": name.replace(" ", "_"), "used": 2 * GIB, "reserved": GIB // 2,
        "total": 80 * GIB, "util": 7, "power": 312_000, "limit": 700_000, "temp": 61,
        "clock": 1755, "throttle": 0, "ecc": 0, "xid": "",
    }  # fmt: skip
    words |= readings
    return " ".join(f"{key}={value}" for key, value in words.items() if value is not None)


class FakeGpus:
    """A set of GPUs that a test may change while programs look at it."""

    def __init__(self, library: Path, table: Path) -> None:
        self._table = table
        self.env = {
            "LD_LIBRARY_PATH": os.pathsep.join(
                filter(None, [str(library), os.environ.get("LD_LIBRARY_PATH")])
            ),
            "FAKE_NVML": str(table),
        }
        self.set()

    def set(self, *lines: str) -> None:
        """Replace the GPUs; a reader sees all the old or all the new ones."""
        temporary = self._table.with_suffix(".new")
        temporary.write_text("".join(line + "\n" for line in lines))
        temporary.replace(self._table)


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ``libnvidia-ml.so.1``, built once for all tests of a worker."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build the fake NVML with")
    folder = tmp_path_factory.mktemp("nvml")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", str(library), str(SOURCE)], check=True
    )
    return folder


@pytest.fixture
def fake_gpus(nvml_library: Path, tmp_path: Path) -> Callable[..., FakeGpus]:
    """Return a maker of GPUs: ``fake_gpus(gpu("GPU-0"), …).env`` is for subprocesses."""

    def make(*lines: str) -> FakeGpus:
        gpus = FakeGpus(nvml_library, tmp_path / "gpus.txt")
        gpus.set(*lines)
        return gpus

    return make


class Watcher:
    """A process that records GPUs into a run as its supervisor does; see ``gpu_watcher``."""

    def __init__(self, gpus: FakeGpus, run: RunDir, count: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.gpu_watcher", str(run.root), str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **gpus.env, "PYTHONPATH": str(Path(__file__).parents[1])},
        )  # fmt: skip
        self._hear("ready")

    def look(self) -> None:
        """Have one line written."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._hear("looked")

    def _hear(self, word: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == word

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_why: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()
