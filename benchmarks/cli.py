"""Times what scripts call often: ``sdtui --version`` and ``sdtui ls`` with 1000 finished runs.

Run it with ``python benchmarks/cli.py``. The goals: ``--version`` less than 150 ms over an empty
Python, ``ls`` less than 0.5 s in all. Best and median of some calls, in milliseconds.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CALLS = 11
RUNS = 1000
RECORD = {
    "format": 1, "state": "done", "exit_code": 0, "code": 0, "signal": None, "signal_name": None,
    "cause": "done", "reason": "training finished", "remedy": None, "attempt": 1,
    "started": 1.786e9, "ended": 1.786e9 + 9000, "last_step": 15000, "total_steps": 15000,
    "last_loss": 0.0812, "images_per_s": 12.3, "checkpoint": "output/checkpoints/step-15000",
    "pipeline": "output/checkpoint", "peak_gpu_memory": 20 << 30, "peak_rss": 8 << 30,
    "gpus": ["GPU-11111111-2222-3333-4444-555555555555"],
    "last_lines": [f"step {i}: loss 0.08, a line of the usual length of a log" for i in range(50)],
}  # fmt: skip


def make_runs(home: Path) -> None:
    """Write finished runs with full exit records."""
    for number in range(RUNS):
        day, minute = divmod(number, 60)
        root = (
            home / "runs" / f"2026{day // 28 + 1:02}{day % 28 + 1:02}-12{minute:02}00-run-{number}"
        )
        root.mkdir(parents=True)
        (root / "supervisor.lock").touch()
        (root / "exit.json").write_text(json.dumps(RECORD, indent=2))


def timed(argv: list[str]) -> tuple[float, float]:
    """Return best and median milliseconds of calling ``argv``."""
    spans = []
    for _ in range(CALLS):
        begin = time.perf_counter()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        spans.append(1000 * (time.perf_counter() - begin))
    return min(spans), statistics.median(spans)


def main() -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SDTUI_HOME"] = folder
        make_runs(Path(folder))
        python, sdtui = [sys.executable], [sys.executable, "-m", "sdtui"]
        cases = {
            "python -c pass": [*python, "-c", "pass"],
            "sdtui --version": [*sdtui, "--version"],
            f"sdtui ls, {RUNS} runs": [*sdtui, "ls"],
            f"sdtui ls --json, {RUNS} runs": [*sdtui, "ls", "--json"],
            "sdtui show last": [*sdtui, "show", "last"],
        }
        print(f"{'command':<32}{'best ms':>9}{'median ms':>11}")
        for name, argv in cases.items():
            best, median = timed(argv)
            print(f"{name:<32}{best:>9.0f}{median:>11.0f}")


if __name__ == "__main__":
    main()
