"""The form of a new task: what is typed, what is wrong with it, what it would do."""
