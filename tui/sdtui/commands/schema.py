"""``sdtui schema``: the JSON schema of a preset, or of the lines of ``--json``."""

import argparse

from sdtui.terminal import out_json


def run(args: argparse.Namespace) -> int:
    """Write one schema."""
    if args.which == "events":
        from sdtui.stream import stream_schema

        out_json(stream_schema())
    else:
        from sdcore.task.schema import preset_schema

        out_json(preset_schema())
    return 0
