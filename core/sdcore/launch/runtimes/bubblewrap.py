"""bubblewrap: real mount points without root, in 7 ms.

A SIGTERM to bwrap itself is not passed on: it dies, and with ``--die-with-parent`` its child by
SIGKILL, without a word. The child is an ordinary process of the same pid namespace, though, so
the stop ladder tells every process below bwrap, as it would without it, and leaves bwrap alone,
which then returns the child's exact status (128 + N for signal N).

A host that shuts down sends SIGTERM to bwrap as well, so it is started with that ignored. What is
ignored stays so through an exec, and bash cannot even trap it then: inside, where the root is the
host's, it is taken back by coreutils' ``env`` in 1 ms, or by our Python in 20.
"""

from sdcore.launch.runtimes.job import Job, Wrapped
from sdcore.launch.runtimes.layout import driver_env, layout

# The numbers are those of SIGHUP, SIGINT and SIGTERM: the module with the names costs 8 ms.
_HEARS = """\
import os, _signal, sys
for number in (1, 2, 15):
    _signal.signal(number, _signal.SIG_DFL)
try:
    os.execvp(sys.argv[1], sys.argv[1:])
except OSError as error:
    sys.stderr.write(f"sdtui: {sys.argv[1]}: {error.strerror}\\n")
    sys.exit(127 if isinstance(error, FileNotFoundError) else 126)
"""
GIVES_BACK = "--default-signal=HUP,INT,TERM"


def plan(job: Job) -> Wrapped:
    """Return the command with the root of ``job`` around it."""
    assert job.facts.tree is not None, "looked at for every runtime with a layout"
    program = job.facts.program("bubblewrap").path or "bwrap"
    options = layout(job, job.facts.tree)
    hears = _hears(job) if job.image is None else []
    argv = [program, "--die-with-parent", *options, "--", *hears, *job.argv]
    return Wrapped(argv, env=driver_env(job), term_to="below", deaf=bool(hears))


def _hears(job: Job) -> list[str]:
    """Return the words before a command with which it hears the signals of a stop."""
    if job.facts.env is not None and "=" not in job.argv[0]:  # which env would take for a variable
        return [job.facts.env, GIVES_BACK]
    return [job.facts.python, "-I", "-S", "-c", _HEARS]
