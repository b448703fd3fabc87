"""Docker: the container belongs to a daemon and outlives a killed client.

Therefore it has a name of its own, by which the supervisor ends it when the client did not.
"""

from sdcore.launch.runtimes.job import Job, Wrapped
from sdcore.launch.runtimes.oci import run_words


def plan(job: Job) -> Wrapped:
    """Return ``docker run`` for ``job``."""
    program = job.facts.program("docker").path or "docker"
    before = [program, "run", "--rm", "--init", "--name", job.name]
    user = ["--user", f"{job.facts.uid}:{job.facts.gid}"]
    return Wrapped(
        [*before, *user, *run_words(job)],
        term_to="launcher",
        end_argv=[program, "rm", "--force", job.name],
        # The quotes are part of the value: it is a line of comma-separated values itself.
        device_words=["--gpus", '"device={uuids}"'] if job.gpus else [],
        devices_at=len(before),
    )
