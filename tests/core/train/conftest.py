"""A tiny model and data set, and a trainer that runs in this process: an import of torch is 5 s."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sdcore.train import building
from sdcore.train.entry import main
from support.tiny_model import make_dataset, make_pipeline
from support.trained import Trained

FAULTS = Path(__file__).parents[2] / "support" / "faults"
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


Train = Callable[..., Trained]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pipeline(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data") / "squares", 10)


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Own state folder, own environment, own signal handlers, one thread."""
    for name in ("SDTUI_RUN_DIR", "SDTUI_ATTEMPT", "ACCELERATE_MIXED_PRECISION", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SDTUI_HOME", str(tmp_path / "home"))
    saved, handlers = dict(os.environ), [signal.getsignal(number) for number in _SIGNALS]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two workers of pytest on two cores: more threads only wait
    yield
    torch.set_num_threads(threads)
    for number, handler in zip(_SIGNALS, handlers, strict=True):
        signal.signal(number, handler)
    os.environ.clear()
    os.environ.update(saved)


@pytest.fixture
def flags(model: Path, data: Path) -> list[str]:
    """What every tiny training has in common; a test's own flags come after and win."""
    return [
        "--pretrained_model_name_or_path", str(model), "--train_data_dir", str(data),
        "--resolution", "32", "--train_batch_size", "2", "--max_train_steps", "3",
        "--seed", "1", "--report_to", "none",
    ]  # fmt: skip


@pytest.fixture
def train(flags: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Train:
    """Run the trainer's entry in this process."""

    def run(*more: str, out: str = "out") -> Trained:
        capfd.readouterr()
        code = main([*flags, "--output_dir", str(tmp_path / out), *more])
        return Trained(code, tmp_path / out, capfd.readouterr().err)

    return run


@pytest.fixture
def spawn(flags: list[str], tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Start the trainer in a process of its own, with a fault on order."""

    def start(
        *more: str, out: str = "out", fault: str = "", launcher: tuple[str, ...] = (), **env: str
    ) -> "subprocess.Popen[str]":
        paths = os.pathsep.join([str(FAULTS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        environ = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1",
                   "SDTUI_TEST_FAULT": fault, **env}  # fmt: skip
        argv = [sys.executable, "-m", *launcher, *(["-m"] if launcher else []), "sdcore.train",
                *flags, "--output_dir", str(tmp_path / out), *more]  # fmt: skip
        return subprocess.Popen(
            argv, env=environ, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    return start


@pytest.fixture
def kits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The parts of each training that ran."""
    found: list[Any] = []
    publish = building._publish

    def keeping(job: Any, ended: Any) -> None:
        found.append(ended.kit)
        publish(job, ended)

    monkeypatch.setattr(building, "_publish", keeping)
    return found
