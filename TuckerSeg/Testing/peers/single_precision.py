"""TotalSegmentator's program with single-precision accumulators: ``PYTHON single_precision.py OPTIONS``.

nnU-Net sums logits in half precision, and that rounding decides voxels whose two best logits are nearly equal. Where it
asks for ``torch.half`` there, it gets float32. The weights are loaded before: they may be stored as float16.
"""

from unittest import mock

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from totalsegmentator.bin.TotalSegmentator import main

sum_logits = nnUNetPredictor._internal_predict_sliding_window_return_logits


def sum_in_single_precision(*arguments, **settings):
    with mock.patch.object(torch, "half", torch.float32):
        return sum_logits(*arguments, **settings)


if __name__ == "__main__":
    nnUNetPredictor._internal_predict_sliding_window_return_logits = sum_in_single_precision
    main()
