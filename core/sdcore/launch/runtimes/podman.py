"""podman: no daemon, the user's own ids inside, devices by the container device interface."""

from sdcore.launch.runtimes.job import Job, Wrapped
from sdcore.launch.runtimes.oci import run_words


def plan(job: Job) -> Wrapped:
    """Return ``podman run`` for ``job``."""
    program = job.facts.program("podman").path or "podman"
    before = [program, "run", "--rm", "--name", job.name]
    # Root has no ids to keep: podman refuses the option.
    user = ["--userns=keep-id"] if job.facts.uid else []
    user.append("--security-opt=label=disable")
    return Wrapped(
        [*before, *user, *run_words(job)],
        term_to="launcher",
        end_argv=[program, "rm", "--force", "--time=0", job.name],
        device_words=["--device=nvidia.com/gpu={uuid}"] if job.gpus else [],
        devices_at=len(before),
    )
