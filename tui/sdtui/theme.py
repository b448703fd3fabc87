"""Our themes, and the glyph and colour of every state.

Colours carry meaning only together with a glyph or a dash, so nothing is lost without them. The
colour-blind themes take their hues from Okabe and Ito's palette (https://jfly.uni-koeln.de/color/).
"""

from collections.abc import Iterable

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

# What our own drawing uses beside Textual's variables; other themes get them from these defaults.
# series-1 is the run itself, 2 to 7 are runs laid over it.
_STATES_DARK = {
    "state-queued": "#8a93a6", "state-starting": "#6cb6ff", "state-running": "#57ab5a",
    "state-stopping": "#daaa3f", "state-done": "#57ab5a", "state-failed": "#e5534b",
    "state-stopped": "#8a93a6", "state-interrupted": "#daaa3f",
    "series-1": "#6cb6ff", "series-2": "#f69d50", "series-3": "#8ddb8c", "series-4": "#dcbdfb",
    "series-5": "#eac55f", "series-6": "#fc8dc7", "series-7": "#96d0ff",
    "raw": "#4c5a70", "faint": "#5d6675", "rule": "#3a424e", "mark": "#daaa3f",
}  # fmt: skip
_STATES_LIGHT = {
    "state-queued": "#59636e", "state-starting": "#0550ae", "state-running": "#116329",
    "state-stopping": "#7d4e00", "state-done": "#116329", "state-failed": "#a40e26",
    "state-stopped": "#59636e", "state-interrupted": "#7d4e00",
    "series-1": "#0550ae", "series-2": "#bc4c00", "series-3": "#116329", "series-4": "#6639ba",
    "series-5": "#7d4e00", "series-6": "#99286e", "series-7": "#1b7c83",
    "raw": "#a5b4c6", "faint": "#818b98", "rule": "#c8d1da", "mark": "#7d4e00",
}  # fmt: skip
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

_DARK = {
    "primary": "#6cb6ff", "secondary": "#96d0ff", "accent": "#f69d50", "warning": "#daaa3f",
    "error": "#e5534b", "success": "#57ab5a", "foreground": "#c5d0dc", "background": "#14181f",
    "surface": "#1a2028", "panel": "#232b36", "dark": True,
}  # fmt: skip
_LIGHT = {
    "primary": "#0550ae", "secondary": "#1b7c83", "accent": "#bc4c00", "warning": "#7d4e00",
    "error": "#a40e26", "success": "#116329", "foreground": "#1f2328", "background": "#fbfcfd",
    "surface": "#f2f5f8", "panel": "#e4e9ef", "dark": False,
}  # fmt: skip

THEMES = (
    Theme("sdtui-dark", **_DARK, variables=_STATES_DARK),  # type: ignore[arg-type]
    Theme("sdtui-light", **_LIGHT, variables=_STATES_LIGHT),  # type: ignore[arg-type]
    Theme(
        "sdtui-colour-blind-dark",
        **(_DARK | {"success": "#009e73", "error": "#d55e00"}),  # type: ignore[arg-type]
        variables=_SAFE_DARK,
    ),
    Theme(
        "sdtui-colour-blind-light",
        **(_LIGHT | {"success": "#00694d", "error": "#a83f00"}),  # type: ignore[arg-type]
        variables=_SAFE_LIGHT,
    ),
)


def in_order(names: Iterable[str]) -> list[str]:
    """Return the names of themes as they are offered: ours first."""
    own = {theme.name for theme in THEMES}
    return sorted(names, key=lambda name: (name not in own, name))


def variables_for(*, dark: bool) -> dict[str, str]:
    """Return our own variables, for themes that do not define them."""
    return dict(_STATES_DARK if dark else _STATES_LIGHT)
