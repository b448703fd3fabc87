"""The Images screen: the open run's pictures by prompt and step, one of them in full, or two."""

from dataclasses import replace
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from sdcore.text import clean_line
from sdtui.kept import Kept
from sdtui.language import N_, _
from sdtui.live.samples import Sample, SampleSet
from sdtui.live.snapshot import RunSnapshot, View
from sdtui.screens.base import ConsoleScreen
from sdtui.widgets import picture_choice as choosing
from sdtui.widgets.line import Line
from sdtui.widgets.pane import PaneTitle
from sdtui.widgets.picture import PictureGrid, Tile
from sdtui.widgets.picture_choice import BOTH, Choice

_TILE = (20, 9)  # cells that a picture of the grid wants at least, its caption included
_SLOW_TILE = (26, 14)


class ImagesGrid(PictureGrid, can_focus=True):
    """The pictures; the keys are the screen's."""


class ImagesScreen(ConsoleScreen):
    """Prompts from top to bottom, steps from left to right."""

    MODE = "images"
    HELP_TITLE = N_("Images")
    AUTO_FOCUS: ClassVar[str | None] = "ImagesGrid"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "scrub(-1)", N_("Earlier"), key_display="←", id="images.earlier",
                tooltip=N_("Go to an earlier step.")),
        Binding("right,l", "scrub(1)", N_("Later"), key_display="→", id="images.later",
                tooltip=N_("Go to a later step; the last one then follows the run.")),
        Binding("up,k", "prompt(-1)", N_("Previous prompt"), show=False, id="images.previous"),
        Binding("down,j", "prompt(1)", N_("Next prompt"), show=False, id="images.next"),
        Binding("home", "scrub(-1000000)", N_("First step"), show=False, id="images.first"),
        Binding("end", "scrub(1000000)", N_("Newest step"), show=False, id="images.newest"),
        Binding("enter", "zoom", N_("Zoom"), id="images.zoom",
                tooltip=N_("Show the chosen picture over the whole screen, or all again.")),
        Binding("t", "weights", N_("Raw/EMA"), id="images.weights",
                tooltip=N_("Show what the raw weights drew, the averaged ones, or both.")),
        Binding("space", "mark", N_("Mark"), id="images.mark",
                tooltip=N_("Keep this step beside every other one; again to let it go.")),
        Binding("y", "copy", N_("Copy path"), id="images.copy",
                tooltip=N_("Copy the path of the chosen picture.")),
        Binding("K", "sharp", N_("Sharp"), id="images.sharp",
                tooltip=N_("Show the picture in full, where the terminal knows Kitty or sixel.")),
    ]  # fmt: skip

    _zoomed = Kept(False)

    def __init__(self) -> None:
        super().__init__()
        self._snapshot: RunSnapshot | None = None
        self._placed: tuple[tuple[int, int], ...] = ()  # step and prompt of every tile

    def body(self) -> ComposeResult:
        """Return a title, the pictures and what is known of the chosen one."""
        yield PaneTitle()
        yield ImagesGrid()
        yield Line(classes="about")
        yield Line(classes="path")

    def show(self, view: View) -> None:
        """Draw the open run's pictures."""
        before, self._snapshot = self._snapshot, view.run
        if _marks(before) != _marks(view.run):
            self._draw()

    def redraw(self) -> None:
        """Draw at the new size, or in the new language."""
        super().redraw()
        self._draw()

    # --- what is chosen -----------------------------------------------------------------------

    @property
    def _sets(self) -> tuple[SampleSet, ...]:
        return () if self._snapshot is None else self._snapshot.samples

    @property
    def _choice(self) -> Choice:
        run = "" if self._snapshot is None else self._snapshot.run.id
        return choosing.choice_of(self.app, run)

    @property
    def _chosen(self) -> SampleSet | None:
        return choosing.set_of(self._sets, self._choice)

    def chosen_sample(self) -> Sample | None:
        """Return the chosen picture."""
        found = self._chosen
        if found is None:
            return None
        weights = choosing.weights_of(found, self._choice)
        one = found.weights[0] if weights == BOTH else weights
        return choosing.picture_of(found, one, self._choice.prompt)

    def _change(self, choice: Choice) -> None:
        choosing.keep(self.app, choice)
        self._draw()

    def action_scrub(self, by: int) -> None:
        """Go to another step."""
        self._change(choosing.scrubbed(self._sets, self._choice, by))

    def action_prompt(self, by: int) -> None:
        """Go to another prompt."""
        if self._chosen is not None:
            self._change(choosing.next_prompt(self._chosen, self._choice, by))

    def action_weights(self) -> None:
        """Show other weights."""
        if self._chosen is not None:
            self._change(choosing.turned(self._chosen, self._choice))

    def action_zoom(self) -> None:
        """Show one picture, or all again."""
        self._zoomed = not self._zoomed
        self._draw()

    def action_mark(self) -> None:
        """Keep the chosen step to compare with, or let it go."""
        if self._chosen is not None:
            mark = None if self._choice.mark is not None else self._chosen.step
            self._change(replace(self._choice, mark=mark))

    def action_back(self) -> None:
        """Leave the zoom first."""
        if self._zoomed:
            self.action_zoom()
        else:
            super().action_back()

    def action_copy(self) -> None:
        """Copy the path of the chosen picture."""
        sample = self.chosen_sample()
        if sample is not None:
            self.console_app.copy_text(str(sample.path), _("the path"))

    def action_sharp(self) -> None:
        """Show the chosen picture by the terminal's own graphics."""
        sample = self.chosen_sample()
        if sample is not None:
            from sdtui.terminal_graphics import show_picture  # noqa: PLC0415  # rare

            words = show_picture(self.app, sample.path)
            if words:
                self.notify(words, markup=False)

    def on_picture_grid_chosen(self, message: PictureGrid.Chosen) -> None:
        """Choose the picture that was clicked; a second click zooms."""
        if message.place >= len(self._placed):
            return
        step, prompt = self._placed[message.place]
        newest = bool(self._sets) and step == self._sets[-1].step
        wish = replace(self._choice, step=None if newest else step, prompt=prompt)
        if wish == self._choice:
            self.action_zoom()
        else:
            self._change(wish)

    # --- drawing ------------------------------------------------------------------------------

    def _draw(self) -> None:
        if not self.is_mounted or self.query_one_optional(ImagesGrid) is None:
            return
        found, grid = self._chosen, self.query_one(ImagesGrid)
        if found is None:
            self._placed = ()
            grid.set_tiles((), 1)
        elif self._zoomed:
            self._draw_zoomed(found, grid)
        else:
            self._draw_grid(found, grid)
        self._draw_words(found)

    def _draw_zoomed(self, found: SampleSet, grid: ImagesGrid) -> None:
        """Show the chosen picture, beside it the other weights or the marked step."""
        choice, weights = self._choice, choosing.weights_of(found, self._choice)
        ways = found.weights if weights == BOTH else (weights,)
        shown = [(found, way) for way in ways]
        other = self._marked()
        if other is not None and other is not found:
            shown = [(other, way) for way in ways] + shown
        tiles = []
        for each, way in shown:
            sample = choosing.picture_of(each, way, choice.prompt)
            words = _("step {step:,}  {weights}").format(
                step=each.step, weights=_(choosing.weights_name(way))
            )
            tiles.append(Tile(sample.path, f"{words}  {sample.prompt}"))
        self._placed = tuple((each.step, choice.prompt) for each, _way in shown)
        across = len(tiles) if len(tiles) < 4 else 2
        grid.set_tiles(tuple(tiles), across)

    def _marked(self) -> SampleSet | None:
        mark = self._choice.mark
        return next((each for each in self._sets if each.step == mark), None)

    def _draw_grid(self, found: SampleSet, grid: ImagesGrid) -> None:
        choice, weights = self._choice, choosing.weights_of(found, self._choice)
        ways = found.weights if weights == BOTH else (weights,)
        wide, high = _SLOW_TILE if self.console_app.settings.slow else _TILE
        columns = max(1, grid.size.width // wide // len(ways))
        lines = max(1, grid.size.height // high)
        steps = self._steps_around(found, columns)
        prompts = _around(choice.prompt, choosing.prompts_of(found), lines)
        tiles, placed = [], []
        for prompt in prompts:
            for each in steps:
                for way in ways:
                    tiles.append(_tile(each, way, prompt, several=len(ways) > 1))
                    placed.append((each.step, prompt))
        self._placed = tuple(placed)
        chosen = placed.index((found.step, choice.prompt % choosing.prompts_of(found)))
        grid.set_tiles(tuple(tiles), len(steps) * len(ways), chosen)

    def _steps_around(self, found: SampleSet, columns: int) -> list[SampleSet]:
        """Return the steps that are shown: the marked one first, then those around the chosen."""
        marked = self._marked()
        first = [marked] if marked is not None and columns > 1 else []
        others = [each for each in self._sets if each not in first]
        place = others.index(found) if found in others else len(others) - 1
        room = columns - len(first)
        return first + [others[at] for at in _around(place, len(others), room)]

    def _draw_words(self, found: SampleSet | None) -> None:
        title, sample = _("images"), self.chosen_sample()
        if found is not None:
            weights = _(choosing.weights_name(choosing.weights_of(found, self._choice)))
            title = _("images  step {step:,}  {weights}").format(step=found.step, weights=weights)
        name = "" if self._snapshot is None else clean_line(self._snapshot.status.name, 60)
        self.query_one(PaneTitle).draw(title, name)
        about, path = self.query_one(".about", Line), self.query_one(".path", Line)
        if found is None or sample is None:
            about.set(_("this run has drawn no samples yet"))
            path.set("")
            return
        number = choosing.prompts_of(found)
        words = _("prompt {n}/{all}: {prompt}").format(
            n=self._choice.prompt % number + 1, all=number, prompt=sample.prompt
        )
        seed = "" if sample.seed is None else "  " + _("seed {seed}").format(seed=sample.seed)
        about.set(Text(words + seed))
        path.set(Text(_tail(clean_line(str(sample.path), 4096), self.size.width)))


def _marks(snapshot: RunSnapshot | None) -> object:
    """Return what the drawing goes by: the rest of a snapshot changes every second."""
    return snapshot and (snapshot.run, snapshot.samples, snapshot.status.name)


def _tail(path: str, width: int) -> str:
    """Return a path in ``width`` cells at most: its end tells more than its beginning."""
    while cell_len(path) > width > 1:
        path = "…" + path.lstrip("…")[max(1, cell_len(path) - width) :]
    return path


def _tile(found: SampleSet, weights: str, prompt: int, *, several: bool) -> Tile:
    sample = choosing.picture_of(found, weights, prompt)
    name = f" {_(choosing.weights_name(weights))}" if several else ""
    return Tile(sample.path, f"{found.step:,}{name} {sample.prompt}")


def _around(place: int, number: int, room: int) -> list[int]:
    """Return ``room`` places of ``number`` with ``place`` among them, most of them before it."""
    if number <= 0:
        return []
    room = min(max(1, room), number)
    last = min(number, max(place % number + 1, room))
    return list(range(last - room, last))
