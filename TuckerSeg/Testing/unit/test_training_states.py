"""A state from which a training goes on is a file like any other: what is wrong in it is told as such."""

from __future__ import annotations

import pytest
import torch

from TuckerSegLib.errors import ModelFileError
from TuckerSegLib.tensor_file import write_tensors
from TuckerSegLib.training.finetuning.settings import FineTuningRecord, FineTuningSettings
from TuckerSegLib.training.finetuning.state import KIND, TrainingState, read_state, write_state

RECORD = FineTuningRecord(FineTuningSettings(), (), (), validation_dice=(0.5,))
WEIGHTS = {"weights/a": torch.zeros(2)}
DOCUMENT = {"kind": KIND, "start_sha256": "0", "loss_scale": {}}


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "run.state"
    write_state(path, TrainingState("0", RECORD, {"a": torch.zeros(2)}, {}, {}, {}))
    assert read_state(path, "0", RECORD).weights.keys() == {"a"}


@pytest.mark.parametrize(
    ("document", "tensors"),
    [
        (DOCUMENT, WEIGHTS),
        ({**DOCUMENT, "record": 3}, WEIGHTS),
        ({**DOCUMENT, "record": {}}, WEIGHTS),
        ({**DOCUMENT, "record": None}, {"elsewhere/a": torch.zeros(2)}),
    ],
    ids=["no record", "a number", "an empty record", "none"],
)
def test_what_is_wrong_in_it_is_told_with_its_file(tmp_path, document, tensors):
    path = tmp_path / "run.state"
    write_tensors(path, tensors, document)
    with pytest.raises(ModelFileError):
        read_state(path, "0", RECORD)
