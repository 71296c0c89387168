"""Anatomical structures: standard names, groups, colors and SNOMED CT codes for the labels of models.

The table is ``Resources/Terminology/structures.csv``: the 117 structures of TotalSegmentator's task ``total`` with
their label values there, and some of its other tasks. Labels that are not in it get a title and a color too, so
that every nnU-Net model can be shown. Knows nothing of networks and nothing of Slicer beyond its text formats.

Codes follow DICOM PS3.16 where it has the structure, and SNOMED CT elsewhere. Three differ from the mapping that
TotalSegmentator ships: its subclavian artery is the right one on both sides (29700009), its hip is the region and
not the bone (29836001), its gluteus maximus is the "entire" concept (181674001). Colors follow Slicer's anatomy
colors; neighbors that are alike there differ here.
"""

from __future__ import annotations

import colorsys
import csv
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from .resources import RESOURCES

TERMINOLOGY_CONTEXT = "Segmentation category and type - TuckerSeg"
TERMINOLOGY_FILE = RESOURCES / "Terminology" / "SegmentationCategoryTypeModifier-TuckerSeg.term.json"
TABLE_FILE = RESOURCES / "Terminology" / "structures.csv"
REGION_CONTEXT = "Anatomic codes - DICOM master list"  # ships with Slicer
TERMINOLOGY_TAG = "TerminologyEntry"  # vtkSegment::GetTerminologyEntryTagName()
LABEL_NAME_TAG = "TuckerSeg.LabelName"
OTHER_GROUP = "other"

_CATEGORY_CODES = {
    "Anatomical Structure": "123037004",
    "Morphologically Altered Structure": "49755003",
    "Tissue": "85756007",
}
_SIDE_CODES = {"Left": "7771000", "Right": "24028007"}
_GOLDEN_RATIO = 0.618033988749895


@dataclass(frozen=True)
class Code:
    """A SNOMED CT concept; an empty one means that there is no code.

    Attributes:
        value: Its identifier, up to 18 digits.
        meaning: Its meaning in words.
    """

    value: str = ""
    meaning: str = ""

    @property
    def scheme(self) -> str:
        """DICOM's coding scheme designator."""
        return "SCT" if self.value else ""

    def as_text(self) -> str:
        """The code as Slicer writes it, ``scheme^value^meaning``."""
        return f"{self.scheme}^{self.value}^{self.meaning}"


@dataclass(frozen=True)
class Anatomy:
    """A structure with a standard name, a color and codes.

    Attributes:
        name: TotalSegmentator's label name.
        title: Name for users.
        group: The group that it belongs to, such as organs.
        color: Red, green, blue, each 0 to 1.
        category: Anatomical structure, tissue or morphologically altered structure.
        type: The structure, or the finding in the anatomic region.
        type_modifier: Its side.
        region: The anatomic region, where the type does not name it.
        region_modifier: The anatomic region's side.
    """

    name: str
    title: str
    group: str
    color: tuple[float, float, float]
    category: Code
    type: Code
    type_modifier: Code = Code()
    region: Code = Code()
    region_modifier: Code = Code()

    def terminology_entry(self) -> str:
        """Slicer's serialized terminology entry, 7 parts joined by ``~``; the value of a segment's terminology tag."""
        parts = [TERMINOLOGY_CONTEXT, self.category.as_text(), self.type.as_text(), self.type_modifier.as_text()]
        return "~".join([*parts, REGION_CONTEXT, self.region.as_text(), self.region_modifier.as_text()])


@functools.cache
def known_structures() -> tuple[Anatomy, ...]:
    """All structures of the table, in its order."""
    with TABLE_FILE.open(encoding="utf-8", newline="") as file:
        return tuple(_from_row(row) for row in csv.DictReader(file))


def anatomy(name: str) -> Anatomy | None:
    """The structure that a label names; None where the table does not have it.

    Case, separators and the order of words do not matter: ``Left Kidney`` is ``kidney_left``.
    """
    return _by_words().get(_sorted_words(name))


def title_of(name: str) -> str:
    """Name of a label for users: the structure's title, or else the label's name with spaces and a capital."""
    structure = anatomy(name)
    if structure is not None:
        return structure.title
    title = " ".join(name.replace("_", " ").split())
    return title[:1].upper() + title[1:]


def color_of(value: int, name: str) -> tuple[float, float, float]:
    """The color of a label: red, green and blue, each 0 to 1.

    Args:
        value: Its label value, which gives the hue, in golden-ratio steps, where the name is unknown.
        name: Its name in the model.
    """
    structure = anatomy(name)
    if structure is not None:
        return structure.color
    hue = (value * _GOLDEN_RATIO) % 1.0
    return colorsys.hsv_to_rgb(hue, 0.55 + 0.35 * ((value // 2) % 2), 0.95 - 0.25 * (value % 2))


def segment_tags(name: str) -> dict[str, str]:
    """Tags of a label's segment in Slicer: the label's name and, where it is known, its terminology entry."""
    structure = anatomy(name)
    tags = {LABEL_NAME_TAG: name}
    return tags if structure is None else {**tags, TERMINOLOGY_TAG: structure.terminology_entry()}


def groups(names: Iterable[str]) -> dict[str, list[str]]:
    """Sort labels into groups.

    Args:
        names: Names of the labels.

    Returns:
        Group to the names of its labels, in the given order. Groups are in the order of the table, ``other`` last;
        empty ones are left out.
    """
    members_of: dict[str, list[str]] = {structure.group: [] for structure in known_structures()} | {OTHER_GROUP: []}
    for name in names:
        structure = anatomy(name)
        members_of[OTHER_GROUP if structure is None else structure.group].append(name)
    return {group: members for group, members in members_of.items() if members}


def find(text: str, names: Iterable[str]) -> list[str]:
    """Labels that match a search text, in the given order.

    Each word of the text must begin a word of the label's name, title or SNOMED CT meaning. Case, separators and
    the order of words do not matter: ``left kid`` finds ``kidney_left``. An empty text finds every label.
    """
    parts = _words(text)
    return [name for name in names if all(any(word.startswith(part) for word in _index(name)) for part in parts)]


@functools.cache
def _by_words() -> dict[tuple[str, ...], Anatomy]:
    return {_sorted_words(structure.name): structure for structure in known_structures()}


def _index(name: str) -> set[str]:
    structure = anatomy(name)
    own = set(_words(name))
    return own if structure is None else own | set(_words(structure.title)) | set(_words(structure.type.meaning))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _sorted_words(text: str) -> tuple[str, ...]:
    return tuple(sorted(_words(text)))


def _from_row(row: dict[str, str]) -> Anatomy:
    return Anatomy(
        name=row["name"],
        title=row["title"],
        group=row["group"],
        color=(int(row["red"]) / 255, int(row["green"]) / 255, int(row["blue"]) / 255),
        category=Code(_CATEGORY_CODES[row["category"]], row["category"]),
        type=Code(row["type_code"], row["type_meaning"]),
        type_modifier=_side(row["side"]),
        region=Code(row["region_code"], row["region_meaning"]),
        region_modifier=_side(row["region_side"]),
    )


def _side(word: str) -> Code:
    return Code(_SIDE_CODES[word], word) if word else Code()
