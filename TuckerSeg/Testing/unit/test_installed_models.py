"""Models that are on this computer already: found where they lie, imported by name, removed."""

from __future__ import annotations

import shutil
import subprocess
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from TuckerSegLib import Job, catalog
from TuckerSegLib.cache import Cache
from TuckerSegLib.errors import DownloadError, ModelFolderError, SpecError
from TuckerSegLib.model_zoo import find_part, imported_models, installed, locate, models_folder, search_folders
from TuckerSegLib.model_zoo.importing import import_model, remove_model
from TuckerSegLib.models.loading import load_model
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.models.task import task_of
from TuckerSegLib.nnunet.folder import find_model_folder

TASK = catalog.task("total_fastest")
PART = TASK.parts[0]


@pytest.fixture
def model(make_model_folder) -> Path:
    return make_model_folder(name="Dataset077_Small")


def place(model: Path, results: Path, part: catalog.Part = PART) -> Path:
    """Put a network into a folder of results under the names of a part."""
    folder = results / part.dataset / part.configuration
    shutil.copytree(model, folder)
    return folder


@pytest.mark.parametrize("where", ["TOTALSEG_HOME_DIR", "TOTALSEG_WEIGHTS_PATH", "nnUNet_results", "home", "own"])
def test_models_of_other_programs_are_used_where_they_lie(model, tmp_path, own_models, monkeypatch, where):
    elsewhere = tmp_path / "elsewhere"
    if where == "home":
        monkeypatch.delenv("TOTALSEG_HOME_DIR")
        monkeypatch.setenv("HOME", str(elsewhere))
        monkeypatch.setenv("USERPROFILE", str(elsewhere))
        results = elsewhere / ".totalsegmentator" / "nnunet" / "results"
    elif where == "own":
        results = own_models
    else:
        monkeypatch.setenv(where, str(elsewhere))
        results = elsewhere / "nnunet" / "results" if where == "TOTALSEG_HOME_DIR" else elsewhere
    assert installed(TASK) is None
    folder = place(model, results)
    assert installed(TASK) == (folder,)
    assert locate("total_fastest") == (folder, ("0",))
    assert (elsewhere.exists() or where == "own") and not (own_models / "downloads").exists()


def test_tuckersegs_own_folder_comes_first(model, tmp_path, own_models, monkeypatch):
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    place(model, tmp_path / "results")
    own = place(model, own_models)
    assert find_part(PART) == own
    assert search_folders()[0] == own_models and search_folders()[-1] == tmp_path / "results"


@pytest.mark.parametrize("missing", ["plans.json", "dataset.json", "fold_0/checkpoint_final.pth"])
def test_a_model_that_is_not_whole_is_not_installed(model, own_models, missing):
    folder = place(model, own_models)
    assert find_part(PART) == folder
    (folder / missing).unlink()
    assert find_part(PART) is None
    with pytest.raises(DownloadError, match="total_fastest is not installed: download it first"):
        locate("total_fastest")


def test_another_training_of_the_data_set_is_not_taken_for_it(model, own_models):
    shutil.copytree(model, own_models / PART.dataset / "nnUNetTrainer__nnUNetPlans__3d_fullres")
    assert find_part(PART) is None


def test_the_built_in_task_is_always_there():
    assert installed(catalog.task("demo"))[0].joinpath("plans.json").is_file()
    assert locate("demo")[0].is_dir()


def test_a_task_of_several_networks_says_so(model, own_models):
    task = catalog.task("total_mr")
    for part in task.parts:
        place(model, own_models, part)
    with pytest.raises(ModelFolderError, match="total_mr consists of 2 networks; name one: Dataset850_"):
        locate("total_mr")
    assert locate(str(installed(task)[1]))[0] == installed(task)[1]
    assert locate(task.parts[1].dataset) == (installed(task)[1], task.parts[1].folds)


def test_unknown_names_are_errors_with_a_proposal():
    with pytest.raises(ModelFolderError, match="Did you mean total_fast"):
        locate("totl_fast")
    with pytest.raises(ModelFolderError, match="neither a known model nor an existing file or folder"):
        locate("/nowhere/xyz")
    with pytest.raises(DownloadError, match="face needs a license key"):
        locate("face")


def test_the_models_are_not_in_the_cache(monkeypatch, own_cache):
    monkeypatch.delenv("TUCKERSEG_MODELS_DIR")
    assert not models_folder().is_relative_to(own_cache)
    assert "cache" not in str(models_folder()).lower().replace(str(Path.home()).lower(), "")


def zipped(folder: Path, root: Path, target: Path) -> Path:
    return Path(shutil.make_archive(str(target), "zip", root, folder.relative_to(root)))


@pytest.mark.parametrize("kind", ["configuration", "dataset", "zip of configuration", "zip of files", "zip of dataset"])
def test_an_imported_model_is_copied_listed_and_used_by_its_name(model, tmp_path, own_models, kind):
    dataset = model.parent
    (model / "fold_0" / "validation").mkdir()
    (model / "fold_0" / "validation" / "case.nii.gz").write_bytes(b"large")
    source = {
        "configuration": lambda: model,
        "dataset": lambda: dataset,
        "zip of configuration": lambda: zipped(model, dataset, tmp_path / "a"),
        "zip of files": lambda: zipped(model, model, tmp_path / "b"),
        "zip of dataset": lambda: zipped(dataset, dataset.parent, tmp_path / "c"),
    }[kind]()
    expected = find_model_folder(source).sha256()
    imported = import_model(source, "my-model")
    assert imported_models() == (imported,)
    assert imported.title == "Dataset077_Small: 19 structures" and imported.source == str(source)
    assert imported.path == own_models / "imported" / "my-model"
    files = sorted(str(path.relative_to(imported.path)) for path in imported.path.rglob("*") if path.is_file())
    configuration = "nnUNetTrainer__nnUNetPlans__3d_fullres"
    assert files == [f"{configuration}/dataset.json", f"{configuration}/fold_0/checkpoint_final.pth",
                     f"{configuration}/plans.json", "tuckerseg.json"]  # fmt: skip
    shutil.rmtree(dataset)
    assert find_model_folder(locate("my-model")[0]).sha256() == expected
    assert remove_model("my-model") == [imported.path]
    assert imported_models() == () and list((own_models / "imported").iterdir()) == []


CASCADE = {"configuration_name": "3d_cascade_fullres", "previous_stage": "3d_lowres"}
THREE = {"labels": {"background": 0, "a": 1, "b": 2}}


def cascade(make_model_folder) -> Path:
    """The second stage of a cascade, with the first one beside it."""
    make_model_folder(configuration_name="3d_lowres", **THREE)
    return make_model_folder(**CASCADE | THREE, seed=1)


@pytest.mark.parametrize("kind", ["configuration", "dataset", "zip of dataset", "place in a zip"])
def test_a_cascade_is_imported_with_its_first_stage(make_model_folder, tmp_path, kind):
    second = cascade(make_model_folder)
    archive = zipped(second.parent, second.parents[1], tmp_path / "both")
    source = {
        "configuration": second,
        "dataset": second.parent,
        "zip of dataset": archive,
        "place in a zip": archive / second.relative_to(second.parents[1]),
    }[kind]
    import_model(source, "mine", configuration="3d_cascade_fullres")
    shutil.rmtree(second.parent)
    archive.unlink()
    (imported,) = imported_models()
    assert sorted(path.name for path in imported.path.iterdir() if path.is_dir()) == [
        second.name,
        "nnUNetTrainer__nnUNetPlans__3d_lowres",
    ]
    task = task_of(resolve(Job((), model="mine")), Cache())
    assert [part.name.split()[-1] for part in task.parts] == ["3d_lowres", "3d_cascade_fullres"]
    assert remove_model("mine") == [imported.path] and not imported.path.exists()


def test_a_cascade_without_its_first_stage_says_so_and_may_be_given_it(make_model_folder, tmp_path):
    second = cascade(make_model_folder)
    archive = zipped(second, second.parent, tmp_path / "second")
    with pytest.warns(UserWarning, match=r"3d_lowres.*was not imported.*name that stage in each run"):
        import_model(archive, "mine")
    with pytest.raises(ModelFolderError, match="second stage of a cascade"):
        task_of(resolve(Job((), model="mine")), Cache())
    first = second.with_name("nnUNetTrainer__nnUNetPlans__3d_lowres")
    task = task_of(resolve(Job((), model="mine", previous_stage=str(first))), Cache())
    assert len(task.parts) == 2


def test_a_cascade_with_a_first_stage_that_cannot_be_run_is_not_imported(make_model_folder):
    second = cascade(make_model_folder)
    checkpoint = second.with_name("nnUNetTrainer__nnUNetPlans__3d_lowres") / "fold_0" / "checkpoint_final.pth"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(ModelFolderError, match="cannot be read as an nnU-Net checkpoint"):
        import_model(second, "mine")
    shutil.rmtree(checkpoint.parents[1])
    make_model_folder(configuration_name="3d_lowres", previous_stage="3d_cascade_fullres", **THREE)
    with pytest.raises(ModelFolderError, match="cascade should end"):
        import_model(second, "mine")
    assert imported_models() == ()


def test_all_folds_of_a_model_are_imported(make_model_folder):
    model = make_model_folder(folds=("0", "1"))
    import_model(model, "both")
    assert load_model("both").folds == ("0", "1")


def test_only_models_that_can_be_run_are_imported(model, tmp_path, own_models):
    empty = tmp_path / "empty"
    empty.mkdir()
    two_dimensional = tmp_path / "Dataset002_Flat" / "nnUNetTrainer__nnUNetPlans__2d"
    shutil.copytree(model, two_dimensional)
    shutil.copytree(two_dimensional, two_dimensional.with_name("nnUNetTrainer__otherPlans__2d"))
    checkpoint = model / "fold_0" / "checkpoint_final.pth"
    for source, error, words in (
        (empty, ModelFolderError, "plans.json is missing"),
        (tmp_path / "nowhere", ModelFolderError, "no such file or folder"),
        (checkpoint.with_name("x.txt"), ModelFolderError, "no such file or folder"),
        (model / "plans.json", ModelFolderError, "is not a readable zip"),
        (two_dimensional.parent, ModelFolderError, "holds several models"),
    ):
        with pytest.raises(error, match=words):
            import_model(source, "name")
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(ModelFolderError, match="cannot be read as an nnU-Net checkpoint"):
        import_model(model, "name")
    assert imported_models() == ()
    assert list(own_models.rglob("*.pth")) == []


def test_a_zip_whose_entries_lie_too_deep_is_refused_before_its_folders_are_counted(model, tmp_path):
    """20 000 folders within each other have names of 400 MB in all."""
    archive = tmp_path / "deep.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a/" * 20_000 + "plans.json", "{}")
    tracemalloc.start()
    with pytest.raises(ModelFolderError, match="lies in more than 32 folders; nothing was unpacked"):
        import_model(archive, "deep")
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_a_zip_that_would_do_harm_is_not_imported(model, tmp_path):
    archive = zipped(model, model.parent, tmp_path / "harm")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("../outside.txt", b"harm")
    with pytest.raises(ModelFolderError, match="would leave its folder; nothing was unpacked"):
        import_model(archive, "name")


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", ".hidden", "", "x" * 65, "total", "two words", "CON", "nul.v2", "com1", "Aux.", "mine.", "mine.."],
)
def test_names_that_cannot_be_folders_or_are_taken_are_refused(model, name):
    with pytest.raises(SpecError):
        import_model(model, name)


def test_a_name_is_given_once(model):
    import_model(model, "mine")
    with pytest.raises(SpecError, match="There is a model 'mine' already"):
        import_model(model, "mine")


def test_only_what_is_tuckersegs_own_is_removed(model, tmp_path, own_models, monkeypatch):
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    other = place(model, tmp_path / "results")
    own = place(model, own_models)
    assert remove_model("total_fastest") == [own.parent]
    assert not own.exists() and find_part(PART) == other
    assert remove_model("total_fastest") == [] and other.is_dir()
    with pytest.raises(SpecError, match="neither a task nor an imported model"):
        remove_model("nothing")


def test_asking_what_is_installed_imports_nothing_heavy():
    import sys

    code = (
        "import sys\n"
        "from TuckerSegLib import catalog, model_zoo\n"
        "model_zoo.installed(catalog.task('total'))\n"
        "print([name for name in ('torch', 'nnunetv2', 'numpy', 'ssl') if name in sys.modules])"
    )
    library = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=library, capture_output=True, encoding="utf-8")
    assert done.stdout.strip() == "[]", done.stderr


def test_names_that_differ_only_in_case_are_one(model):
    import_model(model, "mine")
    with pytest.raises(SpecError, match="There is a model 'mine' already"):
        import_model(model, "MINE")
