"""Caption values as they come, turned into tuples of strings, or refused with their place."""

from pathlib import Path

from sdcore.data.wording import shown
from sdcore.errors import NotReadyError


class CaptionReader:
    """Checks the caption of each row, and that a set does not mix strings and lists.

    A mix is nearly always a bug of the script that wrote the set: in half of the rows one
    caption was meant, in the others the list was wrapped once too often.

    Args:
        column: The name of the caption column, for messages.
        unit: What a row is called in messages: ``line`` in a text file, else ``row``.
    """

    def __init__(self, column: str, unit: str = "line") -> None:
        self._column, self._unit = column, unit
        self._first: dict[str, tuple[Path | str, int]] = {}

    def take(self, value: object, file: Path | str, number: int) -> tuple[str, ...]:
        """Return the captions in ``value``, which stands in row ``number`` of ``file``.

        Raises:
            NotReadyError: No text, no list of texts, or another kind than in earlier rows.
        """
        if isinstance(value, str):
            self._same_kind("a string", file, number)
            return (_printable(value),)
        if isinstance(value, list | tuple) and value and all(isinstance(v, str) for v in value):
            self._same_kind("a list", file, number)
            return tuple(_printable(text) for text in value)
        raise self._refused(value, file, number)

    def _same_kind(self, kind: str, file: Path | str, number: int) -> None:
        if kind in self._first:
            return
        self._first[kind] = (file, number)
        if len(self._first) == 2:
            text, many = self._first["a string"], self._first["a list"]
            several = text[0] != many[0]
            raise NotReadyError(
                f"{shown(str(file))}: the captions mix strings and lists",
                cause=f"'{self._column}' is a string in {self._place(*text, named=several)} "
                f"and a list in {self._place(*many, named=several)}",
                remedy="write every caption as a string, or every one as a list of strings",
            )

    def _refused(self, value: object, file: Path | str, number: int) -> NotReadyError:
        if value is None:
            cause = f"'{self._column}' is empty (null)"
        elif isinstance(value, list | tuple) and not value:
            cause = f"'{self._column}' is an empty list"
        else:
            cause = f"'{self._column}' is {shown(repr(value), 60)}, neither text nor a list of text"
        return NotReadyError(
            f"{self._place(file, number, named=True)} has no usable caption",
            cause=cause,
            remedy='write a text, or "" to train on the image without one, or remove the row',
        )

    def _place(self, file: Path | str, number: int, *, named: bool) -> str:
        return f"{self._unit} {number}" + (f" of {shown(str(file))}" if named else "")


def _printable(text: str) -> str:
    # A lone surrogate, legal in JSON, cannot be tokenized: it has no UTF-8.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
