"""What the widgets render: immutable pictures of runs at one moment."""

from typing import TYPE_CHECKING, Any, NamedTuple

from sdcore.runs.paths import RunDir
from sdcore.runs.status import Status

if TYPE_CHECKING:  # NumPy costs the first paint 110 ms, and the list of tasks needs none of these
    from sdtui.live.checkpoints import Checkpoint
    from sdtui.live.curve import Curve
    from sdtui.live.gpu import GpuView
    from sdtui.live.samples import SampleSet


class RunSnapshot(NamedTuple):
    """All that the screens show of the open run.

    Attributes:
        run: Its folder.
        status: Its state, read before everything else here.
        curve: Its metrics by step.
        events: All its events, oldest first, also of kinds this version does not know.
        gpu: Its GPUs now and before.
        samples: Its pictures, by rising step.
        checkpoints: What it saved, by rising step.
    """

    run: RunDir
    status: Status
    curve: "Curve"
    events: tuple[dict[str, Any], ...]
    gpu: "GpuView"
    samples: "tuple[SampleSet, ...]"
    checkpoints: "tuple[Checkpoint, ...]"


class View(NamedTuple):
    """One look at everything; equal views draw the same screen.

    Attributes:
        runs: Every run's status, newest first; None before the first look.
        run: The open run, once it has been read.
        overlays: The curves laid over the open run's, by run id, in the order they were chosen.
        samples: The pictures of these runs, where they were asked for; see ``Hub.overlay``.
    """

    runs: tuple[Status, ...] | None = None
    run: RunSnapshot | None = None
    overlays: "tuple[tuple[str, Curve], ...]" = ()
    samples: "tuple[tuple[str, tuple[SampleSet, ...]], ...]" = ()
