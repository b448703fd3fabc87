"""What is loaded and composed while nobody types, so that the next key need not wait for it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdtui.app import SdTui

OF_A_RUN = ("run", "log", "gpu", "images")  # the screens that show one
_RUN = tuple(
    f"sdtui.{name}" for name in (*(f"screens.{mode}" for mode in OF_A_RUN), "widgets.chart",
                                 "widgets.samples_pane")
)  # fmt: skip
_FORM = ("sdtui.screens.new",)  # with pydantic 14 MB, which who follows a run may never need


def look_ahead(app: "SdTui", typed: float) -> None:
    """Go one step further; called about once a second.

    Args:
        app: The console.
        typed: When the last key was pressed, on the monotonic clock.
    """
    runs = app.view.runs
    if runs is None:
        return
    if runs and not (app.import_ahead(_RUN) and app.compose_ahead(OF_A_RUN, typed)):
        return
    if app.hub_run is None and app.import_ahead(_FORM):
        app.compose_ahead(("new",), typed)
