"""Fixtures that every tier uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with public CTs that are not part of the project: TUCKERSEG_SHARED, or ``shared`` beside the project."""
    folder = Path(os.environ.get("TUCKERSEG_SHARED", ROOT.parent / "shared"))
    if not (folder / "data" / "example_ct.nii.gz").is_file():
        pytest.skip(f"needs real CTs in {folder}/data, which are not part of the project")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch) -> Path:
    """Every test has a cache of its own, so that none depends on what another or the user left there."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TUCKERSEG_CACHE_DIR", str(folder))
    return folder
