"""Jobs as JSON: how an application asks for a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from answers import answer, require
from damage import edited, edits_of
from hypothesis import strategies as st
from samples import Samples

SHORT = 12
UNDAMAGED = ((),)
EXAMPLES: tuple = ()


def cases(samples: Samples) -> st.SearchStrategy:
    inside = {**_job(samples, Path("out")), "output": "out", "images": ["in"], "model": "model"}
    return edits_of(inside, raw=False)


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    from TuckerSegLib.jobs.run import run_job
    from TuckerSegLib.records.job import Job
    from TuckerSegLib.records.serialization import from_json

    job = answer(from_json, Job, edited(_job(samples, folder / "labels.nii.gz"), case))
    if job is None or job.output and folder not in Path(job.output).absolute().parents:
        return None  # whoever asks for a job may have its labels anywhere
    result = answer(run_job, job)
    if result is not None:
        require(result.labels.shape == samples.voxels.shape, f"labels {result.labels.shape}")
    return result


def _job(samples: Samples, output: Path) -> dict[str, Any]:
    from TuckerSegLib import InferenceSpec, Job
    from TuckerSegLib.records.serialization import to_json

    inference = InferenceSpec(device="torch:cpu", precision="fp32", threads=1)
    compression = {"rank_ratio": 0.5, "minimum_rank": 2, "rank_multiple": 1}
    job = Job(
        (str(samples.nifti_file),),
        str(output),
        str(samples.model_folder),
        method="tucker",
        compression=compression,
        inference=inference,
    )
    return to_json(job)
