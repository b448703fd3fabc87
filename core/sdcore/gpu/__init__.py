"""Readings of the GPUs, or a typed reason why there are none."""
