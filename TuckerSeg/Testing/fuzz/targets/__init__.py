"""What is fuzzed: one module per kind of input.

A target has

* ``SHORT``: how many examples of it the tests take;
* ``UNDAMAGED``: cases without damage, one per way into the program, which must give results;
* ``EXAMPLES``: cases that were findings once; paste the printed case of a new one there;
* ``cases(samples)``: a Hypothesis strategy of cases: edits as plain Python data, so that they print as they are pasted;
* ``check(case, samples, folder)``: does the edits on a valid input, gives it to the program through ``answers.answer``,
  and returns what came of it, whose laws it has checked; None where the input was refused.

A new target is one module and one line here.
"""

from __future__ import annotations

import importlib
from types import ModuleType

NAMES = (
    "model_folder",
    "model_file",
    "model_zip",
    "checkpoint",
    "nifti",
    "nrrd",
    "metaimage",
    "dicom",
    "dicom_frames",
    "label_names",
    "training_dataset",
    "worker_lines",
    "worker_process",
    "server_lines",
    "job",
    "recipe",
    "download",
    "command_line",
    "kept_json",
    "kept_tensors",
)


def target(name: str) -> ModuleType:
    return importlib.import_module(f"targets.{name}")
