"""Write the module's scripts and resources into ``TuckerSeg/CMakeLists.txt``: run after files come or go.

Slicer installs what is listed there and nothing else.
"""

from __future__ import annotations

from pathlib import Path

MODULE = Path(__file__).resolve().parents[1] / "TuckerSeg"
CMAKE_FILE = MODULE / "CMakeLists.txt"


def scripts() -> list[str]:
    """Every Python file that Slicer needs, relative to the module's folder: the module, then its library."""
    library = sorted(MODULE.joinpath("TuckerSegLib").rglob("*.py"))
    return [path.relative_to(MODULE).as_posix() for path in [*sorted(MODULE.glob("*.py")), *library]]


def resources() -> list[str]:
    """Every other file that Slicer needs, relative to the module's folder."""
    files = sorted(path for path in MODULE.joinpath("Resources").rglob("*") if path.is_file())
    return [path.relative_to(MODULE).as_posix() for path in files if not path.name.startswith(".")]


def with_lists(text: str) -> str:
    """The text of the module's CMakeLists.txt with its two lists as they should be."""
    text = _with_list(text, "MODULE_PYTHON_SCRIPTS", scripts())
    return _with_list(text, "MODULE_PYTHON_RESOURCES", resources())


def _with_list(text: str, name: str, files: list[str]) -> str:
    start = text.index(f"set({name}\n")
    end = text.index("  )\n", start)
    return text[:start] + "".join([f"set({name}\n", *(f"  {file}\n" for file in files)]) + text[end:]


if __name__ == "__main__":
    CMAKE_FILE.write_text(with_lists(CMAKE_FILE.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
