"""The background side of the console: reads runs in a thread and hands on snapshots."""
