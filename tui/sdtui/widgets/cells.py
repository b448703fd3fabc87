"""Text in an exact number of cells, and bars of them. Pure; without NumPy, for the first paint."""

from rich.cells import cell_len, set_cell_size

JOINER = "\u200d"  # makes one sign of several, of a width that terminals disagree about
_EIGHTHS = " ▏▎▍▌▋▊▉"


def fit(text: str, cells: int, *, right: bool = False) -> str:
    """Cut ``text`` with an ellipsis, or pad it, to exactly ``cells`` cells."""
    if cells < 1:
        return ""
    text = text.replace(JOINER, "")
    length = cell_len(text)
    if length > cells:
        text = set_cell_size(text, cells - 1).rstrip() + "…"
        length = cell_len(text)
    return " " * (cells - length) + text if right else text + " " * (cells - length)


def bar(share: float, cells: int) -> str:
    """Return the filled part, up to ``share`` from 0 to 1, of a bar of ``cells`` cells.

    In eighths of a cell, rounded down: what is not quite full does not look so.
    """
    full, part = divmod(int(min(1.0, max(0.0, share)) * cells * 8), 8)
    return "█" * full + (_EIGHTHS[part] if part else "")
