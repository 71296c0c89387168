"""TuckerSeg: Tucker-compressed nnU-Net models, run fast on the computer that a clinic really has.

Public names, imported on first use (importing the package imports neither torch nor nnunetv2):

* :func:`load_model`, :func:`compress`, :class:`TuckerSpec`: a model and its compressed form;
* :class:`AllocationSpec`: all means of compression together, for a share of the time or an agreement to keep;
* :func:`load_task`: one or several networks that make one label map, or some structures of it;
* :func:`calibrate_model`: what lets a compressed model keep its accuracy, from a CT without labels;
* :func:`read_image`, :func:`image_from_array`: an image;
* :func:`segment`, :func:`prepare`, :class:`InferenceSpec`: its labels;
* :class:`Monitor`: what a run tells on its way, and how it is stopped;
* :func:`as_table`: the statistics of a result as text;
* :func:`run_job`, :class:`Job`: all of it from files to file;
* :func:`compress_predictor`: the network of an initialized nnunetv2 ``nnUNetPredictor``, compressed;
* :class:`Cache`, :class:`TuckerSegError`.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "AllocationSpec": ("compression.allocation", "Spec"),
    "Cache": ("cache", "Cache"),
    "InferenceSpec": ("records.job", "InferenceSpec"),
    "Job": ("records.job", "Job"),
    "Monitor": ("monitor", "Monitor"),
    "TuckerSegError": ("errors", "TuckerSegError"),
    "TuckerSpec": ("compression.tucker", "Spec"),
    "as_table": ("records.statistics", "as_table"),
    "calibrate_model": ("models.calibration", "calibrate_model"),
    "compress": ("models.compress", "compress"),
    "compress_predictor": ("models.nnunet_predictor", "compress_predictor"),
    "load_model": ("models.loading", "load_model"),
    "load_task": ("models.task", "load_task"),
    "image_from_array": ("image", "image_from_array"),
    "read_image": ("image", "read_image"),
    "run_job": ("jobs.run", "run_job"),
    "prepare": ("segmentation.prepared_model", "prepare"),
    "segment": ("segmentation.segment", "segment"),
}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOME[name]
    value = getattr(importlib.import_module(f".{module}", __name__), attribute)
    globals()[name] = value  # the next time it is found without asking
    return value
