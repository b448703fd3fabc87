"""What colours and attributes a cell has, and the shortest way from one to the next."""

from functools import lru_cache
from typing import NamedTuple

from rich.color import ColorSystem
from rich.style import Style

# Rich's attributes by bit, as SGR parameters, and what takes each back (ECMA-48, 8.3.117).
_ATTRIBUTES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 21, 51, 52, 53)
_OFF = {1: 22, 2: 22, 3: 23, 4: 24, 5: 25, 6: 25, 7: 27, 8: 28, 9: 29, 21: 24,
        51: 54, 52: 54, 53: 55}  # fmt: skip
_SEEN_ON_BLANKS = frozenset({4, 7, 9, 21, 51, 52, 53})  # underlines, reverse, strikes, frames


class Pen(NamedTuple):
    """How a cell is drawn: SGR parameters; an empty colour is the terminal's own."""

    attributes: frozenset[int] = frozenset()
    foreground: str = ""
    background: str = ""


PLAIN = Pen()


def pen_of(style: Style | None, colors: ColorSystem) -> Pen:
    """Return how a terminal with these colours draws ``style``."""
    if style is None:
        return PLAIN
    bits = style._attributes & style._set_attributes  # noqa: SLF001  # Rich offers no other way
    attributes = frozenset(code for bit, code in enumerate(_ATTRIBUTES) if bits & 1 << bit)
    front = back = ""
    if style.color is not None:
        front = ";".join(style.color.downgrade(colors).get_ansi_codes())
    if style.bgcolor is not None:
        back = ";".join(style.bgcolor.downgrade(colors).get_ansi_codes(foreground=False))
    return Pen(attributes, "" if front == "39" else front, "" if back == "49" else back)


@lru_cache(maxsize=1024)
def blank_pen(pen: Pen) -> Pen:
    """Return all that is seen of ``pen`` on a blank: its background, and lines through the cell."""
    if pen.attributes & _SEEN_ON_BLANKS:
        return pen
    return Pen(background=pen.background)


@lru_cache(maxsize=2048)
def change(before: Pen, after: Pen) -> str:
    """Return the shortest escape sequence that leads from one pen to another."""
    if before == after:
        return ""
    if after == PLAIN:
        return "\x1b[m"
    off = {_OFF[code] for code in before.attributes - after.attributes}
    on = {c for c in after.attributes if c not in before.attributes or _OFF[c] in off}
    codes = [*map(str, sorted(off)), *map(str, sorted(on))]
    if before.foreground != after.foreground:
        codes.append(after.foreground or "39")
    if before.background != after.background:
        codes.append(after.background or "49")
    fresh = ["", *map(str, sorted(after.attributes)), after.foreground, after.background]
    anew = ";".join([fresh[0], *(code for code in fresh[1:] if code)])
    step = ";".join(codes)
    return f"\x1b[{step if len(step) <= len(anew) else anew}m"
