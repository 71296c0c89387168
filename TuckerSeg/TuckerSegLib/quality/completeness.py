"""Reports structures that the border of the image cuts, and whole ones whose volume is implausible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..catalog.structures import title_of
from ..records.quality_report import INFO, WARNING, Finding
from .measuring import MeasuredStructure

SHOWN = 8
END_MM = 8.0  # of what is labeled along the body: the image may end there, padded or turned


def check_border(structures: Sequence[MeasuredStructure]) -> Iterator[Finding]:
    """Report the structures that the border of the image cuts, the largest first."""
    cut = sorted((each for each in structures if each.partial), key=lambda each: -each.volume_ml)
    if cut:
        yield Finding(
            "partial",
            INFO,
            f"The border of the image cuts {len(cut)} of {len(structures)} structures, so their volumes are not whole: "
            f"{listed([title_of(each.name) for each in cut])}.",
            {"structures": float(len(cut))},
        )


def check_volumes(structures: Sequence[MeasuredStructure]) -> Iterator[Finding]:
    """Report whole structures whose volume is implausible in an adult, the most unusual first."""
    lowest = min((each.lowest_mm for each in structures), default=0) + END_MM
    highest = max((each.highest_mm for each in structures), default=0) - END_MM
    odd = []
    for each in structures:
        at_end = each.lowest_mm < lowest or each.highest_mm > highest
        if each.partial or at_end or each.place.volume_ml is None:
            continue
        smallest, largest = each.place.volume_ml
        if not smallest <= each.volume_ml <= largest:
            odd.append((max(smallest / each.volume_ml, each.volume_ml / largest), each))
    if odd:
        odd.sort(key=lambda item: -item[0])
        words = [f"{title_of(each.name)} {each.volume_ml:.3g} ml ({_range(each)})" for _, each in odd]
        yield Finding(
            "volumes",
            WARNING,
            f"Expected whole structures to have the size of an adult's; found otherwise: {listed(words)}. They may be "
            "missed in part, contain something else, be altered by disease, or belong to a child; look at them.",
            {each.name: round(each.volume_ml, 2) for _, each in odd},
        )


def listed(words: Sequence[str], most: int = SHOWN) -> str:
    """Join the first ``most`` words by commas, and say how many more there are."""
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest} more" if rest > 0 else "")


def _range(each: MeasuredStructure) -> str:
    smallest, largest = each.place.volume_ml
    return f"expected {smallest:g} to {largest:g}"
