"""What surrounds a start command: nothing, real mount points without root, or a container.

One small module for each: a pure planner from a job and facts about the host to an argv. The
facts are gathered by ``probe``, the choice is made in ``choice``. ``enter`` is a program.
"""
