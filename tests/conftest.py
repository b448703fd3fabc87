"""What every test can count on: a state folder of its own and none of the user's settings."""

import os
import signal
import sys
from pathlib import Path

import pytest

# A process under test finds our modules compiled, as an installation leaves them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Under nohup, or behind a shell's &, every process of a test would be deaf to these.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep runs and settings out of the home of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("SDTUI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SDTUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "home"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow ones: last, one of two workers would wait for them alone."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
