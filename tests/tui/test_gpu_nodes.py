"""The GPUs of several nodes, read together."""

import json
import time
from pathlib import Path

from sdcore.gpu.samples import Unavailable, to_line
from sdcore.runs.files import write_json
from sdtui.live.gpu import GpuView
from sdtui.live.gpu_nodes import NodesReader
from support.fake_runs import T0, make_run
from support.gpu_lines import busy


def _write(path: Path, *records: object) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def _settle(reader: NodesReader) -> GpuView:
    end = time.monotonic() + 10
    view, still = reader.poll(), 0
    while still < 5:
        assert time.monotonic() < end
        before, view = view, reader.poll()
        still = still + 1 if view is before else 0
    return view


def test_devices_of_all_nodes_stand_together_each_with_its_node() -> None:
    """On two nodes of eight every index stands there twice: one would be taken for the other."""
    run = make_run()
    run.cluster_folder.mkdir()
    write_json(run.allocation, {"format": 1, "job": "5", "nodes": "gpu[07-08]"})
    first, second = busy(0), busy(0, utilization=7)
    second = type(second)(**{**second.to_record(), "uuid": "GPU-far", "processes": None})
    _write(run.gpu, to_line([first], T0))
    _write(run.gpu_of("gpu08"), to_line([second], T0 + 1))

    reader = NodesReader(run)
    view = _settle(reader)

    assert [(s.name, s.uuid) for s in view.samples] == [
        ("gpu07 NVIDIA H800", "GPU-0"), ("gpu08 NVIDIA H800", "GPU-far"),
    ]  # fmt: skip
    assert [device.sample.utilization for device in view.devices] == [first.utilization, 7]
    assert (view.at, view.unavailable) == (T0 + 1, None)
    assert reader.poll() is view

    _write(run.gpu, Unavailable("stalled", "no answer").to_record(T0 + 2))
    assert _settle(reader).unavailable is None, "one silent node hides the others"
    _write(run.gpu_of("gpu08"), Unavailable("stalled", "no answer").to_record(T0 + 2))
    silent = _settle(reader).unavailable
    assert silent is not None
    assert silent.reason == "stalled"
    reader.close()


def test_one_machine_is_read_as_before() -> None:
    """Nothing of clusters may change what a run of one machine shows."""
    run = make_run()
    _write(run.gpu, to_line([busy(0)], T0))
    [sample] = _settle(NodesReader(run)).samples
    assert sample.name == "NVIDIA H800"
