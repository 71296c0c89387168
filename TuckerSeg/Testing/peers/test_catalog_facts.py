"""The catalog says of TotalSegmentator's tasks what TotalSegmentator's own tables say."""

from __future__ import annotations

import json
import subprocess

import pytest

from TuckerSegLib import catalog

MODES = {"fast": "fast", "fastest": "fastest"}
SMALL = "nnUNetResEncUNetLPlans_8"  # what total_v3 takes where a small network is asked for
RELEASES = "https://github.com/wasserth/TotalSegmentator/releases/download"
TASKS = [task for task in catalog.tasks() if task.path is None]

TABLES = """
import json
from totalsegmentator import map_tasks_config as config, map_to_binary as names
parts = {"total": (names.class_map_5_parts, names.map_taskid_to_partname_ct),
         "total_v3": (names.class_map_5_parts_total_v3, names.map_taskid_to_partname_ct_v3),
         "total_mr": (names.class_map_parts_mr, names.map_taskid_to_partname_mr),
         "headneck_muscles": (names.class_map_parts_headneck_muscles, names.map_taskid_to_partname_headneck_muscles)}
print(json.dumps({
    "defaults": config.DEFAULT_CONFIG, "tasks": config.TASK_CONFIGS, "weights": config.TASK_ID_WEIGHTS_CONFIGS,
    "classes": names.class_map, "licensed": sorted(names.commercial_models),
    "parts": {task: {str(number): classes[part] for number, part in numbers.items() if part in classes}
              for task, (classes, numbers) in parts.items()},
}))
"""


@pytest.fixture(scope="module")
def tables(their_python) -> dict:
    """TotalSegmentator's own."""
    done = subprocess.run([their_python, "-c", TABLES], capture_output=True, encoding="utf-8", check=True)
    return json.loads(done.stdout)


def source_of(name: str) -> tuple[str, str, bool]:
    """Task, mode and whether it is the small network, as TotalSegmentator calls them."""
    base, mode = name, "default"
    for ending, called in MODES.items():
        if name.endswith(f"_{ending}"):
            base, mode = name.removesuffix(f"_{ending}"), called
    small = base.endswith("_small")
    return base.removesuffix("_small").replace("_legacy", "_LEGACY"), mode, small


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_is_theirs(task, tables):
    name, mode, small = source_of(task.name)
    entry = tables["tasks"][name]
    settings = {**tables["defaults"], **entry.get("sub_modes", {mode: entry})[mode]}
    numbers = settings["task_id"] if isinstance(settings["task_id"], list) else [settings["task_id"]]
    spacing = settings["resample"]
    spacing = [spacing] * 3 if isinstance(spacing, (int, float)) else spacing
    assert task.spacing_mm == (None if spacing is None else tuple(float(size) for size in spacing[::-1]))
    assert dict(task.structures) == {int(value): label for value, label in tables["classes"][name].items()}
    assert task.license_key_required == (name in tables["licensed"])
    assert task.crop_structures == tuple(settings["crop"] or ())
    assert len(task.parts) == len(numbers)
    values = {label: value for value, label in task.structures}
    for number, part in zip(map(str, numbers), task.parts, strict=True):
        weights = tables["weights"][number]
        assert part.dataset == weights["foldername"]
        plans = SMALL if small else "nnUNetPlans"
        assert part.configuration == f"{settings['trainer']}__{plans}__{settings['model']}"
        folds = settings["folds"]
        assert part.folds == (None if folds is None else tuple(map(str, folds)))
        if not task.license_key_required:
            assert part.url == f"{RELEASES}/{weights['version']}/{part.dataset}.zip"
        if len(numbers) > 1:
            classes = tables["parts"][name][number]
            assert dict(part.labels) == {int(value): values[label] for value, label in classes.items()}
        auxiliary = tables["classes"].get(f"{name}_auxiliary", {})
        assert not set(map(int, auxiliary)) & {value for value, _ in part.labels}
        assert bool(part.labels) == (len(numbers) > 1 or bool(auxiliary))
