"""What is known of a stored calibration without its numbers, and that a run reads no more where it needs no more."""

from __future__ import annotations

import numpy as np
import pytest

from TuckerSegLib import Cache, Job, TuckerSpec, calibrate_model, image_from_array, load_model, tensor_file
from TuckerSegLib.cache import entry_name
from TuckerSegLib.models.calibration import calibration_key, store_calibration, stored_calibration
from TuckerSegLib.models.calibration_facts import CalibrationFacts, is_calibrated_on_a_volume, stored_calibration_facts
from TuckerSegLib.models.compress import compress
from TuckerSegLib.models.job_compression import facts_for_job
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.records.job import steps_at


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from small_models import write_model_folder

    return load_model(write_model_folder(tmp_path_factory.mktemp("model"), patch_shape=(16, 16, 16)))


@pytest.fixture(scope="module")
def calibration(model):
    noise = np.random.default_rng(0).normal(size=(20, 20, 20)) * 300
    return calibrate_model(
        model, image_from_array(noise.astype(np.int16), spacing_mm=(2.0, 2.0, 2.0)), threads=1, patches_per_volume=1
    )


@pytest.fixture
def cache(model, calibration):
    cache = Cache()
    store_calibration(model, calibration, cache)
    return cache


@pytest.fixture
def no_numbers(monkeypatch):
    """From now on nobody reads tensors."""
    return lambda: monkeypatch.setattr(tensor_file, "read_tensors", lambda *_: pytest.fail("numbers were read"))


def rewritten(model, cache, **changes) -> None:
    """The stored calibration with other words in its header; None leaves one out."""
    key = calibration_key(model)
    path, entry = cache.find("calibrations", key), entry_name("calibrations", key)
    tensors, document = tensor_file.read_tensors(path, entry)
    facts = {**document, **changes}
    written = {name: value for name, value in facts.items() if value is not None and not name.endswith("sha256")}
    if facts["calibration_sha256"] is not None:
        written["calibration_sha256"] = facts["calibration_sha256"]
    tensor_file.write_tensors(path, tensors, written, entry)


def test_facts_are_those_of_the_whole_and_need_no_numbers(model, calibration, cache, no_numbers):
    no_numbers()
    facts = stored_calibration_facts(model, cache)
    assert isinstance(facts, CalibrationFacts)
    for name in ("sha256", "volumes", "volume_ids", "has_ranges", "built_in_alone"):
        assert getattr(facts, name) == getattr(calibration, name)


def test_a_job_whose_model_is_compressed_already_reads_no_moments(model, calibration, cache, no_numbers):
    compress(model, TuckerSpec.at(0.5), "tucker", cache, calibration=calibration)
    resolved = resolve(Job(("CT.nii.gz",), model="demo", steps=steps_at(0.5)))
    no_numbers()
    facts = facts_for_job(model.without_weights(), resolved, cache, None)
    assert facts.recipes[-1].spec["calibration"] == calibration.sha256


def test_of_a_file_that_does_not_tell_the_whole_is_read(model, calibration, cache):
    rewritten(model, cache, calibration_sha256=None)
    assert stored_calibration_facts(model, cache).sha256 == calibration.sha256


def test_a_file_whose_header_names_other_numbers_is_discarded_when_they_are_read(model, cache):
    rewritten(model, cache, calibration_sha256="0" * 64)
    with pytest.warns(UserWarning, match="made again"):
        assert stored_calibration(model, cache) is None
    assert stored_calibration_facts(model, cache) is None


def test_a_file_whose_header_is_damaged_is_discarded(model, cache):
    path = cache.find("calibrations", calibration_key(model))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"calibration_sha256", b"calibration_sha257", 1))
    with pytest.warns(UserWarning, match="made again"):
        assert stored_calibration_facts(model, cache) is None


def test_estimates_ask_for_a_calibration_without_reading_one_even_of_an_earlier_version(model, cache, no_numbers):
    rewritten(model, cache, calibration_sha256=None)
    no_numbers()
    assert is_calibrated_on_a_volume(model, cache) is True
    assert is_calibrated_on_a_volume(load_model("demo"), Cache()) is True  # by what it comes with


def test_a_calibration_on_the_built_in_volume_alone_is_none_of_the_users(model, cache):
    rewritten(model, cache, volumes=["synthetic_torso.nii.gz"])
    assert is_calibrated_on_a_volume(model, cache) is False
