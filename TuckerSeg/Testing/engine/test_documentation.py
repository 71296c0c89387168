"""Every command line and every block of Python in README.md and docs/ is run, on a small model and small images."""

from __future__ import annotations

import dataclasses
import doctest
import os
import re
import shlex
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

import TuckerSegLib
from TuckerSegLib import catalog
from TuckerSegLib.benchmark import budgets
from TuckerSegLib.catalog import entries
from TuckerSegLib.cli import main
from TuckerSegLib.cli.parser import build_parser
from TuckerSegLib.image import read_image
from TuckerSegLib.layer_times import measured
from TuckerSegLib.models import allocation_making, calibration

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SMALL = {"patch_shape": (16, 16, 16)}
TASKS = ("total_fast", "total", "total_fastest")  # of the catalog, that the documents name
QUICK = {
    "repair": ["--steps", "2"],
    "finetune": ["--epochs", "1", "--iterations", "1"],
    "distill": ["--steps", "2"],
    "compare": ["--ranks", "0.7"],
    "explore": ["--factors", "0.5"],
}
LAYER_SECONDS = {f"{kind}.gmacs": 0.01 for kind in ("first", "kernel", "strided", "pointwise", "transposed")}
LAYER_SECONDS |= {f"int8.{kind}.gmacs": 0.005 for kind in ("kernel", "strided", "pointwise")}
LONGEST_README_BYTES = 9 * 1024
PUBLIC = [name for name in TuckerSegLib.__all__ if name != "__version__"]


def blocks(document: Path, language: str) -> list[str]:
    """Fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(encoding="utf-8"), re.M | re.S)


def commands(document: Path) -> list[list[str]]:
    """Words of every line of shell, comments left out."""
    lines = [line for block in blocks(document, "sh") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def with_any(documents, find) -> list:
    return [pytest.param(document, id=document.name) for document in documents if find(document)]


@pytest.fixture
def workplace(tmp_path, monkeypatch, make_model_folder, small_ct, make_shapes_dataset, install_tasks) -> Path:
    """A folder with everything that the documents name, where they stand for the reader's own files."""
    for name in ("CT.nii.gz", "A.nii.gz", "B.nii.gz"):
        shutil.copy(small_ct, tmp_path / name)
    (tmp_path / "CTs").mkdir()
    shutil.copy(small_ct, tmp_path / "CTs" / "CT.nii.gz")
    (tmp_path / "CTs" / "list.csv").write_text("image\nCT.nii.gz\n")
    folder = make_model_folder(name="Dataset001_Mine", labels={"background": 0, "ball": 1, "cube": 2}, **SMALL)
    shutil.copytree(folder.parent, tmp_path / "MODEL_FOLDER_OR_ZIP" / folder.parent.name)
    transformer = make_model_folder(name="Dataset002_Mine", transformer="Primus", **SMALL)
    shutil.copytree(transformer.parent, tmp_path / "PRIMUS_FOLDER" / transformer.parent.name)
    shutil.make_archive(str(tmp_path / "model"), "zip", folder.parent.parent, folder.parent.name)
    write_dicom_folder(tmp_path / "DICOM_FOLDER", small_ct)
    make_shapes_dataset(name="DatasetXXX_Name").rename(tmp_path / "DatasetXXX_Name")
    demo = make_model_folder(name="Dataset900_Demo", **SMALL).parent
    small = [dataclasses.replace(task, path=demo) if task.path else with_two_parts(task) for task in entries.tasks()]
    monkeypatch.setattr(entries, "tasks", lambda: tuple(small))
    monkeypatch.setattr(budgets, "write_standin", lambda _: (folder,))  # of full size, it takes minutes
    monkeypatch.setattr(budgets, "SHARES", (0.5,))
    monkeypatch.setattr(catalog, "DEMO_VOLUME", small_ct)  # resampling the torso takes long
    monkeypatch.setattr(calibration, "PATCHES_PER_VOLUME", 2)
    monkeypatch.setattr(allocation_making, "PLAIN", 1)  # networks that are made to find an agreement
    monkeypatch.setattr(allocation_making, "FITTED", 1)
    monkeypatch.setattr(measured, "measure", lambda *_: LAYER_SECONDS)  # a computer is measured by a test of its own
    install_tasks(*TASKS, **SMALL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_two_parts(task: entries.Task) -> entries.Task:
    """A task of the catalog, of whose networks the first and the last are enough here."""
    if len(task.parts) < 3 or not all(part.labels for part in task.parts):
        return task
    parts = (task.parts[0], task.parts[-1])
    values = {value for part in parts for _, value in part.labels}
    return dataclasses.replace(
        task, parts=parts, structures=tuple(each for each in task.structures if each[0] in values)
    )


def write_dicom_folder(folder: Path, ct: Path) -> None:
    import SimpleITK

    folder.mkdir()
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    image = SimpleITK.ReadImage(str(ct))
    for number in range(image.GetSize()[2]):
        slice_ = image[:, :, number]
        position = image.TransformIndexToPhysicalPoint((0, 0, number))
        for tag, value in {
            "0008|0060": "CT",
            "0020|000e": "1.2.3.4",
            "0020|000d": "1.2.3",
            "0020|0011": "4",
            "0020|0013": str(number),
            "0020|0032": "\\".join(map(str, position)),
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }.items():
            slice_.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{number:03d}.dcm"))
        writer.Execute(slice_)


@pytest.mark.parametrize("document", with_any(DOCUMENTS[1:], commands))
def test_every_command_does_what_the_document_says(document, workplace, capsys):
    segmented = read_image("CT.nii.gz")
    truth = np.ones(segmented.geometry.shape[::-1], np.uint8)
    nibabel.save(nibabel.Nifti1Image(truth, segmented.geometry.matrix), "truth.nii.gz")
    assert main(["segment", "CT.nii.gz", "truth.seg.nrrd"]) == 0
    for words in commands(document):
        if words[0].startswith("tools/"):  # needs an application of its own, and has a test of its own
            assert os.access(ROOT / words[0], os.X_OK)
            continue
        assert words[0] == "tuckerseg"
        code = main([*words[1:], *QUICK.get(words[1], [])])
        assert code == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"


def test_the_first_page_shows_commands_of_the_manual():
    manual = [words for document in DOCUMENTS[1:] for words in commands(document)]
    assert [words for words in commands(DOCUMENTS[0]) if words[0] != "make" and words not in manual] == []


def test_every_target_of_make_that_is_named_is_there():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    text = "\n".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    named = re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)
    assert {"demo", "test", "docs"} <= set(named) <= set(targets)


@pytest.mark.parametrize("document", with_any(DOCUMENTS, lambda document: blocks(document, "python")))
def test_every_block_of_python_runs(document, workplace, nnunet_predictor):
    for block in blocks(document, "python"):
        if "slicer.util" in block:  # the tests of the module run what these say, on real MRML
            compile(block, document.name, "exec")
            continue
        names = {}
        if "predictor" in block:
            names["predictor"] = nnunet_predictor(next(workplace.glob("MODEL_FOLDER_OR_ZIP/*/*")))
        exec(compile(block, document.name, "exec"), names)


def test_the_example_of_every_public_name_runs(workplace, nnunet_predictor):
    given = {
        "Path": Path,
        "hounsfield_units": read_image("CT.nii.gz").array[0],
        "predictor": nnunet_predictor(next(workplace.glob("MODEL_FOLDER_OR_ZIP/*/*"))),
    }
    public = {name: getattr(TuckerSegLib, name) for name in PUBLIC}
    for name, value in public.items():
        examples = doctest.DocTestParser().get_examples(value.__doc__)
        assert examples, f"{name} has no example"
        names = {**public, **given}
        for example in examples:
            exec(compile(example.source, f"example of {name}", "single"), names)


def test_the_reference_has_every_public_name():
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    listed = [line.removeprefix("::: ") for line in text.splitlines() if line.startswith("::: ")]
    public = [getattr(TuckerSegLib, name) for name in PUBLIC]
    homes = [f"{each.__module__}.{each.__qualname__}" for each in public]
    assert sorted(listed) == sorted(homes)


def test_every_link_leads_somewhere():
    broken = [
        f"{document.name}: {link}"
        for document in [*DOCUMENTS, ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md"]
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8"))
        if "://" not in link and not (document.parent / link).exists()
    ]
    assert broken == []


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= LONGEST_README_BYTES


def test_every_command_has_a_line_in_the_manual():
    page = ROOT / "docs" / "command-line.md"
    shown = {words[1] for words in commands(page)}
    known = set(build_parser()._subparsers._group_actions[0].choices)
    assert known - shown - {"worker", "serve", "benchmark", "demo"} == set()
