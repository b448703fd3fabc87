"""bubblewrap: real mount points without root, in 7 ms.

A SIGTERM to bwrap itself is not passed on: it dies, and with ``--die-with-parent`` its child by
SIGKILL, without a word. The child is an ordinary process of the same pid namespace, though, so
the stop ladder tells every process below bwrap, as it would without it, and leaves bwrap alone,
which then returns the child's exact status (128 + N for signal N).

A host that shuts down sends SIGTERM to bwrap as well, so it is started with that ignored. What is
ignored stays so through an exec, and bash cannot even trap it then: our Python takes that back
inside, where the root is the host's and has it.
"""

from sdcore.launch.runtimes.job import Job, Wrapped
from sdcore.launch.runtimes.layout import driver_env, layout

_HEARS = (
    "import os, signal, sys; [signal.signal(n, signal.SIG_DFL) for n in (1, 2, 15)]; "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


def plan(job: Job) -> Wrapped:
    """Return the command with the root of ``job`` around it."""
    assert job.facts.tree is not None, "looked at for every runtime with a layout"
    program = job.facts.program("bubblewrap").path or "bwrap"
    options = layout(job, job.facts.tree)
    hears = [job.facts.python, "-I", "-S", "-c", _HEARS] if job.image is None else []
    argv = [program, "--die-with-parent", *options, "--", *hears, *job.argv]
    return Wrapped(argv, env=driver_env(job), term_to="below", deaf=bool(hears))
