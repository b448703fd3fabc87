"""Records GPUs as a run's supervisor does, one look for each line it is given.

``python -m support.gpu_watcher RUN COUNT`` claims COUNT devices, shared with whoever is there, and
answers ``ready``; then each line on standard input is one look into the run's ``gpu.jsonl``.
"""

import select
import sys
from pathlib import Path

from sdcore.launch.plan import LaunchPlan
from sdcore.runs.paths import RunDir
from sdcore.supervise.devices import Devices
from sdcore.supervise.gpus import Claim
from sdcore.supervise.sampling import Reading


def main() -> None:
    """Claim, then look as often as asked."""
    run, count = RunDir(Path(sys.argv[1])), int(sys.argv[2])
    plan = LaunchPlan("watcher", [], "/", gpu_count=count, gpu_share=True)
    devices = Devices(run, plan, run.root / "locks")
    claim = devices.claim(_look(devices))
    if not isinstance(claim, Claim):
        sys.exit(claim)
    print("ready", flush=True)
    for _line in sys.stdin:
        _look(devices)
        print("looked", flush=True)


def _look(devices: Devices) -> Reading:
    devices.ask()
    while True:
        select.select([devices], [], [], 1.0)
        reading = devices.take()
        if reading is not None:
            return reading


if __name__ == "__main__":
    main()
