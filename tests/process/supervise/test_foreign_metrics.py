"""Metrics of trainers that are not ours, under a real supervisor."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from process.supervise.harness import Bench, Run, until
from sdcore.runs import locks
from sdcore.runs.events import Event, Metrics
from sdcore.runs.follow import Follower
from sdcore.runs.status import read_status
from sdcore.supervise import procs
from sdcore.supervise.start import start_supervisor

# As diffusers' scripts draw it, by the real tqdm.
DIFFUSERS = """
import sys, time
from tqdm.auto import tqdm
bar = tqdm(range(40), initial={first}, desc="Steps")
for step in range({first} + 1, {last} + 1):
    time.sleep({pause})
    bar.update(1)
    bar.set_postfix(lr=1e-05, step_loss={loss})
bar.close()
sys.exit({code})
"""
# As torch's SummaryWriter writes it, without torch.
BOARD = """
import os, time
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
writer = EventFileWriter(os.environ["OUT"] + "/logs/text2image", flush_secs=1)
for step in range(1, 21):
    for tag, value in [("lr", 1e-5), ("train_loss", 1 / step)]:
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
    if step == 10:
        writer.flush()
        print("half", flush=True)
        while not os.path.exists(os.environ["OUT"] + "/go"):
            time.sleep(0.05)
writer.close()
"""


def trainer(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


def diffusers(first: int = 0, last: int = 40, *, pause: float = 0.05, loss: str = "1/step",
              code: int = 3) -> list[str]:  # fmt: skip
    fields = {"first": first, "last": last, "pause": pause, "loss": loss, "code": code}
    return trainer(DIFFUSERS.format(**fields))


def lines(run: Run) -> list[dict[str, Any]]:
    if not run.dir.metrics.exists():
        return []
    return [json.loads(line) for line in run.dir.metrics.read_text().splitlines()]


def events(run: Run) -> list[dict[str, Any]]:
    if not run.dir.events.exists():
        return []
    return [json.loads(line) for line in run.dir.events.read_text().splitlines()]


def reader_of(run: Run) -> int:
    found = [p.pid for p in procs.below(run.supervisor) if p.name == "sdtui-metrics"]
    return found[0] if found else 0


def test_the_bars_of_diffusers_are_live_steps_and_the_code_is_exact(bench: Bench) -> None:
    """Else the curve of a training of nine hours is empty until somebody reads its log."""
    run = bench.start(diffusers())

    live = until(lambda: lines(run))
    seen = until(lambda: s if (s := read_status(run.dir)).eta_s is not None else None)
    record = run.exit()

    assert live[0]["step"] < 40
    assert (seen.state, seen.total, seen.metrics_source) == ("running", 40, "log")
    assert seen.it_per_s is not None
    assert (record["code"], record["exit_code"], record["last_step"]) == (3, 1, 40)
    assert (record["total_steps"], record["metrics_source"]) == (40, "log")
    follower = Follower(run.dir)
    for line in follower.poll().metrics:
        Metrics.model_validate(line._asdict())
        assert line.loss == float(f"{1 / line.step:.3g}")
    told = [TypeAdapter(Event).validate_python(event) for event in events(run)]
    assert [event.kind for event in told] == ["choice"]
    assert run.dir.supervisor_log.read_text() == ""


def test_a_second_attempt_goes_on_where_its_bar_says(bench: Bench) -> None:
    """The log of the first stands before it, and its steps must not be read again."""
    run = bench.start(diffusers(0, 20, pause=0.02, code=1))
    run.exit()
    run.dir.exit.rename(run.dir.earlier_exit(1))
    lock = locks.take(run.dir.lock)
    assert lock is not None
    argv = diffusers(10, 40, pause=0.02, loss="float('nan') if step == 40 else 2/step", code=0)
    start_supervisor(run.dir, bench.plan(run, argv, attempt=2), lock)
    os.close(lock)

    record = run.exit()

    assert (record["last_step"], record["last_loss"], record["code"]) == (40, "NaN", 0)
    assert min(line["step"] for line in lines(run) if line["attempt"] == 2) > 10
    follower = Follower(run.dir)
    follower.poll()
    steps = [line.step for line in follower.steps]
    assert steps == sorted(set(steps))
    assert {line.attempt for line in follower.steps if line.step > 20} == {2}


def test_event_files_are_read_where_the_log_tells_no_loss(bench: Bench) -> None:
    """The newest step is complete only when a later one begins; at the end it is read too."""
    run, lock = bench.create()
    plan = bench.plan(run, trainer(BOARD), env={"OUT": str(run.dir.output)},
                      metrics_source="tensorboard")  # fmt: skip
    start_supervisor(run.dir, plan, lock)
    os.close(lock)

    half = until(lambda: lines(run) if len(lines(run)) >= 9 else None)
    (run.dir.output / "go").touch()
    record = run.exit()

    assert len(half) <= 10
    assert [line["step"] for line in lines(run)] == list(range(1, 21))
    assert lines(run)[3] | {"at": 0} == {
        "at": 0, "attempt": 1, "step": 4, "loss": 0.25, "lr": 9.999999747378752e-06,
        "source": "tensorboard",
    }  # fmt: skip
    assert (record["code"], record["metrics_source"]) == (0, "tensorboard")
    assert "train_loss" in events(run)[0]["because"]


def test_a_trainer_that_writes_its_metrics_itself_is_left_alone(bench: Bench) -> None:
    """The built-in trainer inside somebody's train.sh, or one that follows our contract."""
    own = (
        "import json, os, time\n"
        "file = open(os.environ['SDTUI_RUN_DIR'] + '/metrics.jsonl', 'a')\n"
        "for step in range(1, 6):\n"
        "    print(f'step={step} loss=9', flush=True)\n"
        "    line = dict(at=time.time(), attempt=1, step=step, loss=0.5)\n"
        "    print(json.dumps(line), file=file, flush=True)\n"
        "    time.sleep(0.3)\n"
    )
    run = bench.start(trainer(own))

    until(lambda: len(lines(run)) > 3)
    until(lambda: reader_of(run) == 0)  # nothing for it to do
    run.exit()

    assert [line["loss"] for line in lines(run)] == [0.5] * 5
    assert events(run)[0]["chosen"] == "metrics.jsonl"


def test_a_killed_reader_costs_the_curve_and_nothing_else(bench: Bench) -> None:
    run = bench.start(diffusers(pause=0.05, code=7))
    until(lambda: lines(run))
    os.kill(reader_of(run), signal.SIGKILL)

    record = run.exit()

    assert (record["code"], record["cause"], record["state"]) == (7, "error", "failed")


def test_a_reader_outlives_no_supervisor_and_holds_no_lock(bench: Bench) -> None:
    """A lock that a helper still holds would make a lost run look alive for ever."""
    run = bench.start(diffusers(pause=0.1))
    until(lambda: lines(run))
    reader = reader_of(run)
    os.kill(reader, signal.SIGSTOP)
    supervisor = run.supervisor
    os.kill(supervisor, signal.SIGKILL)
    run.until_gone(15.0)

    until(lambda: not locks.is_held(run.dir.lock))
    os.kill(reader, signal.SIGCONT)
    until(lambda: (found := procs.read(reader)) is None or not found.alive)


def test_a_stop_ends_the_command_and_the_last_step_is_on_record(bench: Bench) -> None:
    """The reader is no part of the run: it gets no SIGTERM, and what is left to read is read."""
    run = bench.start(diffusers(last=4000, pause=0.02))
    until(lambda: lines(run))
    os.kill(run.supervisor, signal.SIGTERM)

    record = run.exit()

    assert record["state"] == "stopped"
    assert record["last_step"] == lines(run)[-1]["step"]
    log = run.dir.log.read_text().rsplit("| ", 1)[1]
    assert log.startswith(f"{record['last_step']}/40")


def test_a_pattern_that_hangs_holds_up_neither_run_nor_end(bench: Bench) -> None:
    code = "print('a' * 60, flush=True)\nprint('x', flush=True)\n"
    pattern = r"(?:aa|a|ab){1,60}c(?P<step>\d+) (?P<loss>\d+)"
    run = bench.start(trainer(code), metrics_pattern=pattern)

    record = run.exit(15.0)

    assert record["code"] == 0
    assert "took over 1 s" in events(run)[0]["text"]


def test_without_a_foreign_command_there_is_no_reader(bench: Bench, tmp_path: Path) -> None:
    for fields in ({"cooperative": True}, {"metrics_source": "none"}):
        run = bench.start(trainer("import time; time.sleep(1)"), **fields)
        assert reader_of(run) == 0
        run.exit()
        assert lines(run) == []
