"""The values that no output may show, as far as they can be known."""

import os
from typing import Any

from sdcore.launch.plan import MASK, is_secret
from sdcore.runs.logs import Mask
from sdcore.runs.paths import RunDir
from sdtui.frozen import read_task


def mask_of(run: RunDir) -> Mask:
    """Return what masks the secrets in the run's environment table and in our own environment.

    The second covers a token that the launching shell passed on, as long as it is set here too.
    """
    table = read_task(run).get("env")
    own = table if isinstance(table, dict) else {}  # nothing is known of the secrets of no task
    pairs = [*own.items(), *os.environ.items()]
    return Mask(v for name, v in pairs if is_secret(name) and isinstance(v, str) and v != MASK)


def masked(value: Any, mask: Mask) -> Any:
    """Return plain data, lists and objects in each other, with every text in it masked."""
    if isinstance(value, dict):
        return {key: masked(item, mask) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item, mask) for item in value]
    return mask(value) if isinstance(value, str) else value
