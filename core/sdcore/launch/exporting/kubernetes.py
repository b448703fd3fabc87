"""A ``batch/v1`` Job: one pod on one machine, an Indexed Job with a headless Service on several.

Values are quoted by the YAML library; secrets are references to a Secret that must exist.
"""

from typing import Any

from sdcore.launch import slurm
from sdcore.launch.exporting.content import (
    Content,
    content,
    label,
    needs_every_node,
    needs_image,
    not_written,
    to_yaml,
)
from sdcore.task.spec import OUTPUT, TaskSpec

_PORT = 29500
_WRITTEN = ("cluster.restarts", "cluster.cpus_per_task", "cluster.mem")
# A volume is named after both; a DNS label has 63 characters.
_NAME_LENGTH, _PLACE_LENGTH = 40, 18


def job_file(task: TaskSpec) -> str:
    """Return the manifest of ``task``.

    Raises:
        UsageError: The task names no image, or its command is to spread itself.
    """
    needs_every_node(task, "Kubernetes")
    image, name = needs_image(task, "Kubernetes"), label(task.name, _NAME_LENGTH)
    inner = content(task, runtime="docker")
    nodes = task.cluster.nodes if task.cluster else 1
    parts = [_job(task, image, name, inner, nodes)]
    if nodes > 1:
        parts.insert(0, _service(name))
    head = f"# Written by `sdtui export kubernetes`. Start it: kubectl apply -f {name}.yaml\n"
    claims = ", ".join([*_claims(task, name).values(), f"{name}-output"])
    head += f"# It needs the persistent volume claims {claims}"
    head += f" and the secret {name}-secrets.\n" if inner.secrets else ".\n"
    if nodes > 1:
        head += f"# All machines write to {name}-output: its access mode is ReadWriteMany.\n"
    head += not_written(task, _WRITTEN)
    return head + to_yaml(parts)


def _service(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        # A machine asks for the address of the first one before that one is ready.
        "spec": {
            "clusterIP": "None", "selector": {"job-name": name}, "publishNotReadyAddresses": True,
        },
    }  # fmt: skip


def _claims(task: TaskSpec, name: str) -> dict[str, str]:
    """Return the claim for each mount target, each another one, and none that of the results."""
    found: dict[str, str] = {}
    taken = {f"{name}-output"}
    for mount in task.mounts:
        place = label(mount.target.rpartition("/")[2], _PLACE_LENGTH)
        names = (f"{name}-{place}{number}" for number in ("", *range(2, len(task.mounts) + 2)))
        claim = next(each for each in names if each not in taken)
        taken.add(claim)
        found[mount.target] = claim
    return found


def _job(task: TaskSpec, image: str, name: str, inner: Content, nodes: int) -> dict[str, Any]:
    restarts = task.cluster.restarts if task.cluster else 0
    spec: dict[str, Any] = {"backoffLimit": restarts * nodes}
    pod: dict[str, Any] = {"restartPolicy": "Never"}
    if nodes > 1:
        spec |= {"completions": nodes, "parallelism": nodes, "completionMode": "Indexed"}
        pod["subdomain"] = name
    pod["containers"] = [_container(task, image, name, inner, nodes)]
    pod["volumes"] = [
        *(
            {"name": claim, "persistentVolumeClaim": {"claimName": claim}}
            for claim in [*_claims(task, name).values(), f"{name}-output"]
        ),
        # NCCL and loader workers share memory; a container has 64 MiB of it unless told.
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
    spec["template"] = {"metadata": {"labels": {"app": name}}, "spec": pod}
    return {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec
    }  # fmt: skip


def _container(task: TaskSpec, image: str, name: str, inner: Content, nodes: int) -> dict[str, Any]:
    # $(NAME) is Kubernetes' own: it fills in variables of this container, declared before.
    tokens = {slurm.NODE_RANK: "$(JOB_COMPLETION_INDEX)", slurm.MASTER_ADDR: f"{name}-0.{name}",
              slurm.MASTER_PORT: str(_PORT)}  # fmt: skip
    values = {n: tokens.get(v) or _literal(v) for n, v in inner.env.items()}
    env: list[dict[str, Any]] = [{"name": n, "value": value} for n, value in values.items()]
    for secret in inner.secrets:
        key = {"name": f"{name}-secrets", "key": secret}
        env.append({"name": secret, "valueFrom": {"secretKeyRef": key}})
    if nodes > 1:
        field = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
        index = {"fieldRef": {"fieldPath": field}}
        env.insert(0, {"name": "JOB_COMPLETION_INDEX", "valueFrom": index})
    mounts = [
        {"name": claim, "mountPath": mount.target, "readOnly": mount.read_only}
        for mount, claim in zip(task.mounts, _claims(task, name).values(), strict=True)
    ]
    mounts.append({"name": f"{name}-output", "mountPath": OUTPUT})
    mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108 -- of the container
    container: dict[str, Any] = {
        "name": "training", "image": image,
        "command": [tokens.get(word) or _literal(word) for word in inner.argv],
        "env": env, "volumeMounts": mounts,
    }  # fmt: skip
    if resources := _resources(task):
        container["resources"] = {"limits": resources}
    return container


def _literal(text: str) -> str:
    """Keep Kubernetes from filling in what looks like a variable of its own."""
    return text.replace("$(", "$$(")


def _resources(task: TaskSpec) -> dict[str, str]:
    wanted = {"nvidia.com/gpu": str(task.gpu.count)} if task.gpu.count else {}
    if task.cluster and task.cluster.cpus_per_task:
        wanted["cpu"] = str(task.cluster.cpus_per_task)
    if task.cluster and task.cluster.mem and task.cluster.mem.strip("0KMGT"):  # 0: all there is
        mem = task.cluster.mem  # Slurm's suffixes are powers of two; without one it is megabytes
        wanted["memory"] = f"{mem}i" if mem[-1].isalpha() else f"{mem}Mi"
    return wanted
