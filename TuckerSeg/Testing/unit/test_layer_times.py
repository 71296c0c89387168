"""The time model: what work a layer is, seconds per unit fitted to networks, and measured once."""

from __future__ import annotations

import re

import pytest
from torch import nn

from TuckerSegLib import hardware
from TuckerSegLib.cache import Cache
from TuckerSegLib.compression.layer_work import convolution_work, network_work, norm_work
from TuckerSegLib.layer_times import gain, measured
from TuckerSegLib.layer_times.fit import fitted_seconds
from TuckerSegLib.layer_times.probes import PROBES
from TuckerSegLib.measurements import Measurements
from TuckerSegLib.records.layer_times import LayerTimes

DEVICE = hardware.Device("torch:cpu", "torch", "some processor")


def test_the_work_of_a_layer_counts_channels_in_blocks_and_voxels_where_they_are():
    work = convolution_work("strided", 20, 33, 27, voxels_in=8000, voxels_out=1000)
    assert work == {
        "strided.gmacs": 32 * 48 * 27 * 1000 / 1e9,
        "strided.read": 32 * 8000 / 1e6,
        "strided.written": 48 * 1000 / 1e6,
        "layers": 1.0,
    }
    assert convolution_work("first", 1, 16, 27, 1000, 1000)["first.gmacs"] == 1 * 16 * 27 * 1000 / 1e9
    assert convolution_work("transposed", 16, 16, 8, 1000, 8000)["transposed.gmacs"] == 16 * 16 * 8 * 1000 / 1e9
    assert norm_work(17, 1000) == {"norm.values": 32 * 1000 / 1e6, "layers": 1.0}


def test_the_work_of_a_network_is_the_sum_over_its_layers_with_what_is_concatenated():
    skip = next(probe for probe in PROBES if probe.layers == ("skip", "kernel"))
    narrow, wide, size = skip.channels[0], skip.channels[1], skip.size
    voxels = size**3
    halves = convolution_work("pointwise", narrow, wide // 2, 1, voxels, voxels)
    expected = {
        **convolution_work("first", 1, narrow, 27, voxels, voxels),
        **convolution_work("kernel", wide, narrow, 27, voxels, voxels),
        **{term: 2 * amount for term, amount in halves.items()},
        "concatenation.values": wide * voxels / 1e6,
        "norm.values": (narrow + wide + narrow) * voxels / 1e6,
        "layers": 7.0,
    }
    assert network_work(skip.network(), skip.patch_shape) == pytest.approx(expected)


def test_every_kind_of_work_is_measured():
    terms = {term for probe in PROBES for term in network_work(probe.network(), probe.patch_shape)}
    kinds = ("first", "kernel", "strided", "pointwise", "transposed")
    per_kind = {f"{kind}.{what}" for kind in kinds for what in ("gmacs", "read", "written")}
    whole = {
        f"int8.{kind}.{what}" for kind in ("kernel", "strided", "pointwise") for what in ("gmacs", "read", "written")
    }
    assert terms == per_kind | whole | {"norm.values", "concatenation.values", "layers", "int8.layers"}


def test_whole_numbers_pay_where_they_were_measured_to_be_faster(tmp_path):
    seconds = {"kernel.gmacs": 0.01, "int8.kernel.gmacs": 0.004, "norm.values": 0.0}
    assert gain.whole_numbers_gain(LayerTimes("fp32", seconds)) == pytest.approx(2.5)
    slower = {**seconds, "int8.kernel.gmacs": 0.04}
    assert gain.whole_numbers_gain(LayerTimes("fp32", slower)) == pytest.approx(0.25)
    assert gain.whole_numbers_gain(LayerTimes("fp32", {"kernel.gmacs": 0.01})) is None
    kept = Measurements(Cache(tmp_path))
    device = hardware.Device("openvino:cpu", "openvino", "some processor")
    assert "floating point" in gain.gain_words(DEVICE, kept)
    assert gain.gain_words(device, kept, threads=2) == gain.NOT_MEASURED
    for times, words in ((seconds, "INT8 pays.*1/2.5.*fp32"), (slower, "INT8 does not pay")):
        kept.add_layer_seconds(measured.setting_of(device, "fp32", 2), times)
        assert re.match(words, gain.gain_words(device, kept, threads=2))


def test_seconds_per_unit_are_found_from_the_seconds_of_networks():
    works = [{"a": 1.0, "b": 2.0}, {"a": 5.0, "b": 1.0}, {"a": 2.0, "c": 3.0}, {"b": 1.0, "c": 1.0}]
    truth = LayerTimes("fp32", {"a": 0.5, "b": 0.25, "c": 0.0})
    found = fitted_seconds(works, [truth.of(work) for work in works])
    assert found == pytest.approx(truth.seconds, abs=1e-6)


def test_no_term_gets_negative_seconds_where_the_measurements_contradict_each_other():
    found = fitted_seconds([{"a": 1.0}, {"a": 1.0, "b": 1.0}], [2.0, 1.0])
    assert found["b"] == 0
    assert 0 < found["a"] < 2


def test_a_device_is_measured_once_for_each_precision_and_number_of_threads(tmp_path, monkeypatch):
    runs = []

    def seconds_of(probe, device, precision, threads):
        runs.append((precision, threads))
        return 0.1 + probe.size / 100

    monkeypatch.setattr(measured, "seconds_of", seconds_of)
    kept = Measurements(Cache(tmp_path))
    assert measured.known_layer_times(DEVICE, "fp32", 2, kept) is None
    first = measured.layer_times(DEVICE, "fp32", 2, kept)
    assert len(runs) == len(PROBES)
    assert measured.layer_times(DEVICE, "fp32", 2, Measurements(Cache(tmp_path))) == first
    assert measured.known_layer_times(DEVICE, "fp32", 2, kept) == first
    assert len(runs) == len(PROBES)
    measured.layer_times(DEVICE, "fp32", 1, kept)
    assert runs[-1] == ("fp32", 1)


def test_a_probe_runs_through_the_backend(monkeypatch):
    probe = next(each for each in PROBES if each.size == 8)
    monkeypatch.setattr(measured, "RUNS", 1)
    assert measured.seconds_of(probe, hardware.choose("torch:cpu", hardware.devices())[0], "fp32", 1) > 0
    assert isinstance(probe.network(), nn.Module)
