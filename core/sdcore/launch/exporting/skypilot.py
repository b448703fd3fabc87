"""A task file for SkyPilot, which reaches most clouds and clusters."""

import shlex
from typing import Any

from sdcore.launch import slurm
from sdcore.launch.exporting.content import content
from sdcore.task.spec import TaskSpec

_PORT = 29500
_TOKENS = {
    slurm.NODE_RANK: '"$SKYPILOT_NODE_RANK"',
    slurm.MASTER_ADDR: '"$(echo "$SKYPILOT_NODE_IPS" | head -n1)"',
    slurm.MASTER_PORT: str(_PORT),
}


def task_file(task: TaskSpec) -> str:
    """Return the task file of ``task``."""
    import yaml  # noqa: PLC0415  # only here

    inner = content(task, runtime="docker")
    # The interpreter is the machine's own there, whichever ran here.
    first = inner.argv[0] if task.command is not None else "python3"
    words = [first, *inner.argv[1:]]
    run = " ".join(_TOKENS.get(word, shlex.quote(word)) for word in words)
    resources: dict[str, Any] = {}
    if task.gpu.count:
        kind = (task.gpu.type or "H100").upper().removeprefix("NVIDIA-").removeprefix("NVIDIA ")
        resources["accelerators"] = f"{kind}:{task.gpu.count}"
    if task.image is not None and not task.image.startswith(("rootfs:", "/", "./", "~")):
        resources["image_id"] = f"docker:{task.image}"
    record: dict[str, Any] = {
        "name": task.name,
        "resources": resources,
        "num_nodes": task.cluster.nodes if task.cluster else 1,
        "file_mounts": {mount.target: mount.source for mount in task.mounts},
        "envs": inner.env,
        # Null: `sky launch --secret NAME` takes the value from the shell.
        "secrets": dict.fromkeys(inner.secrets),
        "setup": None if task.command is not None else "pip install sdtui\n",
        "run": f"mkdir -p /output\n{run}\n",
    }
    filled = {key: value for key, value in record.items() if value}
    head = f"# Written by `sdtui export skypilot`. Start it: sky launch {task.name}.yaml"
    head += "".join(f" --secret {name}" for name in inner.secrets) + "\n"
    text: str = yaml.safe_dump(filled, sort_keys=False, allow_unicode=True, width=1000)
    return head + text
