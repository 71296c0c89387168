"""Names of classes in plans are looked up in tables: nothing else is imported or called."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from Testing.unit.plan_edits import ARCHITECTURE, ARGUMENTS, WRITTEN, edit
from TuckerSegLib.compressed_network import CompressedUNet
from TuckerSegLib.errors import ModelFolderError, UnsupportedModelError
from TuckerSegLib.model_zoo import imported_models
from TuckerSegLib.model_zoo.importing import import_model
from TuckerSegLib.models.loading import load_model
from TuckerSegLib.nnunet.network import build_network
from TuckerSegLib.nnunet.network_classes import NETWORKS, OPERATIONS, network_class, operation_class
from TuckerSegLib.nnunet.plans import Architecture

CALLABLES = (
    "torch.os.system",
    "torch.load",
    "torch.hub.load",
    "torch.hub.shutil.rmtree",
    "torch.serialization.os.remove",
    "torch.nn.modules.activation.torch.os.system",
    "torch.nn.modules.LeakyReLU.__init__",
    "torch.nn.Module",
    "torch.nn.Sequential",
    "torch.nn.LeakyReLU.__class__",
    "dynamic_network_architectures.architectures.unet.torch.os.system",
    "dynamic_network_architectures.building_blocks.residual.torch.os.system",
    "nnunetv2.training.nnUNetTrainer.nnUNetTrainer",
    "os.system",
    "builtins.exec",
    "subprocess.run",
    "torch.nn.NoSuchActivation",
    "torch.nn.LeakyReLU ",
    " torch.nn.LeakyReLU",
    "",
    "TuckerSegLib.compressed_network.CompressedUNet",
    17,
    ["torch.nn.ReLU"],
    {"torch.nn.ReLU": 1},
    True,
)

ROLES = ("conv_op", "norm_op", "dropout_op", "nonlin", "block")


@pytest.fixture
def model(make_model_folder, tmp_path_factory, tmp_path) -> Path:
    """A copy of a model that is written once."""
    if not WRITTEN:
        kept = tmp_path_factory.mktemp("written") / "model"
        shutil.copytree(make_model_folder("Dataset002_Once", residual=True), kept)
        WRITTEN.append(kept)
    return Path(shutil.copytree(WRITTEN[0], tmp_path / "Dataset001_Small" / "nnUNetTrainer__nnUNetPlans__3d_fullres"))


@pytest.fixture
def nothing_runs(monkeypatch, tmp_path):
    """Fails a test in which a command is run or a file removed; gives a command that would leave a trace."""
    called, remove_folder = [], shutil.rmtree

    def remove_own_folder(path, *arguments, **options):
        if Path(path).name.startswith(".tuckerseg-"):  # in which the program writes what it knows
            remove_folder(path, *arguments, **options)
        else:
            called.append("rmtree")

    monkeypatch.setattr(shutil, "rmtree", remove_own_folder)
    for home, name in ((os, "system"), (os, "remove"), (torch.hub, "load"), (subprocess, "run")):
        monkeypatch.setattr(home, name, lambda *arguments, name=name, **options: called.append(name))
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization.os, "system", lambda *arguments: called.append("system"))
        yield f"touch {tmp_path}/ran"
        assert called == [] and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", CALLABLES, ids=str)
@pytest.mark.parametrize("role", [*ROLES, "network_class_name"])
def test_a_name_that_is_not_in_the_tables_is_neither_imported_nor_called(model, nothing_runs, role, name):
    edit(model, (*ARGUMENTS, "nonlin_kwargs"), {"command": nothing_runs})
    edit(model, (*ARGUMENTS, "dropout_op_kwargs"), {"command": nothing_runs})
    if role == "network_class_name":
        edit(model, (*ARCHITECTURE, role), name)
    else:
        edit(model, (*ARGUMENTS, role), name)
        edit(model, (*ARCHITECTURE, "_kw_requires_import"), sorted({*ROLES[:4], role}))
    before = set(sys.modules)
    with pytest.raises((UnsupportedModelError, ModelFolderError), match=r"plans\.json"):
        load_model(model)
    assert not {module for module in set(sys.modules) - before if module.startswith("nnunetv2.training")}


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_model_that_names_a_command_is_not_imported(model, tmp_path, nothing_runs, kind):
    edit(model, (*ARGUMENTS, "nonlin"), "torch.os.system")
    edit(model, (*ARGUMENTS, "nonlin_kwargs"), {"command": nothing_runs})
    source = model
    if kind == "zip":
        source = Path(shutil.make_archive(str(tmp_path / "model"), "zip", model.parent.parent, model.parent.name))
    with pytest.raises(UnsupportedModelError, match=r"'torch\.os\.system' as nonlin"):
        import_model(source, "hostile")
    assert imported_models() == ()


def test_what_is_neither_listed_as_a_class_nor_one_is_refused(model, nothing_runs):
    edit(model, (*ARCHITECTURE, "_kw_requires_import"), ["conv_op", "norm_op", "nonlin", "features_per_stage"])
    with pytest.raises(ModelFolderError, match="_kw_requires_import"):
        load_model(model)


@pytest.mark.parametrize("name", ["torch.os.system", "builtins.exec", "torch.nn.Sequential", None, 3])
def test_an_exported_network_is_made_of_a_known_one(model, nothing_runs, name):
    edit(model, (*ARCHITECTURE, "network_class_name"), "TuckerSegLib.compressed_network.CompressedUNet")
    for key, value in (("network_class", name), ("recipes", []), ("unused_heads", [])):
        edit(model, (*ARGUMENTS, key), value)
    with pytest.raises(UnsupportedModelError, match="as the network"):
        load_model(model)


@pytest.mark.parametrize("found", [os.system, torch.nn.Sequential, "torch.os.system", None, dict])
def test_nnunet_cannot_make_the_exported_class_call_anything_else(nothing_runs, found):
    with pytest.raises(UnsupportedModelError, match="network_class"):
        CompressedUNet(1, 2, network_class=found, recipes=[])
    unet = network_class("dynamic_network_architectures.architectures.unet.PlainConvUNet")
    with pytest.raises(UnsupportedModelError, match="nonlin"):
        CompressedUNet(1, 2, network_class=unet, recipes=[], nonlin=found or os.system)


def test_every_name_of_the_tables_is_a_class_of_layers():
    for name in NETWORKS:
        assert issubclass(network_class(name), torch.nn.Module)
    for role, names in OPERATIONS.items():
        for name in names:
            assert issubclass(operation_class(role, name), torch.nn.Module)


@pytest.mark.parametrize(
    ("role", "name", "options"),
    [
        ("norm_op", "torch.nn.BatchNorm3d", {"eps": 1e-5, "affine": True, "momentum": 0.1}),
        ("norm_op", "torch.nn.InstanceNorm3d", {}),
        ("nonlin", "torch.nn.modules.activation.GELU", None),
        ("nonlin", "torch.nn.ReLU", {"inplace": True}),
        ("dropout_op", "torch.nn.Dropout3d", {"p": 0.2, "inplace": True}),
        ("conv_op", "torch.nn.Conv3d", None),
        ("block", "dynamic_network_architectures.building_blocks.residual.BasicBlockD", None),
    ],
)
def test_what_people_train_with_is_built(model, role, name, options):
    known = json.loads((model / "plans.json").read_text())["configurations"]["3d_fullres"]["architecture"]
    kwargs = {**known["arch_kwargs"], role: name, f"{role}_kwargs": options}
    if role in ("conv_op", "block"):
        del kwargs[f"{role}_kwargs"]
    architecture = Architecture(known["network_class_name"], kwargs, tuple(known["_kw_requires_import"]))
    with torch.device("meta"):
        network = build_network(architecture, 1, 3)
    assert name.rpartition(".")[2] in {type(module).__name__ for module in network.modules()}
