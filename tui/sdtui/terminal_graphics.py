"""One picture in full, by the terminal's own graphics: Kitty's protocol or sixel.

Such a picture lives outside the grid of cells that the console sends, so the console steps aside
while it is shown: the terminal is asked what it knows, with a time-out, then it draws, and any key
brings the console back. What the terminal says late is thrown away, never taken for keys.
"""

import base64
import os
import re
import select
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from textual.app import App, SuspendNotSupported

from sdtui.language import _
from sdtui.live.pictures import open_image

if TYPE_CHECKING:
    from PIL.Image import Image

Protocol = Literal["kitty", "sixel"]
_IN, _OUT = 0, 1  # not sys.stdout: the console holds what is printed back
_ANSWER_S = 1.0  # a terminal over a slow link answers within a round trip
_LATE_S = 0.2
_SHOWN_S = 600.0  # a picture that nobody looks at must not hold the console for ever
_CHUNK = 4096  # bytes of base64 in one escape sequence, as Kitty's protocol limits them
_SIDE = 768  # pixels; a larger picture is made smaller before it is sent
# A picture of one pixel that is only asked about, then "who are you", which all answer.
_QUERY = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c"
_WHO = re.compile(rb"\x1b\[\?([0-9;]*)c")


def show_picture(app: App[object], path: Path) -> str:
    """Show a picture until a key is pressed; return words when it could not be shown."""
    if app.is_headless or not all(map(os.isatty, (_IN, _OUT))):
        return _("there is no terminal that could show it")
    try:
        with open_image(path) as image:
            picture = image.convert("RGB")
    except ValueError as error:
        return str(error)
    try:
        with app.suspend():  # left by an error, it would not bring the console back
            words = _show(picture)
    except SuspendNotSupported:
        return _("there is no terminal that could show it")
    return words


def _show(picture: "Image") -> str:
    try:
        with _raw():
            protocol = protocol_of(_ask())
            if protocol is None:
                return _("this terminal knows neither Kitty graphics nor sixel")
            _draw(picture, protocol)
    except (OSError, termios.error) as error:
        return _("the terminal cannot be reached: {cause}").format(cause=error)
    return ""


def _draw(picture: "Image", protocol: Protocol) -> None:
    """Draw, wait for a key, and wipe it away."""
    picture.thumbnail((_SIDE, _SIDE))
    data = kitty(picture) if protocol == "kitty" else sixel(picture)
    words = _("any key goes back").encode()
    _write(b"\x1b[2J\x1b[H" + data + b"\r\n" + words)
    _wait(_SHOWN_S)
    _write((b"\x1b_Ga=d,d=A\x1b\\" if protocol == "kitty" else b"") + b"\x1b[2J\x1b[H")


@contextmanager
def _raw() -> Iterator[None]:
    """Take keys one by one and unseen; leave nothing that was typed or answered behind."""
    before = termios.tcgetattr(_IN)
    try:
        tty.setcbreak(_IN)
        yield
    finally:
        termios.tcsetattr(_IN, termios.TCSAFLUSH, before)  # and drops what is not read


def _ask() -> bytes:
    """Return what the terminal answers; a silent one costs the time-out."""
    _write(_QUERY)
    answer, end = b"", time.monotonic() + _ANSWER_S
    while time.monotonic() < end and not _WHO.search(answer):
        answer += _wait(end - time.monotonic())
    if not _WHO.search(answer):
        time.sleep(_LATE_S)
    return answer


def protocol_of(answer: bytes) -> Protocol | None:
    """Return the best protocol that an answer to our question stands for."""
    if re.search(rb"\x1b_G[^\x1b]*i=31[^\x1b]*;OK\x1b\\", answer):
        return "kitty"
    found = _WHO.search(answer)
    return "sixel" if found is not None and b"4" in found[1].split(b";") else None


def _wait(seconds: float) -> bytes:
    """Return what comes within ``seconds``, or nothing."""
    ready, _out, _bad = select.select([_IN], [], [], max(0.0, seconds))
    return os.read(_IN, 1 << 12) if ready else b""


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(_OUT, data) :]


def kitty(picture: "Image") -> bytes:
    """Return the escape sequences that draw a picture by Kitty's protocol, as a PNG."""
    png = BytesIO()
    picture.save(png, "PNG")
    data = base64.b64encode(png.getvalue())
    parts = [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)]
    sent = []
    for place, part in enumerate(parts):
        more = int(place < len(parts) - 1)
        keys = f"a=T,f=100,q=2,m={more}" if place == 0 else f"q=2,m={more}"
        sent.append(b"\x1b_G" + keys.encode() + b";" + part + b"\x1b\\")
    return b"".join(sent)


def sixel(picture: "Image", colours: int = 128) -> bytes:
    """Return the escape sequence that draws a picture as sixels: bands of six rows of dots."""
    small = picture.convert("RGB").quantize(colours)
    width, height = small.size
    palette, dots = small.getpalette() or [], small.tobytes()
    out = [f'\x1bPq"1;1;{width};{height}']
    for number in sorted(set(dots)):
        red, green, blue = (value * 100 // 255 for value in palette[3 * number : 3 * number + 3])
        out.append(f"#{number};2;{red};{green};{blue}")
    for top in range(0, height, 6):
        rows = [dots[y * width : (y + 1) * width] for y in range(top, min(top + 6, height))]
        here = sorted(set(b"".join(rows)))
        out += [*(f"#{number}{_band(rows, number)}$" for number in here), "-"]
    return ("".join(out) + "\x1b\\").encode("ascii")


def _band(rows: list[bytes], number: int) -> str:
    """Return where one colour stands in six rows, equal neighbours as ``!count``."""
    found: list[str] = []
    last, count = "", 0
    for column in zip(*rows, strict=True):
        sign = chr(63 + sum(1 << y for y, dot in enumerate(column) if dot == number))
        if sign != last and count:
            found.append(_repeated(last, count))
            count = 0
        last, count = sign, count + 1
    return "".join(found) + _repeated(last, count)


def _repeated(sign: str, count: int) -> str:
    return f"!{count}{sign}" if count > 3 else sign * count
