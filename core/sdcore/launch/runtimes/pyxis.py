"""pyxis: enroot as an option of Slurm's srun, for a cluster's job.

The image holds none of our programs, so supervisor and agents stay outside, and it is the
launcher that runs in it: as a step of its own on their node. srun takes a SIGTERM as the wish to
kill the step, and survives by it when it is killed itself; ``supervise.step`` stands between.
The processes inside are no descendants of ours, so the command is started by lines of bash that
pass a SIGTERM on, as in docker; they know their own by the step in the environment.
"""

from sdcore.errors import NotReadyError
from sdcore.launch.runtimes.enroot import gpu_variables
from sdcore.launch.runtimes.job import Bind, Job, Wrapped
from sdcore.launch.runtimes.oci import TELLING
from sdcore.task.image import is_file

# What srun must offer: all of it since pyxis 0.17.
OPTIONS = (
    "--container-image", "--container-mounts", "--container-workdir", "--container-env",
    "--container-writable", "--no-container-mount-home", "--no-container-remap-root",
    "--no-container-entrypoint",
)  # fmt: skip
MARK = "sdtui-step"  # the fourth word of the step's first process, by which it is found

# Every process is told once: Slurm signals this one at a preemption, and so do we.
_INSIDE = r"""
log=$1; shift
while [ "$1" != -- ]; do export "$1"; shift; done
shift
[ "$log" = - ] || exec >> "$log" 2>&1
mine() {
  mapfile -d '' -t e 2>/dev/null < "/proc/$1/environ" || return 1
  fits=0
  for each in "${e[@]}"; do
    case $each in
      "SLURM_JOB_ID=$SLURM_JOB_ID" | "SLURM_STEP_ID=$SLURM_STEP_ID") fits=$((fits + 1)) ;;
      "SLURMD_NODENAME=$SLURMD_NODENAME") fits=$((fits + 1)) ;;
    esac
  done
  [ "$fits" = 3 ]
}
"""
# pyxis and its hooks set these in an image of PyTorch's, whatever the task says of them.
_TAKEN_BACK = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# The paths go through a line of shell in pyxis's configuration of enroot.
_UNSAFE = '$`"'


def plan(job: Job) -> Wrapped:
    """Return the step around ``job``.

    Raises:
        NotReadyError: A path cannot be mounted by pyxis.
    """
    own = [f"{name}={job.env[name]}" for name in _TAKEN_BACK if name in job.env]
    home = f"HOME={job.env.get('HOME', '/tmp')}"  # noqa: S108 - inside, where there is no home
    client = [job.facts.python, "-P", "-m", "sdcore.supervise.step", job.run]
    inside = ["bash", "-c", _INSIDE + TELLING, MARK, job.log or "-", home, *own, "--"]
    gpus = gpu_variables(job)
    return Wrapped(
        [*client, "--", "srun", *options(job, [*gpus]), *inside, *job.argv],
        env=gpus,
        term_to="launcher",
        end_argv=[*client, "--end"],
    )


def options(job: Job, more: list[str]) -> list[str]:
    """Return srun's options that run a step in the image of ``job``.

    Variables go by name, so that no secret is in an argument. A named one replaces what the
    image sets; the others of the job arrive, too, where the image sets none. One with a newline
    is not named, since enroot keeps them a line each.
    """
    assert job.image is not None, "the task was refused without one"
    own = {name for name, value in job.env.items() if "\n" not in value}
    devices = {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "OMP_NUM_THREADS"}
    names = sorted({*own, *job.facts.passed, *devices, *more})
    return [
        f"--container-image={source(job.image)}",
        f"--container-mounts={','.join(_mount(bind) for bind in job.binds)}",
        f"--container-workdir={job.folder}",
        f"--container-env={','.join(names)}",
        # A command may install packages; the home holds packages of another Python.
        *OPTIONS[4:],
    ]


def source(image: str) -> str:
    """Return an image as pyxis wants it: a path, or enroot's URI, in which # ends the registry."""
    if is_file(image) or image.startswith("dockerd://"):
        return image
    name = image.removeprefix("docker://")
    first, slash, rest = name.partition("/")
    host = first.rpartition("@")[2]
    if not slash or "#" in name or not (set(".:") & set(host) or host == "localhost"):
        return name
    return rest if host == "docker.io" else f"{first}#{rest}"


def _mount(bind: Bind) -> str:
    for path in (bind.source, bind.target):
        # A colon or comma in the run's own folder, too: those of mounts were refused before.
        if bad := next((sign for sign in path if sign in _UNSAFE + ":,"), None):
            raise NotReadyError(
                f"pyxis cannot mount {path!r}",
                cause=f"its name holds {bad}, which pyxis reads as a sign of its own",
                remedy="use a path without it, or another runtime",
            )
    return f"{bind.source}:{bind.target}" + (":ro" if bind.read_only else "")
