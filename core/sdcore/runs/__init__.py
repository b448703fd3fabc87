"""The run directory: where a run keeps its files, how they are written, and how they are read."""
