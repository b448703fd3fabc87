"""Plays a supervisor and its trainer: holds the lock, writes the files, obeys the requests.

Usage: fake_supervisor.py RUN_DIR [options], see below; with --gate it waits for a line on stdin.
"""

import argparse
import json
import os
import socket
import time
from pathlib import Path

from sdcore.runs import locks, requests
from sdcore.runs.files import LineWriter, write_json
from sdcore.runs.paths import RunDir

parser = argparse.ArgumentParser()
parser.add_argument("root", type=Path)
parser.add_argument("--steps", type=int, default=40)
parser.add_argument("--delay", type=float, default=0.02)
parser.add_argument("--state", default="running")
parser.add_argument("--save", type=float, default=0.3, help="seconds a stop takes; then it obeys")
parser.add_argument("--text", default="an image is small", help="of a warning in the middle")
parser.add_argument("--gate", action="store_true", help="train once a line comes on stdin")
parser.add_argument("--fail", action="store_true")
args = parser.parse_args()

run = RunDir(args.root)
lock = locks.take(run.lock)
assert lock is not None
run.requests.mkdir(exist_ok=True)
started = time.time()
boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
write_json(run.supervisor, {"format": 1, "pid": os.getpid(), "boot_id": boot,
                            "host": socket.gethostname(), "started": started})  # fmt: skip


def state(phase: str, **more: object) -> None:
    """Write state.json."""
    write_json(
        run.state,
        {"format": 1, "phase": phase, "since": time.time(), "attempt": 1, "gpus": [], **more},
    )


def leave(word: str, exit_code: int, step: int, **more: object) -> None:
    """Write exit.json and end."""
    record = {"format": 1, "state": word, "exit_code": exit_code, "attempt": 1, "started": started,
              "ended": time.time(), "last_step": step, "total_steps": args.steps,
              "last_loss": 0.5, "cause": word, "reason": f"it is {word}"}  # fmt: skip
    write_json(run.exit, {**record, **more})
    raise SystemExit


state(
    args.state,
    waiting_for="2 free GPUs; GPU 0 is used by run x" if args.state == "queued" else None,
)
write_json(run.launch, {"format": 1, "total_steps": args.steps})
metrics, events = LineWriter(run.metrics), LineWriter(run.events)
log = run.log.open("ab", buffering=0)
print("ready", flush=True)


def event(kind: str, **more: object) -> None:
    """Append an event."""
    events.write({"at": time.time(), "attempt": 1, "kind": kind, **more})


event("phase", phase="caching", done=8, total=8, unit="images")
time.sleep(args.delay)
if args.gate:
    input()
event("phase", phase="training")
stopping_until = None
for step in range(1, args.steps + 1):
    metrics.write({"at": time.time(), "attempt": 1, "step": step, "epoch": step / 10,
                   "loss": 0.5, "lr": 1e-5, "images_per_s": 4.0})  # fmt: skip
    log.write(f"step {step}\r".encode())
    if step == args.steps // 2:
        event("warning", text=args.text)
    time.sleep(args.delay)
    if requests.pending(run, "kill") is not None:
        leave("stopped", 143, step, signal_name="SIGKILL", reason="killed on request")
    if requests.pending(run, "term") is not None:
        leave("stopped", 143, step, reason="ended on request")
    asked = requests.pending(run, "stop")
    if asked is not None and stopping_until is None:
        stopping_until = time.monotonic() + args.save
        state("stopping", step="save", deadline=time.time() + 300)
    if stopping_until is not None and time.monotonic() >= stopping_until:
        leave("stopped", 4, step, reason=f"asked by {asked and asked.get('by')}",
              checkpoint="output/checkpoints/step-1")  # fmt: skip
log.write(b"\nTraceback\n" if args.fail else b"\nsaved\n")
if args.fail:
    leave("failed", 5, args.steps, cause="out_of_memory", code=1, reason="CUDA out of memory",
          remedy="lower train_batch_size",
          last_lines=["Traceback", "OutOfMemoryError"])  # fmt: skip
run.pipeline.mkdir(parents=True)
(run.pipeline / "model_index.json").write_text(json.dumps({}))
run.samples.mkdir(parents=True)
leave("done", 0, args.steps, pipeline="output/checkpoint")
