"""Which presets suit a host: one rule, for the first start and for the dialog that loads one."""

import pytest

from sdcore.checks.host import host_facts
from sdcore.task.presets import shipped
from sdtui.form.suitable import suited
from sdtui.widgets.welcome import look_at_host
from support.console import Driven, drive

GIB = 1 << 30


@pytest.mark.parametrize(
    ("memories", "preset"),
    [
        ([], "demo"),
        ([4], "demo"),
        ([8], "sd15-lora-12gb"),
        ([12], "sd15-lora-12gb"),
        ([16], "sd15-lora-12gb"),
        ([12, 4], "demo"),  # any of them may be taken
        ([None], "demo"),
        ([24], "sd15-full-24gb"),
        ([24, 24], "sd15-full-24gb"),
        ([24, 16], "sd15-lora-12gb"),
        ([48], "sd15-full-24gb"),
        ([80], "sd15-full-80gb"),
        ([80] * 8, "sd15-full-8gpu"),
        ([80] * 7 + [24], "sd15-full-24gb"),
    ],
)
def test_the_preset_offered_fits_the_host(memories: list[int | None], preset: str) -> None:
    """A first run that ends out of memory is the last one."""
    found = suited([size and size * GIB for size in memories])

    assert found[0][0].name == preset
    assert found[0][1]
    assert {each.name for each, _fits in found} == {each.name for each in shipped()}
    assert [fits for _each, fits in found] == sorted([f for _, f in found], reverse=True)


def test_the_first_start_and_the_dialog_offer_the_same() -> None:
    """Two rules would send a newcomer to one preset and mark another as the one that fits."""
    best = suited([gpu.memory_total for gpu in host_facts().gpus])[0][0]

    async def story(driven: Driven) -> None:
        driven.app.edit_task("demo")
        await driven.until("Description")
        await driven.press("ctrl+o")
        await driven.until("✓")
        [line] = [line for line in driven.lines() if f" {best.name} " in line]
        assert "✓" in line

    drive(story)
    assert look_at_host().preset == best.name
