"""How screens and panes were left, for as long as the console is open.

A screen is made anew whenever the language changes. What a person chose in it, and would have to
choose again, is kept here, beside the app; never anything that is read from a run.
"""

from typing import Any, Generic, TypeVar, overload
from weakref import WeakKeyDictionary

from textual.app import App
from textual.dom import DOMNode
from textual.screen import Screen

T = TypeVar("T")

_KEPT: "WeakKeyDictionary[App[Any], dict[str, Any]]" = WeakKeyDictionary()


def kept_by(app: "App[Any]") -> dict[str, Any]:
    """Return all that is kept for an app, by name."""
    return _KEPT.setdefault(app, {})


class Kept(Generic[T]):
    """An attribute of a screen or a widget that is still so when another takes its place.

    Only for those that are on a screen: it is the app that keeps the value.

    Args:
        first: The value before anything was chosen; immutable.
    """

    def __init__(self, first: T) -> None:
        self._first = first
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"{owner.__qualname__}.{name}"

    def _key(self, node: DOMNode) -> str:
        """Return the name by which it is kept: the same widget on two screens counts twice."""
        screens = (each for each in node.ancestors_with_self if isinstance(each, Screen))
        return f"{type(next(screens, None)).__name__}/{self._name}"

    @overload
    def __get__(self, node: None, owner: type) -> "Kept[T]": ...

    @overload
    def __get__(self, node: DOMNode, owner: type) -> T: ...

    def __get__(self, node: DOMNode | None, owner: type) -> "Kept[T] | T":
        """Return what was chosen last."""
        if node is None:
            return self
        found: T = kept_by(node.app).get(self._key(node), self._first)
        return found

    def __set__(self, node: DOMNode, value: T) -> None:
        """Keep a choice."""
        kept_by(node.app)[self._key(node)] = value
