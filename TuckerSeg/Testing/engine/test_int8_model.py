"""INT8 quantization of a whole model: calibrated, kept, read again, exported, estimated, repaired."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from TuckerSegLib import Cache, InferenceSpec, Job, TuckerSpec, compress, load_model, run_job, segment
from TuckerSegLib.compression import int8
from TuckerSegLib.compression.calibration import Calibration
from TuckerSegLib.errors import ModelFileError, SpecError
from TuckerSegLib.estimation.network import Estimator
from TuckerSegLib.export import exporter
from TuckerSegLib.export.settings import ExportSettings
from TuckerSegLib.measurements import Measurements
from TuckerSegLib.models.architecture_key import whole_share
from TuckerSegLib.models.calibration import calibrate_model, store_calibration, stored_calibration
from TuckerSegLib.models.description import describe
from TuckerSegLib.models.distillation import repair_model
from TuckerSegLib.models.job_compression import compress_for_job
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.records.job import steps_at
from TuckerSegLib.tensor_file import read_tensors
from TuckerSegLib.training.distillation.settings import RepairSettings

PATCH = (16, 16, 16)
PATH = "decoder.stages.1.convs.0.conv"


@pytest.fixture
def original(make_model_folder):
    return load_model(make_model_folder(patch_shape=PATCH, normalization="ZScoreNormalization"))


@pytest.fixture
def calibration(original, small_image):
    return calibrate_model(original, small_image, threads=1)


@pytest.fixture
def quantized(original, calibration):
    return compress(original, int8.Spec(), "int8", calibration=calibration)


@torch.inference_mode()
def logits(model):
    return model.network("0")(torch.randn(1, 1, *PATCH, generator=torch.Generator().manual_seed(1)))


def test_a_quantized_model_is_told_kept_and_refused_where_its_numbers_are_wrong(original, quantized, tmp_path):
    assert describe(quantized).startswith("int8, ")
    assert quantized.weights[f"0/{PATH}.weight"].dtype == torch.int8
    difference = (logits(quantized) - logits(original)).square().mean() / logits(original).square().mean()
    assert 0 < difference < 0.02
    file = tmp_path / "small.tuckerseg"
    quantized.save(file)
    original.save(tmp_path / "large.tuckerseg")
    assert file.stat().st_size < 0.7 * (tmp_path / "large.tuckerseg").stat().st_size
    assert read_tensors(file)[0][f"0/{PATH}.weight"].dtype == torch.int8
    read = load_model(file)
    torch.testing.assert_close(logits(read), logits(quantized), atol=0, rtol=0)
    for name, value, words in (
        (f"{PATH}.input_scale", torch.tensor([1.0, 0.0]), "input_scale"),
        (f"{PATH}.input_zero_point", torch.tensor([1, 300], dtype=torch.int32), "input_zero_point"),
        (f"{PATH}.weight", quantized.weights[f"0/{PATH}.weight"].to(torch.int64), r"torch.int8.*found torch.int64"),
    ):
        replace(quantized, weights={**quantized.weights, f"0/{name}": value}).save(tmp_path / "wrong.tuckerseg")
        with pytest.raises(ModelFileError, match=words):
            load_model(tmp_path / "wrong.tuckerseg")


def test_a_run_tells_the_bytes_of_weights_in_their_types(quantized, small_image):
    statistics = segment(small_image, quantized, InferenceSpec(device="torch:cpu", threads=1)).statistics
    assert statistics.original_model_bytes == 4 * statistics.original_parameters
    assert statistics.model_bytes == quantized.cost.weight_bytes < 0.5 * 4 * statistics.parameters


@pytest.mark.filterwarnings("ignore:.*has no ranges")
def test_a_calibration_without_ranges_is_made_anew(original, calibration, small_image, small_ct):
    tensors = {name: each for name, each in calibration.folds["0"].to_tensors().items() if "magnitudes" not in name}
    early = replace(calibration, folds={"0": Calibration.from_tensors(tensors)})
    cache = Cache()
    store_calibration(original, early, cache)
    assert not stored_calibration(original, cache).has_ranges
    job = Job((str(small_ct),), model=original.name, steps=steps_at(0.05, "int8"))
    smaller = compress_for_job(original, resolve(job), cache, Monitor(), lambda: small_image)
    assert describe(smaller).startswith("int8, ")
    assert stored_calibration(original, cache).has_ranges


def test_cores_of_a_decomposed_network_are_quantized(original, small_image):
    decomposed = compress(original, TuckerSpec(0.5, minimum_rank=2, rank_multiple=1), "tucker")
    calibration = calibrate_model(decomposed, small_image, threads=1)
    spec = int8.Spec(keep_pointwise=False)
    both = compress(decomposed, spec, "int8", calibration=calibration)
    cores = [change.path for change in both.recipes[1].changes if change.skipped_because is None]
    assert f"{PATH}.0" in cores and f"{PATH}.1" in cores and f"{PATH}.2" in cores
    expected = logits(decomposed)
    assert (logits(both) - expected).square().mean() < 0.02 * expected.square().mean()
    factors = int8.prepare(
        decomposed.network("0"), spec, calibration.folds["0"], lambda facts, make, read: read(make())
    ).factors
    assert f"{PATH}.0" in factors, "between factors the scale of each rank is free"


def test_a_later_step_leaves_quantized_layers_alone(quantized):
    plan = [change for change in quantized.recipes[0].changes if change.skipped_because is None]
    assert {change.details["parts"][0] for change in plan} >= {8, 16}
    with pytest.raises(SpecError, match="compressed already by the method int8"):
        compress(quantized, int8.Spec(), "int8")


@pytest.mark.parametrize(("kind", "name"), [("nnunet", ""), ("openvino", "small.xml"), ("onnx", "small.onnx")])
def test_it_is_exported(quantized, tmp_path, kind, name):
    if kind == "onnx":
        pytest.importorskip("onnx")
    (tmp_path / "out").mkdir()
    written = exporter(kind).export(quantized, tmp_path / "out" / name, ExportSettings())
    if kind == "nnunet":
        again = load_model(written.place)
        assert again.weights[f"0/{PATH}.weight"].dtype == torch.int8
        torch.testing.assert_close(logits(again), logits(quantized), atol=0, rtol=0)
    elif kind == "openvino":
        binary = (tmp_path / "out" / "small.bin").stat().st_size
        assert binary < 0.6 * 4 * quantized.cost.parameters
        assert 'element_type="i8"' in (tmp_path / "out" / "small.xml").read_text()
    else:
        import onnx

        graph = onnx.load(tmp_path / "out" / name).graph
        kinds = [node.op_type for node in graph.node]
        assert kinds.count("QuantizeLinear") >= 4
        assert sum(tensor.data_type == onnx.TensorProto.INT8 for tensor in graph.initializer) == 4


def test_its_times_are_not_those_of_the_original(original, quantized, small_ct, small_image):
    assert 0.5 < whole_share(quantized.recipes, quantized.cost) < 1
    assert whole_share(original.recipes, original.cost) == 0
    inference = InferenceSpec(device="torch:cpu", precision="fp32", threads=1)
    measurements = Measurements(Cache())
    job = Job((str(small_ct),), inference=inference, steps=steps_at(0.5, "int8"))
    told = Estimator(original, measurements).estimate(small_image.geometry, resolve(job))
    assert told.macs_per_patch == told.original_macs_per_patch
    assert any("INT8 layers are computed in floating point" in note for note in told.notes)


def test_a_repair_leaves_whole_numbers_as_they_are(original, quantized, small_image):
    settings = RepairSettings(steps=2, check_every=1)
    repaired, _ = repair_model(quantized, original, [small_image], settings, threads=1)
    for name, before in quantized.weights.items():
        if not before.is_floating_point():
            assert torch.equal(repaired.weights[name], before) and repaired.weights[name].dtype == before.dtype


def test_the_command_line_takes_it_alone_and_behind_another(run_here, make_model_folder, small_ct, tmp_path):
    folder = make_model_folder(patch_shape=PATCH, normalization="ZScoreNormalization")
    settings = ("--device", "torch:cpu", "--precision", "fp32", "--threads", 1)
    labels = tmp_path / "labels.nii.gz"
    assert "INT8" in run_here("devices")
    assert "int8, " in run_here("segment", small_ct, labels, "--model", folder, "--method", "int8", *settings)
    changes = json.loads(run_here("inspect", "--model", folder, "--method", "tucker:0.5,int8", "--json"))
    assert changes
    with pytest.raises(SpecError, match="calibrate on a volume"):
        job = Job((str(small_ct),), model=str(folder), calibrate="none", steps=steps_at(0.5, "int8"))
        run_job(job)
