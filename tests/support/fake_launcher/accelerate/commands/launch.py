"""Starts ranks as torch elastic does: each in a session of its own, all ended when one is.

A rank writes its rank file and a metrics line, and leaves with code 4 when a stop is asked for,
of which rank 0 leaves a checkpoint; with another rank dead it cannot agree with it on that, and
fails.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

RUN = Path(os.environ["SDTUI_RUN_DIR"])
ATTEMPT = int(os.environ["SDTUI_ATTEMPT"])


def rank_file(rank: int, outcome: str, reason: str = "", checkpoint: str | None = None) -> None:
    record = {"rank": rank, "pid": os.getpid(), "attempt": ATTEMPT, "outcome": outcome, "step": 1,
              "total": 9, "reason": reason, "node": os.environ["SLURMD_NODENAME"],
              "checkpoint": checkpoint}  # fmt: skip
    path = RUN / "ranks" / f"rank-{rank}.json"
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(record))
    temporary.replace(path)


def be_rank(rank: int) -> int:
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    rank_file(rank, "running")
    if rank == 0:
        with (RUN / "metrics.jsonl").open("a") as file:
            line = {"at": time.time(), "attempt": ATTEMPT, "step": ATTEMPT, "loss": 0.5}
            file.write(json.dumps(line) + "\n")
    while not asked and not (RUN / "requests" / "stop.json").exists():
        time.sleep(0.05)
    if any(is_dead(path) for path in (RUN / "ranks").glob("rank-*.json")):
        rank_file(rank, "failed", "another process of this run ended first (gloo)")
        return 1
    rank_file(rank, "stopped", checkpoint=save() if rank == 0 else None)
    return 4


def save() -> str:
    folder = RUN / "output" / "checkpoints" / f"step-{ATTEMPT}"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    return str(folder.relative_to(RUN))


def is_dead(path: Path) -> bool:
    record = json.loads(path.read_text())
    running = record["attempt"] == ATTEMPT and record["outcome"] == "running"
    stat = Path(f"/proc/{record['pid']}/stat")
    return running and (not stat.exists() or b") Z " in stat.read_bytes())


def option(name: str) -> str:
    joined = (word.removeprefix(f"{name}=") for word in sys.argv if word.startswith(f"{name}="))
    return next(joined, None) or sys.argv[sys.argv.index(name) + 1]


def main() -> int:
    nodes, here = int(option("--num_machines")), int(option("--machine_rank"))
    each = int(option("--num_processes")) // nodes
    assert option("--main_process_ip") == "127.0.0.1"
    ranks = [
        subprocess.Popen([sys.executable, __file__, str(here * each + i)], start_new_session=True)
        for i in range(each)
    ]
    signal.signal(signal.SIGTERM, lambda *_: [rank.terminate() for rank in ranks])
    while all(rank.poll() is None for rank in ranks):
        time.sleep(0.05)
    for rank in ranks:
        if rank.poll() is None and not (RUN / "requests" / "stop.json").exists():
            rank.terminate()
    for rank in ranks:
        rank.wait()
        print(f"rank ended: exitcode : {rank.returncode} (pid: {rank.pid})", flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(be_rank(int(sys.argv[1])) if len(sys.argv) == 2 else main())
