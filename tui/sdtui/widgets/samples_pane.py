"""The pane of pictures: what the run drew of its prompts, scrubbed by step."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from sdtui.keymap import keyed
from sdtui.language import N_, _
from sdtui.widgets import picture_choice as choosing
from sdtui.widgets.line import Line
from sdtui.widgets.pane import Pane
from sdtui.widgets.picture import PictureGrid, Tile
from sdtui.widgets.picture_choice import BOTH, Choice

if TYPE_CHECKING:
    from sdtui.app import SdTui
    from sdtui.live.samples import SampleSet
    from sdtui.live.snapshot import RunSnapshot

_WIDE = 22  # cells that a picture wants at least
_SLOW_MOST = 2  # pictures at once over a slow link: one costs some kilobytes
_SLOW_ROWS = 9  # and so many rows of them


class SamplesBody(PictureGrid, can_focus=True):
    """The pictures, with the keys that change which."""

    HELP_TITLE = N_("Samples")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "pane_scrub(-1)", N_("Earlier"), key_display="←", id="samples.earlier",
                tooltip=N_("Show the pictures of an earlier step.")),
        Binding("right,l", "pane_scrub(1)", N_("Later"), key_display="→", id="samples.later",
                tooltip=N_("Show a later step; the last one then follows the run.")),
        Binding("up,k", "pane_prompt(-1)", N_("Previous prompt"), show=False,
                id="samples.previous"),
        Binding("down,j", "pane_prompt(1)", N_("Next prompt"), show=False, id="samples.next"),
        Binding("t", "pane_weights", N_("Raw/EMA"), id="samples.weights",
                tooltip=N_("Show what the raw weights drew, the averaged ones, or both.")),
        Binding("end", "pane_newest", N_("Newest"), show=False, id="samples.newest"),
        Binding("enter", "pane_images", N_("Images screen"), show=False, id="samples.images"),
    ]  # fmt: skip

    def action_pane_scrub(self, by: int) -> None:
        """Go to another step."""
        self.pane.change(lambda sets, choice: choosing.scrubbed(sets, choice, by))

    def action_pane_prompt(self, by: int) -> None:
        """Go to another prompt."""
        self.pane.change(lambda sets, choice: _of_set(sets, choice, choosing.next_prompt, by))

    def action_pane_weights(self) -> None:
        """Show other weights."""
        self.pane.change(lambda sets, choice: _of_set(sets, choice, choosing.turned))

    def action_pane_newest(self) -> None:
        """Follow the run."""
        self.pane.change(lambda sets, choice: choosing.scrubbed(sets, choice, len(sets)))

    def action_pane_images(self) -> None:
        """Show these pictures over the whole screen."""
        cast("SdTui", self.app).go("images")

    @property
    def pane(self) -> "SamplesPane":
        """The pane around it."""
        assert isinstance(self.parent, SamplesPane), "it is composed there"
        return self.parent

    def on_mouse_scroll_down(self) -> None:
        """Go to a later step."""
        self.action_pane_scrub(1)

    def on_mouse_scroll_up(self) -> None:
        """Go to an earlier step."""
        self.action_pane_scrub(-1)

    def on_resize(self) -> None:
        """How many fit has changed, too."""
        self.pane.draw()


def _of_set(
    sets: "tuple[SampleSet, ...]", choice: Choice, change: Callable[..., Choice], *more: int
) -> Choice:
    found = choosing.set_of(sets, choice)
    return choice if found is None else change(found, choice, *more)


class SamplesPane(Pane):
    """The newest pictures side by side, until a person looks at others."""

    DEFAULT_CSS = """
    SamplesPane {
        & > SamplesBody { height: 1fr; }
        & > Line.hint { color: $faint; display: none; }
        &.-hint > Line.hint { display: block; }
    }
    """

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._sets: tuple[SampleSet, ...] = ()
        self._run, self._over = "", False
        self._marks: object = None

    def body(self) -> ComposeResult:
        """Put the pictures under the title, and a line for what is to be said."""
        yield SamplesBody()
        yield Line(classes="hint")

    def show(self, snapshot: "RunSnapshot") -> None:
        """Draw the run's pictures as they are now."""
        marks = (snapshot.run.id, snapshot.samples, snapshot.status.over)
        if marks == self._marks or self.query_one_optional(SamplesBody) is None:
            return
        self._marks, (self._run, self._sets, self._over) = marks, marks
        self.draw()

    @property
    def choice(self) -> Choice:
        """What is looked at."""
        return choosing.choice_of(self.app, self._run)

    def change(self, turn: "Callable[[tuple[SampleSet, ...], Choice], Choice]") -> None:
        """Look at something else."""
        choosing.keep(self.app, turn(self._sets, self.choice))
        self.draw()

    def draw(self) -> None:
        """Bring title, pictures and hint up to date."""
        if not self.is_mounted or self.query_one_optional(SamplesBody) is None:
            return
        self.draw_title()
        grid, hint = self.query_one(SamplesBody), self.query_one(".hint", Line)
        found = choosing.set_of(self._sets, self.choice)
        slow = cast("SdTui", self.app).settings.slow
        words = "" if found is not None else self._nothing()
        if found is not None and slow and self.size.height > 5:
            words = keyed(_("small over a slow link; key [go.images] shows all"))
        self.set_class(bool(words), "-hint")
        hint.set(words)
        tiles = self._tiles(found, slow=slow) if found is not None else ()
        grid.styles.max_height = _SLOW_ROWS if slow and found is not None else None
        grid.set_tiles(tiles, len(tiles))

    def _nothing(self) -> str:
        if self._over:
            return _("no samples were drawn; prompts stand in validation_prompts")
        return keyed(_("no samples yet; key [run.samples] draws some now"))

    def _tiles(self, found: "SampleSet", *, slow: bool) -> tuple[Tile, ...]:
        """Return the pictures that fit, beginning with the chosen prompt."""
        choice, weights = self.choice, choosing.weights_of(found, self.choice)
        number = choosing.prompts_of(found)
        most = max(1, self.size.width // _WIDE)
        if slow:
            most = min(_SLOW_MOST, most)
        ways = found.weights if weights == BOTH else (weights,)
        prompts = max(1, min(number, most // len(ways)))
        tiles = []
        for place in range(prompts):
            for way in ways:
                sample = choosing.picture_of(found, way, (choice.prompt + place) % number)
                name = _(choosing.weights_name(way)) + _(": ") if len(ways) > 1 else ""
                tiles.append(Tile(sample.path, name + sample.prompt))
        return tuple(tiles[: max(most, len(ways))])

    def title_words(self) -> str:
        """Tell the step and the weights."""
        found = choosing.set_of(self._sets, self.choice)
        if found is None:
            return _("samples")
        weights = _(choosing.weights_name(choosing.weights_of(found, self.choice)))
        return _("samples  step {step:,}  {weights}").format(step=found.step, weights=weights)

    def title_right(self) -> str:
        """Tell where among the steps and prompts it stands."""
        found = choosing.set_of(self._sets, self.choice)
        if found is None:
            return ""
        number = choosing.prompts_of(found)
        prompt = self.choice.prompt % number + 1
        where = f"{self._sets.index(found) + 1}/{len(self._sets)}"
        words = _("prompt {n}/{all}").format(n=prompt, all=number)
        return words + "  " + (_("newest") if self.choice.step is None else where)
