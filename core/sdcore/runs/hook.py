"""What is known of the command of ``[hooks] end``: its record, and that in words.

It is no part of the run: nothing here says how the run ended.
"""

import time
from typing import Any

from sdcore import units
from sdcore.runs.fields import Fields, read_fields
from sdcore.runs.paths import RunDir

# Told to the command, and to nobody else: a run that it starts must not take them for its own.
MARK = "SDTUI_HOOK"
TOLD = (
    MARK, "SDTUI_RUN_ID", "SDTUI_RUN_NAME", "SDTUI_RUN_DIR", "SDTUI_STATE", "SDTUI_EXIT_CODE",
    "SDTUI_REASON", "SDTUI_STEP",
)  # fmt: skip
# After its limit, until its end is written. Later nobody is left who could write it.
_MARGIN_S = 30.0


def read_hook(run: RunDir, attempt: int) -> dict[str, Any] | None:
    """Return the record of the command at the end of ``attempt``, or None when none was run."""
    fields = read_fields(run.hook)
    return fields.record if fields is not None and fields.whole("attempt") == attempt else None


def hook_words(record: dict[str, Any], now: float | None = None) -> str:
    """Say how the command ended, or that it runs.

    Args:
        record: What ``read_hook`` returned.
        now: Seconds since the epoch.
    """
    fields = Fields(record)
    state, limit = fields.text("state"), fields.moment("timeout_s") or 0.0
    took = units.duration(fields.moment("seconds") or 0.0)
    code, signal, reason = (
        fields.whole("code"), fields.text("signal_name"), fields.text("reason"),
    )  # fmt: skip
    end = f"exit code {code}" if code is not None else f"ended by {signal or 'a signal'}"
    if state == "running":
        now = time.time() if now is None else now
        late = now - (fields.moment("started") or 0.0) > limit + _MARGIN_S
        return "nobody saw its end" if late else "runs"
    if state == "killed":
        return f"killed at its limit of {units.duration(limit)}"
    if state == "done":
        return f"done in {took}" + (f"; {reason}" if reason else "")
    return f"failed: {reason or f'{end} after {took}'}"
