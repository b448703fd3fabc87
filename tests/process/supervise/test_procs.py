"""Only the process that was meant is signalled, however it is named."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from process.supervise.harness import until
from sdcore.supervise import procs


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_pid_that_was_given_anew_is_not_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    """On a busy host a pid comes round in minutes; its new owner did nothing."""
    found = procs.read(sleeper.pid)
    assert found is not None
    assert procs.send(replace(found, ticks=found.ticks - 1), signal.SIGKILL) is False
    assert sleeper.poll() is None
    assert procs.send(found, signal.SIGKILL) is True
    assert sleeper.wait(5) == -signal.SIGKILL
    assert procs.send(found, signal.SIGKILL) is False


def test_a_kernel_without_pidfds_is_served_too(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sandboxes refuse calls they do not know; a stop has to work there as well."""

    def refuse(pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    found = procs.read(sleeper.pid)
    assert found is not None
    assert procs.send(replace(found, ticks=0), signal.SIGKILL) is False
    assert procs.send(found, signal.SIGTERM) is True
    assert sleeper.wait(5) == -signal.SIGTERM


def test_a_name_with_parentheses_and_spaces_hides_nothing() -> None:
    """The name stands unescaped in the middle of the fields; a naive split reads nonsense."""
    before = procs.read(os.getpid())
    assert before is not None
    try:
        _name(b") R 1 (x y")
        renamed = procs.read(os.getpid())
    finally:
        _name(before.name.encode())
    assert renamed is not None
    assert renamed == replace(before, name=") R 1 (x y", rss=renamed.rss)


def _name(name: bytes) -> None:
    ctypes.CDLL(None).prctl(15, name, 0, 0, 0)


def test_descendants_are_found_through_every_session() -> None:
    """A new session or group must not be a way out."""
    nested = ["setsid", "--wait", "sh", "-c", "sleep 60 & wait"]
    with subprocess.Popen(nested, start_new_session=True) as process:
        until(lambda: len(procs.below(process.pid)) >= 2)
        below = procs.below(process.pid)
        assert {each.name for each in below} <= {"setsid", "sh", "sleep"}
        assert {each.pid for each in below} < {each.pid for each in procs.below(os.getpid())}
        procs.kill_below(process.pid)
        process.kill()


BREEDER = """
import subprocess
for _ in range(60):
    subprocess.run(["true"], check=True)
print("unharmed", flush=True)
"""


def test_what_a_further_run_starts_is_never_killed_with_what_started_it(tmp_path: Path) -> None:
    """It starts processes all the time, also between two looks at all of them."""
    package = tmp_path / "sdcore" / "supervise"
    package.mkdir(parents=True)
    (tmp_path / "sdcore" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(BREEDER)
    argv = [sys.executable, "-P", "-m", "sdcore.supervise"]
    outer = f"import subprocess; subprocess.run({argv!r})"
    with subprocess.Popen(
        [sys.executable, "-c", outer], stdout=subprocess.PIPE, env={"PYTHONPATH": str(tmp_path)}
    ) as process:
        until(lambda: any(procs.is_supervisor(p.pid) for p in procs.below(process.pid)))
        while process.poll() is None:
            procs.kill_below(process.pid, without=procs.is_supervisor)
        assert process.stdout is not None
        assert process.stdout.read() == b"unharmed\n"


DEAF_AT_FIRST = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
sys.stdin.readline()
signal.signal(signal.SIGTERM, lambda *_: print("told", flush=True))
print("hears", flush=True)
sys.stdin.readline()
"""


def test_who_is_deaf_while_it_starts_is_told_once_it_hears() -> None:
    """Below bubblewrap SIGTERM is ignored for some milliseconds: a stop then cost the save."""
    others = [each.pid for each in procs.below(os.getpid())]
    terminate = procs.Terminator(os.getpid(), others)
    words = [sys.executable, "-I", "-S", "-c", DEAF_AT_FIRST]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdin is not None
        assert one.stdout is not None
        assert one.stdout.readline() == "deaf\n"
        terminate()
        one.stdin.write("\n")
        one.stdin.flush()
        assert one.stdout.readline() == "hears\n"
        terminate()
        terminate()
        told, _ = one.communicate("\n", timeout=5)
    assert told == "told\n", "not at all, or a second time, which makes many give up their save"
