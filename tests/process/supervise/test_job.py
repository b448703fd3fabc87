"""The batch step of a job that is not the run's any more."""

import os
import subprocess
import sys

from sdcore.runs.files import write_json
from sdcore.runs.paths import make_private
from support.fake_runs import make_run


def test_a_job_of_an_earlier_attempt_touches_nothing_of_the_run() -> None:
    """Slurm may begin it again long after the run was resumed in another one."""
    run = make_run()
    make_private(run.cluster_folder)
    write_json(run.cluster, {"format": 1, "job": "12", "previous": "11"})
    write_json(run.order, {"of": "job 12"})
    before = sorted(run.root.rglob("*"))

    job = {"SLURM_JOB_ID": "11", "SLURM_JOB_NODELIST": "n1", "SLURM_RESTART_COUNT": "1"}
    argv = [sys.executable, "-P", "-m", "sdcore.supervise.job", str(run.root)]
    done = subprocess.run(
        argv, env={**os.environ, **job}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 78, done.stderr
    assert "was resumed in another job" in done.stderr
    assert sorted(run.root.rglob("*")) == before
