"""SECURITY.md tells the limits that the program has."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[3] / "SECURITY.md").read_text(encoding="utf-8")
UNITS = {
    "": 1,
    "voxels": 1,
    "mm": 1,
    "times": 1,
    "s": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
ROW = re.compile(r"^\| [^|]+ \| ([\d ,.]*\d) ?(\S*)[^|]* \| `([\w.]+)\.([A-Z_]+)` \|$", re.MULTILINE)


def rows() -> list[tuple[str, str, str, str]]:
    return ROW.findall(PAGE.partition("\n## Limits\n")[2].partition("\n## ")[0])


def test_every_line_of_the_table_is_read():
    table = PAGE.partition("\n## Limits\n")[2].partition("\n## ")[0]
    assert len(rows()) == len(re.findall(r"^\|", table, re.MULTILINE)) - 2 > 10


@pytest.mark.parametrize(("number", "unit", "module", "name"), rows(), ids=lambda text: text)
def test_a_limit_is_the_constant_of_the_code(number, unit, module, name):
    constant = getattr(importlib.import_module(f"TuckerSegLib.{module}"), name)
    assert float(number.replace(" ", "").replace(",", "")) * UNITS.get(unit, 1) == constant
