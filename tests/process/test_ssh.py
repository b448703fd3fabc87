"""Over a real SSH connection that is really cut: the run is safe, and it is found again."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdcore.runs.files import read_json
from sdcore.runs.paths import RunDir
from support.real_runs import (
    beating_preset,
    few_threads,
    grows,
    the_run,
    training_preset,
    until,
)
from support.sshd import Login, Sshd, find_sshd

__all__ = ["few_threads"]

pytestmark = [
    pytest.mark.skipif(
        find_sshd() is None, reason="there is no sshd: apt-get install openssh-server"
    ),
    pytest.mark.usefixtures("few_threads"),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    binary = find_sshd()
    assert binary is not None
    server = Sshd(binary, tmp_path / "sshd")
    yield server
    server.close()


def listed(server: Sshd) -> dict[str, object]:
    """Return what ``sdtui ls`` says of the only run in a later shell."""
    (record,) = json.loads(server.run("ls", "--json").stdout)
    return dict(record)


def finished(server: Sshd, run: RunDir) -> subprocess.CompletedProcess[str]:
    (run.output / "enough").touch()
    return server.run("wait", run.id)


def test_a_cut_connection_does_not_touch_training(server: Sshd, tmp_path: Path) -> None:
    """The laptop is closed: what was started over it trains on and is waited for the next day."""
    preset = training_preset(tmp_path, steps=300)
    with Login(server, "--run", preset) as login:
        login.until("loss")
        run = the_run()
        until(run.metrics.exists)
        sessions = server.sessions()
        assert sessions
        login.cut()
    until(lambda: not set(sessions) & set(server.sessions()))
    assert listed(server)["state"] == "running"
    assert grows(run.metrics)
    waited = server.run("wait", run.id)
    assert (waited.returncode, waited.stdout, waited.stderr) == (0, "", "")
    assert (run.pipeline / "model_index.json").is_file()
    end = read_json(run.exit) or {}
    assert (end["cause"], end["last_step"], end["attempt"]) == ("done", 300, 1)
    steps = [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()]
    assert steps == list(range(1, 301))


def test_no_signal_of_a_cut_connection_reaches_the_run(server: Sshd, tmp_path: Path) -> None:
    """A hang-up goes to all that still belong to the terminal; a run must not be among them."""
    with Login(server, "--run", beating_preset(tmp_path)) as login:
        login.until("running")
        run = the_run()
        until((run.output / "beats").exists)
        login.cut()
    assert listed(server)["state"] == "running"
    with Login(server, "attach", run.id) as login:
        login.until("Ctrl-C leaves it")
        login.until("running")
        login.cut()
    assert listed(server)["state"] == "running"
    assert grows(run.output / "beats")
    assert finished(server, run).returncode == 0
    assert not (run.output / "signals").exists()
    assert not list(run.requests.iterdir())


def test_detach_returns_at_once_with_the_id(server: Sshd, tmp_path: Path) -> None:
    """An ssh ends only when nobody holds its streams; a supervisor that kept one would hang it."""
    started = server.run("--run", beating_preset(tmp_path), "--detach")
    run = the_run()
    assert (started.returncode, started.stdout) == (0, f"{run.id}\n")
    assert listed(server)["state"] in {"starting", "running"}
    until((run.output / "beats").exists)
    assert finished(server, run).returncode == 0


def test_ctrl_c_over_ssh_saves_and_resume_finishes(server: Sshd, tmp_path: Path) -> None:
    """The key goes as a byte through two terminals; it must stop the run and cost nothing."""
    preset = training_preset(tmp_path, steps=300)
    with Login(server, "--run", preset) as login:
        login.until("loss")
        login.press(b"\x03")
        assert login.wait() == 4
    run = the_run()
    assert f"sdtui resume {run.id}".encode() in login.screen
    stopped = read_json(run.exit) or {}
    assert (stopped["state"], stopped["cause"]) == ("stopped", "stopped")
    resumed = server.run("resume", run.id)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == f"{run.pipeline}\n"
    end = read_json(run.exit) or {}
    assert (end["state"], end["last_step"], end["attempt"]) == ("done", 300, 2)
