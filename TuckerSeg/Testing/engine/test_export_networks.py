"""Networks as ONNX and OpenVINO files with their sidecars: other programs compute with them what we do."""

from __future__ import annotations

import itertools
import json
import math
import sys
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, zoom

from TuckerSegLib import InferenceSpec, TuckerSpec, compress, load_model, segment
from TuckerSegLib.errors import DependencyError, OutputError, SpecError
from TuckerSegLib.export import exporter
from TuckerSegLib.export.checking import require_agreement, sample_patch
from TuckerSegLib.export.onnx_file import ExactInstanceNorm
from TuckerSegLib.export.settings import ExportSettings

HALF = TuckerSpec(rank_ratio=0.5)
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "center": 3}
FILES = {"onnx": "network.onnx", "openvino": "network.xml"}


def shaken(model):
    """The model with other biases and norms than the zeros and ones of an untrained network."""
    generator = torch.Generator().manual_seed(5)
    flat = {name: tensor for name, tensor in model.weights.items() if tensor.ndim == 1}
    moved = {name: tensor + 0.3 * torch.randn(tensor.shape, generator=generator) for name, tensor in flat.items()}
    return replace(model, weights=model.weights | moved)


def exported(model, path, form, **settings):
    return exporter(form).export(model, path / FILES[form], ExportSettings(**settings))


def onnx_runner(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda patches: session.run(["logits"], {"patches": patches})[0]


def openvino_runner(path):
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda patches: compiled({"patches": patches})["logits"]


RUNNER = {"onnx": onnx_runner, "openvino": openvino_runner}


def logits(model, patches):
    with torch.inference_mode():
        return torch.stack([model.network(fold)(patches) for fold in model.folds]).mean(dim=0).numpy()


def relative(values, expected):
    return np.abs(values - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize(
    "variant",
    [{}, {"residual": True}, {"folds": ("0", "1")}, {"channels": 2, "patch_shape": (16, 32, 48)}],
    ids=lambda variant: ", ".join(variant) or "plain",
)
def test_the_file_gives_our_logits(make_model_folder, tmp_path, form, variant):
    model = shaken(compress(load_model(make_model_folder(**variant)), HALF))
    written = exported(model, tmp_path, form)
    patch = sample_patch(model)
    assert relative(RUNNER[form](written.place)(patch.numpy()), logits(model, patch)) < 1e-4
    assert written.difference < 1e-4
    assert all(file.is_file() for file in written.files)
    document = json.loads(written.place.with_suffix(".json").read_text())
    assert document["input"]["shape"] == list(patch.shape)
    assert document["file"] == written.place.name


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("spec", [None, TuckerSpec.paper(0.3)], ids=["original", "paper"])
def test_original_and_fully_compressed_networks_too(make_model_folder, tmp_path, form, spec):
    model = load_model(make_model_folder())
    model = shaken(compress(model, spec) if spec else model)
    patch = sample_patch(model)
    written = exported(model, tmp_path, form)
    assert relative(RUNNER[form](written.place)(patch.numpy()), logits(model, patch)) < 1e-4


def test_the_number_of_patches_can_be_left_open(make_model_folder, tmp_path):
    model = compress(load_model(make_model_folder()), HALF)
    place = exported(model, tmp_path, "onnx", dynamic_batch=True).place
    patches = torch.randn(3, 1, 32, 32, 32, generator=torch.Generator().manual_seed(2))
    assert relative(onnx_runner(place)(patches.numpy()), logits(model, patches)) < 1e-4
    assert json.loads(place.with_suffix(".json").read_text())["input"]["shape"][0] == "any"
    fixed = exported(model, tmp_path, "onnx", overwrite=True).place
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        onnx_runner(fixed)(patches.numpy())


def test_the_operators_are_of_the_version_that_was_asked_for(make_model_folder, tmp_path):
    import onnx

    model = load_model(make_model_folder())
    for opset in (None, 13, 20):
        place = exported(model, tmp_path, "onnx", opset=opset, overwrite=True).place
        graph_file = onnx.load(place)
        assert graph_file.opset_import[0].version == (opset or 17)
        assert "InstanceNormalization" not in {node.op_type for node in graph_file.graph.node}, "see below"


def test_half_precision_weights_halve_the_file_and_change_little(make_model_folder, tmp_path):
    model = shaken(compress(load_model(make_model_folder()), HALF))
    patch, sizes = sample_patch(model), {}
    for weights in ("fp32", "fp16"):
        written = exported(model, tmp_path, "openvino", weights=weights, overwrite=True)
        sizes[weights] = written.place.with_suffix(".bin").stat().st_size
        error = relative(openvino_runner(written.place)(patch.numpy()), logits(model, patch))
    assert 1e-6 < error < 1e-2
    assert sizes["fp16"] < 0.6 * sizes["fp32"]
    assert json.loads(written.place.with_suffix(".json").read_text())["weights"] == "fp16"


@pytest.mark.filterwarnings("ignore")
def test_instance_normalization_in_onnxruntime_stays_exact_over_much_air(tmp_path):
    """Its own operator is off by 100 times as much here."""
    norm = torch.nn.InstanceNorm3d(2, affine=True).eval()
    values = torch.full((1, 2, 96, 96, 96), -3.0)
    values[..., 40:60, 40:60, 40:60] = torch.randn(1, 2, 20, 20, 20, generator=torch.Generator().manual_seed(0))
    expected = norm.double()(values.double()).detach().numpy()
    norm, errors = norm.float(), []
    for module in (ExactInstanceNorm(norm), norm):
        torch.onnx.export(
            module, (values,), str(tmp_path / "n.onnx"), dynamo=False, input_names=["patches"], output_names=["logits"]
        )
        errors.append(relative(onnx_runner(tmp_path / "n.onnx")(values.numpy()), expected))
    assert errors[0] < 1e-5
    assert errors[1] > 10 * errors[0]


class ForeignProgram:
    """Segments with numpy, scipy, nibabel and a runtime, knowing nothing but the sidecar."""

    def __init__(self, sidecar, run):
        self.document = json.loads(sidecar.read_text())
        self.run = run

    def labels(self, path):
        facts = self.document
        image = nibabel.as_closest_canonical(nibabel.load(path))
        assert facts["orientation"] == "RAS"
        volume = np.asarray(image.dataobj, np.float32).T.transpose(facts["transpose_forward"])
        spacing = [image.header.get_zooms()[::-1][axis] for axis in facts["transpose_forward"]]
        assert volume.all(), "no zero voxels: nothing to crop"
        values = self._normalized(volume, facts["channels"][0]["normalization"])
        shape = [round(size * old / new) for size, old, new in zip(values.shape, spacing, facts["spacing_mm"])]
        small = self._resampled(values, shape, facts["resampling"]["image"]["order"])
        resampled = self._accumulated(small)
        resampled = np.stack([self._resampled(channel, volume.shape, 1) for channel in resampled])
        labels = self._decided(resampled).transpose(np.argsort(facts["transpose_forward"])).T
        back = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(image.affine), nibabel.io_orientation(nibabel.load(path).affine)
        )
        return nibabel.orientations.apply_orientation(labels, back).T

    def _normalized(self, volume, plan):
        assert plan["scheme"] == "CTNormalization"
        return (np.clip(volume, plan["percentile_00_5"], plan["percentile_99_5"]) - plan["mean"]) / plan["std"]

    def _resampled(self, volume, shape, order):
        factors = [new / old for new, old in zip(shape, volume.shape)]
        zoomed = zoom(volume.astype(np.float64), factors, order=order, mode="nearest", grid_mode=True)
        return np.clip(zoomed, volume.min(), volume.max()).astype(np.float32)

    def _accumulated(self, volume):
        patch, step = self.document["patch_shape"], self.document["step_fraction"]
        missing = [max(0, size - have) for size, have in zip(patch, volume.shape)]
        volume = np.pad(volume, [(size // 2, size - size // 2) for size in missing])
        weights = np.zeros(patch)
        weights[tuple(size // 2 for size in patch)] = 1
        gaussian = self.document["gaussian"]
        weights = gaussian_filter(weights, [size * gaussian["sigma_fraction"] for size in patch], mode="constant")
        weights = (weights / weights.max() * gaussian["peak"]).astype(np.float16).astype(np.float64)
        weights[weights == 0] = weights[weights > 0].min()
        total, counted = np.zeros((self.document["output"]["shape"][1], *volume.shape)), np.zeros(volume.shape)
        axes = []
        for size, side in zip(volume.shape, patch):
            steps = math.ceil((size - side) / (side * step))
            axes.append([round(index * (size - side) / steps) if steps else 0 for index in range(steps + 1)])
        for origin in itertools.product(*axes):
            place = tuple(slice(start, start + side) for start, side in zip(origin, patch))
            total[(slice(None), *place)] += weights * self.run(volume[place][None, None])[0]
            counted[place] += weights
        inside = tuple(slice(size // 2, have - (size - size // 2)) for size, have in zip(missing, volume.shape))
        return (total / counted)[(slice(None), *inside)]

    def _decided(self, channels):
        decision = self.document["decision"]
        if decision["kind"] == "labels":
            return channels.argmax(axis=0)
        labels = np.zeros(channels.shape[1:], int)
        for channel, value in zip(channels, decision["values"]):
            labels[channel > 0] = value
        return labels


@pytest.mark.parametrize(
    ("form", "variant"),
    [
        ("onnx", {}),
        ("onnx", {"labels": REGIONS, "region_order": [1, 2, 3]}),
        ("openvino", {"transpose": (2, 0, 1), "spacing": (2.0, 3.0, 2.5)}),
    ],
    ids=lambda value: value if isinstance(value, str) else ", ".join(value) or "plain",
)
def test_the_sidecar_is_all_that_a_foreign_program_needs(
    make_model_folder, oblique_ct, assert_equal_labels, tmp_path, form, variant
):
    model = compress(load_model(make_model_folder(**variant)), HALF)
    place = exported(model, tmp_path, form).place
    stored = nibabel.load(oblique_ct)
    values = np.where(np.asarray(stored.dataobj) == 0, 1, np.asarray(stored.dataobj))
    nibabel.save(nibabel.Nifti1Image(values, stored.affine), oblique_ct)
    foreign_labels = ForeignProgram(place.with_suffix(".json"), RUNNER[form](place)).labels(oblique_ct)
    expected = segment(str(oblique_ct), model, InferenceSpec(precision="fp32")).labels
    assert_equal_labels(foreign_labels, expected, share=0.999)


def test_the_sidecar_tells_a_tasks_own_ways(make_model_folder, tmp_path):
    document = {}
    for name in ("Dataset001_Small", "Dataset297_TotalSegmentator_total_3mm_1559subj"):
        model = load_model(make_model_folder(name, mirror_axes=(0, 1)))
        place = exported(model, tmp_path, "onnx", overwrite=True).place
        document[name] = json.loads(place.with_suffix(".json").read_text())
    plain, total = document.values()
    assert (plain["resampling"]["convention"], plain["step_fraction"]) == ("nnunet", 0.5)
    assert (total["resampling"]["convention"], total["step_fraction"]) == ("aligned", 0.8)
    assert plain["labels"][0] == {"value": 1, "name": "structure_1"}
    assert plain["mirror_axes"] == [0, 1]
    assert plain["channels"][0]["name"] == "CT"


def test_what_computes_something_else_is_refused():
    expected = np.linspace(-1, 1, 50, dtype=np.float32)
    assert require_agreement(expected + 1e-5, expected, "fp32", "it") < 2e-5
    for wrong in (expected + 2e-3, expected[:-1], np.full_like(expected, np.nan)):
        with pytest.raises(OutputError):
            require_agreement(wrong, expected, "fp32", "it")


@pytest.mark.parametrize("form", FILES)
def test_a_file_is_not_replaced_unless_asked(make_model_folder, tmp_path, form):
    model = load_model(make_model_folder())
    sidecar = (tmp_path / FILES[form]).with_suffix(".json")
    sidecar.write_text("mine")
    with pytest.raises(OutputError, match=r"network.json is there already.*have it replaced"):
        exported(model, tmp_path, form)
    assert sidecar.read_text() == "mine"
    assert {entry.name for entry in tmp_path.iterdir() if entry.is_file()} == {"network.json"}
    exported(model, tmp_path, form, overwrite=True)
    assert json.loads(sidecar.read_text())["file"] == FILES[form]
    assert not list(tmp_path.glob(".tuckerseg*"))


def test_wrong_endings_and_opsets_are_refused(make_model_folder, tmp_path):
    model = load_model(make_model_folder())
    for form, name in (("onnx", "network.pt"), ("openvino", "network.bin")):
        with pytest.raises(OutputError, match="ends in"):
            exporter(form).export(model, tmp_path / name, ExportSettings())
    with pytest.raises(SpecError, match="13 to 20"):
        exported(model, tmp_path, "onnx", opset=9)


def test_a_missing_onnx_package_is_named(make_model_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(DependencyError, match=r"tuckerseg\[export\]"):
        exported(load_model(make_model_folder()), tmp_path, "onnx")


def test_without_onnxruntime_the_file_is_written_untried(make_model_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    written = exported(load_model(make_model_folder()), tmp_path, "onnx")
    assert written.difference is None
    assert written.place.is_file()
