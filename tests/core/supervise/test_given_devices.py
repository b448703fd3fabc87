"""The devices that a cluster's job was given: taken as they are, never queued for again."""

from pathlib import Path

import pytest

from sdcore.gpu.samples import Unavailable
from sdcore.launch.plan import LaunchPlan
from sdcore.supervise.devices import Devices
from support.fake_runs import make_run
from support.gpu_lines import busy, lost


@pytest.mark.parametrize(
    ("visible", "shown", "taken"),
    [
        ("2,3", 8, ["GPU-2", "GPU-3"]),  # the driver shows the whole node
        ("0,1", 2, ["GPU-0", "GPU-1"]),  # a control group shows the job's own, numbered anew
        ("GPU-5,GPU-6", 8, ["GPU-5", "GPU-6"]),
    ],
)
def test_a_job_takes_what_it_was_given_also_while_others_use_the_rest(
    visible: str, shown: int, taken: list[str], tmp_path: Path
) -> None:
    """A queue of our own inside a job would wait for devices that Slurm gave to it alone."""
    run = make_run()
    plan = LaunchPlan("x", ["true"], "/", {"CUDA_VISIBLE_DEVICES": visible}, gpu_count=2)
    devices = Devices(run, plan, tmp_path / "gpus")

    assert not devices.adopt(Unavailable("stalled", "no answer"))
    assert devices.adopt([busy(index) for index in range(shown)])

    assert devices.uuids == taken
    assert not devices.adopt([busy(index) for index in range(8)]), "taken once, for good"
    assert not (tmp_path / "gpus").exists(), "nothing is locked"


def test_a_lost_device_is_not_taken(tmp_path: Path) -> None:
    """Its readings would stand in the list for ever, all of them empty."""
    plan = LaunchPlan("x", ["true"], "/", {"CUDA_VISIBLE_DEVICES": "0,1"}, gpu_count=2)
    devices = Devices(make_run(), plan, tmp_path / "gpus")
    assert devices.adopt([busy(0), lost(1)])
    assert devices.uuids == ["GPU-0"]
