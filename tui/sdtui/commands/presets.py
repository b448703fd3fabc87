"""``sdtui presets``: the presets that come with the program."""

import argparse

from sdcore.task.presets import shipped
from sdcore.text import clean_line
from sdtui.terminal import out, out_json, rows


def run(args: argparse.Namespace) -> int:
    """Write name and description of each."""
    presets = shipped()
    if args.json:
        out_json([{"name": p.name, "description": p.description, "path": p.path} for p in presets])
        return 0
    for line in rows([(p.name, clean_line(p.description)) for p in presets]):
        out(line)
    return 0
