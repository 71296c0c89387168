"""Distillation into a narrower network of the same labels, without labels of its own."""

from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from TuckerSegLib import load_model
from TuckerSegLib.cli.main import main
from TuckerSegLib.compression import pruning
from TuckerSegLib.compression.channel_graph import channel_graph
from TuckerSegLib.compression.layers import replace_modules
from TuckerSegLib.errors import Cancelled, SpecError
from TuckerSegLib.image import read_image
from TuckerSegLib.models.calibration import calibrate_model
from TuckerSegLib.models.compress import compress
from TuckerSegLib.models.description import describe
from TuckerSegLib.models.fresh import fresh_model
from TuckerSegLib.models.model_file import read_model_file
from TuckerSegLib.models.pruned_start import pruned_weights
from TuckerSegLib.models.student import MeanOfFolds, distill_model
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.nnunet.narrower import narrower_plans
from TuckerSegLib.training.distillation.settings import RepairSettings
from TuckerSegLib.training.distillation.split_network import LearningHead, SplitNetwork, picked
from TuckerSegLib.training.distillation.stage_ends import stage_loss

LABELS = {"background": 0, "ball": 1, "cube": 2}
SETTINGS = RepairSettings(steps=40, check_every=10, voxels=500, learning_rate=5e-3)

pytestmark = pytest.mark.usefixtures("one_thread", "signals_kept")


@pytest.fixture
def folder(make_model_folder):
    return make_model_folder(labels=LABELS, patch_shape=(16, 16, 16), folds=("0", "1"))


@pytest.fixture
def ct(shapes, tmp_path):
    path = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(shapes(7)[0], np.diag([3.0, 3.0, 3.0, 1.0])), path)
    return path


@pytest.mark.parametrize("residual", [False, True])
def test_a_narrower_network_keeps_kernels_and_depths_of_its_stages(make_model_folder, residual):
    plans = load_model(make_model_folder(residual=residual)).plans
    kwargs = narrower_plans(plans, base=4, stages=2).architecture.kwargs
    own = plans.architecture.kwargs
    assert (kwargs["n_stages"], kwargs["features_per_stage"]) == (2, [4, 8])
    assert kwargs["strides"] == own["strides"][:2] and kwargs["n_conv_per_stage_decoder"] == [1]
    assert narrower_plans(plans, base=8).architecture.kwargs["features_per_stage"] == [8, 16, 32]
    wide = narrower_plans(plans, base=7).architecture.kwargs["features_per_stage"]
    assert wide == [7, 14, 28]
    assert own["n_stages"] == 3  # the original's stay as they are
    for base, stages, words in ((9, None, "1 and 8"), (0, None, "found 0"), (4, 4, "2 and 3"), (4, 1, "found 1")):
        with pytest.raises(SpecError, match=words):
            narrower_plans(plans, base, stages)


def test_stages_are_compared_with_those_of_their_resolution_by_hand():
    wide = [torch.rand(1, 4, size, size, size) for size in (4, 2, 1, 2, 4)]
    assert float(stage_loss([wide[0], wide[1], wide[4]], wide, widths_differ=True)) == 0
    assert float(stage_loss([wide[0], wide[1], wide[0]], wide, widths_differ=True)) > 0  # the last is the decoder's
    own = torch.tensor([1.0, 1.0]).reshape(1, 1, 1, 1, 2)  # energy 1 1
    other = torch.tensor([[1.0, 3.0], [1.0, 3.0]]).reshape(1, 2, 1, 1, 2)  # energy 1 9, relative to its mean 0.2 1.8
    assert float(stage_loss([own], [other], widths_differ=True)) == pytest.approx(0.64 / 0.64)
    assert float(stage_loss([other[:, :1]], [other], widths_differ=True)) == pytest.approx(0, abs=1e-6)
    assert float(stage_loss([own], [other])) == 0  # without, other widths are not compared


def test_a_head_that_learns_gives_the_logits_and_gradients_of_the_whole_network(shapes_model):
    whole, split = shapes_model.network("0"), shapes_model.network("0")
    head = split.get_submodule(shapes_model.head_path)
    replace_modules(split, {head: LearningHead(head)})
    patch, voxels = torch.randn(1, 1, 16, 16, 16), torch.arange(0, 4096, 37)
    results = []
    for network in (whole, split):
        network.requires_grad_(True)
        held = SplitNetwork(network)
        logits = held.logits(picked(network(patch)[0].flatten(1), voxels))
        logits.square().mean().backward()
        results.append((logits, {name: each.grad for name, each in network.named_parameters()}))
    torch.testing.assert_close(*(logits for logits, _ in results))
    torch.testing.assert_close(*(gradients for _, gradients in results))
    assert results[0][1][f"{shapes_model.head_path}.weight"].abs().sum() > 0


def test_several_folds_teach_their_mean(folder):
    networks = [load_model(folder).network(fold) for fold in ("0", "1")]
    patch = torch.rand(1, 1, 16, 16, 16)
    expected = (networks[0](patch) + networks[1](patch)) / 2
    assert torch.allclose(MeanOfFolds(networks)(patch), expected, atol=1e-6)


def test_an_interrupted_distillation_goes_on_to_the_same_network(folder, ct, tmp_path):
    original, volumes = load_model(folder, folds=("0",)), [read_image(ct)]
    whole, record = distill_model(original, volumes, SETTINGS, 4)
    seen, later = [], []
    with pytest.raises(Cancelled):
        stopped = Monitor(seen.append, lambda: seen[-1].get("done") == 13)
        distill_model(original, volumes, SETTINGS, 4, state_folder=tmp_path, monitor=stopped)
    resumed, again = distill_model(original, volumes, SETTINGS, 4, state_folder=tmp_path, monitor=Monitor(later.append))
    assert [event["done"] for event in later if event["event"] == "progress"] == list(range(11, 41))
    assert again == record and record.losses[-1] < record.losses[0]
    assert all(torch.equal(weight, resumed.weights[name]) for name, weight in whole.weights.items())
    with pytest.raises(SpecError, match="at least one volume"):
        distill_model(original, [], SETTINGS, 4)


@pytest.fixture
def half_of():
    """A function: the narrower model of an original with fresh weights."""
    return lambda original, base=4, stages=None: fresh_model(narrower_plans(original.plans, base, stages), 0)


def test_a_pruned_start_is_the_original_with_the_channels_left_that_a_pruning_keeps(folder, half_of, ct):
    original, volume = load_model(folder, folds=("0",)), read_image(ct)
    whole = pruned_weights(original, half_of(original, 8), [volume])
    assert all(torch.equal(whole[name], weight) for name, weight in original.weights.items())
    student = half_of(original)
    start = pruned_weights(original, student, [volume])
    calibration = calibrate_model(original, volume)
    graph = channel_graph(original.structure(), original.plans.patch_shape, 1)
    spec = pruning.Spec(
        multiple=1, minimum=1, channels={path: group.channels // 2 for path, group in graph.groups.items()}
    )
    pruned = compress(original, spec, "prune", calibration=calibration)
    assert start.keys() == pruned.weights.keys() == student.weights.keys()
    assert all(torch.allclose(start[name], weight, atol=1e-6) for name, weight in pruned.weights.items())


def test_a_distillation_from_a_pruned_start_says_so_and_goes_on_from_it(folder, ct, tmp_path):
    original, volumes = load_model(folder, folds=("0",)), [read_image(ct)]
    few = replace(SETTINGS, steps=1, learning_rate=1e-9)
    student, record = distill_model(original, volumes, few, 8, start="pruned", state_folder=tmp_path)
    assert record.agreement == (1.0, 1.0)  # as wide as the original it is the original
    assert student.recipes[0].spec["start"] == "pruned"
    again, _ = distill_model(original, volumes, few, 8, start="pruned", state_folder=tmp_path)
    assert all(torch.equal(weight, again.weights[name]) for name, weight in student.weights.items())
    with pytest.raises(SpecError, match="fresh, pruned; found 'warm'"):
        distill_model(original, volumes, few, 8, start="warm")


@pytest.mark.parametrize("residual, stages", [(False, 2), (True, None)])
def test_a_start_that_no_pruning_gives_is_refused(make_model_folder, half_of, ct, residual, stages):
    original = load_model(make_model_folder(labels=LABELS, patch_shape=(16, 16, 16), residual=residual))
    with pytest.raises(SpecError, match="plain convolutions, not compressed, and all of its stages"):
        pruned_weights(original, half_of(original, 4, stages), [read_image(ct)])


def test_the_command_writes_an_ordinary_narrower_model(folder, ct, nnunet_predictor, capsys, tmp_path):
    output = tmp_path / "small.tuckerseg"
    quick = ("--steps", 3, "--check-every", 2, "--threads", 1, "--device", "cpu", "--precision", "fp32")
    command = ("distill", folder, "--out", output, "--base", 4, "--stages", 2, "--ct", ct, ct, *quick)
    assert main([str(each) for each in command]) == 0
    printed = capsys.readouterr().out
    assert "agreement on held-back crops" in printed and "million parameters" in printed
    model = read_model_file(output)
    assert describe(model) == "distill of 3 steps"
    assert (model.plans.labels, model.folds) == (load_model(folder).plans.labels, ("0",))
    assert model.plans.architecture.kwargs["features_per_stage"] == [4, 8]
    assert model.cost == model.original_cost
    exported = tmp_path / "nnunet"
    assert main(["export", str(output), "--format", "nnunet", "--out", str(exported)]) == 0
    (results,) = exported.glob("Dataset*/*")
    patch = torch.rand(1, 1, 16, 16, 16)
    with torch.inference_mode():
        logits = nnunet_predictor(results).network.eval()(patch)
        assert torch.allclose(logits, model.network("0")(patch), atol=1e-4)
    smaller = compress(model, pruning.Spec(0.5, policy="uniform", multiple=1, minimum=1), "prune")
    assert smaller.cost.parameters < model.cost.parameters
