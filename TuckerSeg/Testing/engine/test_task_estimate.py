"""What is told of a task of several networks before it runs, against what its run says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from TuckerSegLib import Cache, InferenceSpec, Job, run_job
from TuckerSegLib.catalog.entries import task as catalog_task
from TuckerSegLib.cli import main as tuckerseg
from TuckerSegLib.cli.commands.plan import estimate_table
from TuckerSegLib.errors import DownloadError
from TuckerSegLib.jobs import warm_runs as runs_module
from TuckerSegLib.jobs.warm_runs import Runs
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.records.comparison import Variant
from TuckerSegLib.records.estimate import Estimate
from TuckerSegLib.records.job import steps_at
from TuckerSegLib.records.serialization import from_json, to_json
from TuckerSegLib.worker.handlers import Handlers

PROCESSOR = InferenceSpec(device="torch:cpu", precision="fp32", threads=1)
TOTAL = Job((), model="total", inference=PROCESSOR)
CONTEXT = Monitor()


@pytest.fixture(autouse=True)
def networks(installed_total):
    return installed_total


@pytest.fixture
def measured(monkeypatch):
    """Networks of which a patch was run."""
    names, whole = [], runs_module.measure_patch
    monkeypatch.setattr(
        runs_module, "measure_patch", lambda ready, *rest: names.append(ready.model.name) or whole(ready, *rest)
    )
    return names


@pytest.mark.parametrize("wanted", [None, ("liver", "ribs")])
def test_counts_are_those_of_the_run(small_ct, small_image, wanted):
    job = replace(TOTAL, images=(str(small_ct),), structures=wanted)
    told = Runs().estimate(resolve(job), small_image.geometry, False, CONTEXT)
    done = run_job(job).statistics
    for name in ("original_parameters", "parameters", "macs_per_patch", "macs_per_volume", "patches"):
        assert getattr(told, name) == getattr(done, name), name
    assert [part.name for part in told.parts] == [part.name for part in done.parts]
    assert [part.macs_per_volume for part in told.parts] == [part.macs_per_volume for part in done.parts]
    assert told.seconds is None
    after = Runs().estimate(resolve(job), small_image.geometry, False, CONTEXT)  # the run was remembered
    taken = sum(done.seconds[stage] for stage in ("preprocess", "network", "finish"))
    assert taken / 4 < after.seconds < taken * 4
    assert from_json(Estimate, to_json(after)) == after
    assert all(f"Part         {part.name}: " in estimate_table(after) for part in after.parts)


def test_one_patch_of_one_network_tells_of_all_that_are_built_alike(small_image, measured):
    told = Runs().estimate(resolve(TOTAL), small_image.geometry, True, CONTEXT)
    assert len(measured) == 1
    assert told.seconds == pytest.approx(sum(part.seconds for part in told.parts))
    assert Runs().estimate(resolve(TOTAL), small_image.geometry, True, CONTEXT).seconds == told.seconds
    assert len(measured) == 1


@pytest.mark.filterwarnings("ignore:The compression goes by the weights")
def test_a_compressed_task_is_measured_with_one_network_and_beside_its_original(small_image, measured):
    job = replace(TOTAL, structures=("liver", "ribs"), calibrate="none", steps=steps_at(0.5))
    told = Runs().estimate(resolve(job), small_image.geometry, True, CONTEXT)
    assert told.seconds is not None
    assert told.original_seconds is not None
    assert len(measured) == 2
    assert told.macs_per_volume < told.original_macs_per_volume


def test_memory_is_that_of_one_network_and_no_weights_are_held(small_image):
    runs = Runs()
    alone = runs.estimate(resolve(replace(TOTAL, structures=("liver",))), small_image.geometry, False, CONTEXT)
    five = runs.estimate(resolve(TOTAL), small_image.geometry, False, CONTEXT)
    assert alone.peak_memory_bytes < five.peak_memory_bytes < 1.1 * alone.peak_memory_bytes
    estimators = list(runs._estimators.values())
    assert len(estimators) == 5
    assert all(weight.is_meta for each in estimators for weight in each._model.weights.values())


def test_fields_beside_each_other_mean_the_same_as_a_job(small_image):
    """As applications of an earlier version ask."""
    job = replace(TOTAL, structures=("liver", "ribs"), calibrate="none", steps=steps_at(0.5))
    place = {"shape": list(small_image.geometry.shape), "affine": small_image.geometry.matrix.tolist()}
    handlers, document = Handlers(), to_json(job)
    fields = {name: document[name] for name in ("model", "structures", "calibrate", "steps", "inference")}
    told = [handlers.estimate({**asked, **place}, CONTEXT)["estimate"] for asked in ({"job": document}, fields)]
    assert told[0] | {"free_memory_bytes": None} == told[1] | {"free_memory_bytes": None}
    assert [part["name"] for part in told[0]["parts"]] == ["organs", "ribs"]


@pytest.mark.filterwarnings("ignore:The compression goes by the weights")
def test_the_agreement_of_a_whole_task_is_remembered_by_rank(small_image):
    runs, small = Runs(), replace(TOTAL, structures=None, calibrate="none")
    assert runs.estimate(resolve(small), small_image.geometry, False, CONTEXT).agreement == 1.0
    at_half = replace(small, steps=steps_at(0.5))
    assert runs.estimate(resolve(at_half), small_image.geometry, False, CONTEXT).agreement is None
    (_, row) = runs.compare(resolve(small), small_image, [Variant(0.5)], CONTEXT, remember=True)
    assert 0 <= row.agreement < 1
    assert runs.estimate(resolve(at_half), small_image.geometry, False, CONTEXT).agreement == row.agreement


def test_preparing_a_task_fills_the_cache_and_the_run_finds_it_there(small_ct, small_image, capsys):
    wanted = ("liver", "ribs")
    job = replace(TOTAL, images=(str(small_ct),), structures=wanted, calibrate="none", steps=steps_at(0.5))
    assert Runs().estimate(resolve(job), small_image.geometry, False, CONTEXT).cache_bytes > 0
    words = ["--structures", ",".join(wanted), "--calibrate", "none", "--device", "torch:cpu", "--threads", "1"]
    assert tuckerseg(["compress", "total", "--rank", "0.5", *words]) == 0
    said = capsys.readouterr().out
    assert "organs: " in said
    assert "2 networks ready" in said
    assert Runs().estimate(resolve(job), small_image.geometry, False, CONTEXT).cache_bytes == 0
    kept = {entry.path for entry in Cache().entries()}
    run_job(job)
    assert {entry.path for entry in Cache().entries()} == kept


def test_a_file_holds_one_network(tmp_path, capsys):
    assert tuckerseg(["compress", str(tmp_path / "all.tuckerseg"), "--model", "total", "--rank", "0.5"]) == 1
    assert "total has 5 networks, and a file holds one" in capsys.readouterr().err
    assert tuckerseg(["compress", str(tmp_path / "all.zip"), "--model", "total", "--rank", "0.5"]) == 1
    assert ".tuckerseg" in capsys.readouterr().err


def test_a_task_is_described_whether_it_is_here_or_not(small_image, monkeypatch):
    here = Handlers().describe_model({"job": to_json(TOTAL)}, CONTEXT)
    assert [label["value"] for label in here["labels"]] == list(range(1, 118))
    assert (here["spacing_mm"], here["expects_hounsfield"]) == ([1.5, 1.5, 1.5], True)
    assert here["parts"] == ["organs", "vertebrae", "cardiac", "muscles", "ribs"]
    assert (here["download_bytes"], here["parameters"] > 0) == (0, True)
    monkeypatch.delenv("nnUNet_results")
    absent = Handlers().describe_model({"model": "total"}, CONTEXT)
    assert (absent["labels"], absent["spacing_mm"]) == (here["labels"], here["spacing_mm"])
    assert absent["download_bytes"] == catalog_task("total").size_bytes > 10**9
    with pytest.raises(DownloadError, match="1170 MB"):
        Runs().estimate(resolve(TOTAL), small_image.geometry, False, CONTEXT)
