"""The rules of the house, each checked by the tool that knows it best."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "format", "--check", "."],
        ["ruff", "check", "."],
        ["mypy"],
        # Its console script has no module of its own to run with -m.
        ["importlinter.cli"],
    ],
    ids=["format", "lint", "types", "layers"],
)
def test_the_tree_is_clean(command: list[str]) -> None:
    """What is not checked with the tests is not checked."""
    argv = [sys.executable, "-m", *command]
    if command[0] == "importlinter.cli":
        argv = [str(Path(sys.executable).with_name("lint-imports"))]

    run = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]


PROBE = """
import sys
{statement}
print(sorted({{'torch', 'textual', 'sdtui', 'pydantic', 'rich'}} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import sdtui.cli", set()),
        ("import sdtui.completing, sdcore.runs.store", set()),
        ("import sdcore.supervise.supervisor, sdcore.gpu.nvml", set()),
        ("import sdcore.runs.status, sdcore.runs.follow, sdcore.runs.store", set()),
        ("import sdtui.headless", {"sdtui", "pydantic", "rich"}),
        ("import sdcore.checks.check, sdcore.data, sdcore.supervise.begin", {"pydantic"}),
        ("import sdcore.train.entry", {"torch", "pydantic"}),
    ],
)
def test_nobody_pays_for_what_they_do_not_use(statement: str, allowed: set[str]) -> None:
    """One eager import puts 0.3 s (textual) or 2.4 s (torch) on every command, 200 MB on a run."""
    run = subprocess.run(
        [sys.executable, "-c", PROBE.format(statement=statement)],
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = set(eval(run.stdout)) - ({"sdtui"} if "sdtui" in statement else set())
    assert loaded <= allowed


def test_no_file_outgrows_its_name() -> None:
    """A file over 400 lines needs a reason, one over 500 is wrong."""
    folders = ("core", "tui", "tests", "tools", "benchmarks")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    long = {str(p): n for p in sources if (n := len(p.read_text("utf-8").splitlines())) > 400}

    assert long == {}


def test_the_readme_the_makefile_and_ci_name_one_command() -> None:
    """A test command that nobody runs rots."""
    assert "make test" in (ROOT / "README.md").read_text("utf-8")
    assert (ROOT / ".ci" / "run").read_text("utf-8").splitlines()[-1] == "make test"
    assert "\ntest:" in (ROOT / "Makefile").read_text("utf-8")
