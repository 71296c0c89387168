"""Standard names, codes and colors: the table itself, what is made of it, and what Slicer reads from it."""

from __future__ import annotations

import csv
import itertools
import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from TuckerSegLib.catalog import structures
from TuckerSegLib.image import Geometry
from TuckerSegLib.records.statistics import Structure
from TuckerSegLib.segmentation.segment import SegmentationResult

ROOT = Path(__file__).resolve().parents[3]
KNOWN = structures.known_structures()
TOTAL = KNOWN[:117]
CODES = ("category", "type", "type_modifier", "region", "region_modifier")


@pytest.fixture(scope="module")
def slicer():
    """Slicer's MRML and terminology libraries."""
    return pytest.importorskip("slicer", reason="needs slicer-core")


@pytest.fixture(scope="module")
def terminologies(slicer):
    """Slicer's terminology logic, with our file loaded."""
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    assert logic.LoadTerminologyFromFile(str(structures.TERMINOLOGY_FILE)) == structures.TERMINOLOGY_CONTEXT
    return logic


def has_valid_check_digit(identifier: str) -> bool:
    """SNOMED CT identifiers end in a check digit of the dihedral group of order 10 (Verhoeff 1969)."""
    total = 0
    for place, digit in enumerate(map(int, reversed(identifier))):
        for _ in range(place % 8):
            digit = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[digit]
        turned = (total + digit) % 5 if total < 5 else (total - digit) % 5
        total = turned + 5 * ((total >= 5) != (digit >= 5))
    return total == 0


def color_distance(first: str, second: str) -> float:
    """Distance of two structures' colors in units of 8 bits."""
    colors = [np.array(structures.anatomy(name).color) for name in (first, second)]
    return float(255 * np.linalg.norm(colors[0] - colors[1]))


def test_the_table_holds_totalsegmentators_117_structures_with_its_label_values(demo_folder):
    with structures.TABLE_FILE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = json.loads(next(demo_folder.glob("*/dataset.json")).read_text())["labels"]
    assert [(row["name"], int(row["value"])) for row in rows[:117]] == [item for item in labels.items() if item[1]]
    assert not any(row["value"] for row in rows[117:])


def test_the_check_digit_of_a_mistyped_code_is_wrong():
    assert has_valid_check_digit("64033007") and has_valid_check_digit("7771000")
    assert not any(has_valid_check_digit(code) for code in ("64033017", "64030307", "7771001"))


def test_every_code_is_a_valid_identifier_with_a_meaning():
    for known, part in itertools.product(KNOWN, CODES):
        code = getattr(known, part)
        assert bool(code.value) == bool(code.meaning), (known.name, part)
        assert not code.value or has_valid_check_digit(code.value), (known.name, part)
        assert not set(code.meaning) & set("~^|")
        assert len(code.meaning) <= 64  # DICOM's LO
    assert all(known.category.value and known.type.value for known in KNOWN)


def test_a_code_has_one_meaning_and_a_meaning_one_code():
    codes = {getattr(known, part) for known in KNOWN for part in CODES}
    assert len(codes) == len({code.value for code in codes}) == len({code.meaning for code in codes})


def test_no_two_structures_share_their_name_title_color_or_codes():
    for field in ("name", "title", "color"):
        values = [getattr(known, field) for known in KNOWN]
        assert len(set(values)) == len(values), field
    assert len({known.terminology_entry() for known in KNOWN}) == len(KNOWN)


def test_the_side_is_the_same_in_name_title_and_codes():
    for known in KNOWN:
        sides = {side for side in ("left", "right") if side in known.name.split("_")}
        said = {known.type_modifier.meaning.lower(), known.region_modifier.meaning.lower()} - {""}
        if known.name not in ("lung_middle_lobe_right",) and not known.name.startswith("heart_"):
            assert said == sides, known.name  # those two kinds have a concept of their own per side
        assert {side for side in ("left", "right") if side in known.title.lower().split()} == sides, known.name


def test_neighbors_can_be_told_apart_by_color():
    spine = ["sacrum", *(known.name for known in TOTAL if known.name.startswith("vertebrae_"))]
    ribs = [[f"rib_{side}_{number}" for number in range(1, 13)] for side in ("left", "right")]
    pairs = [pair for chain in (spine, *ribs) for pair in itertools.pairwise(chain)]
    lobes = [known.name for known in TOTAL if known.name.startswith("lung_")]
    pairs += [pair for pair in itertools.combinations(lobes, 2) if pair[0][-4:] == pair[1][-4:]]
    pairs += itertools.combinations(("liver", "stomach", "gallbladder", "pancreas", "duodenum", "kidney_right"), 2)
    pairs += itertools.combinations(("small_bowel", "colon", "urinary_bladder", "duodenum"), 2)
    pairs += itertools.combinations(("heart", "aorta", "pulmonary_vein", "superior_vena_cava", "esophagus"), 2)
    pairs += itertools.combinations(("gluteus_maximus_left", "gluteus_medius_left", "gluteus_minimus_left"), 2)
    pairs += [("kidney_left", "kidney_cyst_left"), ("heart", "atrial_appendage_left"), ("prostate", "urinary_bladder")]
    assert min(color_distance(*pair) for pair in pairs) > 25


@pytest.mark.parametrize("label", ["kidney_left", "Kidney Left", "left kidney", "LEFT-KIDNEY"])
def test_a_label_is_known_however_its_words_are_written(label):
    assert structures.anatomy(label).name == "kidney_left"


def test_an_unknown_label_gets_a_title_a_color_and_the_group_other():
    assert structures.anatomy("liver_tumor") is None
    assert structures.title_of("pT2_lesion core") == "PT2 lesion core"
    assert structures.color_of(3, "lesion") == structures.color_of(3, "growth") != structures.color_of(4, "lesion")
    assert structures.segment_tags("lesion") == {"TuckerSeg.LabelName": "lesion"}
    assert structures.groups(["lesion"]) == {"other": ["lesion"]}


def test_a_known_structure_has_its_color_whatever_its_label_value():
    assert structures.color_of(1, "liver") == structures.color_of(99, "Liver") == (221 / 255, 130 / 255, 101 / 255)


def test_groups_are_complete_and_in_the_order_of_the_table():
    names = [known.name for known in TOTAL]
    grouped = structures.groups(["lesion", *names])
    assert sorted(itertools.chain(*grouped.values())) == sorted(["lesion", *names])
    assert list(grouped)[0] == "organs" and list(grouped)[-1] == "other"
    assert grouped["vertebrae"][0] == "sacrum" and len(grouped["vertebrae"]) == 26
    assert all(members for members in grouped.values())


@pytest.mark.parametrize(
    ("text", "count", "first"),
    [
        ("left kidney", 2, "kidney_left"),
        ("KIDNEY_left", 2, "kidney_left"),
        ("kid le", 2, "kidney_left"),
        ("rib", 24, "rib_left_1"),
        ("rib 12 right", 1, "rib_right_12"),
        ("l1", 1, "vertebrae_L1"),
        ("small intestine", 1, "small_bowel"),
        ("clavicle", 2, "clavicula_left"),
        ("", 117, "spleen"),
        ("idney", 0, None),
    ],
)
def test_a_search_finds_what_its_words_begin(text, count, first):
    matching = structures.find(text, [known.name for known in TOTAL])
    assert (len(matching), matching[0] if matching else None) == (count, first)


def test_a_search_finds_labels_that_are_not_in_the_table():
    assert structures.find("les", ["liver", "Big lesion"]) == ["Big lesion"]


def test_the_terminology_file_is_what_the_table_makes():
    made = runpy.run_path(str(ROOT / "tools" / "make_terminology.py"))["terminology_text"]()
    assert structures.TERMINOLOGY_FILE.read_text(encoding="utf-8") == made, "run tools/make_terminology.py"


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_slicer_parses_a_terminology_entry_into_the_same_codes(slicer, known):
    entry = slicer.vtkSlicerTerminologyEntry()
    assert slicer.vtkSlicerTerminologiesModuleLogic.DeserializeTerminologyEntry(known.terminology_entry(), entry)
    assert entry.GetTerminologyContextName() == structures.TERMINOLOGY_CONTEXT
    parsed = (
        entry.GetCategoryObject(),
        entry.GetTypeObject(),
        entry.GetTypeModifierObject(),
        entry.GetAnatomicRegionObject(),
        entry.GetAnatomicRegionModifierObject(),
    )
    for name, code in zip(CODES, parsed):
        code_texts = (code.GetCodingSchemeDesignator() or "", code.GetCodeValue() or "", code.GetCodeMeaning() or "")
        expected = getattr(known, name)
        assert code_texts == (expected.scheme, expected.value, expected.meaning), name
    again = slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(entry)
    assert again == known.terminology_entry()


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_slicer_finds_every_structure_in_our_terminology_with_its_color_and_name(slicer, terminologies, known):
    entry = slicer.vtkSlicerTerminologyEntry()
    terminologies.DeserializeTerminologyEntry(known.terminology_entry(), entry)
    assert terminologies.UpdateEntryFromLoadedTerminologies(entry, [structures.TERMINOLOGY_CONTEXT], [])
    shown = entry.GetTypeModifierObject() if known.type_modifier.value else entry.GetTypeObject()
    assert shown.GetCodeMeaning() == (known.type_modifier if known.type_modifier.value else known.type).meaning
    assert shown.GetSlicerLabel()
    if not known.region.value:  # the region tells the others apart, and a type has one name and color
        assert shown.GetSlicerLabel() == known.title
        assert tuple(shown.GetRecommendedDisplayRGBValue()) == tuple(round(part * 255) for part in known.color)


def test_a_saved_result_opens_in_slicer_with_standard_names_colors_and_codes(slicer, tmp_path):
    names = {1: "spleen", 3: "kidney_left", 24: "kidney_cyst_right", 200: "grade 2:3 | lesion"}
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 2, 1:5] = list(names)
    measured = tuple(Structure(value, name, 0.001) for value, name in names.items())
    statistics = SimpleNamespace(structures=measured)  # all that saving needs of them
    path = tmp_path / "labels.seg.nrrd"
    SegmentationResult(labels, Geometry(labels.shape, np.eye(4)), names, statistics).save(str(path))

    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == len(names)
    for number, (value, name) in enumerate(names.items()):
        segment = segmentation.GetNthSegment(number)
        assert (segment.GetLabelValue(), segment.GetName()) == (value, structures.title_of(name))
        assert segment.GetColor() == pytest.approx(structures.color_of(value, name), abs=1e-5)
        tags = structures.segment_tags(name)
        assert slicer.vtkSegment.GetTerminologyEntryTagName() == structures.TERMINOLOGY_TAG
        assert tag_of(segment, structures.LABEL_NAME_TAG) == name.replace("|", "/")  # which ends a tag
        # Slicer gives an entry of its own to a segment that has none
        expected = tags.get(structures.TERMINOLOGY_TAG)
        assert expected is None or tag_of(segment, structures.TERMINOLOGY_TAG) == expected


def tag_of(segment, key: str) -> str:
    """Value of a segment's tag."""
    import vtk

    value = vtk.mutable("")
    assert segment.GetTag(key, value), key
    return str(value)
