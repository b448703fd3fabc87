"""``sdtui presets``: the presets that come with the program."""

import argparse
import sys

from sdcore.task.presets import shipped
from sdcore.text import clean_line
from sdtui.terminal import columns, out, out_json, rows


def run(args: argparse.Namespace) -> int:
    """Write name and description of each."""
    presets = shipped()
    if args.json:
        out_json([{"name": p.name, "description": p.description, "path": p.path} for p in presets])
        return 0
    pairs = [(p.name, clean_line(p.description)) for p in presets]
    for line in rows(pairs, columns(sys.stdout)):
        out(line)
    return 0
