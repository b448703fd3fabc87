"""Times what real mount points cost a start command: nothing around it, bubblewrap, unshare.

Run it with ``python benchmarks/mounts.py``. The goal: at most 50 ms over a bare start. The three
take turns, so that the machine's other work falls on all; best and median, in milliseconds.
"""

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from sdcore.errors import SdError
from sdcore.launch.planner import plan_launch
from sdcore.runs.paths import RunDir
from sdcore.task.spec import TaskSpec

TURNS = 40
RUNTIMES = ("host", "bubblewrap", "unshare")


def main() -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory() as name:
        spans = measure(planned(Path(name)))
    bare = spans["host"]
    print(f"{'':<14}{'best ms':>9}{'median ms':>11}{'over bare: best':>17}{'median':>9}")
    for runtime, taken in spans.items():
        best, median = min(taken), statistics.median(taken)
        more = f"{best - min(bare):>17.1f}{median - statistics.median(bare):>9.1f}"
        print(f"{runtime:<14}{best:>9.1f}{median:>11.1f}{more}")


def planned(folder: Path) -> dict[str, list[str]]:
    """Return the command line of the page's task under each runtime that works here."""
    run = RunDir(folder / "run")
    run.output.mkdir(parents=True)
    mounts = []
    for role in ("dataset", "model", "project"):
        (folder / role).mkdir()
        target = f"/mnt/{role}"
        mounts.append({"source": str(folder / role), "target": target, "read_only": True})
    found = {}
    for runtime in RUNTIMES:
        task = TaskSpec.model_validate(
            {"command": "true", "runtime": runtime, "mounts": mounts, "gpu": {"count": 0}}
        )
        try:
            found[runtime] = plan_launch(task, run).argv
        except SdError as error:
            print(f"{runtime}: {error.cause}")
    return found


def measure(commands: dict[str, list[str]]) -> dict[str, list[float]]:
    """Return milliseconds from start to end of each command, in turns."""
    spans: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(TURNS):
        for name, argv in commands.items():
            begin = time.perf_counter()
            subprocess.run(argv, check=True, env=dict(os.environ), stdout=subprocess.DEVNULL)
            spans[name].append(1000 * (time.perf_counter() - begin))
    return spans


if __name__ == "__main__":
    main()
