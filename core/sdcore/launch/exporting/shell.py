"""Words and texts as bash reads them, with the folder of the run filled in by the job itself."""

import shlex
from pathlib import Path

from sdcore.runs.paths import RunDir

# No plain name, so that a command in which it stands has it in quotes.
PLACE = RunDir(Path("/{the-run-folder}"))
OUTPUT_FOLDER = str(PLACE.output)


def quoted(word: str) -> str:
    """Quote a word; the run's folder in it is the job's own."""
    token = str(PLACE.root)
    if token not in word:
        return shlex.quote(word)
    return '"$RUN"'.join(shlex.quote(part) if part else "" for part in word.split(token))


def heredoc(name: str, text: str) -> list[str]:
    """Return lines that set a variable to ``text``, whatever stands in it."""
    end = "SDTUI_END"
    while end in text:
        end += "_"
    return [f"{name}=$(cat <<'{end}'", text, end, ")"]
