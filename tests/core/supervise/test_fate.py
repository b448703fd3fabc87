"""What becomes of a job that was told to end, from the words Slurm was seen to use."""

import pytest

from sdcore.cluster.calls import JobNow
from sdcore.supervise.fate import TAKEN_OFF, TIME_LIMIT, Course, judge

NOW, LATER = 1_000_000.0, 1_100_000.0


@pytest.mark.parametrize(
    ("now", "notice", "course", "by"),
    [
        (JobNow("COMPLETING", 2, LATER), "NODE FAILURE", Course.BACK, "the failure of a node"),
        (JobNow("COMPLETING", 2, None), "JOB REQUEUE", Course.BACK, "a requeue of its job"),
        (JobNow("PENDING", 2, None), None, Course.BACK, TAKEN_OFF),
        (JobNow("REQUEUE_HOLD", 1, NOW), None, Course.BACK, TAKEN_OFF),
        # Where the count rises only later, a job that waits has no end, or one far ahead.
        (JobNow("COMPLETING", 1, None), "PREEMPTION", Course.BACK, TAKEN_OFF),
        (JobNow("COMPLETING", 1, LATER), None, Course.BACK, TAKEN_OFF),
        (JobNow("RUNNING", 1, LATER), None, Course.RUNNING, TAKEN_OFF),
        (JobNow("COMPLETING", 1, NOW + 2), "", Course.OVER, "scancel"),
        (JobNow("CANCELLED", 1, NOW), None, Course.OVER, "scancel"),
        (JobNow("COMPLETING", 1, NOW, "TimeLimit"), "TIME LIMIT", Course.OVER, TIME_LIMIT),
        (JobNow("COMPLETING", 1, NOW), "NODE FAILURE", Course.OVER, "the failure of a node"),
        (None, None, Course.UNKNOWN, TAKEN_OFF),
        (None, "", Course.UNKNOWN, "scancel"),
    ],
)
def test_only_a_job_that_does_not_come_back_is_over(
    now: JobNow | None, notice: str | None, course: Course, by: str
) -> None:
    """All of it is one SIGTERM, and COMPLETING for as long as it takes."""
    assert judge(now, notice, restarts=1, at=NOW) == (course, by)
