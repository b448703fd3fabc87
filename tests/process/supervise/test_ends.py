"""How a run ends is recorded exactly, and a start that fails is told at once."""

import os
import signal
import time
from pathlib import Path

import pytest

from process.supervise.harness import Bench, python, until, write_rank
from sdcore.errors import ExitCode, NotReadyError, SdError
from sdcore.runs import locks, requests
from sdcore.runs.files import read_json
from sdcore.supervise import procs
from sdcore.supervise.start import start_supervisor


@pytest.mark.parametrize(
    ("code", "own", "number", "state", "exit_code"),
    [
        ("raise SystemExit(0)", 0, None, "done", ExitCode.DONE),
        ("raise SystemExit(3)", 3, None, "failed", ExitCode.FAILED),
        ("import os; os.kill(os.getpid(), 9)", None, 9, "failed", ExitCode.FAILED),
        ("import os; os.kill(os.getpid(), 15)", None, 15, "failed", ExitCode.FAILED),
        ("print('CUDA out of memory. Tried'); raise SystemExit(1)", 1, None, "failed", 5),
    ],
)  # fmt: skip
def test_code_and_signal_are_exact(
    bench: Bench, code: str, own: int | None, number: int | None, state: str, exit_code: int
) -> None:
    """A script that reads 1 for everything cannot tell a typo from a full GPU."""
    record = bench.start(python(code)).exit()
    assert (record["code"], record["signal"]) == (own, number)
    assert record["signal_name"] == (number and signal.Signals(number).name)
    assert (record["state"], record["exit_code"]) == (state, exit_code)


def test_the_log_holds_the_bytes_of_the_program(bench: Bench) -> None:
    """Decoding, splitting or a pipe that blocks would change or lose output; NUL and ESC stay."""
    everything = bytes(range(256)) * 4096
    code = "import sys\nfor fd in (1, 2):\n  import os; os.write(fd, bytes(range(256)) * 4096)"
    run = bench.start(python(code))
    record = run.exit()
    assert run.dir.log.read_bytes() == everything * 2
    assert not any("\x1b" in line or "\x00" in line for line in record["last_lines"])


@pytest.mark.parametrize(
    ("argv", "fields", "words"),
    [
        (["/no/such/program"], {}, "No such file"),
        (["bash", "-c", "no-such-command --x"], {}, "command not found"),
        (["true"], {"cwd": "/no/such/folder"}, "/no/such/folder"),
        (["true"], {"env": {"A": "x\0y"}}, "null byte"),
    ],
)
def test_a_start_that_fails_is_told_at_once_and_leaves_nothing(
    bench: Bench, argv: list[str], fields: dict[str, object], words: str
) -> None:
    """Else the console says "running" and the person finds out in the morning."""
    with pytest.raises(NotReadyError) as caught:
        bench.start(argv, **fields)
    assert words in str(caught.value)
    [run] = bench.runs
    record = run.exit()
    assert (record["state"], record["cause"], record["exit_code"]) == ("failed", "launch", 3)
    assert run.survivors() == []
    until(lambda: not (found := procs.read(run.supervisor)) or not found.alive)


def test_a_supervisor_that_cannot_start_says_why(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import error in the supervisor must not look like a run that is on its way."""
    run, lock = bench.create()
    broken = bench.home / "selectors.py"
    broken.write_text("raise ImportError('this Python is broken')")
    monkeypatch.setenv("PYTHONPATH", str(bench.home))
    with pytest.raises(SdError) as caught:
        start_supervisor(run.dir, bench.plan(run, ["true"]), lock)
    os.close(lock)
    assert "this Python is broken" in str(caught.value)
    assert not locks.is_held(run.dir.lock)


def test_the_trainer_says_how_it_ended(bench: Bench) -> None:
    """The launcher returns 1 for nearly everything; only the rank knows that memory was short."""
    run, lock = bench.create()
    says = write_rank(run, outcome="out_of_memory", reason="at step 7", remedy="halve it")
    start_supervisor(run.dir, bench.plan(run, python(f"{says}; raise SystemExit(1)")), lock)
    os.close(lock)
    record = run.exit()
    assert (record["exit_code"], record["cause"]) == (ExitCode.OUT_OF_MEMORY, "out_of_memory")
    assert (record["reason"], record["remedy"], record["code"]) == ("at step 7", "halve it", 1)


def test_the_exit_record_is_written_when_the_disk_lets_it(bench: Bench) -> None:
    """A full disk at the last moment must not turn a finished run into a lost one."""
    run, lock = bench.create()
    run.dir.exit.mkdir()  # as on a full disk, the rename fails
    start_supervisor(run.dir, bench.plan(run, ["true"]), lock)
    os.close(lock)
    until(lambda: "cannot write exit.json" in run.dir.supervisor_log.read_text())
    assert "is the disk full" in until(lambda: run.state().get("reason"))
    assert locks.is_held(run.dir.lock)
    run.dir.exit.rmdir()
    assert run.exit()["state"] == "done"


def test_nothing_but_the_owner_can_read_a_run(bench: Bench) -> None:
    """Under umask 0 a careless open() would show captions, paths and logs to a shared host."""
    previous = os.umask(0)
    try:
        code = "import os; os.mkdir('made'); open('made/file', 'w').close()"
        run, lock = bench.create()
        plan = bench.plan(run, python(code), cwd=str(run.dir.output))
        start_supervisor(run.dir, plan, lock)
        os.close(lock)
        run.exit()
    finally:
        os.umask(previous)
    for path in [run.dir.root, *run.dir.root.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_secrets_reach_the_trainer_and_nothing_else(bench: Bench) -> None:
    """A token in a file of the run is a token in a bug report."""
    token = "hf_" + "s3cret" * 5
    code = "import os; print('token', os.environ['HF_TOKEN']); raise SystemExit(1)"
    run = bench.start(python(code), env={"HF_TOKEN": token})
    record = run.exit()
    assert f"token {token}" in run.dir.log.read_text()  # raw bytes of the program
    assert "token ***" in record["last_lines"]
    holders = [p for p in bench.home.rglob("*") if p.is_file() and token in p.read_text()]
    assert holders == [run.dir.log]


def test_the_last_state_of_training_is_in_the_record(bench: Bench) -> None:
    """``sdtui show`` of a run that is over reads this one file."""
    run, lock = bench.create()
    for step in (100, 200):
        folder = run.dir.checkpoints / f"step-{step}"
        folder.mkdir(parents=True)
        if step == 100:  # 200 was cut off while it was written
            (folder / "manifest.json").write_text("{}")
    run.dir.metrics.write_text(
        '{"at":1,"attempt":1,"step":205,"loss":0.25,"images_per_s":3.5}\n{"at":2,"st'
    )
    code = "x = bytearray(50_000_000)\nimport time; time.sleep(1.3); raise SystemExit(1)"
    start_supervisor(run.dir, bench.plan(run, python(code), total_steps=300), lock)
    os.close(lock)
    record = run.exit()
    assert (record["last_step"], record["total_steps"]) == (205, 300)
    assert (record["last_loss"], record["images_per_s"]) == (0.25, 3.5)
    assert record["checkpoint"] == "output/checkpoints/step-100"
    assert record["pipeline"] is None
    assert 50_000_000 < record["peak_rss"] < 200_000_000
    assert (record["gpus"], record["peak_gpu_memory"]) == ([], None)
    assert not run.dir.gpu.exists()


def test_fulfilled_wishes_are_taken_away_and_the_others_stay(bench: Bench) -> None:
    """A stop left behind would stop the resumed run at its first step."""
    run = bench.start(python("import time; time.sleep(60)"))
    requests.ask(run.dir, "stop", "test")
    requests.ask(run.dir, "sample", "test")
    record = run.exit()
    assert record["state"] == "stopped"
    assert [path.name for path in run.dir.requests.iterdir()] == ["sample.json"]


def test_the_supervisor_is_small_and_idle(bench: Bench) -> None:
    """It stands beside every training for days; a 400 MB torch import would be felt."""
    run = bench.start(python("import time; time.sleep(60)"))
    time.sleep(1.0)
    ticks = _cpu_ticks(run.supervisor)
    time.sleep(2.0)
    spent = (_cpu_ticks(run.supervisor) - ticks) / os.sysconf("SC_CLK_TCK")
    assert spent <= 0.06, f"{spent} s of CPU in 2 s of doing nothing"
    for pid in (run.supervisor, run.guard):
        found = procs.read(pid)
        assert found is not None
        assert found.rss < 40e6
    loaded = Path(f"/proc/{run.supervisor}/maps").read_text()
    assert not any(name in loaded for name in ("torch", "pydantic"))
    os.kill(run.launcher, signal.SIGKILL)
    assert run.exit()["signal"] == signal.SIGKILL


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_supervisor_and_child_are_named_so_that_a_reused_pid_shows(bench: Bench) -> None:
    """A pid alone may belong to somebody else tomorrow."""
    run = bench.start(python("import time; time.sleep(60)"))
    record = read_json(run.dir.supervisor)
    assert record is not None
    assert record["start_ticks"] == procs.start_ticks(run.supervisor)
    assert record["child_start_ticks"] == procs.start_ticks(run.launcher)
    assert record["boot_id"] == procs.boot_id()
    assert os.getsid(run.supervisor) not in {os.getsid(0), run.supervisor}
    requests.ask(run.dir, "kill", "test")
    run.exit()


@pytest.mark.parametrize(("saved", "step"), [(True, 60), (False, None)])
def test_an_earlier_attempts_last_step_is_not_this_ones(
    bench: Bench, saved: bool, step: int | None
) -> None:
    """An attempt that ended before its first step stands where its checkpoint is, or nowhere."""
    run, lock = bench.create()
    if saved:
        folder = run.dir.checkpoints / "step-60"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    run.dir.metrics.write_text('{"at":1,"attempt":1,"step":75,"loss":0.25}\n')

    start_supervisor(run.dir, bench.plan(run, python("raise SystemExit(1)"), attempt=2), lock)
    os.close(lock)

    record = run.exit()
    assert (record["last_step"], record["last_loss"]) == (step, None)
