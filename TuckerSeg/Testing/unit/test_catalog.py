"""The catalog of tasks: complete, and at one with itself and with the table of structures."""

from __future__ import annotations

import csv
import re

import pytest

from TuckerSegLib import catalog
from TuckerSegLib.catalog.structures import TABLE_FILE

TASKS = catalog.tasks()
OPEN = [task for task in TASKS if not task.license_key_required and task.path is None]
ids = [task.name for task in TASKS]


def test_every_task_has_a_name_of_its_own_and_is_found_by_it():
    assert len(set(ids)) == len(TASKS)
    assert [catalog.task(name) for name in ids] == list(TASKS)
    assert catalog.task("totl") is None
    assert {"demo", "total", "total_fast", "total_fastest", "body", "lung_vessels", "total_mr", "total_v3"} <= set(ids)


@pytest.mark.parametrize("task", TASKS, ids=ids)
def test_a_tasks_facts_are_whole(task):
    assert task.title and task.license and task.parts
    assert task.modality in ("CT", "MR")
    assert 0 < task.step_fraction <= 1
    assert (task.resampling == "aligned") == (task.spacing_mm is not None)
    names = [name for _, name in task.structures]
    assert len(set(names)) == len(names)
    values = {value for value, _ in task.structures}
    for part in task.parts:
        assert re.fullmatch(r"Dataset\d{3}_\w+", part.dataset)
        assert part.configuration is None or len(part.configuration.split("__")) == 3
        assert {target for _, target in part.labels} <= values
        assert part.sha256 is None or re.fullmatch("[0-9a-f]{64}", part.sha256)
    if len(task.parts) > 1:
        targets = [target for part in task.parts for _, target in part.labels if part.role == "labels"]
        assert sorted(targets) == sorted(values), "every structure comes from one part"


@pytest.mark.parametrize("task", OPEN, ids=[task.name for task in OPEN])
def test_an_open_task_can_be_downloaded(task):
    for part in task.parts:
        assert part.url.startswith("https://") and part.url.endswith(f"/{part.dataset}.zip")


def test_a_task_that_needs_a_license_key_has_no_address():
    keyed = [task for task in TASKS if task.license_key_required]
    assert {"tissue_types", "heartchambers_highres", "face"} <= {task.name for task in keyed}
    assert all(part.url is None for task in keyed for part in task.parts)


@pytest.mark.parametrize("task", [task for task in TASKS if task.crop_task], ids=lambda task: task.name)
def test_boxes_are_found_by_one_network_that_knows_the_structures(task):
    fast = catalog.task(task.crop_task)
    assert len(fast.parts) == 1 and not fast.license_key_required
    assert set(task.crop_structures) <= {name for _, name in fast.structures}
    assert task.crop_margin_mm > 0


@pytest.mark.parametrize("name", ["demo", "total", "total_fast", "total_fastest"])
def test_values_of_total_are_those_of_the_table_of_structures(name):
    with TABLE_FILE.open(encoding="utf-8", newline="") as file:
        table = {int(row["value"]): row["name"] for row in csv.DictReader(file) if row["value"]}
    assert dict(catalog.task(name).structures) == table


def test_the_five_parts_of_total_follow_each_other():
    total = catalog.task("total")
    ranges = [(part.labels[0][1], part.labels[-1][1]) for part in total.parts]
    assert ranges == [(1, 24), (25, 50), (51, 68), (69, 91), (92, 117)]
    assert all(part.labels[0][0] == 1 for part in total.parts)
    assert total.size_bytes == sum(part.size_bytes for part in total.parts)


def test_auxiliary_labels_of_a_network_are_not_part_of_its_task():
    part = catalog.task("kidney_cysts").parts[0]
    assert part.labels == ((1, 1), (2, 2))  # 3 and 4 are the kidneys


def test_the_convention_of_a_data_set_is_its_tasks():
    assert catalog.resampling_convention("Dataset297_TotalSegmentator_total_3mm_1559subj") == "aligned"
    assert catalog.resampling_convention("Dataset113_ToothFairy3") == "aligned"
    assert catalog.resampling_convention("Dataset258_lung_vessels_248subj") == "nnunet"
    assert catalog.resampling_convention("Dataset999_TotalSegmentator_something_12subj") == "aligned"
    assert catalog.resampling_convention("Dataset001_Small") == "nnunet"


def test_the_built_in_task_lies_where_it_says():
    assert [model.name for model in catalog.known_models()] == ["demo"]
    demo = catalog.task("demo")
    assert (demo.path / demo.parts[0].configuration / "plans.json").is_file()
