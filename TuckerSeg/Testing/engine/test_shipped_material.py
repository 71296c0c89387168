"""What a first compression of the built-in model would compute ships, and is taken for that very model alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from TuckerSegLib import TuckerSpec, calibrate_model, load_model
from TuckerSegLib.cache import Cache
from TuckerSegLib.models import shipped_material
from TuckerSegLib.models.material import computed_materials, kept_materials, material_key
from TuckerSegLib.models.planning import with_calibration
from TuckerSegLib.models.shipped_calibration import shipped_calibration

FEW = ("encoder.stages.1.0.convs.0.conv", "encoder.stages.2.0.convs.0.conv", "decoder.transpconvs.1")


@pytest.fixture(scope="module")
def demo():
    model = load_model("demo")
    return model, shipped_calibration(model)


def kept(model, calibration, **settings):
    spec = with_calibration(replace(TuckerSpec.at(0.5), **settings), calibration.sha256)
    return kept_materials(model, spec, "tucker", Cache(), calibration)


def test_it_is_what_would_be_computed(demo):
    (material,) = kept(*demo)
    basis, errors = material.basis(), material.evidence.errors
    assert set(errors) == set(basis.weights)
    for path in FEW:
        layer, energy = basis.layer(path), basis.calibration.logit_energy
        for rank, row in layer.errors(list(errors[path])).items():
            expected, near = (row / energy).numpy(), 1e-8 * layer.energy / energy  # errors are differences
            np.testing.assert_allclose(errors[path][rank], expected, rtol=1e-6, atol=near)


def test_neither_another_model_nor_another_calibration_nor_other_steps_of_ranks_get_it(demo):
    model, calibration = demo
    name = next(iter(model.weights))
    another = replace(model, weights={**model.weights, name: model.weights[name] + 0.1})
    assert kept(another, calibration) is None
    fold = replace(calibration.folds["0"], logit_energy=1.0)
    assert kept(model, replace(calibration, folds={"0": fold})) is None
    assert kept(model, calibration, rank_multiple=16) is None


def test_a_lost_or_damaged_one_is_computed_again(demo, monkeypatch, tmp_path):
    damaged = tmp_path / "materials.safetensors"
    content = bytearray(shipped_material.PATH.read_bytes())
    content[-7] ^= 255
    damaged.write_bytes(content)
    for path in (damaged, tmp_path / "lost.safetensors"):
        monkeypatch.setattr(shipped_material, "PATH", path)
        assert kept(*demo) is None


def test_what_is_written_for_a_model_is_found_by_its_key(make_model_folder, small_image, monkeypatch, tmp_path):
    model = load_model(make_model_folder(patch_shape=(16, 16, 16), normalization="ZScoreNormalization"))
    calibration = calibrate_model(model, small_image, threads=1)
    spec = with_calibration(TuckerSpec.at(0.5), calibration.sha256)
    monkeypatch.setattr(shipped_material, "PATH", tmp_path / "materials.safetensors")
    assert kept(model, calibration) is None
    shipped_material._shipped.cache_clear()
    materials = computed_materials(model, spec, "tucker", calibration)
    facts = {"of": "evidence", "calibration": calibration.sha256, "rank_multiple": spec.rank_multiple}
    assert list(materials) == [material_key(model, "0", "tucker", facts)]
    shipped_material.write_shipped_materials(materials, shipped_material.PATH)
    assert kept(model, calibration)[0].evidence.errors
