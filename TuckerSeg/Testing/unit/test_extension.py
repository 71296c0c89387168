"""What Slicer and its catalog read about the extension: complete, in agreement, and true."""

from __future__ import annotations

import json
import re
import struct
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MODULE = ROOT / "TuckerSeg"
RAW_URL = "https://raw.githubusercontent.com/TuckerSeg/SlicerTuckerSeg/main/"
CONTRIBUTORS = "TuckerSeg contributors (https://github.com/TuckerSeg/SlicerTuckerSeg)"
S4EXT_FIELDS = [
    "scm",
    "scmurl",
    "scmrevision",
    "depends",
    "build_subdirectory",
    "homepage",
    "contributors",
    "category",
    "iconurl",
    "status",
    "description",
    "screenshoturls",
    "enabled",
]
CATALOG_SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.1.json#"
)
CATALOG_REQUIRED = {"$schema", "category", "scm_url"}
CATALOG_TYPES = {  # the keys that the schema allows, and their types
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}


def faults(entry: dict) -> list[str]:
    """What the schema would have against a catalog entry."""
    told = [f"{key} is missing" for key in CATALOG_REQUIRED - set(entry)]
    told += [f"{key} is unknown" for key in set(entry) - set(CATALOG_TYPES)]
    told += [
        f"{key} has another type" for key, kind in CATALOG_TYPES.items() if type(entry.get(key, kind())) is not kind
    ]
    if entry.get("$schema", CATALOG_SCHEMA) != CATALOG_SCHEMA:
        told.append("$schema is another one")
    if entry.get("scm_type", "git") not in ("git", "local"):
        told.append("scm_type is neither git nor local")
    if type(entry.get("tier", 1)) is int and not 1 <= entry.get("tier", 1) <= 5:
        told.append("tier is not from 1 to 5")
    if not all(type(name) is str for name in entry.get("build_dependencies", [])):
        told.append("build_dependencies are not all names")
    return told


@pytest.fixture(scope="module")
def cmake() -> dict[str, str]:
    """The variables that the top-level CMakeLists.txt sets, and ``project`` and ``version``."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    project = re.search(r"^project\((\w+) VERSION ([\d.]+)\)$", text, re.M)
    settings = dict(re.findall(r'^set\((EXTENSION_\w+) "(.*)"\)$', text, re.M))
    return {"project": project[1], "version": project[2], **settings}


@pytest.fixture(scope="module")
def s4ext() -> dict[str, str]:
    """The fields of the classic description file."""
    lines = (ROOT / "TuckerSeg.s4ext").read_text(encoding="utf-8").splitlines()
    pairs = [line.partition(" ") for line in lines if line.strip() and not line.startswith("#")]
    assert len({name for name, _, _ in pairs}) == len(pairs), "a field is there twice"
    return {name: value for name, _, value in pairs}


@pytest.fixture(scope="module")
def catalog_entry() -> dict:
    """The entry for the extension catalog."""
    return json.loads((ROOT / "TuckerSeg.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project() -> dict:
    """The ``project`` table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def listed(name: str) -> list[str]:
    """Files in a list of the module's CMakeLists.txt."""
    text = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    return re.search(rf"^set\({name}\n(.*?)^  \)$", text, re.S | re.M)[1].split()


def on_disk(folders: dict[Path, str]) -> list[str]:
    """Files in folders that fit each one's pattern, relative to the module."""
    files = [path for folder, pattern in folders.items() for path in folder.glob(pattern) if path.is_file()]
    return [path.relative_to(MODULE).as_posix() for path in files if not path.name.startswith(".")]


@pytest.mark.parametrize(
    ("name", "folders"),
    [
        ("MODULE_PYTHON_SCRIPTS", {MODULE: "*.py", MODULE / "TuckerSegLib": "**/*.py"}),
        ("MODULE_PYTHON_RESOURCES", {MODULE / "Resources": "**/*"}),
    ],
)
def test_every_file_that_slicer_needs_is_listed_once_and_nothing_more(name, folders):
    files, found = listed(name), on_disk(folders)
    advice = "run tools/list_module_files.py, which writes the lists of TuckerSeg/CMakeLists.txt"
    assert not set(found) - set(files), f"not listed in {name}: {sorted(set(found) - set(files))}; {advice}"
    assert not set(files) - set(found), f"listed in {name}, but not there: {sorted(set(files) - set(found))}; {advice}"
    assert len(files) == len(set(files))


def test_nothing_of_the_tests_is_installed():
    assert not [file for file in listed("MODULE_PYTHON_SCRIPTS") + listed("MODULE_PYTHON_RESOURCES") if "Test" in file]


def test_the_module_has_the_extensions_name_and_registers_its_self_test():
    text = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "set(MODULE_NAME TuckerSeg)\n" in text and (MODULE / "TuckerSeg.py").is_file()
    assert "  WITH_GENERIC_TESTS\n" in text
    assert "slicer_add_python_unittest(SCRIPT ${MODULE_NAME}.py)" in text


def test_name_and_version_agree(cmake, project):
    assert cmake["project"] == "TuckerSeg"  # of TuckerSeg.json and TuckerSeg.s4ext too
    assert project["name"] == cmake["project"].lower()
    assert project["version"] == cmake["version"]


def test_description_and_homepage_agree(cmake, s4ext, catalog_entry, project):
    assert cmake["EXTENSION_DESCRIPTION"] == s4ext["description"] == project["description"]
    assert cmake["EXTENSION_HOMEPAGE"] == s4ext["homepage"] == s4ext["scmurl"] == catalog_entry["scm_url"]
    assert project["urls"]["Homepage"] == cmake["EXTENSION_HOMEPAGE"]


def test_the_other_fields_agree(cmake, s4ext, catalog_entry):
    assert cmake["EXTENSION_CATEGORY"] == s4ext["category"] == catalog_entry["category"]
    assert cmake["EXTENSION_DEPENDS"].split() == s4ext["depends"].split() == catalog_entry["build_dependencies"]
    assert cmake["EXTENSION_CONTRIBUTORS"] == s4ext["contributors"] == CONTRIBUTORS
    assert f'parent.contributors = ["{CONTRIBUTORS}"]' in (MODULE / "TuckerSeg.py").read_text(encoding="utf-8")
    assert cmake["EXTENSION_ICONURL"] == s4ext["iconurl"]
    assert cmake["EXTENSION_SCREENSHOTURLS"] == s4ext["screenshoturls"]
    assert s4ext["scmrevision"] == catalog_entry["scm_revision"]
    assert s4ext["build_subdirectory"] == catalog_entry["build_subdirectory"]
    assert bool(int(s4ext["enabled"])) == catalog_entry["enabled"]


def test_the_classic_description_has_all_fields_filled(s4ext):
    assert sorted(s4ext) == sorted(S4EXT_FIELDS)
    assert all(s4ext.values())


def test_the_catalog_entry_follows_its_schema(catalog_entry):
    assert faults(catalog_entry) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"category": None}, "category is missing"),
        ({"contributors": "somebody"}, "contributors is unknown"),
        ({"enabled": 1}, "enabled has another type"),
        ({"tier": 6}, "tier is not from 1 to 5"),
        ({"tier": True}, "tier has another type"),
        ({"scm_type": "svn"}, "scm_type is neither git nor local"),
        ({"build_dependencies": [1]}, "build_dependencies are not all names"),
        ({"$schema": "schema-v1.0.0"}, "$schema is another one"),
    ],
)
def test_an_entry_that_breaks_the_schema_is_seen(catalog_entry, change, fault):
    entry = {key: value for key, value in {**catalog_entry, **change}.items() if value is not None}
    assert faults(entry) == [fault]


def test_the_catalog_entry_passes_the_catalogs_own_checks(catalog_entry):
    assert catalog_entry["category"] == "Segmentation"  # one of the accepted ones
    repository = catalog_entry["scm_url"].removeprefix("https://").split("/")[-1]
    assert repository.startswith("Slicer")
    assert b"\r" not in (ROOT / "TuckerSeg.json").read_bytes()
    assert (ROOT / "LICENSE.txt").is_file()


@pytest.mark.parametrize("icon", [ROOT / "TuckerSeg.png", MODULE / "Resources" / "Icons" / "TuckerSeg.png"])
def test_the_icon_is_a_png_of_128_by_128_pixels(icon):
    header = icon.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:24]) == (128, 128)


def test_the_icon_and_screenshots_of_the_catalog_are_files_of_the_main_branch(cmake):
    assert cmake["EXTENSION_ICONURL"] == RAW_URL + "TuckerSeg.png"
    screenshots = cmake["EXTENSION_SCREENSHOTURLS"].split()
    assert screenshots
    assert all(url.startswith(RAW_URL + "Screenshots/") and url.endswith(".png") for url in screenshots)
