"""The supervisor of a run: starts it, watches it, ends it, and writes down how it ended.

One small process per run, without torch, textual or pydantic; see ``supervisor`` for the life
of it, ``guard`` for why a killed supervisor leaves nothing behind, ``start`` for its client.
"""
