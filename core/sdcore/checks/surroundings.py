"""What is wrong, or only different from what was meant, with what surrounds a task."""

from pathlib import Path

from sdcore.checks.findings import Finding
from sdcore.launch.runtimes.choice import Choice
from sdcore.launch.runtimes.facts import RuntimeFacts
from sdcore.task.image import image_kind, is_file
from sdcore.task.spec import TaskSpec
from sdcore.text import from_home

_CDI = "nvidia-ctk cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml"


def runtime_findings(task: TaskSpec, choice: Choice, facts: RuntimeFacts) -> list[Finding]:
    """Judge the runtime that was chosen. Pure."""
    found = _image_findings(task, choice, facts)
    if choice.worry is not None:
        found.append(Finding("warning", choice.worry, choice.why, choice.remedy))
    if choice.mounts and image_kind(task.image) == "rootfs" and task.gpu.count:
        found += [] if facts.driver else [_no_driver()]
    if choice.runtime == "podman" and task.gpu.count and not facts.gpu_names:
        found.append(
            Finding(
                "error",
                "podman knows no GPU of this host",
                cause="no file in /etc/cdi or /var/run/cdi names one by its UUID",
                remedy=f"ask an administrator for `{_CDI}`",
            )
        )
    return found


def absent_image_findings(task: TaskSpec) -> list[Finding]:
    """Name an image file that is not there, where no program could be asked for it."""
    if image_kind(task.image) != "reference" or task.image is None or not is_file(task.image):
        return []
    return [] if Path(from_home(task.image)).exists() else [_missing(task.image)]


def _missing(image: str) -> Finding:
    what, cause = f"the image {image!r} is not here", "there is no such file"
    return Finding("error", what, cause, "correct `image`")


def _no_driver() -> Finding:
    return Finding(
        "warning",
        "the driver's libraries were not found on this host",
        cause="libcuda.so is in none of the usual folders, and an unpacked root has none that fits",
        remedy="mount the folder that holds it, and name that in LD_LIBRARY_PATH",
    )


def _image_findings(task: TaskSpec, choice: Choice, facts: RuntimeFacts) -> list[Finding]:
    kind = image_kind(task.image)
    used = choice.mounts and kind in {"rootfs", "reference"}
    if kind is not None and not used:
        return [
            Finding(
                "warning",
                f"the image {task.image!r} is not used",
                cause="the task runs on this machine's own Python"
                + ("; this is no name of an image" if kind == "words" else ""),
                remedy="remove `image`, or ignore this",
            )
        ]
    if facts.missing_image is None:
        return []
    if facts.missing_image == "there is no such file":
        return [_missing(str(task.image))]
    return [
        Finding(
            "warning",
            f"the image {task.image!r} is not here",
            cause=facts.missing_image,
            remedy=f"pull it before: {choice.runtime} pull IMAGE",
        )
    ]
