"""enroot, and pyxis, which is enroot as an option of Slurm's srun."""

from sdcore.launch.runtimes.job import Bind, Job, Wrapped

# enroot has no option for the folder to start in; this one is an argument, not part of the text.
_IN_FOLDER = 'cd -- "$1" && shift && exec "$@"'


def plan(job: Job) -> Wrapped:
    """Return ``enroot start`` for ``job``; its image is a ``.sqsh`` file or a container's name."""
    assert job.image is not None, "the task was refused without one"
    program = job.facts.program("enroot").path or "enroot"
    names = [*_names(job), "NVIDIA_VISIBLE_DEVICES"]
    return Wrapped(
        [
            *(program, "start"),
            *(word for name in names for word in ("--env", name)),
            *(word for bind in job.binds for word in ("--mount", _mount(bind))),
            *(job.image, "bash", "-c", _IN_FOLDER, "sdtui", job.folder, *job.argv),
        ],
        # Its hook shows no GPU at all without this; "void" leaves the driver out.
        device_env={"NVIDIA_VISIBLE_DEVICES": "{uuids}" if job.gpus else "void"},
    )


def pyxis_options(job: Job) -> list[str]:
    """Return the options of ``srun`` that run a step of ``job`` in its image.

    Flags are joined by ``+`` and mounts by commas, which no path of a task may hold. The step's
    environment is srun's: the named variables replace what the image sets.
    """
    assert job.image is not None, "the task was refused without one"
    mounts = ",".join(
        f"{bind.source}:{bind.target}" + (":ro" if bind.read_only else "") for bind in job.binds
    )
    return [
        f"--container-image={job.image}",
        f"--container-mounts={mounts}",
        f"--container-workdir={job.folder}",
        f"--container-env={','.join(_names(job))}",
    ]


def _names(job: Job) -> list[str]:
    return sorted({*job.env, *job.facts.passed, "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"})


def _mount(bind: Bind) -> str:
    flags = "x-create=dir,bind" + (",ro" if bind.read_only else "")
    return f"{bind.source}:{bind.target}:none:{flags}"
