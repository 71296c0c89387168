"""What should be known of a volume before a run that is possible.

That it may be no image of the model's kind, and where a transform puts it. Text only; knows nothing of widgets.
"""

from __future__ import annotations

from collections.abc import Iterator

import slicer
from slicer.i18n import tr as _

from ...hounsfield import not_hounsfield_because
from ..scene.volume_facts import stated_modality, transform_of, value_range

CT, MR = "CT", "MR"


def cautions_of(volume_node: slicer.vtkMRMLScalarVolumeNode, model_modality: str | None) -> list[str]:
    """Sentences for a user, the gravest first.

    Args:
        volume_node: One that can be segmented.
        model_modality: What the model was trained on, ``CT`` or ``MR``; None where it is not known.
    """
    return [*_of_modality(volume_node, model_modality), *_of_transform(volume_node)]


def _of_modality(volume_node: slicer.vtkMRMLScalarVolumeNode, trained_on: str | None) -> Iterator[str]:
    name, stated = volume_node.GetName(), stated_modality(volume_node)
    if trained_on is None:
        return
    if stated and stated != trained_on:
        yield _(
            "{name} is {stated}, and this model was trained on {trained_on}: the result may be wrong. Choose a model "
            "for {stated}, or another volume."
        ).format(name=name, stated=stated, trained_on=trained_on)
        return
    low, high = value_range(volume_node)
    reason = not_hounsfield_because(low, high)
    if trained_on == CT and reason:
        yield _(
            "The values of {name}, {low:g} to {high:g}, are probably not Hounsfield units: {reason}. This model was "
            "trained on CT: the result may be wrong. Choose a CT, or a model for MR where this is MR."
        ).format(name=name, low=low, high=high, reason=reason)
    elif trained_on == MR and not stated and reason is None:
        yield _(
            "The values of {name}, {low:g} to {high:g}, are like those of a CT. This model was trained on MR: the "
            "result may be wrong. Choose a model for CT where this is CT."
        ).format(name=name, low=low, high=high)


def _of_transform(volume_node: slicer.vtkMRMLScalarVolumeNode) -> Iterator[str]:
    transform = transform_of(volume_node)
    if transform is None:
        return
    name, linear = transform
    if linear:
        words = _(
            "{volume} is under the transform {name}: it is segmented as that places it, and the result lies there too. "
            "To segment it as scanned, take it out of the transform."
        )
    else:
        words = _(
            "{volume} is under the transform {name}, which bends it: it is segmented as scanned, and the result is "
            "bent with it."
        )
    yield words.format(volume=volume_node.GetName(), name=name)
