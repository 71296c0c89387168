"""What images a model is for: which series of a study is meant, and what stands for air."""

from __future__ import annotations

from ..errors import TuckerSegError
from ..model_zoo import locate
from ..nnunet.folder import find_model_folder
from ..nnunet.plans import modality_of_channel
from .model_file import read_model_facts
from .resolved_job import ResolvedJob

CT = ("CT",)


def modalities_of(resolved: ResolvedJob) -> tuple[str, ...]:
    """The modality of each channel that a job's model takes, as DICOM names it: CT, MR or PT.

    Little is read. Of a model that cannot be read it is a CT: what is wrong with it is told where it is loaded.
    """
    if resolved.task is not None:
        return (resolved.task.modality,)
    try:
        path, folds = locate(resolved.job.model, resolved.job.folds)
        if path.suffix == ".tuckerseg":
            return read_model_facts(path).plans.modalities
        document = find_model_folder(path, folds, resolved.job.checkpoint).read_json("dataset.json")
    except TuckerSegError:
        return CT
    channels = document.get("channel_names") or document.get("modality")
    if not isinstance(channels, dict) or not channels:
        return CT
    in_order = sorted(channels, key=lambda number: (len(number), number))  # as text: 2 comes before 10
    return tuple(modality_of_channel(str(channels[number])) for number in in_order)
