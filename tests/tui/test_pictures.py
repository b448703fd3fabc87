"""Finding and decoding the pictures of a run, and turning them into cells."""

import base64
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.cells import cell_len

from sdcore.runs.paths import RunDir
from sdtui import terminal_graphics
from sdtui.live import pictures
from sdtui.live.pictures import Picture, braille, fit, load
from sdtui.live.samples import SampleReader
from sdtui.widgets import cells
from sdtui.widgets.picture import half_blocks
from support.fake_runs import GOLDEN, make_run
from support.pictures import draw_step


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, data: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    )


# --- which pictures there are ---------------------------------------------------------------


def test_sets_come_by_step_with_prompt_seed_and_weights() -> None:
    """Sorted by name, step 1000 would stand before step 200."""
    run = make_run()
    reader = SampleReader(run)
    assert reader.poll() == ()
    draw_step(run, 1000)
    draw_step(run, 200, ["a red circle"])
    sets = reader.poll()
    assert [each.step for each in sets] == [200, 1000]
    assert sets[1].weights == ("raw", "ema")
    assert [each.prompt for each in sets[1].of("ema")][:2] == ["a red circle", "a blue square"]
    assert sets[0].of("raw")[0].seed == 7


def test_polling_again_gives_an_equal_answer_without_reading_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run has hundreds of sample folders, and is looked at four times a second."""
    run = make_run()
    for step in (100, 200):
        draw_step(run, step)
    reader = SampleReader(run)
    first = reader.poll()
    reads: list[Path] = []
    monkeypatch.setattr("sdtui.live.samples._read", reads.append)
    assert reader.poll() == first
    assert reads == []


def test_a_step_drawn_again_is_read_again() -> None:
    """A resumed run draws a step anew, in a new folder of the same name."""
    run = make_run()
    draw_step(run, 100, ["a red circle"])
    reader = SampleReader(run)
    reader.poll()
    (run.samples / "step-100").rename(run.samples / ".old")
    draw_step(run, 100, ["a blue square"])
    assert reader.poll()[0].samples[0].prompt == "a blue square"


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "..", "link.png", "a\0b", "sub/x"]
)
def test_a_name_never_leads_out_of_its_folder(name: str, tmp_path: Path) -> None:
    """A run directory may come from anywhere, and what it shows is the reader's own files."""
    run = make_run()
    entries = draw_step(run, 100)
    folder = run.samples / "step-100"
    (tmp_path / "secret.png").write_bytes((folder / "raw-00.png").read_bytes())
    (folder.parent / "secret.png").write_bytes(b"x")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "samples.json").write_text(json.dumps({"images": [{"file": name}, entries[0]]}))
    (found,) = SampleReader(run).poll()
    assert [each.path.name for each in found.samples] == ["raw-00.png"]


def test_a_folder_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """The same through the folder."""
    run, other = make_run(), make_run("20260806-070641-other")
    draw_step(other, 5)
    run.samples.mkdir(parents=True)
    (run.samples / "step-5").symlink_to(other.samples / "step-5")
    assert SampleReader(run).poll() == ()


@pytest.mark.parametrize("record", ["[]", "{", '{"images": 3}', '{"images": [1, {"file": 2}]}'])
def test_a_damaged_list_shows_nothing(record: str) -> None:
    """A full disk can leave half a record."""
    run = make_run()
    draw_step(run, 100)
    (run.samples / "step-100" / "samples.json").write_text(record)
    assert SampleReader(run).poll() == ()


def test_prompts_are_clean() -> None:
    """A prompt with an escape sequence would write into the clipboard of whoever looks."""
    run = make_run()
    draw_step(run, 100, ["a \x1b]52;c;eA==\x07cat\n[bold]"])
    (found,) = SampleReader(run).poll()
    assert found.samples[0].prompt == "a cat [bold]"


def test_the_golden_run_is_read() -> None:
    """Its list is called samples, and its pictures are gone: nothing to show, and no error."""
    assert SampleReader(RunDir(GOLDEN)).poll() == ()


# --- decoding ---------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Begin each test without pictures of the last."""
    pictures._cache.clear()


@settings(max_examples=200)
@given(*[st.integers(1, 5000)] * 2, *[st.integers(1, 300)] * 2)
def test_a_picture_keeps_its_shape_and_its_place(w: int, h: int, cols: int, rows: int) -> None:
    """A circle drawn as an egg says something wrong about the model."""
    wide, high = fit(w, h, cols, rows)
    assert 1 <= wide <= cols
    assert 1 <= high <= rows
    assert wide == cols or high == rows or abs(wide - cols) <= 1 or abs(high - rows) <= 1
    if wide > 8 and high > 8:
        assert abs(wide / (2 * high) / (w / h) - 1) < 0.15


def test_dots_have_the_colours_of_the_picture(tmp_path: Path) -> None:
    """The upper dot is the foreground: exchanged, every picture is combed."""
    image = Image.new("RGB", (2, 4), "black")
    image.putpixel((0, 0), (255, 0, 0))
    image.putpixel((1, 3), (0, 0, 255))
    image.save(tmp_path / "x.png")
    picture = load(tmp_path / "x.png", 2, 2)
    assert (picture.cols, picture.rows, picture.size) == (2, 2, (2, 4))
    first, last = half_blocks(picture)
    colour = first[0].style.color
    assert colour is not None
    assert colour.triplet == (255, 0, 0)
    assert last[-1].style.bgcolor.triplet == (0, 0, 255)
    assert "".join(part.text for part in first) == "▀▀"


def test_equal_neighbours_share_one_colour_code(tmp_path: Path) -> None:
    """Each change of colour is some 38 bytes on the wire."""
    Image.new("RGB", (40, 40), "navy").save(tmp_path / "x.png")
    rows = half_blocks(load(tmp_path / "x.png", 20, 10))
    assert [len(row) for row in rows] == [1] * 10
    Image.linear_gradient("L").convert("RGB").rotate(90).save(tmp_path / "y.png")
    picture = load(tmp_path / "y.png", 80, 40)
    fine, coarse = (sum(len(r) for r in half_blocks(picture, shades)) for shades in (1, 16))
    assert coarse < fine / 3


def test_without_colours_it_is_dithered(tmp_path: Path) -> None:
    """In black and white, half blocks without colours are a grey wall."""
    image = Image.new("RGB", (40, 40), "black")
    image.paste("white", (0, 0, 20, 40))
    image.save(tmp_path / "x.png")
    picture = load(tmp_path / "x.png", 20, 10, dithered=True)
    for row in half_blocks(picture):
        (part,) = row
        assert part.style is None
        assert part.text[:9] == "⣿" * 9
        assert part.text[-9:] == "⠀" * 9


@given(st.integers(1, 6), st.integers(1, 6), st.data())
def test_every_dot_has_its_own_bit(cols: int, rows: int, data: st.DataObject) -> None:
    """Two dots in one bit are a smear that no other test sees."""
    size = 8 * cols * rows
    dots = bytes(data.draw(st.lists(st.sampled_from([0, 255]), min_size=size, max_size=size)))
    assert sum(bits.bit_count() for bits in braille(dots, cols, rows)) == dots.count(255)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no PNG"),
        (b"GIF89a" + bytes(100), "no PNG"),
        (_png(30_000, 30_000), "30,000 x 30,000 px is too large"),
        (_png(0, 5), "too large"),
        (_png(64, 64, zlib.compress(b"\0" * 20)), "damaged"),
        (_png(64, 64, b"garbage"), "damaged"),
        (_png(64, 64)[:40], "damaged"),
    ],
)
def test_a_bad_file_is_told_in_words(content: bytes, words: str, tmp_path: Path) -> None:
    """A bomb of 900 megapixels, or half a file: the console must outlive what it shows."""
    (tmp_path / "x.png").write_bytes(content)
    picture = load(tmp_path / "x.png", 20, 10)
    assert words in picture.trouble
    assert picture.pixels == b""


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_bytes_break_the_decoder(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A decoder raises anything on bytes made to break it."""
    folder = tmp_path_factory.mktemp("png")
    Image.linear_gradient("L").resize((24, 24)).save(folder / "x.png")
    content = bytearray((folder / "x.png").read_bytes())
    for _change in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(16, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "x.png").write_bytes(content)
    assert isinstance(load(folder / "x.png", 10, 5), Picture)


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    """A pipe would hold the thread for ever; a link that came meanwhile leads anywhere."""
    os.mkfifo(tmp_path / "pipe.png")
    assert load(tmp_path / "pipe.png", 10, 5).trouble
    (tmp_path / "link.png").symlink_to(GOLDEN / "exit.json")
    assert "cannot be read" in load(tmp_path / "link.png", 10, 5).trouble
    assert "cannot be read" in load(tmp_path / "none.png", 10, 5).trouble


def test_a_picture_is_decoded_once_for_each_size(tmp_path: Path) -> None:
    """Every scrub would decode a megapixel again."""
    path = tmp_path / "x.png"
    Image.new("RGB", (40, 40), "navy").save(path)
    first = load(path, 20, 10)
    assert load(path, 20, 10) is first
    assert load(path, 10, 5) is not first
    Image.new("RGB", (41, 40), "red").save(path)
    os.utime(path, ns=(1, 1))
    assert load(path, 20, 10) is not first


@given(st.text(max_size=30), st.integers(0, 40))
def test_captions_have_the_width_they_are_given(text: str, width: int) -> None:
    """A Chinese prompt is twice as wide as its length says."""
    assert cell_len(cells.fit(text, width)) == width


# --- the terminal's own graphics --------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "protocol"),
    [
        (b"\x1b_Gi=31;OK\x1b\\\x1b[?62;c", "kitty"),
        (b"\x1b_Gi=31;ENOTSUP:no\x1b\\\x1b[?62;4c", "sixel"),
        (b"\x1b[?62;4;22c", "sixel"),
        (b"\x1b[?62;14;24c", None),
        (b"", None),
        (b"qwerty", None),
    ],
)
def test_only_a_clear_answer_counts(answer: bytes, protocol: str | None) -> None:
    """A terminal that is sent graphics it does not know prints them as thousands of letters."""
    assert terminal_graphics.protocol_of(answer) == protocol


def test_kitty_gets_the_png_in_pieces() -> None:
    """Longer pieces than the protocol allows are dropped, and the picture with them."""
    image = Image.effect_noise((96, 96), 80).convert("RGB")
    sent = terminal_graphics.kitty(image)
    parts = re.findall(rb"\x1b_G([^;]*);([^\x1b]*)\x1b\\", sent)
    assert len(parts) > 1
    assert [b"m=1" in keys for keys, _data in parts] == [True] * (len(parts) - 1) + [False]
    assert all(len(data) <= 4096 for _keys, data in parts)
    assert base64.b64decode(b"".join(data for _keys, data in parts)).startswith(b"\x89PNG")


def test_sixels_hold_every_dot_once() -> None:
    """Wrong run lengths shear the picture."""
    image = Image.new("RGB", (10, 8), "red")
    image.paste("blue", (5, 0, 10, 8))
    text = terminal_graphics.sixel(image).decode("ascii")
    assert text.startswith('\x1bPq"1;1;10;8#')
    assert text.endswith("\x1b\\")
    bands = text.split("-")[:-1]
    assert len(bands) == 2
    for band, rows in zip(bands, (6, 2), strict=True):
        dots = 0
        for layer in re.findall(r"#\d+([^#$;]*)\$", band):
            runs = re.findall(r"(?:!(\d+))?([?-~])", layer)
            assert sum(int(count or 1) for count, _sign in runs) == 10
            dots += sum(int(count or 1) * (ord(sign) - 63).bit_count() for count, sign in runs)
        assert dots == 10 * rows


_STAND_IN = """
import sys
from PIL import Image
from sdtui import terminal_graphics
terminal_graphics._ANSWER_S = 0.5
print(repr(terminal_graphics._show(Image.new("RGB", (8, 8), "red"))), flush=True)
print("rest", repr(sys.stdin.readline()), flush=True)
"""


@pytest.mark.parametrize(
    ("answer", "drawn"),
    [
        (b"\x1b_Gi=31;OK\x1b\\\x1b[?62;c", b"\x1b_Ga=T,f=100"),
        (b"\x1b[?62;4c", b'\x1bPq"'),
        (b"", b""),
    ],
)
def test_a_terminal_is_asked_drawn_on_and_left_clean(answer: bytes, drawn: bytes) -> None:
    """A late answer would be taken for keys, and a silent terminal must not hang the console."""
    main, child = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", _STAND_IN], stdin=child, stdout=child, stderr=subprocess.STDOUT
    ):
        os.close(child)
        seen = _until(main, b"\x1b[c")
        os.write(main, answer)
        if drawn:
            seen = _until(main, b"any key goes back")
            assert drawn in seen
            os.write(main, b"k")
        seen = _until(main, b"'\r\n")
        assert b"neither" in seen if not drawn else b"''" in seen
        os.write(main, b"typed\n")
        assert b"rest 'typed\\n'" in _until(main, b"\\n'")
    os.close(main)


def _until(descriptor: int, end: bytes) -> bytes:
    seen = b""
    while end not in seen:
        assert select.select([descriptor], [], [], 20)[0], seen
        seen += os.read(descriptor, 1 << 16)
    return seen
