"""Installing for real: pip, a Python of its own, and a folder of small wheels that bear the names of the large ones."""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path

import pytest

from Testing.gui.slicers_python import SHIPPED, SlicersPython, write_wheel, write_wheels


@pytest.fixture
def wheels(tmp_path):
    """A folder with all that is needed, and newer versions of what Slicer ships."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    write_wheels(folder)
    return folder


@pytest.fixture
def python(slicer_app, tmp_path, monkeypatch):
    """The application's Python, found as Slicer's functions find it; what this machine says to pip is left out."""
    for name in ("PIP_FIND_LINKS", "PIP_CONSTRAINT", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    python = SlicersPython(tmp_path / "python")
    (tmp_path / "bin").mkdir()
    launcher = tmp_path / "bin" / "PythonSlicer"
    launcher.write_text(f'#!/bin/sh\nexec "{python.executable}" "$@"\n')
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", f"{launcher.parent}:/usr/bin:/bin")
    monkeypatch.setattr(type(slicer_app), "testingEnabled", lambda self: False)
    return python


def _pip_install_of_slicer_5_12(requirements, blocking=True, logCallback=None, completedCallback=None, **options):
    import slicer

    assert options == {"show_progress": False}
    slicer.util.executePythonModule(
        "pip", ["install", *requirements], blocking, logCallback=logCallback, completedCallback=completedCallback
    )


@pytest.fixture(params=["5.12", "5.10"])
def slicer_version(request, slicer_app, monkeypatch):
    """How Slicer runs pip: with slicer.packaging, or with slicer.util alone."""
    import slicer

    if request.param == "5.12":
        packaging = types.SimpleNamespace(pip_install=_pip_install_of_slicer_5_12)
        monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    else:
        monkeypatch.setitem(sys.modules, "slicer.packaging", None)
        run = slicer.util.executePythonModule
        monkeypatch.setattr(slicer.util, "pip_install", lambda requirements: run("pip", ["install", *requirements]))
    return request.param


@pytest.fixture
def slicer_5_12(slicer_app, monkeypatch):
    packaging = types.SimpleNamespace(pip_install=_pip_install_of_slicer_5_12)
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)


@pytest.fixture
def complete(python, wheels):
    """The application's Python, with everything installed."""
    for wheel in wheels.glob("*.whl"):
        if "-99.0-" not in wheel.name and wheel.name != "acvl_utils-0.3.0-py3-none-any.whl":
            python.unpack(wheel)
    return python


@pytest.fixture
def installation(slicer_app):
    from TuckerSegLib.slicer_bridge.installation import install as installation

    return installation


@pytest.fixture
def install(installation, python, wheels):
    """A function that plans and installs from the folder of wheels; ``install.log`` and ``install.asked``."""

    def run(agree=True, wheel_folder=wheels):
        def confirm(text):
            run.asked.append(text)
            return agree

        plan = installation.plan_installation(wheel_folder=wheel_folder)
        return installation.install(plan, confirm, run.log.append)

    run.log, run.asked = [], []
    return run


def test_all_is_installed_and_nothing_that_slicer_ships_is_changed(install, python, slicer_version):
    result = install()
    assert len(install.asked) == 1
    assert "torch>=2.2" in install.asked[0]
    assert "Already there: SimpleITK 2.5.0, numpy 2.0.2, scipy 1.13.1." in install.asked[0]
    assert python.shipped() == SHIPPED
    assert python.installed()["torch"] == "2.13.0"
    assert python.installed()["acvl-utils"] == "0.2.6"
    assert python.installed()["imagecodecs"] == "2026.3.6"
    assert not result.needs_restart
    assert "torch 2.13.0" in result.changed
    assert any("Successfully installed" in line for line in install.log)


def test_a_log_that_is_printed_does_not_come_back_as_pip_s(installation, python, wheels, slicer_version, capsys):
    installation.install(installation.plan_installation(wheel_folder=wheels), lambda text: True, print)
    assert capsys.readouterr().out.count("Successfully installed torch-2.13.0") == 1


def test_where_all_is_there_nothing_is_asked(install, complete):
    result = install()
    assert install.asked == []
    assert result.changed == ()


def test_nothing_changes_where_the_user_does_not_agree(install, python, slicer_5_12):
    def installed():
        """Without what looking for packages by importing them leaves."""
        return sorted(path for path in python.site.rglob("*") if "__pycache__" not in path.parts)

    before = installed()
    assert install(agree=False) is None
    assert installed() == before
    assert install.log == []


def test_nothing_is_asked_or_installed_in_testing_mode(install, python, slicer_app, monkeypatch):
    from TuckerSegLib.errors import DependencyError

    monkeypatch.setattr(type(slicer_app), "testingEnabled", lambda self: True)
    with pytest.raises(DependencyError, match="testing mode"):
        install()
    assert install.asked == []
    assert "torch" not in python.installed()


def test_pip_refuses_rather_than_change_numpy(install, python, wheels, slicer_version):
    from TuckerSegLib.errors import DependencyError

    write_wheel(wheels, "numpy", "0.9")
    write_wheel(wheels, "tensorly", "0.11.0", ("numpy<1",))
    (wheels / "tensorly-0.10.0-py3-none-any.whl").unlink()
    with pytest.raises(DependencyError, match=r"numpy<1.*numpy==2\.0\.2"):
        install()
    assert python.shipped() == SHIPPED


def test_without_the_constraints_pip_would_have_changed_numpy(python, wheels):
    write_wheel(wheels, "numpy", "0.9")
    write_wheel(wheels, "tensorly", "0.11.0", ("numpy<1",))
    python.pip_install("--find-links", wheels, "tensorly")
    assert python.installed()["numpy"] == "0.9"


def test_what_only_training_needs_cannot_keep_segmentation_from_being_installed(install, python, wheels, slicer_5_12):
    (wheels / "imagecodecs-2026.3.6-py3-none-any.whl").unlink()
    result = install()
    installed = python.installed()
    assert installed["acvl-utils"] == "0.2.6"  # as the installed nnunetv2 wants it, not the newest
    assert installed["blosc2"] == "4.14.1"
    assert "imagecodecs" not in installed
    assert "connected-components-3d" not in installed
    assert python.shipped() == SHIPPED
    assert "nnunetv2 2.8.1" in result.changed
    assert any("imagecodecs could not be installed" in line for line in install.log)


def test_a_wheel_that_is_missing_in_the_folder_is_named(install, wheels, slicer_version):
    from TuckerSegLib.errors import DependencyError

    (wheels / "tensorly-0.10.0-py3-none-any.whl").unlink()
    with pytest.raises(DependencyError, match=r"tensorly could not be installed.*Add it to the folder of wheels"):
        install()


def test_a_package_without_its_files_is_repaired(install, complete, slicer_5_12):
    shutil.rmtree(complete.site / "tensorly")
    install()
    assert "tensorly==0.10.0, once more" in install.asked[-1]
    assert (complete.site / "tensorly" / "__init__.py").exists()


def test_metadata_that_keeps_pip_from_repairing_is_removed_first(install, complete, slicer_5_12):
    (complete.site / "torch-2.13.0.dist-info" / "RECORD").unlink()
    shutil.rmtree(complete.site / "torch")
    install()
    assert (complete.site / "torch-2.13.0.dist-info" / "RECORD").exists()
    assert (complete.site / "torch" / "__init__.py").exists()


def test_an_unpacking_that_was_cut_short_is_done_again(install, complete, slicer_5_12):
    """As after WinError 206: the code is there in part, the metadata is a folder with neither name nor list."""
    (complete.site / "torch-2.13.0.dist-info" / "RECORD").unlink()
    (complete.site / "torch-2.13.0.dist-info" / "METADATA").unlink()
    (complete.site / "torch" / "__init__.py").write_text("raise AttributeError('partially initialized module')")
    install()
    assert "torch>=2.2,!=2.9.*" in install.asked[-1]
    assert (complete.site / "torch-2.13.0.dist-info" / "RECORD").exists()
    assert (complete.site / "torch" / "__init__.py").read_text() == ""


def test_the_broken_package_behind_the_one_that_fails_is_repaired(install, complete, slicer_5_12):
    (complete.site / "blosc2" / "__init__.py").write_text("raise OSError('libblosc2.so: cannot open')")
    result = install()
    assert "blosc2==4.14.1, once more" in install.asked[-1]
    assert (complete.site / "blosc2" / "__init__.py").read_text() == ""
    assert result.report.broken == ()


def test_a_dependency_that_was_removed_is_installed_again(install, complete, slicer_5_12):
    shutil.rmtree(complete.site / "blosc2")
    shutil.rmtree(complete.site / "blosc2-4.14.1.dist-info")
    install()
    assert complete.installed()["blosc2"] == "4.14.1"


def test_a_version_that_is_excluded_is_replaced_and_a_restart_is_asked_for(
    install, complete, tmp_path, monkeypatch, slicer_5_12
):
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))  # as another extension would have done
    shutil.rmtree(complete.site / "torch-2.13.0.dist-info")
    complete.unpack(write_wheel(tmp_path, "torch", "2.9.1"))
    result = install()
    assert complete.installed()["torch"] == "2.13.0"
    assert result.loaded == ("torch",)
    assert "Restart Slicer" in result.words


def test_what_was_installed_but_cannot_be_imported_is_said(install, complete, wheels, slicer_5_12):
    from TuckerSegLib.errors import DependencyError

    shutil.rmtree(complete.site / "openvino-2026.4.1.dist-info")
    shutil.rmtree(complete.site / "openvino")
    write_wheel(wheels, "openvino", "2026.4.1", modules={"openvino": "raise ImportError('DLL load failed')"})
    with pytest.raises(DependencyError, match=r"cannot all be used(.|\n)*openvino 2026.4.1: ImportError: DLL"):
        install()


class FakeExtension:
    """The PyTorch extension's logic: installs another build of torch than pip would have chosen."""

    wheel: Path
    python: SlicersPython
    fails = False

    def installTorch(self, askConfirmation=False, torchVersionRequirement=None):
        assert torchVersionRequirement == ">=2.2,!=2.9.*"
        if self.fails:
            raise TypeError("installTorch() got an unexpected keyword argument")
        self.python.unpack(self.wheel)
        return object()


@pytest.fixture
def extension(python, tmp_path, monkeypatch):
    import slicer

    extension = type("PyTorchUtilsLogic", (FakeExtension,), {"python": python})
    extension.wheel = write_wheel(tmp_path, "torch", "2.12.0")
    monkeypatch.setattr(slicer.modules, "pytorchutils", object(), raising=False)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=extension))
    return extension


@pytest.fixture
def index(wheels, monkeypatch):
    """The wheels as what "the internet" has."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))


def test_the_pytorch_extension_installs_torch_where_it_is_there(install, python, extension, index, slicer_5_12):
    install(wheel_folder=None)
    assert "extension PyTorch chooses" in install.asked[0]
    assert python.installed()["torch"] == "2.12.0"


def test_pip_installs_torch_where_the_extension_fails(install, python, extension, index, slicer_5_12):
    extension.fails = True
    install(wheel_folder=None)
    assert python.installed()["torch"] == "2.13.0"
    assert any("extension failed" in line for line in install.log)
