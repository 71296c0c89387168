"""Feature maps as pictures, and the number that says how far they cluster."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from TuckerSegLib.analysis.feature_maps import clusterability, draw_maps, grid_of, measure_maps
from TuckerSegLib.cli.main import main
from TuckerSegLib.errors import SpecError
from TuckerSegLib.image import read_image

LAYER = "encoder.stages.0.0.convs.0.conv"


def line(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 1, len(values)).repeat_interleave(2, dim=2)


def test_clusterability_by_hand():
    # Scaled and pooled: 0 1 0, 0 1 0, 1 0 0. Distances: 0, and the root of 2/3 twice.
    pair_and_another = torch.stack([line(0, 1, 0), line(0, 7, 0) - 3, line(1, 0, 0)])
    far = (2 / 3) ** 0.5
    assert clusterability(pair_and_another) == pytest.approx(1 - (far / 3) / (4 * far / 6))
    equally_far = torch.stack([line(1, 0, 0), line(0, 1, 0), line(0, 0, 1)])
    assert clusterability(equally_far) == pytest.approx(0)
    assert clusterability(torch.cat([equally_far, equally_far])) == pytest.approx(1)
    assert clusterability(equally_far[:1].repeat(3, 1, 1, 1)) == 1
    assert clusterability(equally_far[:2]) is None


def test_a_grid_is_nearly_square_with_lines_between():
    grid = grid_of(np.stack([np.full((2, 3), value) for value in (0.0, 0.5, 1.0)]))
    assert grid.shape == (5, 7) and grid.dtype == np.uint8
    assert (grid[0, 0], grid[0, 4], grid[3, 0]) == (0, 128, 255)
    assert (grid[2] == 255).all() and (grid[:, 3] == 255).all() and (grid[3:, 4:] == 255).all()


def test_the_command_draws_layers_and_compares_two_models(make_model_folder, small_ct, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    first, second = (make_model_folder(name=f"Dataset00{n}_Small", patch_shape=(16, 16, 16), seed=n) for n in (1, 2))
    out = tmp_path / "out"
    arguments = ("features", small_ct, "--layer", "encoder.*", "--model", first, "--compare", second, "--out", out)
    assert main([str(each) for each in arguments]) == 0
    printed = capsys.readouterr().out
    header, *rows = (out / "clusterability.csv").read_text().splitlines()
    assert header.startswith("layer,channels,clusterability,compared_channels") and LAYER in printed
    own = dict(row.split(",", 1) for row in rows)
    channels, number, _, other = own[LAYER].split(",")
    assert channels == "8" and 0 <= float(number) <= 1 and number != other
    assert {path.name for path in out.glob("*.png")} == {
        f"{prefix}{path}.png" for path in own for prefix in ("", "compared.")
    }


def test_a_pattern_that_fits_no_layer_is_told_with_those_there_are(make_model_folder, small_ct):
    from TuckerSegLib import load_model

    model = load_model(make_model_folder(patch_shape=(16, 16, 16)))
    with pytest.raises(SpecError, match=LAYER):
        measure_maps(model, read_image(small_ct), ["head*"])


def test_a_picture_has_the_pixels_of_its_grid(make_model_folder, small_ct, tmp_path):
    image = pytest.importorskip("matplotlib.image")
    from TuckerSegLib import load_model

    (layer,) = measure_maps(load_model(make_model_folder(patch_shape=(16, 16, 16))), read_image(small_ct), [LAYER])
    draw_maps(layer, tmp_path / "maps.png")
    pixels = np.rint(255 * image.imread(tmp_path / "maps.png")[..., 0])
    assert np.array_equal(pixels, grid_of(layer.slices)) and len(np.unique(pixels)) > 5
