"""``tools/compare_networks.py``: what trainings leave beside Tucker and pruning alone at equal cost."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from TuckerSegLib import catalog, compress, load_model
from TuckerSegLib.compression import pruning
from TuckerSegLib.compression.channel_graph import channel_graph
from TuckerSegLib.hardware import torch_threads
from TuckerSegLib.models import calibration

TOOL = Path(__file__).resolve().parents[3] / "tools" / "compare_networks.py"


@pytest.fixture
def tool(monkeypatch, small_ct):
    spec = importlib.util.spec_from_file_location("compare_networks", TOOL)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(catalog, "DEMO_VOLUME", small_ct)  # resampling the torso takes long
    monkeypatch.setattr(calibration, "PATCHES_PER_VOLUME", 1)
    spec.loader.exec_module(module)
    return module


def test_rows_of_one_share_cost_about_the_same(
    tool, make_model_folder, make_shapes_dataset, small_ct, tmp_path, capsys, monkeypatch
):
    folder = make_model_folder(labels={"background": 0, "ball": 1, "cube": 2}, patch_shape=(16, 16, 16))
    model = load_model(folder)
    groups = channel_graph(model.structure(), (16, 16, 16), 1).groups
    fewer = {path: group.channels - 8 for path, group in groups.items() if group.channels > 16}
    pruned = compress(model, pruning.Spec(policy="uniform", multiple=1, minimum=1, channels=fewer), "prune")
    pruned.save(tmp_path / "small.tuckerseg")
    given = ["--dataset", make_shapes_dataset(), "--ct", small_ct, "--model", folder]
    options = ["--shares", "0.7", "--batches", 1, "--runs", 1]
    monkeypatch.setattr(
        sys, "argv", ["compare_networks.py", *map(str, [tmp_path / "small.tuckerseg", *given, *options])]
    )
    with torch_threads(1):
        tool.main()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["network", "MACs", "parameters", "validation Dice", f"agreement, {small_ct.name}", "seconds"]
    names = ["original", "small", *(f"{means} alone, as dear as small" for means in ("tucker", "prune"))]
    assert [row[0] for row in rows[2:]] == [*names, "tucker alone, 0.7", "small and tucker, 0.7"]
    macs = [float(row[1]) for row in rows[2:]]
    assert macs[0] == 1 and macs[1] == pytest.approx(pruned.cost.macs / model.cost.macs, abs=0.006)
    assert all(share <= macs[1] for share in macs[2:4]) and all(share <= 0.7 for share in macs[4:])
    assert rows[2][4] == "1.000" and all(float(row[5]) > 0 for row in rows[2:])
