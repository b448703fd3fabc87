"""What the word after ``image =`` means: a container image, an unpacked root, or neither."""

import re
from typing import Literal

ImageKind = Literal["rootfs", "reference", "words"]
ROOTFS = "rootfs:"

# registry.example:5000/team/name:tag@sha256:…, or a URI.
_REFERENCE = re.compile(r"(?:[a-z][a-z0-9+.-]*://)?[A-Za-z0-9][\w.-]*(?:[:/@+#][\w.-]+)*")
_PLACES, _ENDS = ("/", "./", "../", "~/"), (".sif", ".simg", ".sqsh")


def image_kind(image: str | None) -> ImageKind | None:
    """Say what an image is; None when there is none.

    The platform's own menu has names such as ``colossalai 0.3.4``: words, which no program here
    could look up.
    """
    if image is None or not image.strip():
        return None
    if image.startswith(ROOTFS):
        return "rootfs"
    return "reference" if _REFERENCE.fullmatch(image) or is_file(image) else "words"


def is_file(image: str) -> bool:
    """Say whether an image is a file or folder of this host; its name may hold spaces."""
    named = image.startswith(_PLACES) or image.endswith(_ENDS)
    return named and "://" not in image and not image.startswith(ROOTFS)


def rootfs_of(image: str) -> str:
    """Return the folder that ``rootfs:/path`` names."""
    return image.removeprefix(ROOTFS)


def unfit_for_pyxis(image: str) -> str | None:
    """Say why pyxis cannot take a container image; None when it can."""
    if "://" in image and not image.startswith(("docker://", "dockerd://")):
        return f"pyxis takes docker:// or dockerd://, not {image.partition('://')[0]}://"
    if image.endswith((".sif", ".simg")):
        return f"{image!r} is apptainer's; pyxis takes a .sqsh file or an image of a registry"
    if is_file(image) and not image.startswith(("/", "~/")):
        return f"pyxis needs the absolute path of {image!r}, else it is looked up in a registry"
    return None
