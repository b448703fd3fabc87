"""The words and numbers of the GPU pane; every number keeps its width, so that nothing jumps."""

from datetime import datetime

from sdcore.gpu.samples import GpuSample, Reason
from sdcore.text import clean_line
from sdtui.language import N_, _

GIB = 1 << 30
# Marked here for translation; they come from the driver's bits, in English.
THROTTLE = (
    N_("power cap"), N_("hardware slowdown"), N_("software thermal slowdown"),
    N_("hardware thermal slowdown"), N_("power brake"), N_("board limit"),
    N_("reliability voltage"),
)  # fmt: skip
# What NVIDIA's list of XID errors says, shortened; a code that is not here stands alone.
_XID: dict[int, str] = {
    13: N_("illegal instruction or address in a kernel"),
    31: N_("page fault: a program touched memory that is not its own"),
    43: N_("a program's work was stopped after a fault"),
    45: N_("work was cleared away after an earlier error"),
    48: N_("memory error of two bits, not corrected"),
    61: N_("internal microcontroller warning"),
    62: N_("internal microcontroller halted"),
    63: N_("a bad memory row was set aside"),
    64: N_("a bad memory row could not be set aside"),
    74: N_("NVLink error"),
    79: N_("fallen off the bus"),
    92: N_("many corrected memory errors"),
    94: N_("memory error, contained in one program"),
    95: N_("memory error, not contained: needs a reset"),
    119: N_("the GPU's system processor does not answer"),
    120: N_("error of the GPU's system processor"),
}
_WHY: dict[Reason, str] = {
    "no_module": N_("the package nvidia-ml-py is not installed"),
    "no_driver": N_("NVML not found: no NVIDIA driver"),
    "no_device": N_("the driver sees no GPU"),
    "no_permission": N_("the driver may not be asked"),
    "lost": N_("a GPU fell off the bus"),
    "stalled": N_("NVML stalled: the driver does not answer"),
    "error": N_("the driver answers with an error"),
}


def why_words(reason: Reason) -> str:
    """Return why there are no readings."""
    return _(_WHY[reason])


def xid_words(code: int) -> str:
    """Return an XID error by its number and, where it is well known, what it means."""
    number = _("XID {code}").format(code=code)
    return f"{number}: {_(_XID[code])}" if code in _XID else number


def name_of(sample: GpuSample) -> str:
    """Return a short name: of an instance its slice, for its siblings share the board's."""
    name = clean_line(sample.name, 60).removeprefix("NVIDIA ")
    _board, is_slice, of_board = name.partition(" MIG ")
    if is_slice:
        return f"MIG {of_board}"
    return f"MIG {name}" if (sample.uuid or "").startswith("MIG-") else name


def util(sample: GpuSample) -> str:
    """Return the utilisation in 4 cells."""
    return f"{'–' if sample.utilization is None else sample.utilization:>3}%"


def memory(sample: GpuSample) -> str:
    """Return memory used of total in GiB, in 11 cells."""
    return f"{gib(sample.memory_used):>5}/{gib(sample.memory_total)}G"


def gib(number: int | None) -> str:
    """Return bytes as GiB with one digit behind the point, or none from 1000 on."""
    if number is None:
        return "–"
    return f"{number / GIB:.1f}" if number < 1000 * GIB else f"{number / GIB:.0f}"


def power(sample: GpuSample, *, limit: bool = False) -> str:
    """Return the power in 5 cells, or in about 9 with its limit if that is known."""
    most = f"/{round(sample.power_limit_w)}" if limit and sample.power_limit_w else ""
    return f"{'–' if sample.power_w is None else round(sample.power_w):>4}{most}W"


def temperature(sample: GpuSample) -> str:
    """Return the temperature in 4 cells."""
    return f"{'–' if sample.temperature_c is None else sample.temperature_c:>3}°"


def clock(sample: GpuSample) -> str:
    """Return the clock of the multiprocessors in 7 cells."""
    return f"{'–' if sample.sm_clock_mhz is None else sample.sm_clock_mhz:>4}MHz"


def clock_time(at: float) -> str:
    """Return a moment of today as the time, another one with its date."""
    moment, now = datetime.fromtimestamp(at).astimezone(), datetime.now().astimezone()
    return f"{moment:%H:%M}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M}"


def percent(share: float) -> str:
    """Return a share from 0 to 1 in percent; a little is never told as nothing."""
    return "<1%" if 0 < share < 0.01 else f"{share:.0%}"
