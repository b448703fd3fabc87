"""``python -m support.create_in_console PRESET``: a person starts a task from the console's form.

A program of its own, for a user that is not the tests' own. It prints the run's id and then the Run
screen, as soon as the words after PRESET stand on it.
"""

import sys

from support.console import Driven, drive
from support.forms import opened


def main(preset: str, words: list[str]) -> None:
    """Create the run of ``preset`` and wait for ``words`` on its screen."""

    async def story(driven: Driven) -> None:
        seen: list[str] = []
        show = driven.app.open_run

        def open_run(run_id: str) -> None:
            seen.append(run_id)
            show(run_id)

        driven.app.open_run = open_run  # type: ignore[method-assign]
        await opened(driven, preset)
        await driven.press("ctrl+r")
        # Runs of the tests are kept in /tmp, of which a cluster's nodes have one each: a warning.
        await driven.until("Start all the same?", 60)
        await driven.press("y")
        await driven.until(lambda: bool(seen), 60)
        await driven.until(lambda: all(word in driven.text() for word in words), 60)
        sys.stdout.write(f"{seen[0]}\n{driven.text()}\n")

    drive(story, (140, 40))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
