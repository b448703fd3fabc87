"""Faults on order, for tests alone: nothing in the trainer knows of them.

Put this folder first on ``PYTHONPATH`` and say what shall happen in ``SDTUI_TEST_FAULT``::

    env = {**os.environ, "PYTHONPATH": str(FAULTS), "SDTUI_TEST_FAULT": "kill@step=3"}

Python imports ``sitecustomize`` at every start; where the variable is set, it waits for
some modules of ``sdcore.train`` to be imported and wraps what they hold.
Processes that import neither (the supervisor, the console) are not touched.

One fault, ``KIND@PLACE``, then options, separated by commas:

============================  ==================================================================
``kill@step=3``               SIGKILL to itself as step 3 begins: 2 steps are done.
``kill@micro=5``              SIGKILL as the 5th forward pass of this process begins (counted over
                              windows: with accumulation 2 that is the first half of step 3).
``kill@save=2:begin``         SIGKILL while step 2 is saved: before the first byte,
``kill@save=2:middle``        with the files written but no manifest (the default),
``kill@save=2:end``           after the rename, before old checkpoints are deleted.
``kill@pipeline=begin``       SIGKILL before the final pipeline is written.
``oom@step=2``                ``torch.cuda.OutOfMemoryError`` in the forward pass of step 2.
``nan@step=3``                The loss of step 3 is not a number.
``raise@step=2``              ``RuntimeError("injected fault")`` in step 2, with a traceback.
``exit@step=2``               ``os._exit(9)`` in step 2: no message, no record. ``exit@step=2:3``
                              exits with 3.
``stall@step=2``              Hangs in step 2 and never looks at requests; SIGTERM only sets the
                              trainer's flag, so nothing but SIGKILL ends it.
``stall``                     The same in step 1.
``slow@seconds=0.3``          Every forward pass takes 0.3 s longer.
``nospace@save=2``            ``OSError(ENOSPC)`` while step 2 is saved.
``lowspace@save=2``           The free-space check before the save of step 2 finds 1000 bytes;
                              step 0 is the check before training starts.
``raise@sample=2``            ``RuntimeError("injected fault")`` while step 2 is sampled.
``slow@sample=0.5``           Every sampling takes 0.5 s longer.
``note@shown=names``          No fault: each rank notes the images of every forward pass, a line
                              each, in ``shown-RANK.jsonl`` of the run's folder.
``,rank=1``                   Only in that rank; without it, in every rank.
``,attempt=2``                Only when ``SDTUI_ATTEMPT`` says so; without it in attempt 1, so that
                              a resumed run goes through; ``attempt=any`` fires in all of them.
============================  ==================================================================

Several faults are separated by ``;``. A fault that is not understood ends Python at once with
status 97, so that a misspelt test cannot pass.
"""

import errno
import json
import os
import re
import signal
import sys
import time
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_FORM = re.compile(
    r"(?P<kind>kill|oom|nan|raise|exit|stall|slow|nospace|lowspace|note)"
    r"(@(?P<place>step|micro|save|sample|seconds|pipeline|shown)=(?P<value>[\w.]+)(:(?P<detail>\w+))?)?"
    r"(?P<options>(,(rank|attempt)=\w+)*)"
)


@dataclass
class Fault:
    """One order."""

    kind: str
    place: str
    value: str
    detail: str

    def strike(self) -> None:
        """Do it, where it is something that ends or stops the process."""
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "exit":
            os._exit(int(self.detail or 9))
        if self.kind == "raise":
            raise RuntimeError("injected fault")
        if self.kind == "oom":
            import torch  # noqa: PLC0415

            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        if self.kind == "nospace":
            raise OSError(errno.ENOSPC, "No space left on device")
        while self.kind == "stall":
            time.sleep(3600)


def _parse(text: str) -> list[Fault]:
    faults = []
    for part in text.split(";"):
        match = _FORM.fullmatch(part.strip())
        if match is None:
            print(f"SDTUI_TEST_FAULT is not understood: {part!r}", file=sys.stderr, flush=True)
            os._exit(97)
        options = dict(option.split("=") for option in match["options"].split(",") if option)
        attempt = options.get("attempt", "1")
        if attempt not in {"any", os.environ.get("SDTUI_ATTEMPT", "1")}:
            continue
        if options.get("rank", os.environ.get("RANK", "0")) != os.environ.get("RANK", "0"):
            continue
        default = ("step", "1") if match["kind"] == "stall" else ("", "")
        faults.append(
            Fault(
                match["kind"],
                match["place"] or default[0],
                match["value"] or default[1],
                match["detail"] or "",
            )
        )
    return faults


def _patch_loop(loop: ModuleType, faults: list[Fault]) -> None:
    """Wrap ``Loop.forward(self, micro)``: the loss of one forward pass."""
    forward = loop.Loop.forward
    passes = 0

    def faulty_forward(self: Any, micro: int) -> Any:
        nonlocal passes
        passes += 1
        step = self.step + 1
        spoil = False
        for fault in faults:
            if fault.kind == "slow" and fault.place == "seconds":
                time.sleep(float(fault.value))
            here = {"step": step if micro == 0 else -1, "micro": passes}.get(fault.place)
            if here is None or str(here) != fault.value:
                continue
            spoil = spoil or fault.kind == "nan"
            fault.strike()
        loss = forward(self, micro)
        return loss * float("nan") if spoil else loss

    loop.Loop.forward = faulty_forward


def _patch_samples(samples: ModuleType, faults: list[Fault]) -> None:
    """Wrap ``Sampler.draw(self, step, unets)``."""
    draw = samples.Sampler.draw

    def faulty_draw(self: Any, step: int, unets: Any) -> Any:
        for fault in faults:
            if fault.place != "sample":
                continue
            if fault.kind == "slow":
                time.sleep(float(fault.value))
            elif fault.value == str(step):
                fault.strike()
        return draw(self, step, unets)

    samples.Sampler.draw = faulty_draw


def _patch_checkpoint(checkpoint: ModuleType, faults: list[Fault]) -> None:
    """Wrap ``save`` and its parts: ``free_bytes``, ``write_parts``, ``seal``, ``rotate``."""
    saving = {"step": ""}

    def wrap(name: str, detail: str) -> None:
        inner = getattr(checkpoint, name)

        def outer(*args: Any, **kwargs: Any) -> Any:
            if name == "save":
                saving["step"] = str(args[1].step)
            for fault in faults:
                here = fault.place == "save" and fault.value == saving["step"]
                if here and fault.kind != "lowspace" and (fault.detail or "middle") == detail:
                    fault.strike()
            return inner(*args, **kwargs)

        setattr(checkpoint, name, outer)

    wrap("save", "")
    wrap("write_parts", "begin")
    wrap("seal", "middle")
    wrap("rotate", "end")
    free = checkpoint.free_bytes

    def faulty_free(folder: Any) -> int:
        low = any(f.kind == "lowspace" and f.value == saving["step"] for f in faults)
        return 1000 if low else int(free(folder))

    checkpoint.free_bytes = faulty_free


def _patch_pipeline(pipeline: ModuleType, faults: list[Fault]) -> None:
    inner = pipeline.save

    def outer(*args: Any, **kwargs: Any) -> Any:
        for fault in faults:
            if fault.place == "pipeline":
                fault.strike()
        return inner(*args, **kwargs)

    pipeline.save = outer


def _patch_ahead(ahead: ModuleType, faults: list[Fault]) -> None:
    """Wrap ``Ahead.take(positions)``: what a forward pass sees."""
    if not any(fault.kind == "note" for fault in faults):
        return
    take = ahead.Ahead.take
    path = Path(os.environ["SDTUI_RUN_DIR"], f"shown-{os.environ.get('RANK', '0')}.jsonl")

    def noting_take(self: Any, positions: Any) -> Any:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self._batches.chances.names(positions)) + "\n")
        return take(self, positions)

    ahead.Ahead.take = noting_take


_PATCHES = {
    "sdcore.train.ahead": _patch_ahead,
    "sdcore.train.loop": _patch_loop,
    "sdcore.train.checkpoint": _patch_checkpoint,
    "sdcore.train.pipeline": _patch_pipeline,
    "sdcore.train.samples": _patch_samples,
}


class _Patching(Loader):
    """Loads a module as usual, then wraps what it holds."""

    def __init__(self, inner: Any, faults: list[Fault]) -> None:
        self.inner, self.faults = inner, faults

    def create_module(self, spec: ModuleSpec) -> Any:
        return self.inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.inner.exec_module(module)
        _PATCHES[module.__name__](module, self.faults)


class _Finder(MetaPathFinder):
    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname not in _PATCHES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Patching(spec.loader, self.faults)
        return spec


_order = os.environ.get("SDTUI_TEST_FAULT")
if _order and (_faults := _parse(_order)):
    sys.meta_path.insert(0, _Finder(_faults))
