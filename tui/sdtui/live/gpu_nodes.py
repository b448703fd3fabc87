"""The GPU readings of a run on several nodes: a file for each, shown as those of one machine."""

import re
import time
from dataclasses import replace

from sdcore.runs.fields import Fields, read_fields
from sdcore.runs.paths import RunDir
from sdcore.text import clean_line
from sdtui.live.gpu import Device, GpuReader, GpuView

_LOOK_S = 5.0
_MOST_NODES = 64  # shown; each costs a look at its file
_FIRST = re.compile(r"([^\[,]+)(?:\[(\d+))?")


class NodesReader:
    """Reads the readings of all nodes; on one machine it is the reader of its one file."""

    def __init__(self, run: RunDir) -> None:
        self._run, self._first = run, GpuReader(run)
        self._others: dict[str, GpuReader] = {}
        self._look_at = 0.0
        self._seen: tuple[GpuView, ...] = ()
        self._merged = GpuView()

    def poll(self) -> GpuView:
        """Return the readings up to now; the same object while nothing is new."""
        first = self._first.poll()
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_S
            self._find()
        if not self._others:
            return first
        views = (first, *(reader.poll() for reader in self._others.values()))
        if len(views) != len(self._seen) or any(
            new is not old for new, old in zip(views, self._seen, strict=True)
        ):
            self._seen = views
            self._merged = _merge(views, (self._first_node(), *self._others))
        return self._merged

    def close(self) -> None:
        """Stop reading."""
        for reader in (self._first, *self._others.values()):
            reader.close()

    def _find(self) -> None:
        for path in sorted(self._run.root.glob("gpu-*.jsonl"))[:_MOST_NODES]:
            node = clean_line(path.stem.removeprefix("gpu-"), 60)
            if node not in self._others:
                self._others[node] = GpuReader(self._run, path)

    def _first_node(self) -> str:
        told = (read_fields(self._run.allocation) or Fields(None)).text("nodes") or ""
        found = _FIRST.match(told)
        return f"{found[1]}{found[2] or ''}" if found else ""


def _merge(views: tuple[GpuView, ...], nodes: tuple[str, ...]) -> GpuView:
    """Lay the nodes' readings one below another, each device named with its node."""
    devices: list[Device] = []
    samples = []
    for view, node in zip(views, nodes, strict=True):
        devices += [
            replace(each, sample=replace(each.sample, name=f"{node} {each.sample.name}"))
            for each in view.devices
        ]
        samples += [replace(each, name=f"{node} {each.name}") for each in view.samples]
    times = [view.at for view in views if view.at is not None]
    # Silent only when no node gives readings: one that does not must not hide the others.
    silent = [view.unavailable for view in views]
    return GpuView(
        at=max(times, default=None),
        samples=tuple(samples),
        unavailable=silent[0] if all(silent) else None,
        devices=tuple(devices),
        now=max(view.now for view in views),
        host=views[0].host,
    )
