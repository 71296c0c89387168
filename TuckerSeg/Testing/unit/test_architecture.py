"""The rules of ARCHITECTURE.md, kept true."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from Testing.unit.library_files import FILES, LIBRARY, ROOT, calls_of, part_of

STANDARD = {"TuckerSegLib", *sys.stdlib_module_names}
APPLICATION = ("slicer", "vtk", "qt", "ctk")


def imports_of(file: Path) -> tuple[set[str], set[str]]:
    """Parts of the library and third-party packages that a file imports, anywhere in it."""
    own, foreign = set(), set()
    package = ("TuckerSegLib", *file.relative_to(LIBRARY).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            inside = module == "TuckerSegLib"
            names = [f"{module}.{alias.name}" for alias in node.names] if inside else [module]
        else:
            continue
        for name in names:
            head, _, rest = name.partition(".")
            if head == "TuckerSegLib":
                own.add(rest.partition(".")[0])
            elif head not in STANDARD:
                foreign.add(head)
    return own - {"", "__version__"}, foreign


@dataclass(frozen=True)
class Row:
    """A row of ARCHITECTURE.md's table of layers: its parts, and what they may import."""

    parts: set[str]
    library: set[str]
    packages: set[str]


def rows_of_the_table() -> list[Row]:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows: list[Row] = []
    for cells in re.findall(r"^\| \d+ \| ([^|]+) \| ([^|]+) \| ([^|]*) \|$", text, re.M):
        parts, library, packages = (set(re.findall(r"\w+", cell)) for cell in cells)
        if cells[1].strip() == "rows above":
            library = {part for row in rows for part in row.parts}
            packages |= rows[-1].packages if rows else set()
        rows.append(Row(parts, library, packages))
    return rows


ROWS = rows_of_the_table()


def test_the_table_has_every_part_once_and_no_arrow_upwards():
    listed = [part for row in ROWS for part in row.parts]
    assert sorted(listed) == sorted({part_of(file) for file in FILES} - {"__init__", "__main__"})
    for number, row in enumerate(ROWS):
        assert row.library <= {part for above in ROWS[:number] for part in above.parts}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(LIBRARY)))
def test_a_file_imports_only_what_the_table_allows(file):
    part = part_of(file)
    if part in ("__init__", "__main__"):
        return
    row = next(row for row in ROWS if part in row.parts)
    own, foreign = imports_of(file)
    assert own <= row.library | {part}, f"{part} may not use {sorted(own - row.library - {part})}"
    assert foreign <= row.packages, f"{part} may not use {sorted(foreign - row.packages)}"


def test_only_the_bridge_imports_the_application():
    users = {part_of(file) for file in FILES if imports_of(file)[1] & set(APPLICATION)}
    assert users == {"slicer_bridge"}


def test_only_the_openvino_files_import_openvino():
    users = {file.name for file in FILES if "openvino" in imports_of(file)[1]}
    assert users
    assert all(name.startswith("openvino") for name in users)


def test_importing_the_library_imports_nothing_heavy_and_nothing_of_slicer():
    code = (
        "import sys\n"
        "for name in ('slicer', 'vtk', 'qt', 'ctk'): sys.modules[name] = None\n"
        "import TuckerSegLib, TuckerSegLib.compression, TuckerSegLib.cli, TuckerSegLib.records.statistics\n"
        "print([name for name in ('torch', 'nnunetv2', 'tensorly', 'openvino', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "TuckerSeg", capture_output=True, encoding="utf-8")
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.slow
def test_every_public_name_is_what_it_says_and_no_module():
    code = (
        "import types\n"
        "import TuckerSegLib\n"
        "for name in TuckerSegLib.__all__:\n"
        "    exec(f'from TuckerSegLib import {name}')\n"
        "    assert not isinstance(locals()[name], types.ModuleType), name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "TuckerSeg", capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_importing_everything_leaves_the_global_state_of_torch_and_tensorly_alone():
    modules = [
        ".".join(file.relative_to(LIBRARY.parent).with_suffix("").parts)
        for file in FILES
        if file.name not in ("__init__.py", "__main__.py") and not file.name.endswith("_child.py")
        if part_of(file) != "slicer_bridge"
    ]
    code = (
        "import importlib, sys, torch, tensorly\n"
        "for name in ('slicer', 'vtk', 'qt', 'ctk'): sys.modules[name] = None\n"
        "def state():\n"
        "    return (torch.get_num_threads(), torch.get_default_dtype(), torch.backends.cudnn.benchmark,\n"
        "            torch.backends.cudnn.allow_tf32, torch.is_grad_enabled(), tensorly.get_backend())\n"
        "before = state()\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print(before == state())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "TuckerSeg", capture_output=True, encoding="utf-8")
    assert done.stdout.strip().endswith("True"), done.stderr


def test_only_one_function_swaps_modules():
    pattern = re.compile(r"\b_modules\[|register_module\(|add_module\(|setattr\(\w*(parent|network|module)")
    users = {part_of(file) + "/" + file.name for file in FILES if pattern.search(file.read_text(encoding="utf-8"))}
    assert users == {"compression/layers.py"}


def named_things(file: Path) -> set[str]:
    """Names of the variables, parameters and private functions of a file, without leading underscores."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("_"):
            names.add(node.name)
    return {name.strip("_") for name in names}


def test_every_name_says_its_thing():
    vague = {"found", "asked", "told", "some", "tried", "of", "it", "these", "those", "got", "what", "which"}
    users = {f"{file.relative_to(LIBRARY)}: {name}" for file in FILES for name in named_things(file) & vague}
    assert users == set()


def test_what_a_job_means_is_worked_out_in_one_place():
    """Below the command line, which also lists and downloads by name, nobody looks a job's task up a second time."""
    rooms = ("models", "segmentation", "estimation", "jobs", "worker")
    pattern = re.compile(r"\bcatalog\.task\(|\bspec_of_step\(|\.parts_with\(")
    users = {file.name for file in FILES if part_of(file) in rooms and pattern.search(file.read_text(encoding="utf-8"))}
    assert users == {"resolved_job.py", "planning.py"}, "planning.py defines spec_of_step"


@pytest.mark.slow
def test_what_a_process_prints_is_read_as_utf_8_whatever_the_locale_is():
    def decodes_by_locale(call: ast.Call) -> bool:
        return any(ast.unparse(word) in ("text=True", "universal_newlines=True") for word in call.keywords)

    found = [
        f"{file.name}:{node.lineno}"
        for file in sorted((ROOT / "TuckerSeg").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and decodes_by_locale(node)
    ]
    assert found == []


def test_json_is_read_in_one_file_within_bounds():
    users = {file.name for file in FILES if calls_of(file) & {"json.load", "json.loads", "json.JSONDecoder"}}
    assert users <= {"text_files.py", "folder.py"}


def test_only_what_shows_escapes_prints_and_only_what_disarms_cells_writes_csv():
    printing = {file for file in FILES if "print" in calls_of(file)}
    parts = {str(file.relative_to(LIBRARY)) for file in printing if part_of(file) != "benchmark"}
    assert parts <= {"cli/output.py", "cli/terminal.py", "dependencies/check.py"}
    writing = {file.name for file in FILES if calls_of(file) & {"csv.writer", "csv.DictWriter", "writer", "DictWriter"}}
    assert writing == {"text_files.py"}


def test_every_sub_command_is_a_module_of_its_name_and_help_imports_none():
    code = (
        "import sys\n"
        "from TuckerSegLib.cli.parser import COMMANDS, build_parser\n"
        "build_parser().format_help()\n"
        "assert not {name for name in sys.modules if name.startswith('TuckerSegLib.cli.commands') or name == 'torch'}\n"
        "print(*COMMANDS)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "TuckerSeg", capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    modules = [file for file in FILES if file.parent == LIBRARY / "cli" / "commands" and file.stem != "__init__"]
    assert sorted(file.stem for file in modules) == sorted(done.stdout.split())
    for file in modules:
        nodes = ast.parse(file.read_text(encoding="utf-8")).body
        assert file.stem in {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def test_every_compression_method_has_its_names():
    from TuckerSegLib import compression

    for name in compression.METHODS:
        module = compression.method(name)
        for part in ("Spec", "prepare", "plan", "apply", "describe"):
            assert hasattr(module, part), f"{name} lacks {part}"


def test_versions_agree():
    from TuckerSegLib import __version__

    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'^version = "(.*)"$', text, re.M).group(1) == __version__


def test_every_package_is_in_the_distribution():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = set(re.findall(r'^    "(TuckerSegLib[\w.]*)",$', text, re.M))
    folders = {".".join(file.relative_to(LIBRARY.parent).parent.parts) for file in FILES}
    assert listed == folders | {"TuckerSegLib.Resources"}
