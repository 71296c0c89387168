"""Write what MHub's files say of the 117 structures: run after the table of structures changes.

MHub names structures by SegDB's identifiers and takes label 1, 2, ... for the first, second, ... of them. Structures
that SegDB lacks are registered by the configuration, with the codes of our own table.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "TuckerSeg" / "Resources" / "Terminology" / "structures.csv"
CATALOG = ROOT / "TuckerSeg" / "Resources" / "Models" / "catalog.json"
MODEL = ROOT / "Packaging" / "mhub" / "tuckerseg"
MARK = "# The rest is written by tools/make_mhub.py\n"
NAMED_OTHERWISE = {
    "autochthon": "AUTOCHTHONOUS_BACK_MUSCLE",
    "clavicula": "CLAVICLE",
    "heart_atrium": "ATRIUM",
    "iliac_vena": "ILIAC_VEIN",
    "kidney_cyst": "KIDNEY+CYST",
    "lung_lower_lobe": "LOWER_LUNG_LOBE",
    "lung_middle_lobe": "MIDDLE_LUNG_LOBE",
    "lung_upper_lobe": "UPPER_LUNG_LOBE",
    "portal_vein_and_splenic_vein": "PORTAL_AND_SPLENIC_VEIN",
    "small_bowel": "SMALL_INTESTINE",
}
NOT_IN_SEGDB = (  # release 0.0.4
    "thyroid_gland", "vertebrae_S1", "pulmonary_vein", "brachiocephalic_trunk", "subclavian_artery_right",
    "subclavian_artery_left", "common_carotid_artery_right", "common_carotid_artery_left", "brachiocephalic_vein_left",
    "brachiocephalic_vein_right", "atrial_appendage_left", "spinal_cord", "skull", "sternum", "costal_cartilages",
)  # fmt: skip


def structures() -> list[str]:
    """Names of labels 1, 2, ..."""
    return json.loads(CATALOG.read_text(encoding="utf-8"))["structure_lists"]["total"]


def segment_of(name: str) -> str:
    """SegDB's identifier of a structure: sides come first."""
    words = name.split("_")
    side = next((word for word in words if word in ("left", "right")), "")
    bare = "_".join(word for word in words if word != side)
    known = NAMED_OTHERWISE.get(bare, bare.upper())
    return f"{side.upper()}_{known}" if side else known


def segdb_lines() -> list[str]:
    """YAML that registers the structures that SegDB lacks, with SNOMED CT codes and colors."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    triplets, segments = {}, []
    for name in NOT_IN_SEGDB:
        row = rows[name]
        triplet = f"T_{row['type_meaning'].upper().replace(' ', '_')}"
        triplets[triplet] = (
            f'    {triplet}: {{code: "{row["type_code"]}", meaning: {row["type_meaning"]}, scheme_designator: SCT}}'
        )
        side = f", modifier: M_{row['side'].upper()}" if row["side"] else ""
        color = ", ".join(row[channel] for channel in ("red", "green", "blue"))
        segments.append(
            f"    {segment_of(name)}: {{name: {row['title']}, category: C_BODY_STRUCTURE, type: {triplet}{side}, "
            f"color: [{color}]}}"
        )
    return ["segdb:", "  triplets:", *triplets.values(), "  segments:", *segments]


def files() -> dict[Path, str]:
    """Path of every file that is written, with its text."""
    segments = [segment_of(name) for name in structures()]
    listed = "".join(f'    "{segment}",\n' for segment in segments)
    config, meta = MODEL / "config" / "default.yml", MODEL / "meta.json"
    document = json.loads(meta.read_text(encoding="utf-8"))
    document["summary"]["outputs"] = [{"type": "Segmentation", "classes": segments}]
    head = config.read_text(encoding="utf-8").partition(MARK)[0]
    return {
        MODEL / "utils" / "segments.py": (
            '"""SegDB\'s identifiers of labels 1, 2, ...; written by tools/make_mhub.py."""\n\n'
            f"SEGMENTS = (\n{listed})\n"
        ),
        config: head + MARK + "\n".join([*segdb_lines(), ""]),
        meta: json.dumps(document, indent=2) + "\n",
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8", newline="\n")
