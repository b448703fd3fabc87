"""What a training task is, how it is launched and supervised, and what a run leaves on disk."""

__version__ = "0.1.0"
