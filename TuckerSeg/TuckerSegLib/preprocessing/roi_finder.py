"""The region of an image in which patches are run: the box that was asked for, and of a CT the body, not the air."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..image import Box, Image
from ..nnunet.plans import ModelPlans
from ..quality import may_be_hounsfield
from ..records.job import InferenceSpec
from ..resampling import output_shape
from ..sliding_window import Selection, StreamSpec, patch_count, select_patches
from .body_mask import Body, coarse_shape, find_body
from .preprocess import box_on_network_axes, network_view
from .roi import Region, box_mask


class RegionFinder:
    """Finds regions of one image for several models; the body is looked for once.

    Args:
        inference: With a step fraction.
        box: The part of the image that is asked for, (Z, Y, X); None: all of it.
    """

    def __init__(self, inference: InferenceSpec, box: Box | None = None):
        self._inference, self._box = inference, box
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
        if not self.may_skip(shape, plans):
            return Region(None, self._box), ()
        body, notes = None, ()
        if self._skips_air(plans):
            found = self._body(image, plans, convention)
            body, notes = found.mask, (f"No patch was skipped as air, because {found.doubt}.",) if found.doubt else ()
        if self._box is None:
            return Region(body), notes
        asked = self._asked(image, plans, convention)
        wanted = asked if body is None else asked & body
        return Region(wanted if wanted.any() else asked, self._box), notes

    def patches_of(self, image: Image, plans: ModelPlans, convention: str) -> Selection:
        """The patches that a run on the image would take."""
        view, spacing_mm, _ = network_view(image, plans, convention)
        shape = output_shape(view.shape[1:], spacing_mm, plans.spacing_mm, convention)
        region, _ = self.of(image, shape, plans, convention)
        return select_patches(shape, plans.patch_shape, self._inference.step_fraction, region.wanted)

    def may_skip(self, shape: Sequence[int], plans: ModelPlans) -> bool:
        """Whether a run may take fewer patches than a volume has; no voxels are looked at."""
        several = patch_count(shape, StreamSpec(plans.patch_shape, self._inference.step_fraction)) > 1
        return several and (self._box is not None or self._skips_air(plans))

    def _skips_air(self, plans: ModelPlans) -> bool:
        return self._inference.skip_empty and plans.expects_hounsfield and plans.input_channels == 1

    def _body(self, image: Image, plans: ModelPlans, convention: str) -> Body:
        if not may_be_hounsfield(image.array[0]):
            return Body(None, "the intensities may not be Hounsfield units")
        axes = (plans.orientation, plans.transpose_forward, convention)
        if axes not in self._found:
            view, spacing_mm, _ = network_view(image, plans, convention)
            self._found[axes] = find_body(view[0], spacing_mm)
        return self._found[axes]

    def _asked(self, image: Image, plans: ModelPlans, convention: str) -> np.ndarray:
        """The box that is asked for as a mask as fine as that of the body."""
        view, spacing_mm, crop = network_view(image, plans, convention)
        box = box_on_network_axes(self._box, image.geometry, plans, crop)
        return box_mask(box, coarse_shape(view.shape[1:], spacing_mm), view.shape[1:])
