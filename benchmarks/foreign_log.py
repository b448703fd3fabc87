"""What it costs to read the metrics of a foreign trainer whose log grows fast.

``python benchmarks/foreign_log.py [SECONDS]`` starts real runs whose command floods its log, and
prints what share of one core the supervisor and its reader took meanwhile, and their memory.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from sdcore.launch.plan import LaunchPlan
from sdcore.runs import locks
from sdcore.runs.files import read_json
from sdcore.runs.paths import RunDir, make_private, runs_root
from sdcore.runs.status import read_status
from sdcore.supervise import procs
from sdcore.supervise.start import start_supervisor

BAR = "\rSteps:  12%|#2   | {n}/9000000 [00:41<05:02, 1.45it/s, lr=1e-05, step_loss=0.121]"
LINE = "epoch 3: moved 128 tensors to the device, nothing to tell about it here\n"
# Writes RATE megabytes a second of TEXT, in pieces of 20 ms.
FLOOD = """
import sys, time
text, rate, end = {text!r}, {rate}, time.monotonic() + {seconds}
n, began, sent = 0, time.monotonic(), 0
while time.monotonic() < end:
    n += 1
    one = text.replace("{{n}}", str(n)).encode()
    piece = one * max(1, int(rate * 1e6 / 50 / len(one)))
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    sent += len(piece)
    time.sleep(max(0, began + sent / (rate * 1e6) - time.monotonic()))
"""
KINDS = {
    "a bar, 10 redraws a second": (BAR, 0.001),
    "a bar, 100,000 redraws a second": (BAR, 8.0),
    "a bar, 50 MB a second": (BAR, 50.0),
    "lines without a loss, 50 MB a second": (LINE, 50.0),
}


def measure(number: int, text: str, rate: float, seconds: float) -> str:
    """Run one flood; return its row of the table."""
    run = RunDir(make_private(runs_root()) / f"20260101-00000{number}-flood")
    for folder in (run.root, run.requests, run.output, run.rank(0).parent):
        make_private(folder)
    lock = locks.take(run.lock)
    assert lock is not None
    code = FLOOD.format(text=text, rate=rate, seconds=seconds)
    argv = [sys.executable, "-I", "-S", "-c", code]
    start_supervisor(run, LaunchPlan(name="flood", argv=argv, cwd="/"), lock)
    os.close(lock)
    supervisor = int((read_json(run.supervisor) or {})["pid"])
    [reader] = [p.pid for p in procs.below(supervisor) if p.name == "sdtui-metrics"]
    pids = {"supervisor": supervisor, "reader": reader}
    time.sleep(seconds - 0.7)
    cost = {name: _cpu(pid) / (seconds - 0.7) for name, pid in pids.items()}
    memory = {name: found.rss for name, pid in pids.items() if (found := procs.read(pid))}
    while not run.exit.exists():
        time.sleep(0.05)
    log = run.log.stat().st_size / 1e6
    run.log.unlink()
    words = [f"{name} {100 * cost[name]:.1f} % {memory[name] / 1e6:.0f} MB" for name in cost]
    return f"{'  '.join(words)}  log {log:.0f} MB, last step {read_status(run).step}"


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure every kind and print a row for each."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 6.0
    with tempfile.TemporaryDirectory() as home:
        os.environ["SDTUI_HOME"] = home
        for number, (name, (text, rate)) in enumerate(KINDS.items()):
            print(f"{name:38} {measure(number, text, rate, seconds)}", flush=True)


if __name__ == "__main__":
    main()
