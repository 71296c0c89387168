"""What follows from a job is worked out once, before a model is read."""

from __future__ import annotations

import pytest

from TuckerSegLib import InferenceSpec, Job, TuckerSpec, catalog
from TuckerSegLib.errors import SpecError
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.records.job import Step, steps_at


def test_a_task_is_resolved_to_the_networks_that_know_what_is_wanted():
    resolved = resolve(Job((), model="total", structures=("kidneys", "ribs"), steps=steps_at(0.5)))
    assert [part.title for part in resolved.networks] == ["organs", "ribs"]
    assert {"kidney_left", "kidney_right", "rib_left_1"} <= set(resolved.structures)
    assert resolved.task is catalog.task("total")
    assert resolved.inference.step_fraction == resolved.task.step_fraction == 0.8
    assert resolved.steps == (("tucker", TuckerSpec.at(0.5)),)
    assert resolved.roi_search is None


@pytest.mark.parametrize("model", ["demo", "/somewhere/model"])
def test_a_model_that_is_not_downloaded_has_networks_of_its_own(model):
    resolved = resolve(Job((), model=model, structures=("liver",), inference=InferenceSpec(step_fraction=0.3)))
    assert (resolved.networks, resolved.structures, resolved.steps) == ((), None, ())
    assert resolved.inference.step_fraction == 0.3
    assert resolve(Job((), model=model)).inference.step_fraction == 0.5


def test_the_fast_job_of_a_search_is_resolved_too():
    job = Job((), model="total", structures=("liver",), crop="auto", inference=InferenceSpec(device="torch:cpu"))
    fast = resolve(job).roi_search.fast
    assert (fast.task.name, fast.inference.step_fraction) == ("total_fastest", 0.8)
    assert (fast.inference.device, fast.inference.output_grid) == ("torch:cpu", "nearest")
    assert fast.roi_search is None and len(fast.networks) == 1


def test_another_strength_changes_the_last_step_and_nothing_else():
    spec = {"rank_ratio": 0.5, "minimum_rank": 4}
    resolved = resolve(Job((), model="total", structures=("liver",), crop="auto", steps=(Step("tucker", spec),)))
    lower = resolved.at_strength(0.25)
    assert lower.steps == (("tucker", TuckerSpec(0.25, minimum_rank=4)),)
    assert lower == resolve(lower.job)
    assert resolved.at_strength(1.0).steps == ()
    assert (lower.roi_search, lower.networks) == (resolved.roi_search, resolved.networks)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"steps": (Step("tuker", strength=0.5),)}, "tuker"),
        ({"steps": (Step("tucker", {"ranks": 3}),)}, "ranks"),
        ({"steps": steps_at(0.5) * 2}, "asked for twice"),
        ({"model": "total", "structures": ("livre",)}, "Did you mean liver"),
    ],
)
def test_what_cannot_be_is_told_before_a_model_is_read(fields, why):
    with pytest.raises(SpecError, match=why):
        resolve(Job((), **{"model": "/nowhere/model", **fields}))


def test_the_catalog_is_asked_once(monkeypatch):
    names, whole = [], catalog.task
    monkeypatch.setattr(catalog, "task", lambda name: names.append(name) or whole(name))
    resolve(Job((), model="total", structures=("liver",), crop="auto"))
    assert names == ["total", "total_fastest"]
