"""``sdtui doctor``: what this host has, and what will bite later."""

import argparse
import sys

from sdcore.checks.host import host_facts
from sdtui.terminal import columns, out, out_json, rows, say


def run(args: argparse.Namespace) -> int:
    """Write the facts, then the warnings."""
    facts = host_facts()
    warnings = facts.warnings()
    if args.json:
        told = [{"what": w, "cause": c, "remedy": r} for w, c, r in warnings]
        out_json({**facts.to_record(), "warnings": told})
        return 0
    for line in rows(facts.lines(), columns(sys.stdout)):
        out(line)
    for what, cause, remedy in warnings:
        say(f"warning: {what}\n  cause:  {cause}\n  remedy: {remedy}")
    return 0
