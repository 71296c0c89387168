"""The files of the library, and what they call."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LIBRARY = ROOT / "TuckerSeg" / "TuckerSegLib"
FILES = sorted(LIBRARY.rglob("*.py"))


def part_of(file: Path) -> str:
    return file.relative_to(LIBRARY).parts[0].removesuffix(".py")


def calls_of(file: Path) -> set[str]:
    """What a file calls, as it is written: ``json.loads``."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
