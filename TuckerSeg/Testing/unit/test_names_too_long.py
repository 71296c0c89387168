"""Names that no system takes, typed or in files, are names of nothing: told as any that is not there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import TuckerSegLib
from TuckerSegLib.cli.main import main

LIBRARY = Path(TuckerSegLib.__file__).parent
WITHIN_ZIP_FILES = [LIBRARY / name for name in ("nnunet/archives.py", "nnunet/folder.py", "image/dicom/sources.py")]
TOO_LONG = "x" * 300  # a name may have 255 bytes
COMMANDS = {
    "segment": ["segment", "NAME", "labels.nii.gz"],
    "segment, output": ["segment", "ct.nii.gz", "NAME.nii.gz"],
    "segment, model": ["segment", "ct.nii.gz", "labels.nii.gz", "--model", "NAME"],
    "check": ["check", "NAME"],
    "check, labels": ["check", "ct.nii.gz", "--labels", "NAME"],
    "bodyparts": ["bodyparts", "NAME"],
    "bodyparts, labels": ["bodyparts", "--labels", "NAME"],
    "bodyparts, network": ["bodyparts", "ct.nii.gz", "--bpr-model", "NAME"],
    "bodyparts, table": ["bodyparts", "ct.nii.gz", "--csv", "NAME"],
    "evaluate": ["evaluate", "NAME", "ct.nii.gz"],
    "evaluate, reference": ["evaluate", "ct.nii.gz", "NAME"],
    "evaluate, names": ["evaluate", "ct.nii.gz", "ct.nii.gz", "--labels", "NAME"],
    "calibrate": ["calibrate", "NAME"],
    "explore": ["explore", "NAME"],
    "inspect": ["inspect", "NAME"],
    "compress": ["compress", "NAME", "--out", "small.tuckerseg"],
    "export": ["export", "--model", "NAME", "--format", "nnunet", "--out", "folder"],
    "models": ["models", "import", "NAME"],
    "repair": ["repair", "NAME", "ct.nii.gz"],
    "finetune": ["finetune", "NAME", "--dataset", "NAME"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_name_that_is_too_long_is_told_in_words(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUCKERSEG_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "ct.nii.gz").write_bytes(b"")
    try:
        code = main([word.replace("NAME", TOO_LONG) for word in command])
    except SystemExit as end:
        code = end.code
    told = capsys.readouterr().err
    assert code and told
    assert "Unexpected" not in told


def test_whether_something_is_there_is_asked_in_the_way_that_never_fails():
    """``Path.exists`` and the like raise for names that are too long; ``os.path`` says that there is none."""
    asking = [
        f"{path.relative_to(LIBRARY)}:{node.lineno}"
        for path in sorted(LIBRARY.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in ("exists", "is_file", "is_dir")
        and not (isinstance(node.value, ast.Attribute) and node.value.attr == "path")
        and path not in WITHIN_ZIP_FILES
    ]
    assert asking == []
