"""Anchored refit of a compressed model on a volume, alone and as part of a job."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from Testing.small_models import write_model_folder
from TuckerSegLib import InferenceSpec, calibrate_model, catalog, compress, image_from_array, load_model, segment
from TuckerSegLib.cache import Cache
from TuckerSegLib.compression.logit_distance import distance
from TuckerSegLib.compression.tucker.method import Spec
from TuckerSegLib.errors import SpecError
from TuckerSegLib.jobs.warm_runs import Runs
from TuckerSegLib.models.calibration import PATCHES_PER_VOLUME, calibration_patches, stored_calibration, volume_id
from TuckerSegLib.models.description import describe
from TuckerSegLib.models.job_compression import compress_for_job
from TuckerSegLib.models.model_file import read_model_file
from TuckerSegLib.models.refit import FITTED, HELD_BACK, SEED, refit_model
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.records.job import Job

PLAIN = InferenceSpec(device="torch:cpu", precision="fp32", threads=1)
ASKED = {"rank_ratio": 0.4, "rank_mode": "auto", "rank_multiple": 4, "minimum_rank": 4}


@pytest.fixture(scope="module")
def volume():
    rng = np.random.default_rng(4)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(rng.normal(size=(1, 1, 6, 6, 6))), size=(40, 44, 36))
    return image_from_array((300 * smooth[0, 0].numpy()).astype(np.int16), spacing_mm=(3, 3, 3))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return load_model(write_model_folder(tmp_path_factory.mktemp("original"), patch_shape=(16, 16, 16)))


@pytest.fixture(scope="module")
def calibration(original, volume):
    return calibrate_model(original, volume, threads=1)


@pytest.fixture(scope="module")
def smaller(original, calibration):
    return compress(original, Spec(**ASKED), calibration=calibration)


def of_other_images(model):
    """The same networks, said not to be of CTs, so that the built-in volume has no part in it."""
    channels = tuple(replace(channel, scheme="ZScoreNormalization") for channel in model.plans.normalization)
    return replace(model, plans=replace(model.plans, normalization=channels))


def test_a_refitted_model_is_nearer_to_its_original_on_what_was_held_back(original, volume, tmp_path):
    original = of_other_images(original)
    calibration = calibrate_model(original, volume, threads=1)
    smaller = compress(original, Spec(**ASKED), calibration=calibration)
    model = refit_model(smaller, original, [volume], calibration, Cache(), threads=1)
    crops = calibration_patches(original, volume, FITTED + HELD_BACK, SEED)[FITTED:]
    networks = [each.network(original.folds[0]) for each in (original, smaller, model)]
    assert distance(networks[0], networks[2], crops) < distance(networks[0], networks[1], crops)
    assert model.cost == smaller.cost
    assert describe(model).endswith("refit")
    model.save(tmp_path / "refitted.tuckerseg")
    again = read_model_file(tmp_path / "refitted.tuckerseg")
    assert again.recipes == model.recipes
    np.testing.assert_array_equal(*(segment(volume, each, PLAIN).labels for each in (again, model)))


def test_the_same_volumes_give_the_same_model_and_the_cache_spares_the_work(original, smaller, calibration, volume):
    cache, reports = Cache(), []
    first = refit_model(smaller, original, [volume], calibration, cache, threads=1)
    again = refit_model(
        smaller, original, [volume], calibration, cache, threads=1, monitor=Monitor(on_fraction=reports.append)
    )
    assert not reports
    cache.discard("models", first.key)
    anew = refit_model(
        smaller, original, [volume], calibration, cache, threads=1, monitor=Monitor(on_fraction=reports.append)
    )
    assert reports[-1] == 1
    for other in (again, anew):
        assert other.key == first.key
        assert all(torch.equal(value, other.weights[name]) for name, value in first.weights.items())


def test_a_job_is_calibrated_and_refitted_on_its_volume(original, volume):
    cache, monitor = Cache(), Monitor()
    job = Job(("volume",), method="tucker", compression=ASKED, refit=True)
    model = compress_for_job(original, resolve(job), cache, monitor, lambda: volume)
    assert [recipe.method for recipe in model.recipes] == ["tucker", "refit"]
    assert volume_id(volume) in model.recipes[1].spec["volumes"]
    assert {"calibrate", "compress", "refit"} <= monitor.seconds.keys()
    plain = compress_for_job(original, resolve(job).without_refit(), cache, monitor, lambda: volume)
    assert model.key != plain.key


def test_a_look_and_a_measurement_of_speed_wait_for_no_refit(make_model_folder, volume, monkeypatch):
    def too_long(*_, **__):
        raise AssertionError("A refit was begun.")

    monkeypatch.setattr("TuckerSegLib.models.job_compression.refit_model", too_long)
    job = Job((), model=str(make_model_folder()), method="tucker", compression=ASKED, refit=True, inference=PLAIN)
    with contextlib.closing(Runs()) as runs:
        looked, _ = runs.preview(resolve(job), volume, (0.0, 0.0, 0.0), Monitor())
        assert "calibrated" in looked.statistics.compression
        assert runs.estimate(resolve(job), volume, measure=True, monitor=Monitor()).seconds > 0


def test_a_refit_without_calibration_is_refused(original, smaller, calibration, volume):
    for fields in (
        {"calibrate": "none", "compression": ASKED},
        {"compression": {"rank_ratio": 0.4, "minimum_rank": 4}},
    ):
        job = Job(("volume",), method="tucker", refit=True, **fields)
        with warnings.catch_warnings(), pytest.raises(SpecError, match="goes on from a calibrated compression"):
            warnings.simplefilter("ignore")  # that the ranks come from the weights alone
            compress_for_job(original, resolve(job), Cache(), Monitor(), lambda: volume)
    plain = compress(original, Spec(0.4, minimum_rank=4, rank_multiple=4))
    with pytest.raises(SpecError, match="not compressed with this calibration"):
        refit_model(plain, original, [volume], calibration, Cache())
    with pytest.raises(SpecError, match="nothing to gain"):
        refit_model(original, original, [volume], calibration, Cache())


def test_a_model_of_cts_is_calibrated_on_the_built_in_volume_too(original, volume, calibration):
    assert original.plans.expects_hounsfield
    cache, monitor = Cache(), Monitor()
    job = Job((), method="tucker", compression=ASKED)
    compress_for_job(original, resolve(job), cache, monitor, None)
    assert stored_calibration(original, cache).volumes == (catalog.DEMO_VOLUME.name,)
    compress_for_job(original, resolve(job), cache, monitor, lambda: volume)
    grown = stored_calibration(original, cache)
    assert grown.volume_ids[1:] == (volume_id(volume),)
    assert calibration.volumes == grown.volumes
    assert calibration.patches == grown.patches == 2 * PATCHES_PER_VOLUME


def test_a_model_of_other_images_needs_a_volume(original, volume):
    model = of_other_images(original)
    assert len(calibrate_model(model, volume, threads=1).volumes) == 1
    with pytest.raises(SpecError, match="needs a volume"):
        calibrate_model(model, None)
