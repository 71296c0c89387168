"""Facts of a model, or of a task of several networks, for a panel; of a task that is not here, those of the catalog."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import catalog
from .. import model_zoo as installed_models
from ..compression import METHODS, method
from ..compression.policies import explanation, is_calibrated, policies
from ..models.resolved_job import ResolvedJob
from ..models.task import SegmentationTask

Fields = dict[str, Any]


def describe(resolved: ResolvedJob, described: Callable[[ResolvedJob], SegmentationTask]) -> Fields:
    """What a panel shows of the model of a job.

    Args:
        resolved: The job; how it compresses and runs the model is not looked at.
        described: Gives the task of a job.

    Raises:
        TuckerSegError: It cannot be read.
    """
    catalog_task = resolved.task
    if (
        catalog_task is not None
        and not installed_models.refusal(catalog_task)
        and not installed_models.is_installed(catalog_task)
    ):
        return _from_catalog(catalog_task)
    task = described(resolved)
    models = [part.facts() for part in task.parts]
    plans, counts = models[0].plans, [len(each.folds) for each in models]
    return {
        "name": task.name,
        "labels": [{"value": value, "name": name} for value, name in task.label_names.items()],
        "patch_shape": list(plans.patch_shape),
        "spacing_mm": list(plans.spacing_mm),
        "input_channels": plans.image_channels,
        "expects_hounsfield": plans.expects_hounsfield,
        "mirroring_allowed": any(each.plans.mirror_axes for each in models),
        "parameters": sum(each.cost.parameters * folds for each, folds in zip(models, counts)),
        "macs_per_patch": sum(each.cost.macs * folds for each, folds in zip(models, counts)),
        "model_bytes": sum(each.weight_bytes for each in models),
        "parts": [part.name for part in task.parts],
        "methods": list(METHODS),
        "download_bytes": 0,
        "warning": " ".join(sorted({catalog.warning(each.plans.dataset_name) for each in models} - {""})),
    }


def described_policies() -> list[Fields]:
    """Name and explanation of every policy of compression, and of those that a fit to the volume may follow with it."""
    described = []
    for name, method_name in policies().items():
        words = explanation(name)
        described.append({"name": name, "explanation": words})
        if is_calibrated(name) and hasattr(method(method_name), "refit_network"):
            described.append({"name": f"{name}+refit", "explanation": f"{words}; then fitted once more to the volume"})
    return described


def _from_catalog(task: catalog.Task) -> Fields:
    """What is known of a task before its networks are here; the rest is None."""
    missing = [part for part in task.parts if installed_models.find_part(part) is None]
    sizes = [part.size_bytes for part in missing]
    return {
        "name": task.name,
        "labels": [{"value": value, "name": name} for value, name in task.structures],
        "patch_shape": None,
        "spacing_mm": list(task.spacing_mm) if task.spacing_mm else None,
        "input_channels": 1,
        "expects_hounsfield": task.modality == "CT",
        "mirroring_allowed": False,
        "parameters": None,
        "macs_per_patch": None,
        "model_bytes": None,
        "parts": [part.title for part in task.parts],
        "methods": list(METHODS),
        "warning": "",
        "download_bytes": None if None in sizes else sum(sizes),
    }
