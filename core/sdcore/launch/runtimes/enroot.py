"""enroot: an image as an ordinary user's process, made for GPUs."""

from sdcore.errors import NotReadyError
from sdcore.launch.runtimes.job import Bind, Job, Wrapped

# enroot has no option for the folder to start in; this one is an argument, not part of the text.
_IN_FOLDER = 'cd -- "$1" && shift && exec "$@"'


def plan(job: Job) -> Wrapped:
    """Return ``enroot start`` for ``job``; its image is a ``.sqsh`` file or a container's name.

    Raises:
        NotReadyError: A variable holds a newline: what follows would become one of its own.
    """
    assert job.image is not None, "the task was refused without one"
    torn = next((name for name, value in job.env.items() if "\n" in value), None)
    if torn is not None:
        raise NotReadyError(
            f"enroot cannot hand on env.{torn}",
            cause="it holds a newline, and enroot keeps variables a line each",
            remedy="write it without one, or use another runtime",
        )
    program = job.facts.program("enroot").path or "enroot"
    names = [*_names(job), *gpu_variables(job)]
    return Wrapped(
        [
            *(program, "start"),
            *(word for name in names for word in ("--env", name)),
            *(word for bind in job.binds for word in ("--mount", _mount(bind))),
            *(job.image, "bash", "-c", _IN_FOLDER, "sdtui", job.folder, *job.argv),
        ],
        device_env=gpu_variables(job),
    )


def gpu_variables(job: Job) -> dict[str, str]:
    """Return what enroot's hook reads: which devices are inside, and what of their driver.

    Without a word of the first there is no GPU at all, without one of the second no CUDA. A
    cluster numbers the job's devices in ``CUDA_VISIBLE_DEVICES``, and with fewer of them inside
    the numbers would be others'; the job's are ``all`` there are, or the numbers choose.
    """
    devices = "all" if job.given else "{uuids}"
    wanted = job.env.get("NVIDIA_DRIVER_CAPABILITIES", "compute,utility")
    return {
        "NVIDIA_VISIBLE_DEVICES": devices if job.gpus else "void",
        "NVIDIA_DRIVER_CAPABILITIES": wanted,
    }


def _names(job: Job) -> list[str]:
    return sorted({*job.env, *job.facts.passed, "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"})


def _mount(bind: Bind) -> str:
    flags = "x-create=dir,bind" + (",ro" if bind.read_only else "")
    return f"{bind.source}:{bind.target}:none:{flags}"
