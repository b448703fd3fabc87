"""What is hidden from an import, and only as long."""

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sdcore.train.hiding import hidden


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed package that nobody has imported."""
    (tmp_path / "seldom_used.py").write_text("HERE = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "seldom_used", raising=False)
    return "seldom_used"


def test_an_installed_package_is_not_found_while_it_is_hidden(package: str) -> None:
    """Both ways in which libraries look for an optional package must miss it."""
    with hidden(package):
        assert importlib.util.find_spec(package) is None
        with pytest.raises(ImportError):
            importlib.import_module(package)
    assert importlib.import_module(package).HERE


def test_it_is_found_again_also_after_an_error(package: str) -> None:
    """An import that fails must not take a package away for good."""
    with pytest.raises(RuntimeError), hidden(package):
        raise RuntimeError
    assert importlib.util.find_spec(package) is not None


def test_a_package_in_use_stays_what_it_is(package: str) -> None:
    """Whoever holds it already must not meet a second copy."""
    loaded = importlib.import_module(package)
    with hidden(package):
        assert importlib.import_module(package) is loaded
    assert sys.modules[package] is loaded


def test_a_training_leaves_bitsandbytes_unloaded_where_it_does_not_use_it(
    spawn: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    """Diffusers and peft load it where they find it, and torch's compiler with it."""
    installed, loaded = tmp_path / "installed" / "bitsandbytes", tmp_path / "loaded"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text(f"open({str(loaded)!r}, 'w').close()\n")

    training = spawn("--train_lora", "--max_train_steps", "1", PYTHONPATH=str(installed.parent))

    _, said = training.communicate()
    assert training.returncode == 0, said
    assert not loaded.exists()
