import csv
import io
import math
import stat
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from sdcore.errors import SdError
from sdtui.export import export_all, export_csv
from sdtui.live.curve import Curve, curve_of
from sdtui.live.curve_columns import WIDTH, Columns
from sdtui.widgets.chart_axes import Range
from sdtui.widgets.chart_marks import Mark
from sdtui.widgets.chart_picture import COLUMNS, ROWS, Picture, picture_of
from sdtui.widgets.chart_scene import Wish, scene
from sdtui.widgets.chart_track import Look, Track
from sdtui.widgets.chart_view import ChartState


def curve(count: int, level: float = 0.2) -> Curve:
    table = np.ones((count, WIDTH))
    table[:, 2] = np.arange(1, count + 1)
    table[:, 4] = level + 0.1 * np.sin(table[:, 2])
    table[:, 6] = math.nan
    columns = Columns()
    columns.take(table)
    return curve_of(columns)


def picture(*curves: Curve, log: bool = False) -> Picture:
    tracks = [Track() for _ in curves]
    for track, each in zip(tracks, curves, strict=True):
        track.update(each, Look())
    wish = Wish(Range(0, len(curves[0])), COLUMNS, ROWS, log)
    of = scene(tracks, wish, None, tracks[0].places[tracks[0].bad])
    names = [f"run <{number}> & \x1b[2J" for number in range(len(curves))]
    return picture_of(of, ChartState(log=log), names, [Mark(10, "saved"), Mark(20, "resumed")])


def test_the_table_holds_every_step_and_says_what_was_not_measured(tmp_path: Path) -> None:
    own = curve(5000)
    loss = own.loss.copy()
    loss[7] = math.nan
    export_csv(replace(own, loss=loss), tmp_path / "a.csv")
    table = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert len(table) == 5000
    assert table[6] == {
        "step": "7", "at": "1.0", "epoch": "1.0", "loss": repr(float(own.loss[6])), "lr": "1.0",
        "grad_norm": "", "images_per_s": "1.0", "gpu_allocated": "1", "gpu_peak": "1",
        "val_loss": "1.0",
    }  # fmt: skip
    assert table[7]["loss"] == "nan"


def test_a_curve_that_is_still_read_is_not_passed_off_as_whole(tmp_path: Path) -> None:
    with pytest.raises(SdError, match="not complete"):
        export_csv(replace(curve(10), coarse=True), tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("log", [False, True])
def test_the_pictures_show_the_chart_and_can_be_read(tmp_path: Path, log: bool) -> None:
    one, two = curve(3000), curve(2000, 0.5)
    paths = export_all(
        tmp_path / "new", "x", picture(one, two, log=log), [("a", one), ("../b", two)]
    )
    assert [path.name for path in paths] == ["x.csv", "x-2-b.csv", "x.svg", "x.png"]
    tree = ET.fromstring(paths[2].read_bytes())  # our own
    words = " ".join(node.text or "" for node in tree.iter("{http://www.w3.org/2000/svg}text"))
    assert "run <1> &" in words
    assert "\x1b" not in paths[2].read_text()
    assert "stroke-dasharray" in paths[2].read_text()
    with Image.open(paths[3]) as image:
        assert image.size == (1200, 640)
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 10
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_that_exists_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "x.svg").write_text("mine")
    own = curve(10)
    paths = export_all(tmp_path, "x", picture(own), [("a", own)])
    assert {path.name for path in paths} == {"x-2.csv", "x-2.svg", "x-2.png"}
    assert (tmp_path / "x.svg").read_text() == "mine"


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    own = curve(10)
    with pytest.raises(SdError, match="cannot be written"):
        export_all(tmp_path / "file" / "folder", "x", picture(own), [("a", own)])
