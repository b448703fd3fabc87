"""Keeps third parties' progress bars and notes out of ``train.log``."""

import os
import warnings
from collections.abc import MutableMapping

_SETTINGS = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",  # a bar rewrites its line; in a log file that is one line of megabytes
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "DIFFUSERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",  # tensorboard imports tensorflow where it finds it
}


def set_environment(environ: MutableMapping[str, str] | None = None) -> None:
    """Ask third parties to be quiet; what a person has set stands. Before they are imported."""
    target = os.environ if environ is None else environ
    for name, value in _SETTINGS.items():
        target.setdefault(name, value)


def set_loggers() -> None:
    """The same for what has no variable. After they are imported."""
    import diffusers.utils.logging as diffusers_logging  # noqa: PLC0415 - 2 s
    import transformers.utils.logging as transformers_logging  # noqa: PLC0415

    if os.environ.get("DIFFUSERS_VERBOSITY") == "error":
        diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    # Raised inside diffusers and torch at our calls; a person can do nothing about them.
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
