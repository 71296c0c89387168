"""A second compression method, of one file and one line in the table, goes through everything that Tucker goes through.

So nothing outside a method knows a method's words. Methods may follow each other, each planned on what the one before
has left.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from Testing.engine import channel_dropping
from TuckerSegLib import Cache, InferenceSpec, Job, TuckerSpec, compress, load_model, run_job
from TuckerSegLib import compression as table
from TuckerSegLib.compression.cost import count
from TuckerSegLib.errors import Cancelled, SpecError
from TuckerSegLib.estimation.network import Estimator
from TuckerSegLib.export import exporter
from TuckerSegLib.export.settings import ExportSettings
from TuckerSegLib.measurements import Measurements
from TuckerSegLib.models.description import describe
from TuckerSegLib.models.planning import plan_compression
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.records.job import Step, at_strength, steps_at
from TuckerSegLib.records.serialization import from_json, to_json
from TuckerSegLib.worker.handlers import Handlers

PLAIN = InferenceSpec(device="torch:cpu", precision="fp32", threads=1)
SETTINGS = ("--device", "torch:cpu", "--precision", "fp32", "--threads", 1)


@pytest.fixture(autouse=True)
def second_method(monkeypatch):
    """The one line."""
    monkeypatch.setitem(table.METHODS, "dropping", "Testing.engine.channel_dropping")


@pytest.fixture
def folder(make_model_folder):
    """A residual network, which has channels within its blocks."""
    return make_model_folder(residual=True, patch_shape=(16, 16, 16))


@pytest.fixture
def original(folder):
    return load_model(folder)


@torch.inference_mode()
def logits(model):
    patch = torch.randn(1, 1, *model.plans.patch_shape, generator=torch.Generator().manual_seed(1))
    return model.network(model.folds[0])(patch)


def counted(model):
    return count(model.structure(), model.plans.patch_shape, 1).total


def test_a_model_is_compressed_planned_kept_and_told(original, tmp_path, monkeypatch):
    spec, cache = channel_dropping.Spec.at(0.5), Cache()
    smaller = compress(original, spec, "dropping", cache)
    assert smaller.cost == counted(smaller) == plan_compression(original, spec, "dropping").cost
    assert smaller.cost.parameters < original.cost.parameters and smaller.cost.macs < original.cost.macs
    assert not torch.equal(logits(smaller), logits(original))
    assert describe(smaller) == "channel dropping, 0.50 kept"
    smaller.save(tmp_path / "small.tuckerseg")
    read = load_model(tmp_path / "small.tuckerseg")
    assert read.recipes == smaller.recipes
    torch.testing.assert_close(logits(read), logits(smaller), atol=0, rtol=0)
    assert compress(original, channel_dropping.Spec.at(1.0), "dropping", cache) is original
    monkeypatch.setattr(channel_dropping, "prepare", lambda *arguments: pytest.fail("it is in the cache"))
    assert compress(original, spec, "dropping", cache).key == smaller.key
    assert compress(original, TuckerSpec(0.5), cache=cache).key != smaller.key


def test_the_progress_of_a_method_is_heard_and_it_is_stopped_within(original, tmp_path):
    spec, heard = channel_dropping.Spec.at(0.5), []
    compress(original, spec, "dropping", Cache(tmp_path / "first"), Monitor(on_fraction=heard.append))
    assert heard == sorted(heard) and heard[-1] == 1.0
    with pytest.raises(Cancelled):
        compress(original, spec, "dropping", Cache(tmp_path / "second"), Monitor(cancelled=lambda: True))


def test_the_material_of_another_version_or_network_is_not_taken(original, monkeypatch):
    cache = Cache()

    def kept():
        return {entry.key for entry in cache.entries() if entry.kind == "bases"}

    compress(original, channel_dropping.Spec.at(0.5), "dropping", cache)
    first = kept()
    compress(original, channel_dropping.Spec.at(0.4), "dropping", cache)
    assert len(first) == 1 and kept() == first, "the order does not depend on how many channels are kept"
    monkeypatch.setattr(channel_dropping, "VERSION", 2, raising=False)
    compress(original, channel_dropping.Spec.at(0.3), "dropping", cache)
    assert len(kept()) == 2
    other = replace(original, weights={name: 2 * value for name, value in original.weights.items()})
    compress(other, channel_dropping.Spec.at(0.3), "dropping", cache)
    assert len(kept()) == 3


def test_an_estimate_counts_what_the_run_then_counts(original, folder, small_ct, small_image):
    job = Job((str(small_ct),), model=str(folder), inference=PLAIN, steps=steps_at(0.5, "dropping"))
    told = Estimator(original, Measurements(Cache())).estimate(small_image.geometry, resolve(job))
    found = run_job(job).statistics
    assert (told.parameters, told.macs_per_patch, told.patches) == (
        found.parameters,
        found.macs_per_patch,
        found.patches,
    )
    assert found.parameters < found.original_parameters
    assert found.compression == "channel dropping, 0.50 kept"
    original_again = resolve(job).at_strength(1.0)
    assert Estimator(original, Measurements(Cache())).is_original(original_again)


def test_every_command_takes_it(run_here, folder, small_ct, tmp_path):
    asked = ("--model", folder, "--method", "dropping:0.5")
    small, labels = tmp_path / "small.tuckerseg", tmp_path / "labels.nii.gz"
    assert "channel dropping, 0.50 kept" in run_here("segment", small_ct, labels, *asked, *SETTINGS)
    assert "GFLOPs per patch" in run_here("plan", small_ct, *asked, *SETTINGS)
    assert "kept 16" in run_here("inspect", *asked)
    changes = json.loads(run_here("inspect", *asked, "--json"))
    assert {change["kept"] for change in changes} == {4, 8, 16}
    compared = run_here("compare", small_ct, "--model", folder, "--method", "dropping", "--strengths", "0.5", *SETTINGS)
    assert len(compared.splitlines()) == 5
    out = tmp_path / "explored"
    run_here(
        "explore", small_ct, "--model", folder, "--policies", "dropping", "--factors", 0.5, "--out", out, *SETTINGS
    )
    rows = json.loads((out / "curve.json").read_text())
    assert [(row["policy"], row["factor"], row["calibrated"]) for row in rows] == [
        ("original", 1.0, False),
        ("dropping", 0.5, False),
    ]
    assert "Written" in run_here("compress", small, *asked)
    assert "kept 16" in run_here("inspect", "--model", small)
    assert "channel dropping" in run_here("segment", small_ct, labels, "--model", small, *SETTINGS)


@pytest.mark.parametrize(("kind", "name"), [("nnunet", ""), ("openvino", "small.xml"), ("onnx", "small.onnx")])
def test_every_export_takes_it(original, tmp_path, kind, name):
    if kind == "onnx":
        pytest.importorskip("onnx")
    smaller = compress(original, channel_dropping.Spec.at(0.5), "dropping")
    (tmp_path / "out").mkdir()
    written = exporter(kind).export(smaller, tmp_path / "out" / name, ExportSettings())
    if kind == "nnunet":
        again = load_model(written.place)
        assert again.recipes == smaller.recipes
        torch.testing.assert_close(logits(again), logits(smaller))
        return
    document = json.loads((tmp_path / "out" / "small.json").read_text())
    assert document["model"]["compression"] == [{"method": "dropping", "kept": 0.5}]


def test_the_worker_takes_what_the_panel_asks(folder, hand_over, tmp_path, monkeypatch):
    volume, handlers = hand_over((24, 30, 28)), Handlers(Cache())
    rows = []
    monitor = Monitor(on_event=rows.append)
    assert handlers.describe_model({"model": str(folder)}, monitor)["methods"] == [*table.METHODS]
    job = Job((), model=str(folder), inference=PLAIN, steps=steps_at(0.5, "dropping"))
    place = {"shape": volume.document["shape"], "affine": volume.document["affine"]}
    told = handlers.estimate({"job": to_json(job), **place}, monitor)["estimate"]
    asked = {"job": to_json(job), "volume": volume.document}
    found = handlers.segment({**asked, "labels": str(tmp_path / "labels.npy")}, monitor)["statistics"]
    assert told["macs_per_patch"] == found["macs_per_patch"]
    assert "channel dropping" in found["compression"]
    handlers.compare({**asked, "strengths": [0.5, 0.25], "folder": str(tmp_path)}, monitor)
    compared = [event["row"] for event in rows if event["event"] == "row"]
    assert [row["strength"] for row in compared] == [1.0, 0.5, 0.25]
    assert [row["statistics"]["compression"] for row in compared[1:]] == [
        "channel dropping, 0.50 kept",
        "channel dropping, 0.25 kept",
    ]
    handlers.close()


def test_tucker_follows_and_is_planned_on_what_was_left(run_here, original, folder, small_ct, tmp_path):
    file = tmp_path / "both.tuckerseg"
    steps = ("--method", "dropping:0.5,tucker:0.5", "--policy", "uniform", "--minimum-rank", 2)
    text = run_here("inspect", "--model", folder, *steps)
    assert "kept 16" in text and "8 x 16" in text
    run_here("compress", file, "--model", folder, *steps)
    both = load_model(file)
    dropped, tuckered = both.recipes
    assert (dropped.method, tuckered.method) == ("dropping", "tucker")
    between = compress(original, channel_dropping.Spec.at(0.5), "dropping")
    assert both.recipes[:1] == between.recipes
    path = "encoder.stages.2.blocks.0.conv1.conv"
    (change,) = (change for change in tuckered.changes if change.path == path)
    assert change.shape[0] == 16, "half of 32 channels are left"
    assert both.cost == counted(both)
    assert both.cost.macs < between.cost.macs < original.cost.macs == both.original_cost.macs
    assert describe(both).startswith("channel dropping, 0.50 kept; tucker at rank 0.50")
    job = Job((), model=str(folder), steps=tuple(Step(each.method, _fields(each.spec)) for each in both.recipes))
    told = Estimator(original, Measurements(Cache())).key_of(resolve(job))
    assert told == compress(between, from_json(TuckerSpec, tuckered.spec)).key
    with pytest.raises(SpecError, match="compressed already by the method tucker"):
        compress(both, TuckerSpec(0.5))
    with pytest.raises(SpecError, match="asked for twice"):
        resolve(Job((), steps=steps_at(0.5) * 2))


def _fields(spec):
    return {name: value for name, value in spec.items() if name != "version"}


@pytest.mark.filterwarnings("ignore:The compression goes by the weights")
def test_a_later_step_is_calibrated_on_what_the_earlier_one_left(original, folder, small_ct):
    steps = (
        Step("dropping", strength=0.5),
        Step("tucker", {**_fields(to_json(TuckerSpec.at(0.5))), "minimum_rank": 2}),
    )
    job = Job((str(small_ct),), model=str(folder), inference=PLAIN, steps=steps)
    first = run_job(job).statistics
    assert first.compression.startswith("channel dropping, 0.50 kept; tucker at rank 0.50, calibrated")
    again = run_job(job).statistics
    assert again.parts[0].key == first.parts[0].key, "what was found is kept, and taken"
    told = Estimator(original, Measurements(Cache()))
    assert told.key_of(resolve(job)) == first.parts[0].key


def test_eight_bits_follow_and_stay_eight_bits(original, tmp_path, monkeypatch):
    monkeypatch.setitem(table.METHODS, "bits", "Testing.engine.eight_bits")
    smaller = original
    for name, spec in (("dropping", 0.5), ("tucker", 0.6), ("bits", 1.0)):
        smaller = compress(smaller, table.method(name).Spec.at(spec), name)
    assert [recipe.method for recipe in smaller.recipes] == ["dropping", "tucker", "bits"]
    smaller.save(tmp_path / "bits.tuckerseg")
    read = load_model(tmp_path / "bits.tuckerseg")
    types = {parameter.dtype for parameter in read.network(read.folds[0]).parameters()}
    assert types == {torch.int8, torch.float32}
    assert read.cost == counted(read)
    assert read.cost.bits_per_weight < 16
    assert read.cost.weight_bytes == read.weight_bytes
    assert (original.cost - read.cost).weight_bytes > 0
    expected = compress(compress(original, channel_dropping.Spec.at(0.5), "dropping"), TuckerSpec.at(0.6))
    error = (logits(read) - logits(expected)).abs().max() / logits(expected).abs().max()
    assert 0 < error < 0.1
    np.testing.assert_array_equal(logits(read), logits(smaller))


def test_a_job_says_its_compression_once_and_old_jobs_are_read():
    former = {"images": ["ct.nii.gz"], "method": "tucker", "compression": {"rank_ratio": 0.5}, "version": 1}
    job = from_json(Job, former)
    assert job.recipe == (Step("tucker", {"rank_ratio": 0.5}),)
    assert at_strength(job, 0.25).recipe == (Step("tucker", {"rank_ratio": 0.5}, 0.25),)
    assert at_strength(job, 1.0).recipe == ()
    assert from_json(Job, to_json(job)) == job
    with pytest.raises(SpecError, match="found both"):
        Job((), method="tucker", steps=steps_at(0.5))
