"""UNETR with tokens of 8 voxels as a model: from plans to labels, files and other programs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from Testing.small_models import transformer_architecture
from TuckerSegLib import InferenceSpec, TuckerSpec, compress, compression, load_model, segment
from TuckerSegLib.errors import SpecError
from TuckerSegLib.export.nnunet_folder import export
from TuckerSegLib.export.settings import ExportSettings
from TuckerSegLib.hardware.openvino_convert import to_model
from TuckerSegLib.nnunet.network import build_network
from TuckerSegLib.nnunet.plans import Architecture

EXACT = InferenceSpec(precision="fp32", device="torch:cpu")
tokens = compression.method("tokens")


@pytest.fixture(params=["UNETR", "TokenSparse"])
def model(request, make_model_folder):
    return load_model(make_model_folder(transformer=request.param))


def test_a_folder_is_segmented_compressed_saved_and_exported(model, oblique_ct, tmp_path, run_here):
    labels = segment(str(oblique_ct), model, EXACT).labels
    smaller = compress(model, TuckerSpec.paper(0.5))
    assert smaller.cost.macs < model.cost.macs
    smaller.save(tmp_path / "smaller.tuckerseg")
    place = export(smaller, tmp_path / "results", ExportSettings()).place
    expected = segment(str(oblique_ct), smaller, EXACT).labels
    for path in (tmp_path / "smaller.tuckerseg", place):
        assert np.array_equal(segment(str(oblique_ct), load_model(path), EXACT).labels, expected)
    assert labels.shape == expected.shape
    assert "As torchprofile counts" in run_here("inspect", "--model", tmp_path / "smaller.tuckerseg")


def test_tokens_of_a_dense_one_leave_without_training_and_those_of_a_sparse_one_have_left(make_model_folder):
    dense = load_model(make_model_folder(transformer="UNETR"))
    sparse = compress(dense, tokens.Spec(0.5, agreement=0), "tokens")
    assert sparse.cost.macs < dense.cost.macs and sparse.cost.parameters == dense.cost.parameters
    with torch.inference_mode():
        patch = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(1))
        found, expected = (each.network("0").encoder(patch) for each in (sparse, dense))
    # The first level follows the first block after which tokens leave: those that stay are as they were
    assert [each.shape for each in found] == [each.shape for each in expected]
    assert not torch.equal(found[-1], expected[-1])
    learned = load_model(make_model_folder(name="Dataset003_Sparse", transformer="TokenSparse"))
    with pytest.raises(SpecError, match="leaves out tokens itself"):
        compress(learned, tokens.Spec(0.5, agreement=0), "tokens")


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_openvino_gives_the_same_logits():
    import openvino

    class_name, kwargs = transformer_architecture("TokenSparse", (16, 16, 32))
    torch.manual_seed(0)
    network = build_network(Architecture(class_name, kwargs, ()), 1, 3)
    converted = to_model(network, (1, 1, 16, 16, 32), "f32", lambda _: None, channels_last=False)
    compiled = openvino.Core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    patch = torch.randn(1, 1, 16, 16, 32)
    with torch.inference_mode():
        np.testing.assert_allclose(compiled(patch.numpy())[0], network(patch).numpy(), rtol=1e-3, atol=1e-4)
