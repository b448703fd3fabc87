"""Whatever is killed with SIGKILL, nothing of the run outlives it and the files tell the truth."""

import os
import signal
import time

import pytest

from process.supervise.harness import Bench, Run, marked, python, until
from sdcore.runs import locks
from sdcore.runs.files import read_json
from sdcore.supervise import procs
from sdcore.supervise.start import start_supervisor

# Four processes as under torchrun with a loader: a launcher, a rank in a session of its own, a
# worker below it, and a stray whose parent is gone. Ranks and stray ignore SIGTERM.
_SLEEP = "import signal, time; signal.signal(15, signal.SIG_IGN); print('leaf'); time.sleep(60)"
_RANK = (
    "import signal, subprocess, sys; signal.signal(15, signal.SIG_IGN)\n"
    "run = [sys.executable, '-I', '-S', '-u', '-c']\n"
    f"subprocess.Popen([*run, {_SLEEP!r}]); print('rank')\n"
    "import time; time.sleep(60)"
)
_TREE = (
    "import os, subprocess, sys\n"
    "run = [sys.executable, '-I', '-S', '-u', '-c']\n"
    f"subprocess.Popen([*run, {_RANK!r}], start_new_session=True)\n"
    f"if os.fork() == 0:\n  os.setsid(); subprocess.Popen([*run, {_SLEEP!r}]); os._exit(0)\n"
    "os.wait(); print('launcher'); import time; time.sleep(60)"
)


def plant(bench: Bench) -> Run:
    run = bench.start(python(_TREE), term_grace_s=0.5)
    until(lambda: run.dir.log.read_text().split().count("leaf") == 2)
    assert len(run.survivors()) == 4
    return run


def victim(run: Run, name: str) -> int:
    if name == "rank":
        return next(pid for pid in run.survivors() if os.getsid(pid) == pid != run.launcher)
    return int(getattr(run, name))


@pytest.mark.parametrize("name", ["supervisor", "guard", "launcher"])
def test_nothing_outlives_a_kill(bench: Bench, name: str) -> None:
    """Measured without a guard: 5 of 5 processes survived and kept their GPU for good."""
    run = plant(bench)
    supervisor, guard = run.supervisor, run.guard
    os.kill(victim(run, name), signal.SIGKILL)
    run.until_gone(20.0)
    run.until_free()
    record = read_json(run.dir.exit)
    if name == "supervisor":
        assert record is None, "nobody is left who could know how it ended"
    elif name == "guard":
        assert record is not None
        assert (record["state"], record["cause"], record["exit_code"]) == (
            "interrupted", "guard_lost", 7,
        )  # fmt: skip
    else:
        assert record is not None
        assert (record["cause"], record["signal"], record["exit_code"]) == ("signal", 9, 1)
    until(lambda: not any(procs.read(pid) for pid in (supervisor, guard)))


def test_the_run_stays_taken_while_its_last_processes_end(bench: Bench) -> None:
    """A resume that started beside a dying trainer would write the same checkpoint folder."""
    run = plant(bench)
    os.kill(run.supervisor, signal.SIGKILL)
    while run.survivors():
        assert locks.is_held(run.dir.lock) or not run.survivors()
        time.sleep(0.02)
    run.until_free()


def test_a_rank_that_dies_is_the_launchers_business(bench: Bench) -> None:
    """Torchrun ends or restarts the others itself; the supervisor judges at the end."""
    run = plant(bench)
    os.kill(victim(run, "rank"), signal.SIGKILL)
    time.sleep(0.4)
    assert run.state()["phase"] == "running"
    os.kill(run.launcher, signal.SIGKILL)
    run.exit()
    assert run.survivors() == []


def test_no_other_process_is_signalled(bench: Bench) -> None:
    """Runs are told apart by descent, not by name, group or environment."""
    first, second = plant(bench), plant(bench)
    os.kill(first.guard, signal.SIGKILL)
    first.until_gone()
    first.exit()
    assert len(second.survivors()) == 4
    assert second.state()["phase"] == "running"
    os.kill(second.launcher, signal.SIGKILL)
    second.exit()
    assert list(marked(second.mark)) == []


def test_a_client_killed_during_the_start_leaves_a_whole_run_or_none(bench: Bench) -> None:
    """Between fork and readiness lie many moments; none may leave a run nobody answers for."""
    runs = []
    for delay in (0.0, 0.03, 0.06, 0.1, 0.15):
        run, lock = bench.create()
        child = os.fork()
        if child == 0:
            start_supervisor(run.dir, bench.plan(run, python("import time; time.sleep(0.5)")), lock)
            os._exit(0)
        os.close(lock)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        runs.append(run)
    for run in runs:
        run.until_free()
        record = read_json(run.dir.exit)
        assert record is None or record["state"] == "done"
        assert record is not None or not run.dir.log.exists()
        assert run.survivors() == []
