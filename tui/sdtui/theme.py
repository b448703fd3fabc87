"""Our themes, and the glyph and colour of every state.

Colours carry meaning only together with a glyph or a dash, so nothing is lost without them. The
colour-blind themes take their hues from Okabe and Ito's palette (https://jfly.uni-koeln.de/color/).
"""

from collections.abc import Iterable
from typing import Any

from rich.style import Style
from textual.app import App
from textual.theme import Theme

from sdcore.runs.status import State

GLYPHS: dict[State, str] = {
    "queued": "◷",
    "starting": "◌",
    "running": "●",
    "stopping": "◐",
    "done": "✓",
    "failed": "✗",
    "stopped": "■",
    "interrupted": "!",
}

_Colours = dict[str, str]

_DARK: _Colours = {
    "primary": "#6cb6ff", "secondary": "#96d0ff", "accent": "#f69d50", "warning": "#daaa3f",
    "error": "#e5534b", "success": "#57ab5a", "foreground": "#c5d0dc", "background": "#14181f",
    "surface": "#1a2028", "panel": "#232b36",
}  # fmt: skip
_LIGHT: _Colours = {
    "primary": "#0550ae", "secondary": "#1b7c83", "accent": "#bc4c00", "warning": "#7d4e00",
    "error": "#a40e26", "success": "#116329", "foreground": "#1f2328", "background": "#fbfcfd",
    "surface": "#f2f5f8", "panel": "#e4e9ef",
}  # fmt: skip


def _own(base: _Colours, series: Iterable[str], still: str, **greys: str) -> _Colours:
    """Return the variables of our own that go with the colours of a theme.

    Args:
        base: The colours that Textual knows.
        series: Of the run itself, then of the runs laid over it.
        still: Of what waits or was stopped.
        greys: ``raw``, ``faint`` and ``rule``.
    """
    good, wait = base["success"], base["warning"]
    states: dict[State, str] = {
        "queued": still, "starting": base["primary"], "running": good, "stopping": wait,
        "done": good, "failed": base["error"], "stopped": still, "interrupted": wait,
    }  # fmt: skip
    return {
        **{f"state-{state}": colour for state, colour in states.items()},
        **{f"series-{number}": colour for number, colour in enumerate(series, 1)},
        **greys,
        "mark": wait,
    }


# What our own drawing uses beside Textual's variables; other themes get them from these defaults.
_STATES_DARK = _own(
    _DARK,
    ("#6cb6ff", "#f69d50", "#8ddb8c", "#dcbdfb", "#eac55f", "#fc8dc7", "#96d0ff"),
    still="#8a93a6", raw="#4c5a70", faint="#5d6675", rule="#3a424e",
)  # fmt: skip
_STATES_LIGHT = _own(
    _LIGHT,
    ("#0550ae", "#bc4c00", "#116329", "#6639ba", "#7d4e00", "#99286e", "#1b7c83"),
    still="#59636e", raw="#a5b4c6", faint="#818b98", rule="#c8d1da",
)  # fmt: skip
_SAFE_SERIES = {
    "series-1": "#56b4e9", "series-2": "#e69f00", "series-3": "#009e73", "series-4": "#cc79a7",
    "series-5": "#f0e442", "series-6": "#d55e00", "series-7": "#0072b2",
}  # fmt: skip
_SAFE_DARK = _STATES_DARK | _SAFE_SERIES | {
    "state-running": "#56b4e9", "state-done": "#009e73", "state-failed": "#d55e00",
    "state-stopping": "#f0e442", "state-interrupted": "#e69f00", "mark": "#f0e442",
}  # fmt: skip
_SAFE_LIGHT = _STATES_LIGHT | {
    "series-1": "#0072b2", "series-2": "#d55e00", "series-3": "#00694d", "series-4": "#a3487d",
    "series-5": "#8a6d00", "series-6": "#9c4500", "series-7": "#3d6f8f",
    "state-running": "#0072b2", "state-done": "#00694d", "state-failed": "#a83f00",
    "state-stopping": "#8a6d00", "state-interrupted": "#8a6d00",
}  # fmt: skip


def _theme(name: str, base: _Colours, own: _Colours, *, dark: bool) -> Theme:
    return Theme(name, **base, dark=dark, variables=own)  # type: ignore[arg-type]  # by name


THEMES = (
    _theme("sdtui-dark", _DARK, _STATES_DARK, dark=True),
    _theme("sdtui-light", _LIGHT, _STATES_LIGHT, dark=False),
    _theme(
        "sdtui-colour-blind-dark",
        _DARK | {"success": "#009e73", "error": "#d55e00"},
        _SAFE_DARK,
        dark=True,
    ),
    _theme(
        "sdtui-colour-blind-light",
        _LIGHT | {"success": "#00694d", "error": "#a83f00"},
        _SAFE_LIGHT,
        dark=False,
    ),
)


def state_style(app: App[Any], state: State) -> Style:
    """Return what a run's state is drawn with in the theme in use."""
    return Style.parse(app.theme_variables[f"state-{state}"])


def in_order(names: Iterable[str]) -> list[str]:
    """Return the names of themes as they are offered: ours first."""
    own = {theme.name for theme in THEMES}
    return sorted(names, key=lambda name: (name not in own, name))


def variables_for(*, dark: bool) -> dict[str, str]:
    """Return our own variables, for themes that do not define them."""
    return dict(_STATES_DARK if dark else _STATES_LIGHT)
