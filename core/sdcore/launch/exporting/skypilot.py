"""A task file for SkyPilot, which reaches most clouds and clusters."""

import re
import shlex
from typing import Any

from sdcore.launch import slurm
from sdcore.launch.exporting.content import (
    content,
    label,
    needs_every_node,
    needs_image,
    not_written,
    to_yaml,
)
from sdcore.task.spec import TaskSpec

_PORT = 29500
_WRITTEN = ("gpu.type", "cluster.cpus_per_task", "cluster.mem")
_MAKERS = {"NVIDIA", "GEFORCE", "TESLA"}
_GIB = {"K": 1 / 1024**2, "M": 1 / 1024, "G": 1, "T": 1024}
_TOKENS = {
    slurm.NODE_RANK: '"$SKYPILOT_NODE_RANK"',
    slurm.MASTER_ADDR: '"$(echo "$SKYPILOT_NODE_IPS" | head -n1)"',
    slurm.MASTER_PORT: str(_PORT),
}


def task_file(task: TaskSpec) -> str:
    """Return the task file of ``task``.

    Raises:
        UsageError: Its image is in no registry, or its command is to spread itself.
    """
    needs_every_node(task, "SkyPilot")
    inner = content(task, runtime="docker")
    # The interpreter is the machine's own there, whichever ran here.
    first = inner.argv[0] if task.command is not None else "python3"
    words = [first, *inner.argv[1:]]
    run = " ".join(_TOKENS.get(word, shlex.quote(word)) for word in words)
    placed = {name: _TOKENS[value] for name, value in inner.env.items() if value in _TOKENS}
    exports = "".join(f"export {name}={value}\n" for name, value in placed.items())
    record: dict[str, Any] = {
        "name": label(task.name, 40),
        "resources": _resources(task),
        "num_nodes": task.cluster.nodes if task.cluster else 1,
        "file_mounts": {mount.target: mount.source for mount in task.mounts},
        "envs": {name: value for name, value in inner.env.items() if name not in placed},
        # Null: `sky launch --secret NAME` takes the value from the shell.
        "secrets": dict.fromkeys(inner.secrets),
        "setup": None if task.command is not None else "pip install sdtui\n",
        "run": f"mkdir -p /output\n{exports}{run}\n",
    }
    filled = {key: value for key, value in record.items() if value}
    head = f"# Written by `sdtui export skypilot`. Start it: sky launch {record['name']}.yaml"
    head += "".join(f" --secret {name}" for name in inner.secrets) + "\n"
    head += not_written(task, _WRITTEN)
    return head + to_yaml([filled])


def _resources(task: TaskSpec) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if task.gpu.count:
        found["accelerators"] = f"{accelerator(task.gpu.type or 'H100')}:{task.gpu.count}"
    if task.cluster and task.cluster.cpus_per_task:
        found["cpus"] = f"{task.cluster.cpus_per_task}+"
    if task.cluster and task.cluster.mem and task.cluster.mem.strip("0KMGT"):  # 0: all there is
        number, unit = re.fullmatch(r"(\d+)([KMGT]?)", task.cluster.mem).groups()  # type: ignore[union-attr]
        found["memory"] = f"{max(1, round(int(number) * _GIB[unit or 'M']))}+"
    if task.image is not None:
        found["image_id"] = f"docker:{needs_image(task, 'SkyPilot')}"
    return found


def accelerator(device: str) -> str:
    """Return SkyPilot's name for NVML's name of a device.

    SkyPilot calls them ``H100``, ``A100-80GB``, ``RTX4090``: without maker and form, and with the
    memory where there are two of a kind.
    """
    words = [word for word in re.split(r"[\s_-]+", device) if word.upper() not in _MAKERS]
    kind = re.match(
        r"(?:(?:RTX|GTX|Quadro)\s)?[A-Za-z]*\d+[A-Za-z]*", " ".join(words), re.IGNORECASE
    )
    name = kind[0].replace(" ", "").upper() if kind else "-".join(words)
    return f"{name}-80GB" if name == "A100" and "80GB" in device.upper() else name
