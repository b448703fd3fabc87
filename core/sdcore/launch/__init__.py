"""From a task to what will be executed: pure planners, and what the plan depends on."""
