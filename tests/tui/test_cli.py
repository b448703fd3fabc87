import errno
import subprocess
import sys

import pytest

from sdcore import __version__
from sdtui import cli
from support.fake_runs import exit_record, make_run

HEAVY = ("textual", "torch", "diffusers", "transformers", "numpy")


def modules_after(*arguments: str) -> set[str]:
    """Run a command in a fresh interpreter and return the top-level modules it has loaded."""
    probe = (
        "import sys\nfrom sdtui.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print('\\n' + ' '.join({name.partition('.')[0] for name in sys.modules}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", probe, *arguments], capture_output=True, text=True, check=True
    )
    return set(run.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["ls"],
        ["ls", "--json"],
        ["show"],
        ["logs"],
        ["wait"],
        ["attach"],
        ["rm", "x"],
    ],
    ids=" ".join,
)
def test_a_quick_command_loads_nothing_slow(arguments: list[str]) -> None:
    """One eager import would put 0.15 s (pydantic) to 2.4 s (torch) on every call of a script."""
    make_run(exit=exit_record(), log=b"text\n")
    assert modules_after(*arguments) & {*HEAVY, "pydantic", "rich"} == set()


@pytest.mark.parametrize(
    "arguments",
    [["presets"], ["schema"], ["schema", "events"], ["wait", "--json"]],
    ids=" ".join,
)
def test_no_reading_command_loads_the_console_or_torch(arguments: list[str]) -> None:
    make_run(exit=exit_record())
    assert modules_after(*arguments) & set(HEAVY) == set()


def test_asyncio_without_ssl_leaves_ssl_to_who_wants_it() -> None:
    """A name that stays blocked would fail in whatever is imported hours later."""
    probe = (
        "import sys\nfrom sdtui.opening import import_asyncio\n"
        "import_asyncio()\nassert 'ssl' not in sys.modules\n"
        "import asyncio, ssl\nasyncio.run(asyncio.sleep(0))\nprint(bool(ssl.OPENSSL_VERSION))"
    )
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert run.stdout == "True\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--rum", "demo"], "did you mean --run?"),
        (["--run=demo", "--detatch"], "did you mean --detach?"),
        (["ls", "--jsn"], "did you mean --json? `sdtui ls --help`"),
        (["resum", "last"], "did you mean resume?"),
        (["dance"], "invalid choice: 'dance'"),
        (["run", "demo"], "did you mean `sdtui --run demo`?"),
        (["--set", "a=b"], "--set needs --run PRESET or a command"),
        (["--run", "demo", "ls"], "--run cannot stand before `ls`"),
        (["--set", "a=b", "resume", "x"], "--set cannot stand before `resume`"),
        (["--json", "ls"], "--json cannot stand before `ls`"),
        (["stop"], "the following arguments are required: RUN"),
        (["stop", "x", "--now", "--kill"], "not allowed with argument --now"),
        (["stop", "x", "--grace", "nan"], "'nan' is not a number of seconds"),
        (["logs", "-n", "-3"], "'-3' is not a number of lines"),
        (["schema", "\x1b[2J"], "invalid choice"),
    ],
)
def test_a_wrong_argument_is_told_in_a_line_and_returns_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An option that is silently dropped would train for hours without it."""
    with pytest.raises(SystemExit) as leave:
        cli.main(arguments)
    assert leave.value.code == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert "\x1b" not in captured.err
    assert captured.out == ""


def test_the_version_is_data(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        cli.main(["--version"])
    assert leave.value.code == 0
    assert capsys.readouterr().out == f"sdtui {__version__}\n"


@pytest.mark.parametrize("command", ["show", "attach", "logs", "wait", "stop", "resume", "rm"])
def test_a_run_that_is_not_there_is_a_usage_error(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(exit=exit_record())
    assert cli.main([command, "../\x1b[2Jevil"]) == 2
    error = capsys.readouterr().err
    assert "remedy:" in error
    assert "\x1b" not in error


def test_a_reader_that_leaves_early_ends_the_command_quietly() -> None:
    """``sdtui ls | head -1`` must not print a traceback."""
    make_run(exit=exit_record())
    command = f"{sys.executable} -m sdtui ls --json | true; echo ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    assert run.stdout.strip() in {"0", "141"}  # 0: it all went into the pipe before it closed


def test_a_closed_stdout_is_borne() -> None:
    """Cron jobs and daemons may start us with no stdout at all."""
    command = f"{sys.executable} -m sdtui ls >&-"
    assert subprocess.run(["bash", "-c", command], check=False).returncode == 0


def test_an_error_of_the_host_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk or a foreign folder is no bug of ours."""

    def deny() -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/home/bob/runs\x1b[2J")

    monkeypatch.setattr("sdtui.commands.ls.all_runs", deny)
    assert cli.main(["ls"]) == 3
    error = capsys.readouterr().err
    assert "/home/bob/runs cannot be used" in error
    assert "Permission denied" in error
    assert "\x1b" not in error
