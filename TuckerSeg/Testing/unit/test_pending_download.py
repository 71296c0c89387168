"""What a run would download is known before: which networks, how much, from where, and whether the disk has room."""

from __future__ import annotations

import pytest

from TuckerSegLib.catalog.entries import task
from TuckerSegLib.errors import DownloadError
from TuckerSegLib.model_zoo import pending
from TuckerSegLib.model_zoo.pending import pending_download

TOTAL = task("total")


def test_a_task_that_is_not_here_is_told_with_sizes_hosts_and_folder(own_models):
    found = pending_download(TOTAL)
    assert found.parts == TOTAL.parts
    assert found.size_bytes == TOTAL.size_bytes > 10**9
    assert found.hosts == ("github.com",)
    assert found.folder == own_models
    assert found.here_bytes == 0
    assert found.disk_bytes > found.size_bytes


def test_structures_need_their_networks_alone(own_models):
    found = pending_download(TOTAL, ["rib_left_1", "heart"])
    assert [part.title for part in found.parts] == ["cardiac", "ribs"]


def test_the_network_that_finds_a_box_is_counted_where_there_is_to_be_one(own_models):
    (fast,) = task("total_fastest").parts
    assert pending_download(TOTAL, ["heart"], crop=True).parts == (*TOTAL.parts_with(["heart"]), fast)
    liver_segments = task("liver_segments")
    assert pending_download(liver_segments).parts == (*liver_segments.parts, fast)


def test_what_is_installed_or_built_in_needs_nothing(installed_total):
    assert pending_download(TOTAL) is None
    assert pending_download(task("demo")) is None


def test_what_came_before_is_counted(own_models):
    (part,) = task("total_fastest").parts
    (own_models / "downloads").mkdir()
    (own_models / "downloads" / f"{part.dataset}.zip.part").write_bytes(bytes(5000))
    assert pending_download(task("total_fastest")).here_bytes == 5000


def test_a_mirror_is_named_and_an_address_that_is_not_known_refused(own_models, monkeypatch):
    monkeypatch.setenv("TUCKERSEG_DOWNLOAD_URL", "https://mirror.example/models")
    assert pending_download(TOTAL).hosts == ("mirror.example",)
    monkeypatch.delenv("TUCKERSEG_DOWNLOAD_URL")
    with pytest.raises(DownloadError, match="address is not known"):
        pending_download(task("face"))


@pytest.mark.parametrize(("free", "fits"), [(10**6, False), (10**12, True), (None, True)])
def test_a_disk_without_room_is_told(own_models, monkeypatch, free, fits):
    monkeypatch.setattr(pending, "_free_bytes", lambda folder: free)
    assert pending_download(TOTAL).fits is fits


def test_the_disk_of_a_folder_that_is_not_made_yet_is_known(own_models, monkeypatch):
    monkeypatch.setenv("TUCKERSEG_MODELS_DIR", str(own_models / "not" / "made"))
    assert pending_download(TOTAL).free_bytes > 0
