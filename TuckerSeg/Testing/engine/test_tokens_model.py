"""Token sparsification of a model: from the command line to files, other devices and other programs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from Testing.small_models import transformer_architecture
from TuckerSegLib import InferenceSpec, TuckerSpec, compress, compression, load_model, segment
from TuckerSegLib.export import exporter
from TuckerSegLib.export.checking import sample_patch
from TuckerSegLib.export.nnunet_folder import export
from TuckerSegLib.export.settings import ExportSettings
from TuckerSegLib.export.whole_network import whole_network
from TuckerSegLib.hardware.openvino_convert import to_model
from TuckerSegLib.models.description import describe
from TuckerSegLib.nnunet.network import build_network
from TuckerSegLib.nnunet.plans import Architecture
from TuckerSegLib.segmentation.running_form import rewrite

EXACT = InferenceSpec(precision="fp32", device="torch:cpu")
Spec = compression.method("tokens").Spec
HALF = Spec(0.5, agreement=0)
AIR = (-400 - 20) / 300  # of the plans of the small models


@pytest.fixture
def model(make_model_folder):
    return load_model(make_model_folder(transformer="Primus"))


@torch.inference_mode()
def logits_of(network: torch.nn.Module) -> torch.Tensor:
    return network(torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(1)))


def test_a_model_keeps_its_weights_and_costs_less(model, tmp_path):
    sparse = compress(model, HALF, "tokens")
    assert sparse.cost.macs < model.cost.macs and sparse.cost.parameters == model.cost.parameters
    assert sparse.recipes[-1].spec["air"] == pytest.approx(AIR)
    assert describe(sparse).startswith("0.50 of the tokens kept after each of the blocks 1, 2, 3")
    assert not torch.equal(logits_of(sparse.network("0")), logits_of(model.network("0")))
    sparse.save(tmp_path / "sparse.tuckerseg")
    saved = load_model(tmp_path / "sparse.tuckerseg")
    assert torch.equal(logits_of(saved.network("0")), logits_of(sparse.network("0")))
    assert compress(model, Spec.at(1.0), "tokens") is model


def test_by_default_tokens_are_merged(model, tmp_path):
    merged = compress(model, Spec(0.5, agreement=0, merged=True), "tokens")
    assert Spec.at(0.5).merged and Spec.at(0.5).paired
    assert describe(merged).startswith("0.50 of the tokens kept, neighbours")
    merged.save(tmp_path / "merged.tuckerseg")
    saved = load_model(tmp_path / "merged.tuckerseg")
    assert torch.equal(logits_of(saved.network("0")), logits_of(merged.network("0")))
    assert not torch.equal(logits_of(saved.network("0")), logits_of(model.network("0")))


def test_a_network_whose_labels_would_change_too_much_stays_as_it_is(model, monkeypatch):
    from TuckerSegLib.compression.tokens import material

    patches = []
    monkeypatch.setattr(material, "agreement_of_labels", lambda labels, expected: patches.append(len(labels)) or 0.5)
    assert compress(model, Spec(0.5, agreement=0.6), "tokens") is model
    assert patches == [2] * 5  # of the built-in torso, for every share
    agreeing = compress(model, Spec(0.5, agreement=0.4), "tokens")
    assert agreeing.recipes[-1].changes[0].details["keep_ratio"] == 0.5


def test_convolutions_are_decomposed_beside_it(model, oblique_ct, nnunet_predictor, nnunet_labels, tmp_path):
    both = compress(compress(model, HALF, "tokens"), TuckerSpec.paper(0.5))
    assert [recipe.method for recipe in both.recipes] == ["tokens", "tucker"]
    place = export(both, tmp_path / "results", ExportSettings()).place
    expected = nnunet_labels(nnunet_predictor(place), [oblique_ct])
    for each in (both, load_model(place)):
        # How many tokens go on is a matter of each patch, and a token more or less of rounding: nearly all voxels
        assert (segment(str(oblique_ct), each, EXACT).labels == expected).mean() > 0.999


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("spec", [HALF, Spec(0.5, agreement=0, merged=True)], ids=["left out", "merged"])
def test_a_file_for_other_programs_keeps_a_fixed_number_and_is_compared_so(make_model_folder, tmp_path, spec):
    pytest.importorskip("onnx")
    dense = load_model(make_model_folder(transformer="Primus", patch_shape=(16, 64, 16)))
    sparse = compress(dense, spec, "tokens")
    patch = sample_patch(sparse)
    with torch.inference_mode():
        assert not torch.equal(whole_network(sparse)(patch), sparse.network("0")(patch))  # a part of it is air
    written = exporter("onnx").export(sparse, tmp_path / "sparse.onnx", ExportSettings())
    assert written.difference is None or written.difference < 1e-4


def random_primus() -> torch.nn.Module:
    class_name, kwargs = transformer_architecture("Primus", (16, 16, 32))
    network = build_network(Architecture(class_name, {**kwargs, "eva_depth": 2}, ()), 1, 3)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    return network


def sparsified(network: torch.nn.Module, spec) -> torch.nn.Module:
    compression.method("tokens").apply(network, compression.method("tokens").plan(network, spec, (16, 16, 32)))
    return network


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_openvino_merges_what_each_patch_lets_it_merge():
    import openvino

    network = sparsified(random_primus(), Spec(0.7, agreement=0, air=AIR, merged=True, paired=True))
    rewrite(network, processor=True)
    converted = to_model(network, (1, 1, 16, 16, 32), "f32", lambda _: None, channels_last=False)
    compiled = openvino.Core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    numbers = []
    network.eva.blocks[0].register_forward_pre_hook(lambda block, inputs: numbers.append(inputs[0].shape[1]))
    for seed, air in ((1, 32), (2, 8), (3, 20)):
        patch = torch.randn(1, 1, 16, 16, 32, generator=torch.Generator().manual_seed(seed))
        patch[..., air:] = AIR - 1
        with torch.inference_mode():
            np.testing.assert_allclose(compiled(patch.numpy())[0], network(patch).numpy(), rtol=1e-3, atol=1e-4)
    assert len(set(numbers)) == 3


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_openvino_finds_merged_tokens_again_in_half_precision():
    """Places are whole numbers there, too: bf16 has none above 256."""
    import openvino

    class_name, kwargs = transformer_architecture("Primus", (32, 32, 32))
    kwargs = {**kwargs, "eva_depth": 1, "patch_embed_size": (4, 4, 4)}
    network = build_network(Architecture(class_name, kwargs, ()), 1, 3)
    spec = Spec(0.7, agreement=0, merged=True, paired=True)
    compression.method("tokens").apply(network, compression.method("tokens").plan(network, spec, (32, 32, 32)))
    converted = to_model(network, (1, 1, 32, 32, 32), "bf16", lambda _: None, channels_last=False)
    compiled = openvino.Core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    patch = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = network(patch)
    halves = torch.from_numpy(np.asarray(compiled(patch.numpy()).to_tuple()[0]).view(np.int16)).view(torch.bfloat16)
    assert ((halves.float() - expected).norm() / expected.norm()).item() < 0.05


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("learned", [False, True])
def test_openvino_keeps_a_fixed_number_of_tokens(learned):
    import openvino

    network = sparsified(random_primus(), Spec(0.5, agreement=0, air=AIR, learned=learned))
    for parameter in network.eva.passage.parameters():  # of what learns
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    converted = to_model(network, (1, 1, 16, 16, 32), "f32", lambda _: None, channels_last=False)
    compiled = openvino.Core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    patch = torch.randn(1, 1, 16, 16, 32, generator=torch.Generator().manual_seed(1))
    patch[..., 8:] = AIR - 1  # a body in a quarter of the patch: of fixed numbers all of it stays
    fixed = torch.jit.trace(network, patch, check_trace=False)
    with torch.inference_mode():
        np.testing.assert_allclose(compiled(patch.numpy())[0], fixed(patch).numpy(), rtol=1e-3, atol=1e-4)
        assert not torch.equal(fixed(patch), network(patch))


def test_the_command_line_tells_what_is_left_out(make_model_folder, run_here):
    folder = make_model_folder(transformer="Primus")
    options = ("--method", "tokens:0.5", "--token-agreement", 0, "--token-blocks", 0, 2)
    printed = run_here("inspect", "--model", folder, *options)
    assert "0.50 after 1, 3" in printed
    printed = run_here("inspect", "--model", folder, "--method", "tokens:0.5", "--token-agreement", 0)
    assert "0.50, others merged" in printed
    assert "for transformers" in _error_of(run_here, make_model_folder(name="Dataset002_Unet"), *options)


def test_a_run_is_foretold(make_model_folder, run_here, small_ct):
    folder = make_model_folder(transformer="Primus")
    printed = run_here("plan", small_ct, "--model", folder, "--method", "tokens:0.5", "--device", "torch:cpu")
    assert "MACs" in printed or "FLOPs" in printed


def _error_of(run_here, folder, *options) -> str:
    with pytest.raises(AssertionError) as raised:
        run_here("inspect", "--model", folder, *options)
    return str(raised.value)
