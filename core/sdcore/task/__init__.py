"""The question a person asks: the task, its parts, and presets as its written form."""
