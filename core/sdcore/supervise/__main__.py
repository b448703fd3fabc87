"""``python -m sdcore.supervise RUN_DIR LOCK_FD READY_FD``: becomes the supervisor of a run.

Started by ``start.start_supervisor`` in a session of its own, with the plan on stdin. The
second fork leaves the session without a leader, so that no terminal can become its terminal.
"""

import os
import sys
from pathlib import Path

from sdcore.launch.plan import LaunchPlan
from sdcore.runs.paths import RunDir, home
from sdcore.supervise.hook import forget_hook
from sdcore.supervise.prctl import become_subreaper, set_name
from sdcore.supervise.ready import Ready
from sdcore.supervise.supervisor import Supervisor


def main(argv: list[str]) -> int:
    """Fork; the parent returns at once, the child when the run is over."""
    run, lock, ready = RunDir(Path(argv[0])), int(argv[1]), int(argv[2])
    for descriptor in (lock, ready):
        os.set_inheritable(descriptor, False)
    plan = LaunchPlan.from_json(sys.stdin.buffer.read())
    if os.fork():
        # No clean-up: buffers and descriptors belong to the child now.
        os._exit(0)
    state = home()  # before the folder changes: $SDTUI_HOME may be relative
    _settle_in()
    forget_hook()
    Supervisor(run, plan, lock=lock, ready=Ready(ready), home=state).run()
    return 0


def _settle_in() -> None:
    """Leave the client's folder, umask and stdin behind."""
    os.chdir("/")
    os.umask(0o077)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    become_subreaper()
    set_name("sdtui-super")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
