"""What is read from TensorBoard's event files, whole, damaged or of no use."""

import sys
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdcore.supervise.foreign.board import Board

EVENTS = "events.out.tfevents.1.host.2.0"


def event_file(folder: Path, steps: int) -> Path:
    """Write what torch's SummaryWriter writes, by TensorBoard's own writer."""
    from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415
    from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415
    from tensorboard.summary.writer.record_writer import RecordWriter  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / EVENTS).open("wb") as file:
        for step in range(steps + 1):
            told = [("val_loss", 9.0), ("train_loss", step / 8)]
            values = [Summary.Value(tag=tag, simple_value=value) for tag, value in told]
            event = Event(wall_time=time.time(), step=step, summary=Summary(value=values))
            RecordWriter(file).write(event.SerializeToString())
    return folder / EVENTS


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_damaged_event_file_ends_its_own_reading_and_no_more(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A trainer that is killed leaves half a record; a disk that fails leaves anything."""
    path = event_file(tmp_path_factory.mktemp("output") / "logs", 4)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    board = Board(path.parents[1], 0.0)

    found = []
    for final in (False, True):
        board.look(0.0, at_once=True)
        found += [(told.step, told.loss) for _, told in board.read(final=final)]

    assert set(found) <= {(step, step / 8) for step in range(1, 5)}
    assert [step for step, _ in found] == sorted(step for step, _ in found)


def test_without_the_package_event_files_are_named_and_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment of one's own making may lack it, beside whatever the trainer's has."""
    event_file(tmp_path / "logs", 2)
    name = "tensorboard.backend.event_processing.event_file_loader"
    monkeypatch.setitem(sys.modules, name, None)
    board = Board(tmp_path, 0.0)

    assert board.look(0.0)
    assert list(board.read()) == []
    assert board.trouble is not None
    assert f"output/logs/{EVENTS} is there" in board.trouble
    assert not board.look(100.0)


def test_event_files_of_an_earlier_attempt_do_not_count(tmp_path: Path) -> None:
    event_file(tmp_path / "logs", 2)
    board = Board(tmp_path, time.time() + 60)

    assert not board.look(0.0)


def test_a_plain_install_reads_event_files() -> None:
    """As an extra the reader was nowhere, and a trainer that writes nothing else had no curve."""
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))

    assert any(each.startswith("tensorboard>") for each in project["project"]["dependencies"])
