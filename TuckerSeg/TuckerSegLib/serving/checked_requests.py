"""What a client may ask for: a request is written anew of the fields that are known, and never passed on as it came.

A client names models and structures; it names no file, folder or device driver of the server.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

from .. import catalog
from .. import model_zoo as installed_models
from ..errors import ServerError
from ..models.cleaning import NO_CLEANING, OF_TASKS
from ..printable import excerpt, shown
from ..records.job import Job
from ..records.serialization import to_json
from ..worker.requests import RequestError, check_fields, job_of
from .wire import VOXEL_TYPES

Fields = dict[str, Any]
LIGHT = ("describe_model", "devices", "policies", "estimate")
HEAVY = ("segment", "preview")
_OWN_FIELDS = {
    "describe_model": ("job",),
    "devices": (),
    "policies": (),
    "estimate": ("job", "shape", "affine", "measure", "agreements"),
    "segment": ("job", "volume"),
    "preview": ("job", "volume", "point"),
}
_FOLD = re.compile("[0-9]{1,3}|all")
_PLACE = {"segment": "labels", "preview": "labels"}
_VOLUME_FIELDS = ("shape", "affine", "dtype", "bytes")
_SOME_PLACE = "/labels.npy"  # stands for the file that is the server's own affair, while fields are checked


@dataclass(frozen=True)
class Declared:
    """A volume that a client says it will send: shape (Z, Y, X), affine, type of voxels, and size."""

    shape: tuple[int, int, int]
    affine: list[list[float]]
    dtype: str
    size_bytes: int


@dataclass(frozen=True)
class CheckedRequest:
    """A request as the worker may get it, but for the places of files, which the server adds.

    Attributes:
        heavy: Whether a network runs.
        volume: That is to come first; None: none.
    """

    kind: str
    fields: Fields
    heavy: bool
    volume: Declared | None = None


def known_models() -> list[str]:
    """Names that a client may use: tasks whose networks are all here, and models that were imported."""
    tasks = [task.name for task in catalog.tasks() if not installed_models.refusal(task)]
    here = [name for name in tasks if installed_models.is_installed(catalog.task(name))]
    return here + [model.name for model in installed_models.imported_models()]


def checked(request: Fields) -> CheckedRequest:
    """A client's request, checked and written anew.

    Raises:
        ServerError: It asks for what a server does not do, or names what it does not have.
        RequestError, TuckerSegError: A field is not what it should be.
    """
    kind = request["request"]
    if kind not in _OWN_FIELDS:
        raise ServerError(
            f"A server does not do '{excerpt(kind, 40)}'; it does {', '.join(_OWN_FIELDS)}. "
            "Choose a device of this computer for it."
        )
    others = [name for name in request if name not in ("id", "request", *_OWN_FIELDS[kind])]
    if others:
        raise ServerError(
            f"{kind}: '{excerpt(others[0], 40)}' is no field that a server takes; it takes "
            f"{', '.join(_OWN_FIELDS[kind]) or 'none'}. No file of a server is read or written by a client's wish."
        )
    fields = {name: request[name] for name in _OWN_FIELDS[kind] if name in request}
    places = {_PLACE[kind]: _SOME_PLACE} if kind in _PLACE else {}
    check_fields({"request": kind, **fields, **places})
    if "job" in fields:
        fields["job"] = to_json(_own_job(job_of(request)))
    volume = _declared(fields.pop("volume")) if kind in HEAVY else None
    return CheckedRequest(kind, fields, kind in HEAVY or bool(fields.get("measure")), volume)


def _own_job(job: Job) -> Job:
    """A job without files, of a model that is here by name."""
    names = known_models()
    if job.model not in names:
        raise ServerError(
            f"The server has no model of the name {shown(job.model)}; it has {', '.join(names)}. Models are named, "
            "not given as paths; whoever runs the server installs others there."
        )
    for fold in job.folds or ():
        if not _FOLD.fullmatch(fold):
            raise ServerError(f"A fold should be a number or 'all'; found {shown(fold)}.")
    task = catalog.task(job.model)
    if task is not None and task.crop_task and (job.crop == "auto" or (job.crop is None and task.crop_structures)):
        fast = catalog.task(task.crop_task)
        if fast is None or not installed_models.is_installed(fast):
            raise ServerError(
                f"The server lacks {task.crop_task}, which finds the box of the structures. Whoever runs it installs "
                "it there; or let the whole volume be computed."
            )
    _refuse_places(job)
    return replace(job, images=(), output=None, outputs=(), timepoint=None, series=None)


def _refuse_places(job: Job) -> None:
    """Raises ServerError where a job names files of the server, or wants what is written beside labels.

    Those fields of a job are an ensemble's models, the first stage of a cascade, the rules of a post-processing.
    """
    if job.ensemble or job.previous_stage is not None or job.save_probabilities:
        raise ServerError(
            "A server runs one model by its name: an ensemble, another first stage of a cascade and probabilities are "
            "for a device of this computer."
        )
    if job.postprocessing not in (None, NO_CLEANING, *OF_TASKS):
        raise ServerError(
            f"A server cleans labels as {', '.join(OF_TASKS)} or {NO_CLEANING}; found {shown(job.postprocessing)}. No "
            "file of a server is read by a client's wish."
        )
    if job.structure_statistics is not None or job.preview:
        raise ServerError("Statistics and pictures are written where the labels are, and not by a server.")


def _declared(volume: Any) -> Declared:
    others = [name for name in volume if name not in _VOLUME_FIELDS]
    if others:
        raise ServerError(
            f"volume: '{excerpt(others[0], 40)}' is no field that a server takes; voxels are sent, and no file of the "
            "server is read by a client's wish."
        )
    dtype, size = volume.get("dtype"), volume.get("bytes")
    if dtype not in VOXEL_TYPES:
        raise RequestError(f"volume: 'dtype' should be one of {', '.join(VOXEL_TYPES)}; found {shown(dtype)}.")
    geometry = {"request": "estimate", "job": {}, "shape": volume.get("shape"), "affine": volume.get("affine")}
    check_fields(geometry)
    shape = volume["shape"]
    expected = math.prod(shape) * _item_bytes(dtype)
    if type(size) is not int or size != expected:
        raise RequestError(f"volume: 'bytes' of {shape} voxels of {dtype} should be {expected}; found {shown(size)}.")
    return Declared(tuple(shape), volume["affine"], dtype, size)


def _item_bytes(dtype: str) -> int:
    return int(dtype.lstrip("uintfloa")) // 8
