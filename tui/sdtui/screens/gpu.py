"""The GPU screen: every device of the open run, its history, health and processes."""

from typing import ClassVar

from textual.app import ComposeResult

from sdtui.language import N_
from sdtui.live.snapshot import View
from sdtui.screens.base import ConsoleScreen
from sdtui.widgets.gpu_pane import GpuPane


class GpuScreen(ConsoleScreen):
    """The GPU pane over the whole screen."""

    MODE = "gpu"
    HELP_TITLE = N_("GPU")
    AUTO_FOCUS: ClassVar[str | None] = "GpuBody"

    def body(self) -> ComposeResult:
        """Show the one pane."""
        yield GpuPane()

    def show(self, view: View) -> None:
        """Draw the open run's GPUs."""
        pane = self.query_one_optional(GpuPane)  # none before it is composed
        if view.run is not None and pane is not None:
            pane.show(view.run)
