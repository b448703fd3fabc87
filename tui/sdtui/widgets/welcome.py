"""The first start, with no run yet: what this host has, what fits it, and the demo a key away."""

from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Static

from sdcore import units
from sdcore.text import clean_line
from sdtui.keymap import key, keyed
from sdtui.language import N_, _, ngettext
from sdtui.told import told
from sdtui.widgets.line import alike

_DEMO = "demo"


@dataclass(frozen=True, slots=True)
class Host:
    """What a first task can count on; sizes in bytes, texts clean.

    Attributes:
        gpus: Name, memory in use, memory in all, of each.
        no_gpu: Why there is none.
        preset: Name of the shipped preset that fits.
        about: What that preset trains, from its own description.
        presets: How many are shipped.
    """

    cpus: int
    memory_free: int
    memory_total: int
    disk_free: int
    folder: str
    gpus: tuple[tuple[str, int, int], ...]
    no_gpu: str
    preset: str
    about: str
    presets: int

    def rows(self) -> list[tuple[str, str]]:
        """Return label and words, in the language of the console."""
        most = 4
        used = _("{used} of {total} in use")
        rows = [
            (name, used.format(used=units.size(inside), total=units.size(total)))
            for name, inside, total in self.gpus[:most]
        ]
        if len(self.gpus) > most:
            rows.append((_("and {n} more").format(n=len(self.gpus) - most), ""))
        if not self.gpus:
            rows.append((_("GPU"), _("none: {why}").format(why=told(self.no_gpu))))
        free = _("{free} free of {total}")
        memory = free.format(free=units.size(self.memory_free), total=units.size(self.memory_total))
        cores = ngettext("{n} core", "{n} cores", self.cpus).format(n=self.cpus)
        disk = _("{free} free at {folder}")
        disk = disk.format(free=units.size(self.disk_free), folder=self.folder)
        return [*rows, (_("CPU"), cores), (_("RAM"), memory), (_("disk"), disk)]


def look_at_host() -> Host:
    """Ask this host; takes up to a second, so never in the UI's own thread."""
    from sdcore.checks.host import host_facts  # noqa: PLC0415  # loads NVML
    from sdtui.form.suitable import suited  # noqa: PLC0415  # loads pydantic, 150 ms

    facts = host_facts()
    presets = suited([gpu.memory_total for gpu in facts.gpus])
    best = next((preset for preset, fits in presets if fits), None)
    gpus = tuple(
        (clean_line(gpu.name or "GPU", 30), gpu.memory_used or 0, gpu.memory_total)
        for gpu in facts.gpus
        if gpu.memory_total
    )
    return Host(
        cpus=facts.cpus,
        memory_free=facts.memory_available,
        memory_total=facts.memory_total,
        disk_free=facts.disk_free,
        folder=clean_line(facts.home, 200),
        gpus=gpus,
        no_gpu=clean_line(facts.gpu_reason or "", 200),
        preset=best.name if best else _DEMO,
        about=clean_line(best.description) if best else "",
        presets=len(presets),
    )


class Welcome(Static, can_focus=True):
    """Says hello once; each way on is one key."""

    HELP_TITLE = N_("First start")
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "welcome--title", "welcome--faint", "welcome--key", "welcome--label",
    }  # fmt: skip
    DEFAULT_CSS = """
    Welcome {
        padding: 1 4; height: 1fr;
        & > .welcome--title { color: $primary; text-style: bold; }
        & > .welcome--faint { color: $faint; }
        & > .welcome--key { color: $accent; text-style: bold; }
        & > .welcome--label { color: $faint; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "begin('demo')", N_("Demo"), id="welcome.demo",
                tooltip=N_("Fill in the demo: two minutes on a CPU")),
        Binding("enter,p", "begin('')", N_("Preset for this host"), id="welcome.preset",
                tooltip=N_("Fill in the shipped preset that fits this host")),
    ]  # fmt: skip

    class Begun(Message):
        """A preset was chosen."""

        def __init__(self, preset: str) -> None:
            super().__init__()
            self.preset = preset

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self._host: Host | None = None
        self._shown = Text()

    def draw(self, host: Host | None) -> None:
        """Show what is known of the host so far."""
        self._host = host
        text = self._text()
        if not alike(text, self._shown):
            self._shown = text
            self.update(text, layout=False)

    def _text(self) -> Text:
        title, faint, key, label = (
            self.get_component_rich_style(f"welcome--{part}", partial=True)
            for part in ("title", "faint", "key", "label")
        )
        text = Text(_("Welcome. There is no run yet.") + "\n\n", style="")
        text.stylize(title)
        text.append(_("This host") + "\n", style="bold")
        rows = self._host.rows() if self._host else [(_("GPU"), _("being looked at"))]
        wide = max(cell_len(name) for name, _words in rows)
        for name, words in rows:
            text.append(f"  {set_cell_size(name, wide)}  ", style=label)
            text.append(f"{words}\n")
        text.append("\n" + _("Begin with") + "\n", style="bold")
        for sign, words in self._ways():
            text.append(f"  {sign:<7}", style=key)
            text.append(f" {words}\n")
        words = _("Then [new.create] starts it. It runs on when you leave: come back with sdtui, "
                  "from any session.")  # fmt: skip
        text.append("\n" + keyed(words, spelled=True), style=faint)
        return text

    def _ways(self) -> list[tuple[str, str]]:
        ways = [
            (
                key("welcome.demo"),
                _("the demo: a tiny model learns three colours; 2 minutes, no GPU"),
            )
        ]
        host = self._host
        if host and host.preset != _DEMO:
            words = _("{preset}, which fits this host: {about}")
            ways.append(
                (key("welcome.preset"), words.format(preset=host.preset, about=_(host.about)))
            )
        ways.append((key("tasks.new"), _("an empty form")))
        if host:
            words = ngettext(
                "{n} preset is shipped: [new.load] in the form loads one",
                "{n} presets are shipped: [new.load] in the form loads one",
                host.presets,
            )
            ways.append(("", keyed(words.format(n=host.presets), spelled=True)))
        return ways

    def action_begin(self, preset: str) -> None:
        """Fill in a preset; without a name, the one that fits."""
        chosen = preset or (self._host.preset if self._host else _DEMO)
        self.post_message(self.Begun(chosen))
