"""The region of a CT in which patches are run: all of it, or, where air may be skipped, the body."""

from __future__ import annotations

from collections.abc import Sequence

from .body import Body, find_body
from .image import Image
from .job import InferenceSpec
from .nnunet.plans import ModelPlans
from .preprocessing import network_view
from .quality import may_be_hounsfield
from .region import Region
from .sliding_window import StreamSpec, patch_count


class RegionFinder:
    """Finds regions of one image for several models; the body is looked for once.

    Args:
        inference: With a step fraction.
    """

    def __init__(self, inference: InferenceSpec):
        self._inference = inference
        self._found: dict[tuple, Body] = {}

    def of(
        self, image: Image, shape: Sequence[int], plans: ModelPlans, convention: str
    ) -> tuple[Region, tuple[str, ...]]:
        """The region in which patches are to be run.

        Args:
            image: As read, the same in every call.
            shape: (Z, Y, X) that it has on the model's grid.
            plans, convention: See ``preprocess``.

        Returns:
            The region, and notes: why everything is run though air was to be skipped.
        """
        if not (self._inference.skip_empty and plans.expects_hounsfield and plans.input_channels == 1):
            return Region(), ()
        if patch_count(shape, StreamSpec(plans.patch_shape, self._inference.step_fraction)) == 1:
            return Region(), ()
        body = self._body(image, plans, convention)
        if body.mask is None:
            return Region(), (f"No patch was skipped as air, because {body.doubt}.",)
        return Region(body.mask), ()

    def _body(self, image: Image, plans: ModelPlans, convention: str) -> Body:
        if not may_be_hounsfield(image.array[0]):
            return Body(None, "the intensities may not be Hounsfield units")
        axes = (plans.orientation, plans.transpose_forward, convention)
        if axes not in self._found:
            view, spacing_mm, _ = network_view(image, plans, convention)
            self._found[axes] = find_body(view[0], spacing_mm)
        return self._found[axes]
