"""The real pynvml reads a fake driver, in a process of its own: it loads the library once."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from sdcore.gpu.nvml import throttle_words
from support.nvml import GIB, FakeGpus, fake_gpus, gpu, nvml_library

__all__ = ["fake_gpus", "nvml_library"]

_PROBE = """
import json
from sdcore.gpu.nvml import open_nvml
from sdcore.gpu.samples import Unavailable, to_line
nvml = open_nvml()
if isinstance(nvml, Unavailable):
    print(json.dumps(nvml.to_record(1.0)))
else:
    print(json.dumps(to_line(nvml.read(), 1.0) | {"driver": nvml.versions().driver,
          "cuda": nvml.versions().cuda}))
    nvml.close()
"""


def read(env: dict[str, str], before: str = "") -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", before + _PROBE], env=env, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    record = json.loads(done.stdout)
    assert isinstance(record, dict)
    return record


def test_every_reading_arrives_in_its_unit(fake_gpus: Callable[..., FakeGpus]) -> None:
    """A factor of 1000 (mW) or a struct read at the wrong offset shows as a wrong number."""
    gpus = fake_gpus(gpu("GPU-a", throttle=0x44, ecc=3, pids=f"4242:{GIB},7"))
    line = read(gpus.env)
    assert line["driver"] == "570.86.15"
    assert line["cuda"] == "12.8"
    assert line["gpus"] == [
        {
            "index": 0, "uuid": "GPU-a", "name": "NVIDIA H800", "memory_used": 2 * GIB,
            "memory_reserved": GIB // 2, "memory_total": 80 * GIB, "utilization": 7,
            "power_w": 312.0, "power_limit_w": 700.0, "temperature_c": 61, "sm_clock_mhz": 1755,
            "throttle": ["power cap", "hardware thermal slowdown"], "ecc_uncorrected": 3,
            "xid": None,
            "processes": [{"pid": 4242, "memory": GIB}, {"pid": 7, "memory": None}],
            "lost": False,
        }
    ]  # fmt: skip


def test_a_missing_reading_is_none_and_costs_no_other(fake_gpus: Callable[..., FakeGpus]) -> None:
    """A zero would be drawn as an idle, cold GPU with corrected memory."""
    bare = gpu(
        "GPU-a", util=None, power=None, limit=None, temp=None, clock=None, ecc=None, throttle=None
    )
    [sample] = read(fake_gpus(bare).env)["gpus"]
    missing = {"utilization", "power_w", "temperature_c", "sm_clock_mhz", "ecc_uncorrected"}
    assert {sample[key] for key in missing | {"throttle", "power_limit_w"}} == {None}
    assert sample["memory_used"] == 2 * GIB
    # An old driver knows the first form of the memory call alone.
    [old] = read(fake_gpus(gpu("GPU-a", reserved=None)).env)["gpus"]
    assert (old["memory_used"], old["memory_reserved"]) == (2 * GIB, None)


def test_a_lost_gpu_hides_none_of_the_others(fake_gpus: Callable[..., FakeGpus]) -> None:
    """One GPU off the bus must not blind us to the seven that still train."""
    gpus = fake_gpus(gpu("GPU-a", lost=1), gpu("GPU-b"))
    lost, well = read(gpus.env)["gpus"]
    assert lost["lost"] is True
    assert lost["memory_used"] is None
    assert (well["index"], well["uuid"], well["lost"]) == (1, "GPU-b", False)


def test_mig_instances_stand_for_the_gpu_they_share(fake_gpus: Callable[..., FakeGpus]) -> None:
    """CUDA refuses the UUID of a split GPU: only the instances can be given to a run."""
    samples = read(fake_gpus(gpu("GPU-a", mig=2), gpu("GPU-b")).env)["gpus"]
    assert [sample["uuid"] for sample in samples] == ["MIG-GPU-a-1", "MIG-GPU-a-2", "GPU-b"]
    assert samples[0]["name"] == "NVIDIA H800 MIG 1g.10gb"
    assert samples[0]["power_w"] is None
    assert samples[0]["temperature_c"] == 61


@pytest.mark.parametrize(
    ("lines", "reason"),
    [((), "no_device"), (("init=9",), "no_driver"), (("init=4",), "no_permission")],
)
def test_the_reason_for_no_readings_is_typed(
    fake_gpus: Callable[..., FakeGpus], lines: tuple[str, ...], reason: str
) -> None:
    """A missing driver, a missing GPU and a missing right need different next steps."""
    assert read(fake_gpus(*lines).env)["unavailable"] == reason


def test_no_library_and_no_module_are_reasons_too() -> None:
    """A laptop without either is an ordinary host, not an error."""
    assert read({})["unavailable"] in {"no_driver", "no_device"}
    assert read({}, "import sys; sys.modules['pynvml'] = None\n")["unavailable"] == "no_module"


def test_clocks_that_somebody_chose_are_no_trouble() -> None:
    """An idle GPU is always clocked down; calling that throttling would cry wolf."""
    assert throttle_words(0x1 | 0x2 | 0x10 | 0x100) == ()
