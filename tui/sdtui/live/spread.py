"""In which order to look at places of a long file, so that a part of the looks tells of all."""

from collections.abc import Iterator


def coarse_to_fine(count: int) -> Iterator[int]:
    """Yield 0 to ``count`` - 1, a power of 2: any first part of them is spread evenly."""
    bits = count.bit_length() - 1
    for number in range(count):
        yield int(f"{number:0{bits}b}"[::-1], 2)
