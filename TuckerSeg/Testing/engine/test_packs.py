"""Several networks in one file: it runs as the task that it was made of, and each part goes through all checks."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from TuckerSegLib import load_model, tensor_file
from TuckerSegLib.catalog.entries import task as catalog_task
from TuckerSegLib.errors import ModelFileError, SpecError
from TuckerSegLib.models.pack_file import read_pack, read_part
from TuckerSegLib.models.task import load_task

SETTINGS = ("--device", "torch:cpu", "--precision", "fp32", "--threads", 1)


@pytest.fixture
def packed(run_here, installed_total, tmp_path):
    """The five networks of total, with shared weights, in one file."""
    path = tmp_path / "total.tuckerseg"
    asked = ("--method", "sharing", "--clusters", 16, "--codebook", "global")
    told = run_here("pack", "total", "--out", path, *asked)
    assert len(told.splitlines()) == 6 and "Written" in told
    return path


def test_a_pack_runs_as_its_task_does(run_here, packed, small_ct, tmp_path):
    alone, together = tmp_path / "alone.nii.gz", tmp_path / "together.nii.gz"
    asked = ("--method", "sharing", "--clusters", 16, "--codebook", "global")
    run_here("segment", small_ct, alone, "--model", "total", *asked, *SETTINGS)
    run_here("segment", small_ct, together, "--model", packed, *SETTINGS)
    expected, labels = (np.asarray(nibabel.load(path).dataobj) for path in (alone, together))
    assert len(np.unique(expected)) > 5
    np.testing.assert_array_equal(labels, expected)
    task = load_task(str(packed), structures=("liver",))
    assert task.step_fraction == task.resolved.inference.step_fraction == catalog_task("total").step_fraction
    assert task.structures == ("liver",) and len(task.parts) == 5


def test_what_works_on_one_network_says_so(run_here, packed):
    with pytest.raises(ModelFileError, match="several networks"):
        load_model(packed)
    with pytest.raises(SpecError, match="folds"):
        load_task(str(packed), folds=("0",))
    facts, whole = read_part(packed, 3, weights=False), read_part(packed, 3)
    assert facts.cost == whole.cost and not facts.has_weights and whole.has_weights


def test_ratios_of_a_pack_are_those_of_its_networks_and_of_all_together(run_here, packed):
    printed = run_here("ratios", packed, "--runs", 0).splitlines()
    rows = [line.split()[-3:] for line in printed if line.partition(": all ")[1] and "all else" not in line]
    assert len(rows) == len(read_pack(packed).parts)
    name, weights, memory, disk = printed[-1].split()
    assert (name, int(weights)) == ("all", sum(int(row[0]) for row in rows))
    assert float(disk) == pytest.approx(4 * int(weights) / packed.stat().st_size, abs=1e-3)
    assert min(float(row[1]) for row in rows) <= float(memory) <= max(float(row[1]) for row in rows)


def test_what_a_pack_says_of_itself_is_checked(packed):
    tensors, document = tensor_file.read_tensors(packed)

    def refused(words, **fields):
        tensor_file.write_tensors(packed, tensors, {**document, **fields})
        with pytest.raises(ModelFileError, match=words):
            read_part(packed, 0)

    pack = document["pack"]
    refused("parts", pack={**pack, "parts": []})
    refused("models", models=document["models"][:2])
    refused("models", models=3)
    refused("objects", models=[1, 2, 3, 4, 5])
    refused("values", pack={**pack, "parts": [{"name": "a", "values": {"1": -1}}] * 5})
    refused("whole number", pack={**pack, "label_names": {"x": "liver"}})
    refused("step_fraction", pack={**pack, "step_fraction": 0.0})
    refused("not those of its network", models=document["models"][::-1])
    refused("an object", pack=[])
    tensor_file.write_tensors(packed, {name[2:]: each for name, each in tensors.items()}, document)
    with pytest.raises(ModelFileError, match="missing or unknown|should be one of"):
        read_part(packed, 0)
    assert read_pack(packed).name == "total"
