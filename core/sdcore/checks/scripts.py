"""Which script a start command hands to an interpreter, and what is wrong with its text."""

import re
from pathlib import Path

from sdcore.checks.findings import Finding

_SHELLS, _PYTHONS = {"bash", "sh"}, re.compile(r"python(?:3(?:\.\d+)?)?")
# Options that stand alone; behind one that takes a value, or code, nothing is guessed.
_ALONE = {"bash": re.compile(r"-[aefuvxl]+|--(?:login|norc|noprofile|posix)")}
_ALONE["sh"] = _ALONE["bash"]
_ALONE_PYTHON = re.compile(r"-[bBdEiIOPqsSuv]+")
_LAUNCHERS = (["accelerate", "launch"], ["torchrun"], ["deepspeed"])
_HEAD = 1 << 16  # bytes


def script_of(words: list[str]) -> Path | None:
    """Return the absolute path of the script that an interpreter or launcher is given, if any."""
    found = _of_launcher(words) or _of_interpreter(words)
    return Path(found) if found is not None and found.startswith("/") and "$" not in found else None


def is_shell(word: str) -> bool:
    """Say whether ``word`` is a shell."""
    return word in _SHELLS


def _of_interpreter(words: list[str]) -> str | None:
    name = words[0] if words else ""
    alone = _ALONE_PYTHON if _PYTHONS.fullmatch(name) else _ALONE.get(name)
    if alone is None:
        return None
    return next((word for word in words[1:] if not alone.fullmatch(word)), None)


def _of_launcher(words: list[str]) -> str | None:
    """Return the first word with .py: options before it have values that cannot be told apart."""
    for launcher in _LAUNCHERS:
        if words[: len(launcher)] == launcher:
            rest = words[len(launcher) :]
            module = {"-m", "--module", "--no_python", "--no-python"} & set(rest)
            return None if module else next((w for w in rest if w.endswith(".py")), None)
    return None


def line_end_findings(script: Path, path: Path) -> list[Finding]:
    r"""Name a shell script that was saved with the line ends of Windows.

    Args:
        script: As the task sees it.
        path: Where it lies on this host.
    """
    try:
        with path.open("rb") as file:
            first, newline, _ = file.read(_HEAD).partition(b"\n")
    except OSError:
        return []
    if not (newline and first.endswith(b"\r")):
        return []
    return [
        Finding(
            "error",
            f"the script {script} has the line ends of Windows",
            cause="to a shell the carriage return is part of the last word of each line",
            remedy=f"run: sed -i 's/\\r$//' {path}",
        )
    ]
