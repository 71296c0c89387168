"""Structures in DICOM's words: codes, colors, names within their length, and what made them."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.sr.coding import Code

from ... import __version__
from ...catalog import structures
from ...printable import one_line
from ...segmentation.segment import SegmentationResult

PRODUCT = "TuckerSeg"
OWN_SCHEME = "99TUCKERSEG"  # DICOM: private schemes begin with 99
LONGEST_LABEL, LONGEST_CODE = 64, 16  # LO and SH
ANATOMICAL_STRUCTURE = Code("123037004", "SCT", "Anatomical Structure")


@dataclass(frozen=True)
class CodedStructure:
    """A structure that was found.

    Attributes:
        value: In the labels.
        name: In the model.
        label: For people.
        color: Red, green, blue, each 0 to 1.
        category, type: What it is.
        side: Left or right; None where that is no question.
        region, region_side: Where it is, where its type does not say it.
        volume_ml: Of all of it.
    """

    value: int
    name: str
    label: str
    color: tuple[float, float, float]
    category: Code
    type: Code
    side: Code | None
    region: Code | None
    region_side: Code | None
    volume_ml: float


def coded_structures(result: SegmentationResult) -> list[CodedStructure]:
    """The structures of a result, in order of their label values; unknown ones have a code of a private scheme."""
    return [
        _coded(each.value, each.name, each.volume_ml)
        for each in sorted(result.statistics.structures, key=lambda each: each.value)
    ]


def _coded(value: int, name: str, volume_ml: float) -> CodedStructure:
    label = fit_text(structures.title_of(name)) or f"Structure {value}"
    color = structures.color_of(value, name)
    known = structures.anatomy(name)
    if known is None or not known.type.value:
        own = Code(f"LABEL-{value}"[:LONGEST_CODE], OWN_SCHEME, label)
        return CodedStructure(value, name, label, color, ANATOMICAL_STRUCTURE, own, None, None, None, volume_ml)
    return CodedStructure(
        value,
        name,
        label,
        color,
        _code(known.category) or ANATOMICAL_STRUCTURE,
        _code(known.type),
        _code(known.type_modifier),
        _code(known.region),
        _code(known.region_modifier),
        volume_ml,
    )


def _code(code: structures.Code) -> Code | None:
    return Code(code.value, code.scheme, code.meaning[:LONGEST_LABEL]) if code.value else None


def fit_text(text: str, longest: int = LONGEST_LABEL) -> str:
    """A text as DICOM takes it: of one line, without backslashes, within its length."""
    return one_line(text).replace("\\", "/").strip()[:longest]


def what_made_it(result: SegmentationResult) -> dict[str, str]:
    """Model, compression and versions: what tells a run from another."""
    run = result.statistics
    facts = {
        "model": run.model,
        "model sha256": run.source_sha256,
        "compression": run.compression,
        "precision": run.precision,
        "device": run.device_name,
        "step": f"{run.step_fraction:g}",
        "output grid": run.output_grid,
    }
    return {name: fit_text(str(value), 1024) or "-" for name, value in facts.items()}


def algorithm_name(result: SegmentationResult) -> str:
    """Name of the program with its model."""
    return fit_text(f"{PRODUCT} {result.statistics.model}")


VERSION = __version__
