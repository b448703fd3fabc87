"""One file per command; each has ``run(args)``, which returns the exit code."""
