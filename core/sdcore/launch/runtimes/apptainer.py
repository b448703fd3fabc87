"""Apptainer: an image as an ordinary user's process, without a daemon.

Without a pid namespace of its own, so that every process stays one the supervisor sees, tells
and ends. Variables come in under names that begin with ``APPTAINERENV_``: nothing of them is in an
argument, and ``--no-eval`` keeps a shell away from their values. Those that only the shell has are
renamed by a line of bash at the start, which then becomes apptainer: no plan holds their values.
"""

from sdcore.launch.runtimes.job import Bind, Job, Wrapped
from sdcore.task.image import is_file

_PREFIX = "APPTAINERENV_"
# The names stand before the first "--" of its arguments.
_RENAMES = (
    f'while [ "$1" != -- ]; do [ -z "${{!1}}" ] || export "{_PREFIX}$1=${{!1}}"; shift; done; '
    'shift; exec "$@"'
)


def plan(job: Job) -> Wrapped:
    """Return ``apptainer exec`` for ``job``."""
    assert job.image is not None, "the task was refused without one"
    program = job.facts.program("apptainer").path or "apptainer"
    options = ["--cleanenv", "--no-eval", "--no-home", "--pwd", job.folder]
    binds = [word for bind in job.binds for word in ("--bind", _bind(bind))]
    gpus = ["--nv"] if job.gpus else []
    devices = {"CUDA_VISIBLE_DEVICES": "{uuids}", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    only_in_shell = [name for name in job.facts.passed if name not in job.env]
    renames = ["bash", "-c", _RENAMES, "sdtui", *only_in_shell, "--"] if only_in_shell else []
    return Wrapped(
        [*renames, program, "exec", *gpus, *options, *binds, source(job.image), *job.argv],
        env={_PREFIX + name: value for name, value in job.env.items()},
        term_to="below",
        device_env={_PREFIX + name: value for name, value in devices.items()},
    )


def source(image: str) -> str:
    """Return an image as apptainer wants it: a file, a URI, or a name in docker's registries."""
    return image if is_file(image) or "://" in image else f"docker://{image}"


def _bind(bind: Bind) -> str:
    return f"{bind.source}:{bind.target}" + (":ro" if bind.read_only else "")
