"""Write the structures' terminology file for Slicer from their table: run after a change of ``structures.csv``.

The format is dcmqi's segment context schema with Slicer's additions (``3dSlicerLabel`` on modifiers too).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from TuckerSegLib.catalog.structures import TERMINOLOGY_CONTEXT, TERMINOLOGY_FILE, Anatomy, Code, known_structures

SCHEMA = "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/segment-context-schema.json#"


def terminology_text() -> str:
    """Content of the terminology file."""
    categories: dict[Code, list[Anatomy]] = {}
    for structure in known_structures():
        categories.setdefault(structure.category, []).append(structure)
    document = {
        "SegmentationCategoryTypeContextName": TERMINOLOGY_CONTEXT,
        "@schema": SCHEMA,
        "SegmentationCodes": {"Category": [_category(*item) for item in categories.items()]},
    }
    return json.dumps(document, indent=2) + "\n"


def _category(code: Code, structures: Iterable[Anatomy]) -> dict[str, Any]:
    types: dict[Code, list[Anatomy]] = {}
    for structure in structures:
        types.setdefault(structure.type, []).append(structure)
    has_regions = any(member.region.value for members in types.values() for member in members)
    return {**_code(code), "showAnatomy": has_regions, "Type": [_type(*item) for item in types.items()]}


def _type(code: Code, structures: list[Anatomy]) -> dict[str, Any]:
    sided = [structure for structure in structures if structure.type_modifier.value]
    plain = [structure for structure in structures if not structure.type_modifier.value]
    entry = _code(code)
    if plain:  # several of them differ by their region alone, so none of them names the type
        entry |= _display(plain[0], plain[0].title if len(plain) == 1 else code.meaning)
    if sided:
        entry["Modifier"] = [
            {**_code(structure.type_modifier), **_display(structure, structure.title)} for structure in sided
        ]
    return entry


def _code(code: Code) -> dict[str, Any]:
    return {"CodingSchemeDesignator": code.scheme, "CodeValue": code.value, "CodeMeaning": code.meaning}


def _display(structure: Anatomy, label: str) -> dict[str, Any]:
    color = [round(part * 255) for part in structure.color]
    return {"3dSlicerLabel": label, "recommendedDisplayRGBValue": color}


if __name__ == "__main__":
    TERMINOLOGY_FILE.write_text(terminology_text(), encoding="utf-8", newline="\n")
