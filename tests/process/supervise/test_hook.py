"""The command at the end of a run: once, bounded, and no part of the run."""

import json
import os
import signal
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from process.supervise.harness import Bench, Run, python, until
from sdcore.errors import NotReadyError
from sdcore.runs import locks, requests
from sdcore.runs.files import read_json
from sdcore.runs.hook import hook_words
from sdcore.runs.paths import RunDir, runs_root
from sdcore.runs.status import read_status
from sdcore.runs.store import remove_run
from sdcore.supervise import procs
from sdcore.supervise.begin import resume_run, start_run
from sdcore.supervise.start import start_supervisor
from sdcore.task.spec import TaskSpec

_TELL = "env -0 > told; mv told whole"


def start(bench: Bench, hook: str, argv: list[str] | None = None, **fields: Any) -> Run:
    wanted = {"end_hook": hook, "hook_cwd": str(bench.home), "hook_limit_s": 20.0}
    return bench.start(argv or ["true"], **{**wanted, **fields})


def told(folder: Path) -> dict[str, str]:
    """Wait for the environment that ``_TELL`` wrote; return it."""
    until((folder / "whole").exists)
    lines = (folder / "whole").read_text().split("\0")
    return dict(line.split("=", 1) for line in lines if line)


def ended(run: RunDir, seconds: float = 15.0) -> dict[str, Any]:
    """Wait until the record of the command tells its end; return it."""

    def probe() -> dict[str, Any] | None:
        record = read_json(run.hook)
        return record if record is not None and record["state"] != "running" else None

    return until(probe, seconds)


@pytest.mark.parametrize(
    ("code", "state", "exit_code"),
    [("raise SystemExit(0)", "done", "0"), ("raise SystemExit(3)", "failed", "1")],
)
def test_the_command_is_told_which_run_ended_and_how(
    bench: Bench, code: str, state: str, exit_code: str
) -> None:
    """A message without the name and the reason sends its reader to a terminal."""
    run = start(bench, _TELL, python(code))
    env = told(bench.home)
    record = read_json(run.dir.exit)
    assert record is not None, "it runs after exit.json is written"
    assert env["SDTUI_RUN_ID"] == run.dir.id
    assert env["SDTUI_RUN_NAME"] == "test"
    assert env["SDTUI_RUN_DIR"] == str(run.dir.root)
    assert (env["SDTUI_STATE"], env["SDTUI_EXIT_CODE"]) == (state, exit_code)
    assert env["SDTUI_REASON"] == record["reason"]
    assert env["SDTUI_STEP"] == ""
    assert ended(run.dir)["state"] == "done"


def test_the_step_that_was_reached_is_told(bench: Bench) -> None:
    """How far it got is the first question after a failure."""
    run, lock = bench.create()
    run.dir.metrics.write_text(json.dumps({"step": 42, "loss": 0.5, "attempt": 1}) + "\n")
    fields = {"end_hook": _TELL, "hook_cwd": str(bench.home)}
    start_supervisor(run.dir, bench.plan(run, ["true"], **fields), lock)
    os.close(lock)
    assert told(bench.home)["SDTUI_STEP"] == "42"


def test_a_stopped_run_tells_it_too(bench: Bench) -> None:
    """A stop by somebody else is what its owner most wants to hear of."""
    run = start(bench, _TELL, python("import time; time.sleep(60)"))
    requests.ask(run.dir, "kill", by="a colleague")
    env = told(bench.home)
    assert env["SDTUI_STATE"] == "stopped"
    assert "a colleague" in env["SDTUI_REASON"]


def test_a_run_that_could_not_start_tells_it_too(bench: Bench) -> None:
    """Queued over night, it may fail when nobody looks."""
    with pytest.raises(NotReadyError):
        start(bench, _TELL, ["/no/such/program"])
    assert told(bench.home)["SDTUI_STATE"] == "failed"


def test_secrets_are_not_in_its_environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output is made to be sent to other people."""
    monkeypatch.setenv("SHELL_TOKEN", "s3cret-shell")
    monkeypatch.setenv("PLAIN", "seen")
    ranks = {"NODE_RANK": "{node_rank}", "HF_TOKEN": "s3cret-hub"}
    start(bench, _TELL, env=ranks, hook_env={"lr": "1e-4", "WANDB_API_KEY": "s3cret-key"})
    env = told(bench.home)
    assert (env["PLAIN"], env["lr"]) == ("seen", "1e-4")
    assert not [name for name, value in env.items() if "s3cret" in value]
    assert "NODE_RANK" not in env, "what the ranks are given is theirs"


def test_it_hears_every_signal_though_its_run_was_started_deaf(bench: Bench) -> None:
    """A job blocks what Slurm sends it; a `timeout` or a `trap` in the command needs it."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        run = start(bench, "grep -E 'Sig(Blk|Ign)' /proc/$$/status")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    ended(run.dir)
    masks = [line.split()[1] for line in run.dir.hook_log.read_text().splitlines()]
    # The two of the C library, 32 and 33, are nobody else's to set.
    assert [int(mask, 16) & (1 << 31) - 1 for mask in masks] == [0, 0]


def test_a_command_that_closes_its_output_is_waited_for_in_peace(bench: Bench) -> None:
    """The end of a pipe can be read at any time: waiting for it took a whole core."""
    run = start(bench, "exec >&- 2>&-; sleep 60", hook_limit_s=3.0)
    run.exit()
    [keeper] = until(lambda: [p for p in procs.below(run.supervisor) if p.name == "sdtui-hook"])
    until(lambda: procs.below(keeper.pid))
    before = _cpu(keeper.pid)
    time.sleep(1.0)
    assert _cpu(keeper.pid) - before < 0.3 * os.sysconf("SC_CLK_TCK")
    assert ended(run.dir)["state"] == "killed"


def _cpu(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_the_run_is_over_while_the_command_runs(bench: Bench) -> None:
    """A slow mail server must not keep `sdtui wait`, a resume or a removal waiting."""
    run = start(bench, "echo here; sleep 30")
    record = until(lambda: read_json(run.dir.hook))
    assert record["state"] == "running"
    assert not locks.is_held(run.dir.lock)
    status = read_status(run.dir)
    assert (status.state, status.over, status.exit_code) == ("done", True, 0)
    remove_run(run.dir)
    assert not run.dir.root.exists()


def test_a_run_can_be_resumed_while_the_command_runs(tmp_path: Path, bench: Bench) -> None:
    """The command carries the run's marks and is no survivor of it; both ends are told."""
    hook = f"echo $SDTUI_ATTEMPT >> {tmp_path}/ends; sleep 3"
    task = TaskSpec.model_validate(
        {"name": "t", "command": "exit 3", "gpu": {"count": 0}, "hooks": {"end": hook}}
    )
    run = start_run(task)
    until((tmp_path / "ends").exists)
    resume_run(run)
    until(lambda: (tmp_path / "ends").read_text() == "1\n2\n")
    assert ended(run)["attempt"] == 2
    time.sleep(0.2)
    assert (read_json(run.hook) or {})["attempt"] == 2


def test_what_it_writes_is_the_owners_alone_and_bounded(bench: Bench) -> None:
    """Left to `yes`, a minute fills a disk."""
    run = start(bench, "echo first; yes | head -c 5000000; echo last >&2")
    assert ended(run.dir)["state"] == "done"
    log = run.dir.hook_log.read_bytes()
    assert log.startswith(b"first\n")
    assert len(log) < 1_100_000
    assert log.endswith(b"(the rest is left out)\n")
    for path in (run.dir.hook_log, run.dir.hook):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "hook",
    [
        "sleep 300",
        "trap '' TERM HUP INT; while :; do sleep 1; done",
        "setsid sleep 300 & sleep 300",
        "(setsid bash -c 'while :; do sleep 1; done' &) ; exit 0",
        "yes",
    ],
)
def test_nothing_of_it_outlives_its_limit(bench: Bench, hook: str) -> None:
    """A group of its own is not enough: what left it is found, too."""
    run = start(bench, hook, hook_limit_s=1.0)
    run.exit()
    until(run.survivors)
    record = ended(run.dir)
    assert record["state"] == ("done" if hook.endswith("exit 0") else "killed")
    assert 0.9 < record["seconds"] < 5.0
    run.until_gone()
    assert (read_json(run.dir.exit) or {})["state"] == "done"


@pytest.mark.parametrize("victim", ["keeper", "supervisor"])
def test_a_killed_keeper_or_supervisor_leaves_nothing(bench: Bench, victim: str) -> None:
    """Each of the two ends what the other cannot."""
    run = start(bench, "setsid sleep 300 & sleep 300", hook_limit_s=2.0)
    run.exit()
    [keeper] = until(lambda: [p for p in procs.below(run.supervisor) if p.name == "sdtui-hook"])
    until(lambda: len(run.survivors()) >= 3)
    os.kill(keeper.pid if victim == "keeper" else run.supervisor, signal.SIGKILL)
    run.until_gone(8.0)


@pytest.mark.parametrize(
    ("hook", "fields", "words"),
    [
        ("exit 7", {}, "failed: exit code 7"),
        ("no-such-program", {}, "failed: exit code 127"),
        ("kill -9 $$", {}, "failed: ended by SIGKILL"),
        ("true", {"hook_cwd": "/no/such/folder"}, "failed: /no/such/folder: No such file"),
        ("sleep 60", {"hook_limit_s": 1.0}, "killed at its limit of 1s"),
        ("true", {}, "done in "),
    ],
)
def test_its_failure_is_told_and_changes_nothing_of_the_run(
    bench: Bench, hook: str, fields: dict[str, Any], words: str
) -> None:
    """A broken webhook must not turn a trained model into a failed run."""
    run = start(bench, hook, **fields)
    record = ended(run.dir)
    assert hook_words(record).startswith(words)
    status = read_status(run.dir)
    assert (status.state, status.exit_code) == ("done", 0)


def test_a_command_whose_keeper_was_killed_is_not_told_to_run_for_ever() -> None:
    """Nobody is left who could write its end."""
    record = {"state": "running", "started": 1000.0, "timeout_s": 60.0}
    assert hook_words(record, now=1050.0) == "runs"
    assert hook_words(record, now=1200.0) == "nobody saw its end"


def test_the_command_can_start_the_next_run(tmp_path: Path, bench: Bench) -> None:
    """It is a run like any other: it outlives the command's limit, and keeps its own marks."""
    preset, go = tmp_path / "next.toml", tmp_path / "go"
    waits = f"until [ -e {go} ]; do sleep 0.1; done; env"
    preset.write_text(f'name = "next"\ncommand = "{waits}"\n[gpu]\ncount = 0\n')
    command = f"{sys.executable} -m sdtui --run {preset} --detach"
    run = start(bench, f"{command}; sleep 60", hook_limit_s=12.0)
    assert ended(run.dir, 30.0)["state"] == "killed"
    [chained] = [RunDir(d) for d in runs_root().iterdir() if d.name.endswith("-next")]
    assert read_status(chained).state == "running"
    go.touch()
    until(lambda: read_status(chained).over)
    assert read_status(chained).state == "done"
    log = chained.log.read_text()
    assert "SDTUI_HOOK=" not in log
    assert f"SDTUI_RUN_DIR={chained.root}" in log
    assert "SDTUI_STATE=" not in log


def test_a_run_without_the_command_leaves_no_trace_of_one(bench: Bench) -> None:
    """Nothing is started, nothing is written."""
    run = bench.start(["true"])
    run.exit()
    until(lambda: not (found := procs.read(run.supervisor)) or not found.alive)
    assert not run.dir.hook.exists()
    assert not run.dir.hook_log.exists()
