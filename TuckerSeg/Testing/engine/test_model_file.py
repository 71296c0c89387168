"""A ``.tuckerseg`` file is whole and unchanged, or it is refused."""

from __future__ import annotations

import pytest
import torch

from TuckerSegLib import load_model
from TuckerSegLib import tensor_file as model_file
from TuckerSegLib.errors import ModelFileError


def test_a_flipped_digit_in_the_header_is_found(make_model_folder, tmp_path):
    path = tmp_path / "model.tuckerseg"
    load_model(make_model_folder()).save(path)
    content = path.read_bytes()
    spacing = rb"spacing_mm\": [3.0, 3.0, 3.0]"
    assert content.count(spacing) == 1
    path.write_bytes(content.replace(spacing, spacing.replace(b"3.0]", b"1.0]")))
    with pytest.raises(ModelFileError, match="damaged"):
        load_model(path)


def test_an_interrupted_write_leaves_no_file(tmp_path, monkeypatch):
    def interrupted(tensors, path, metadata):
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model_file.write_tensors(tmp_path / "model.tuckerseg", {"a": torch.ones(2)}, {})
    assert list(tmp_path.iterdir()) == []
