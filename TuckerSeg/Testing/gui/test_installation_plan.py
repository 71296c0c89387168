"""What is told before an installation: sizes, builds, pins, and what will get in the way."""

from __future__ import annotations

import shutil
import sys
import types
from collections import namedtuple

import pytest

SHIPPED = {"numpy": "2.0.2", "scipy": "1.13.1", "simpleitk": "2.5.0"}


@pytest.fixture
def plans(slicer_app, monkeypatch):
    """The module that plans, on a computer without graphics card, with room on its disk."""
    from TuckerSegLib.slicer_bridge.installation import obstacles as installation_warnings
    from TuckerSegLib.slicer_bridge.installation import plan as installation_plan

    monkeypatch.setattr(installation_plan, "has_nvidia_card", lambda: False)
    monkeypatch.setattr(installation_warnings, "has_nvidia_card", lambda: False)
    return installation_plan


@pytest.fixture
def give_nvidia_card(plans, monkeypatch):
    from TuckerSegLib.slicer_bridge.installation import obstacles as installation_warnings

    monkeypatch.setattr(plans, "has_nvidia_card", lambda: True)
    monkeypatch.setattr(installation_warnings, "has_nvidia_card", lambda: True)


@pytest.fixture
def give_extension(slicer_app, monkeypatch):
    import slicer

    monkeypatch.setattr(slicer.modules, "pytorchutils", object(), raising=False)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=object))


def make_report(installed=SHIPPED, **fields):
    """A check's report of an application that ships numpy, scipy and SimpleITK."""
    from TuckerSegLib.dependencies.report import DependencyReport, PackageState, requirements

    states = tuple(PackageState(item.name, installed.get(item.name.lower())) for item in requirements())
    standard = {"python": "3.12.10", "system": "Linux", "machine": "x86_64", "site_packages": "/"}
    return DependencyReport(**{**standard, "installed": dict(installed), "packages": states, **fields})


def test_what_is_missing_is_listed_with_its_size_and_purpose(plans):
    text = plans.plan_installation(make_report()).text()
    assert "- torch>=2.2,!=2.9.* (about 200 MB): runs the network" in text
    assert "numpy" not in text.partition("Already there")[0]
    assert "About 403 MB in all" in text
    assert "build for processors" in text


def test_torch_for_processors_comes_from_its_own_index_on_linux(plans):
    assert plans.plan_installation(make_report()).torch_index == "https://download.pytorch.org/whl/cpu"
    assert plans.plan_installation(make_report(system="Windows")).torch_index is None


def test_torch_for_nvidia_cards_is_large_and_said_to_be(plans, give_nvidia_card):
    plan = plans.plan_installation(make_report())
    assert plan.torch_index is None
    assert plan.download_mb > 2900
    assert "NVIDIA" in plan.text()


def test_a_card_that_will_not_be_used_is_a_warning(plans, give_nvidia_card):
    (warning,) = plans.plan_installation(make_report(system="Windows")).warnings
    assert "extension PyTorch" in warning


def test_the_extension_chooses_the_build_where_it_is_there(plans, give_nvidia_card, give_extension):
    plan = plans.plan_installation(make_report(system="Windows"))
    assert plan.asks_extension
    assert plan.warnings == ()
    assert not plans.plan_installation(make_report(), wheel_folder="/wheels").asks_extension


def test_everything_installed_is_pinned(plans):
    installed = {**SHIPPED, "requests": "2.34.2"}
    assert plans.plan_installation(make_report(installed)).constraints == (
        "numpy==2.0.2",
        "requests==2.34.2",
        "scipy==1.13.1",
        "simpleitk==2.5.0",
    )


def test_a_version_that_pip_cannot_read_is_not_pinned(plans):
    installed = {**SHIPPED, "simpleitk": "2.5.0rc1.dev368-gabcdef"}
    assert not any("simpleitk" in pin for pin in plans.plan_installation(make_report(installed)).constraints)


def test_what_goes_with_a_torch_that_is_replaced_may_move_with_it(plans):
    installed = {**SHIPPED, "torch": "2.9.1", "nvidia-cublas": "13.0", "triton": "3.5.0", "sympy": "1.14.0"}
    pins = " ".join(plans.plan_installation(make_report(installed)).constraints)
    assert "sympy" in pins
    assert not any(name in pins for name in ("torch", "nvidia", "triton"))


def test_a_build_that_pypi_has_not_is_repaired_from_its_own_index(plans):
    from dataclasses import replace

    report = make_report({**SHIPPED, "torch": "2.13.0+cu128"})
    broken = replace(report.packages[0], error="OSError: libcudart.so", culprit="torch")
    plan = plans.plan_installation(replace(report, packages=(broken, *report.packages[1:])))
    (repair,) = plan.repairs
    assert (str(repair), repair.index) == ("torch==2.13.0+cu128", "https://download.pytorch.org/whl/cu128")


def test_a_python_that_is_too_old_is_an_obstacle(plans):
    assert "Slicer 5.10" in plans.plan_installation(make_report(python="3.9.10")).obstacle


def test_what_slicer_ships_too_old_is_an_obstacle_and_no_upgrade(plans):
    obstacle = plans.plan_installation(make_report({**SHIPPED, "numpy": "1.24.0"})).obstacle
    assert "numpy: 1.24.0 is installed, >=1.26 is needed" in obstacle


def test_an_intel_build_on_a_mac_is_told_what_to_do(plans):
    report = make_report(system="Darwin", machine="x86_64")
    assert "arm64" in plans.plan_installation(report).obstacle
    assert plans.plan_installation(make_report(system="Darwin", machine="arm64")).obstacle == ""


def test_an_obstacle_stops_an_installation_before_it_asks(plans, slicer_app, monkeypatch):
    from TuckerSegLib.errors import DependencyError
    from TuckerSegLib.slicer_bridge.installation.install import install

    monkeypatch.setattr(type(slicer_app), "testingEnabled", lambda self: False)
    plan = plans.plan_installation(make_report(system="Darwin", machine="x86_64"))
    with pytest.raises(DependencyError, match="arm64"):
        install(plan, lambda text: pytest.fail("asked"))


def test_little_room_on_the_disk_is_a_warning(plans, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**12, 10**12 - 10**8, 10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    (warning,) = plans.plan_installation(make_report()).warnings
    assert "100 MB are free" in warning


def test_a_path_that_windows_would_cut_is_a_warning_before_it_happens(plans, monkeypatch):
    from TuckerSegLib.slicer_bridge.installation import obstacles as installation_warnings

    monkeypatch.setattr(installation_warnings, "long_paths_are_enabled", lambda: False)
    deep = "C:\\Users\\somebody\\AppData\\Local\\slicer.org\\Slicer 5.12.3\\lib\\Python\\Lib\\site-packages"
    (warning,) = plans.plan_installation(make_report(system="Windows", site_packages=deep)).warnings
    assert "LongPathsEnabled" in warning and "C:\\Slicer" in warning
    short = "C:\\Slicer\\lib\\Python\\Lib\\site-packages"
    assert plans.plan_installation(make_report(system="Windows", site_packages=short)).warnings == ()


def test_windows_is_asked_in_its_registry_whether_long_paths_are_enabled(plans, monkeypatch):
    from contextlib import nullcontext

    from TuckerSegLib.slicer_bridge.installation import obstacles as installation_warnings

    asked = []

    def query(key, name):
        asked.append(name)
        return (1, 4)

    registry = types.SimpleNamespace(
        HKEY_LOCAL_MACHINE=0, OpenKey=lambda root, path: nullcontext(path), QueryValueEx=query
    )
    monkeypatch.setitem(sys.modules, "winreg", registry)
    monkeypatch.setattr(sys, "platform", "win32")
    assert installation_warnings.long_paths_are_enabled()
    assert asked == ["LongPathsEnabled"]
    registry.QueryValueEx = lambda key, name: (0, 4)
    assert not installation_warnings.long_paths_are_enabled()
