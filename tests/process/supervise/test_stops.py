"""The stop ladder, with trainers that obey, that save late and that never listen."""

import os
import signal
import subprocess
import sys
import time

import pytest

from process.supervise.harness import Bench, Run, python, write_rank
from sdcore.errors import ExitCode
from sdcore.runs import requests
from sdcore.supervise.start import start_supervisor

_DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(60)"
# A launcher that dies of SIGTERM at once, as accelerate does, while its rank, in a session of
# its own as under torchrun, takes a second to save.
_SLOW_RANK = (
    "import signal, sys, time\n"
    "def save(*_): time.sleep(0.8); open('saved', 'w').close(); sys.exit(0)\n"
    "signal.signal(15, save); print('up'); time.sleep(60)"
)
_LAUNCHER = (
    "import subprocess, sys\n"
    "subprocess.Popen([sys.executable, '-I', '-S', '-u', '-c', {rank!r}],"
    " start_new_session=True).wait()"
)


def cooperative(run: Run, *, saves: bool = True) -> list[str]:
    """Return a trainer that polls ``requests/stop.json`` as the built-in one does."""
    stopped = write_rank(run, outcome="stopped", checkpoint="output/checkpoints/step-7")
    return python(
        f"import os, time\nprint('up')\n"
        f"while not os.path.exists({str(run.dir.requests / 'stop.json')!r}): time.sleep(0.02)\n"
        f"{stopped if saves else 'time.sleep(60)'}"
    )


def begin(bench: Bench, argv: list[str] | None = None, **fields: object) -> Run:
    run, lock = bench.create()
    start_supervisor(run.dir, bench.plan(run, argv or cooperative(run), **fields), lock)
    os.close(lock)
    run.until_log("up")
    return run


def test_a_stop_lets_the_trainer_save(bench: Bench) -> None:
    """The save is what a stop is for; exit code 4 tells scripts that a resume will work."""
    run = begin(bench, cooperative=True)
    requests.ask(run.dir, "stop", "SIGINT")
    record = run.exit()
    assert (record["state"], record["exit_code"]) == ("stopped", ExitCode.STOPPED)
    assert record["checkpoint"] == "output/checkpoints/step-7"
    assert record["signal"] is None


def test_our_trainer_inside_a_foreign_script_is_asked_too(bench: Bench) -> None:
    """A user's train.sh around our trainer deserves the same save."""
    run, lock = bench.create()
    code = f"{write_rank(run, outcome='running')}\n{cooperative(run)[-1]}"
    start_supervisor(run.dir, bench.plan(run, python(code), cooperative=False), lock)
    os.close(lock)
    run.until_log("up")
    requests.ask(run.dir, "stop", "sdtui stop")
    assert run.exit()["exit_code"] == ExitCode.STOPPED


def test_every_rung_is_shown_with_its_deadline_and_kills_in_the_end(bench: Bench) -> None:
    """A trainer that neither polls nor dies of SIGTERM must not outlast the ladder."""
    run = begin(bench, python(_DEAF), cooperative=True, term_grace_s=0.6)
    asked = time.time()
    requests.ask(run.dir, "stop", "sdtui stop", grace_s=0.6)
    seen = [run.until_step("save"), run.until_step("term")]
    assert all(state["phase"] == "stopping" for state in seen)
    assert seen[0]["deadline"] == pytest.approx(asked + 0.6, abs=0.5)
    assert seen[1]["deadline"] == pytest.approx(asked + 1.2, abs=0.7)
    record = run.exit()
    assert (record["signal_name"], record["state"]) == ("SIGKILL", "stopped")
    assert (record["cause"], record["exit_code"]) == ("stopped", ExitCode.TERMINATED)
    assert run.survivors() == []


@pytest.mark.parametrize(("kind", "number"), [("term", 15), ("kill", 9)])
def test_a_rung_can_be_asked_for_directly(
    bench: Bench, kind: requests.Kind, number: signal.Signals
) -> None:
    """The second Ctrl-C must not wait for the grace of the first."""
    run = begin(bench, python("print('up'); import time; time.sleep(60)"), cooperative=True)
    requests.ask(run.dir, "stop", "SIGINT")
    run.until_step("save")
    requests.ask(run.dir, kind, "SIGINT")
    record = run.exit(3.0)
    assert record["signal"] == number
    assert record["exit_code"] == ExitCode.INTERRUPTED


def test_a_rank_may_finish_its_save_after_its_launcher_died(bench: Bench) -> None:
    """Accelerate with one process dies of SIGTERM at once and leaves its rank in mid-save."""
    run = begin(bench, python(_LAUNCHER.format(rank=_SLOW_RANK)), term_grace_s=5.0)
    requests.ask(run.dir, "stop", "sdtui stop")
    record = run.exit()
    assert (bench.home / "saved").exists(), "the rank was killed in the middle of its save"
    assert record["signal"] == signal.SIGTERM
    assert record["state"] == "stopped"


def test_the_workers_of_a_trainer_are_left_to_it_while_it_saves(bench: Bench) -> None:
    """Under torch a loader worker that gets SIGTERM fails its trainer in the middle of a save."""
    rank = (
        "import os, signal, sys, time\n"
        "worker = os.fork()\n"
        "if worker == 0: time.sleep(60)\n"
        "times = []\n"
        "def save(*_):\n"
        "  times.append(1); time.sleep(0.8)\n"
        "  alive = os.waitpid(worker, os.WNOHANG) == (0, 0)\n"
        "  open('saved', 'w').write(f'{alive} {len(times)}'); sys.exit(0)\n"
        "signal.signal(15, save); print('up'); time.sleep(60)"
    )
    run = begin(bench, python(_LAUNCHER.format(rank=rank)), term_grace_s=5.0)
    requests.ask(run.dir, "stop", "sdtui stop")
    run.exit(4.0)  # the worker, an orphan then, is told at last and does not use up the grace
    assert (bench.home / "saved").read_text() == "True 1"
    assert run.survivors() == []


def test_what_a_program_starts_to_save_with_is_left_to_it(bench: Bench) -> None:
    """``trap 'cp -r work /output' TERM`` lost its copy: the copying was told to end, too."""
    script = "trap 'sleep 0.8 && touch saved; exit 4' TERM; echo up; while :; do sleep 0.05; done"
    run = begin(bench, ["bash", "-c", script], term_grace_s=20.0)
    requests.ask(run.dir, "stop", "sdtui stop")
    record = run.exit()
    assert (bench.home / "saved").exists()
    assert record["code"] == 4


def test_what_an_ended_program_had_just_started_is_ended_too(bench: Bench) -> None:
    """Its parent is gone and cannot take care of it: it would use up the grace."""
    late = "import time; print('late'); time.sleep(60)"
    first = (
        "import os, signal, subprocess, sys, time\n"
        "def leave(*_):\n"
        f"  subprocess.Popen([sys.executable, '-I', '-S', '-c', {late!r}])\n"
        "  time.sleep(0.3); os._exit(3)\n"
        "signal.signal(15, leave); print('up'); time.sleep(60)"
    )
    run = begin(bench, python(first), term_grace_s=50.0)
    requests.ask(run.dir, "stop", "sdtui stop")
    assert run.exit(20.0)["code"] == 3
    assert run.survivors() == []


def test_a_host_that_shuts_down_lets_the_trainer_save(bench: Bench) -> None:
    """Systemd sends SIGTERM to every process of a session; the guard must not panic at it."""
    run = begin(bench, cooperative=True, stop_grace_s=300.0)
    os.kill(run.guard, signal.SIGTERM)
    os.kill(run.supervisor, signal.SIGTERM)
    record = run.exit()
    assert record["exit_code"] == ExitCode.STOPPED
    assert "SIGTERM" in record["reason"]


def test_what_the_launcher_leaves_running_is_ended(bench: Bench) -> None:
    """A forgotten background process keeps the GPU's memory for the next run to trip over."""
    rank = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(60)"
    launcher = _LAUNCHER.format(rank=rank).replace(".wait()", "\nimport time; time.sleep(0.5)")
    run = begin(bench, python(launcher), term_grace_s=0.3)
    record = run.exit()
    assert (record["state"], record["code"]) == ("done", 0)
    assert run.survivors() == []


def test_a_client_that_dies_and_a_terminal_that_closes_change_nothing(bench: Bench) -> None:
    """The whole point of a supervisor; the terminal's SIGHUP reaches its sessions' groups."""
    run, lock = bench.create()
    os.close(lock)
    code = "import time; print('up'); time.sleep(1.0); print('finished')"
    plan = bench.plan(run, python(code))
    client = (
        "import os, pathlib, pty, sys, time, json\n"
        "from sdcore.launch.plan import LaunchPlan; from sdcore.runs import locks\n"
        "from sdcore.runs.paths import RunDir\n"
        "from sdcore.supervise.start import start_supervisor\n"
        f"run = RunDir(pathlib.Path({str(run.dir.root)!r})); lock = locks.take(run.lock)\n"
        f"start_supervisor(run, LaunchPlan(**{plan.to_record()!r}), lock)\n"
        "print('started', flush=True); time.sleep(60)"
    )
    main, terminal = os.openpty()
    console = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-c", client],
        stdin=terminal, stdout=terminal, stderr=terminal,
    )  # fmt: skip
    os.close(terminal)
    assert b"started" in os.read(main, 1000)
    console.send_signal(signal.SIGKILL)
    console.wait()
    os.close(main)  # the terminal hangs up
    record = run.exit()
    assert record["state"] == "done"
    assert "finished" in run.dir.log.read_text()
