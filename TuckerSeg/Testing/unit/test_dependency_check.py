"""What a check says of a Python: nothing installed, half installed, broken, complete."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
import venv
from pathlib import Path

import pytest

from TuckerSegLib.dependencies.report import DependencyReport, canonical, read_report, requirements

ROOT = Path(__file__).resolve().parents[3]


class BarePython:
    """A Python with nothing installed, into which packages can be put by hand, whole or broken."""

    def __init__(self, folder: Path):
        venv.create(folder, with_pip=False, symlinks=True)
        self.executable = next(path for path in folder.glob("*/python*") if path.stem == "python")
        self.site = next(folder.glob("**/site-packages"))

    def put_metadata(
        self, name: str, version: str = "1.0", record: bool = True, requires: tuple[str, ...] = ()
    ) -> Path:
        folder = self.site / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {text}" for text in requires]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")
        if record:
            (folder / "RECORD").write_text(f"{name.replace('-', '_')}/__init__.py,,\n")
        return folder

    def put_code(self, module: str, code: str = "") -> None:
        """Write a module, ``a.b.c``, with empty packages above it."""
        *packages, name = module.split(".")
        folder = self.site
        for package in packages:
            folder = folder / package
            folder.mkdir(exist_ok=True)
            (folder / "__init__.py").touch()
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "__init__.py").write_text(code)

    def put_all(self) -> None:
        for requirement in requirements():
            self.put_metadata(requirement.name, re.search(r"[\d.]+", requirement.specifier)[0])
            self.put_code(requirement.import_name)

    def check(self) -> DependencyReport:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "TuckerSeg")}
        done = subprocess.run(
            [self.executable, "-m", "TuckerSegLib.dependencies.check"],
            env=environment,
            capture_output=True,
            encoding="utf-8",
        )
        return read_report(done.stdout.splitlines(), done.returncode)

    def state(self, name: str):
        return next(state for state in self.check().packages if state.name == name)


@pytest.fixture
def python(tmp_path):
    return BarePython(tmp_path / "python")


def test_the_requirements_are_the_dependencies_of_the_distribution():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [str(requirement) for requirement in requirements()] == project["dependencies"]


def test_every_requirement_says_what_it_costs_and_what_for():
    assert all(item.download_mb > 0 and item.purpose and item.import_name for item in requirements())


def test_a_python_with_nothing_installed_is_described(python):
    report = python.check()
    assert report.failure == ""
    assert report.python and report.machine and report.executable
    assert Path(report.site_packages).resolve() == python.site.resolve()
    assert [state.name for state in report.missing] == [item.name for item in requirements()]
    assert report.broken == ()


def test_a_complete_python_lacks_nothing(python):
    python.put_all()
    report = python.check()
    assert report.missing == report.broken == ()
    assert report.installed["torch"] == "2.2"


def test_metadata_without_the_package_is_a_broken_package(python):
    python.put_metadata("tensorly", "0.10.0")
    state = python.state("tensorly")
    assert (state.version, state.culprit) == ("0.10.0", "tensorly")
    assert "ModuleNotFoundError" in state.error
    assert state.remnant is None


def test_a_folder_without_its_code_is_a_broken_package(python):
    python.put_metadata("torch", "2.13.0")
    (python.site / "torch" / "lib").mkdir(parents=True)
    state = python.state("torch")
    assert "only a folder" in state.error
    assert state.culprit == "torch"


def test_metadata_without_a_list_of_files_is_named_as_what_blocks_pip(python):
    folder = python.put_metadata("torch", "2.13.0", record=False)
    python.put_code("torch", "raise AttributeError('partially initialized')")
    state = python.state("torch")
    assert state.culprit == "torch"
    assert Path(state.remnant).resolve() == folder.resolve()


def test_an_import_that_raises_is_told_with_its_reason(python):
    python.put_metadata("openvino", "2026.4.1")
    python.put_code("openvino", "raise OSError('[WinError 126] The specified module could not be found')")
    state = python.state("openvino")
    assert state.version == "2026.4.1"
    assert state.error == "OSError: [WinError 126] The specified module could not be found"
    assert state.culprit == "openvino"


def test_the_package_that_is_broken_is_found_behind_the_one_that_imports_it(python):
    python.put_metadata("nnunetv2", "2.8.1")
    python.put_code("nnunetv2.utilities.plans_handling.plans_handler", "import blosc2")
    python.put_metadata("blosc2", "4.14.1")
    python.put_code("blosc2", "raise OSError('libblosc2.so: cannot open shared object file')")
    state = python.state("nnunetv2")
    assert "libblosc2" in state.error
    assert state.culprit == "blosc2"


def test_a_dependency_whose_files_are_gone_is_the_culprit(python):
    python.put_metadata("nnunetv2", "2.8.1")
    python.put_code("nnunetv2.utilities.plans_handling.plans_handler", "import blosc2")
    python.put_metadata("blosc2", "4.14.1")
    assert python.state("nnunetv2").culprit == "blosc2"


def test_a_dependency_that_was_never_installed_is_no_damage(python):
    python.put_metadata("nnunetv2", "2.8.1", requires=("blosc2>=3.3.2",))
    python.put_code("nnunetv2.utilities.plans_handling.plans_handler", "import blosc2")
    state = python.state("nnunetv2")
    assert state.error == "it needs blosc2, which is not installed"
    assert state.culprit is None
    assert state.requires == ("blosc2>=3.3.2",)


def test_an_import_that_ends_the_process_is_told_and_the_rest_is_kept(python):
    python.put_all()
    python.put_code("tensorly", "import os; os._exit(3)")
    report = python.check()
    assert [(state.name, state.culprit) for state in report.broken] == [("tensorly", "tensorly")]
    assert "ends Python (exit code 3)" in report.broken[0].error
    assert report.missing == ()


def test_a_package_without_metadata_is_known_by_its_own_version(python):
    python.put_code("SimpleITK", "__version__ = '2.5.0rc1.dev3'")
    state = python.state("SimpleITK")
    assert (state.version, state.error) == ("2.5.0rc1.dev3", "")


def test_what_packages_print_is_passed_over(python):
    python.put_all()
    python.put_code("tensorly", "import os; print('{\"kind\": \"end\"}'); os.write(1, b'half a line')")
    assert python.check().broken == ()


def test_a_python_that_is_too_old_is_recognized():
    assert DependencyReport(python="3.9.10").python_is_too_old
    assert not DependencyReport(python="3.12.10").python_is_too_old


def test_a_process_that_said_nothing_is_a_failure_in_words():
    assert "exit code 127" in read_report([], 127).failure


def test_names_are_compared_as_pip_does():
    assert canonical("Dynamic_Network.Architectures") == "dynamic-network-architectures"
