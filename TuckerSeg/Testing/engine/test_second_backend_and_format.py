"""A second backend and a second export format are one module and one line each; the commands take them so."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import ModuleType

import pytest

from TuckerSegLib import export, hardware
from TuckerSegLib.cli.main import main
from TuckerSegLib.export.settings import Exported
from TuckerSegLib.export.staging import require_free
from TuckerSegLib.hardware import torch_cpu


@pytest.fixture
def folder(make_model_folder):
    return make_model_folder(patch_shape=(16, 16, 16))


def add(monkeypatch, package, table, **names):
    """Put a module of these names beside a package's own, and one line into its table."""
    module = ModuleType(f"{package.__name__}.second")
    vars(module).update(names)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(table, "second", "second")


def test_a_backend_is_listed_foretold_and_run(monkeypatch, run_here, folder, small_ct, tmp_path):
    prepared = []

    def prepare(load_network, device, spec):
        prepared.append(spec)
        return torch_cpu.prepare(load_network, device, spec)

    (processor,) = torch_cpu.devices()
    device = replace(processor, id="second:0", backend="second", name="Second processor")
    names = {"devices": lambda: [device], "prepare": prepare, "is_out_of_memory": torch_cpu.is_out_of_memory}
    add(monkeypatch, hardware, hardware.BACKENDS, **names)
    assert "Second processor" in run_here("devices")
    place = ("--device", "second:0", "--rank", 0.5, "--calibrate", "none", "--policy", "uniform")
    assert "second:0, fp32" in run_here("plan", small_ct, "--model", folder, *place)
    stats = tmp_path / "stats.json"
    run_here("segment", small_ct, tmp_path / "labels.nii.gz", "--model", folder, *place, "--stats", stats)
    found = json.loads(stats.read_text())
    assert (found["backend"], found["device"]) == ("second", "second:0")
    assert len(prepared) == 1


def test_a_format_is_offered_checked_and_written(monkeypatch, run_here, folder, tmp_path):
    def check(model, path, settings):
        require_free([path], settings.overwrite)

    def write(model, path, settings):
        path.write_text(json.dumps({"parameters": model.cost.parameters}))
        return Exported(path, (path,), 0.0)

    add(monkeypatch, export, export.FORMATS, OPTIONS=(), check=check, export=write)
    out = tmp_path / "network.second"
    asked = ("--rank", 0.5, "--calibrate", "none", "--policy", "uniform")
    assert f"Written: {out}" in run_here("export", folder, "--format", "second", "--out", out, *asked)
    assert json.loads(out.read_text())["parameters"] > 0
    assert main(["export", str(folder), "--format", "second", "--out", str(out)]) == 1, "it is there already"
