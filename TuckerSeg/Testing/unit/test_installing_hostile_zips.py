"""Archives of models that are damaged, changed or would do harm: told, and never half unpacked."""

from __future__ import annotations

import dataclasses
import re
import stat
import zipfile

import pytest

from Testing.unit.published_models import PART, TASK, entries_of, install, left_in, serve, stand_in, with_sum, zip_of
from TuckerSegLib.errors import DownloadError, ModelFolderError
from TuckerSegLib.model_zoo import installed, models_folder
from TuckerSegLib.model_zoo.archives import unpack
from TuckerSegLib.nnunet import archives


@pytest.fixture
def entries(make_model_folder) -> dict[str, bytes]:
    return entries_of(make_model_folder())


@pytest.fixture
def server(file_server, monkeypatch):
    monkeypatch.setenv("TUCKERSEG_DOWNLOAD_URL", f"{file_server.url}/")
    return file_server


def test_a_published_checksum_is_kept_to(server, entries, own_models):
    content = stand_in(PART, entries)
    serve(server, PART, content[:-1] + b"!")
    with pytest.raises(DownloadError, match="wrong checksum.*the published one"):
        install(with_sum(content))
    assert left_in(own_models) == []
    serve(server, PART, content)
    assert install(with_sum(content))


def test_files_whose_checksums_are_published_are_checked(server, entries):
    part = dataclasses.replace(PART, files=(("fold_0/checkpoint_final.pth", "0" * 64),))
    serve(server, part, stand_in(part, entries))
    with pytest.raises(ModelFolderError, match="fold_0/checkpoint_final.pth has a wrong checksum"):
        install(dataclasses.replace(TASK, parts=(part,)))
    assert installed(TASK) is None


def test_a_file_that_changed_since_it_was_first_seen_is_not_trusted(server, entries, own_models):
    from TuckerSegLib.model_zoo.importing import remove_model

    serve(server, PART, stand_in(PART, entries))
    install()
    remove_model("total_fastest")
    assert installed(TASK) is None
    serve(server, PART, stand_in(PART, {**entries, "readme.txt": b"changed"}))
    seen = own_models / "downloads" / f"{PART.dataset}.zip.sha256"
    with pytest.raises(DownloadError, match=f"another one when it was first downloaded here.*remove {seen}"):
        install()
    assert installed(TASK) is None
    seen.unlink()
    assert install()


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"soup", b"abc  file.zip"])
def test_a_damaged_note_of_a_checksum_is_told_and_written_again(server, entries, own_models, damage):
    serve(server, PART, stand_in(PART, entries))
    seen = own_models / "downloads" / f"{PART.dataset}.zip.sha256"
    seen.parent.mkdir(parents=True)
    seen.write_bytes(damage)
    with pytest.warns(UserWarning, match="damaged"):
        install()
    assert installed(TASK) is not None
    assert re.match("[0-9a-f]{64} ", seen.read_text())


@pytest.mark.parametrize(
    "names",
    [
        ["CON"],
        ["nul.nii"],
        ["fold_0/aux.nii.gz"],
        ["COM1.txt"],
        ["lpt9/a.txt"],
        ["com¹"],
        ["con .txt"],
        ["readme."],
        ["fold_0 /a.txt"],
        ["a?.txt"],
        ["a*b"],
        ['"quoted"'],
        ["a|b"],
        ["a<b>"],
        ["a\nb"],
        ["readme.txt", "README.txt"],
        ["fold_1/a.txt", "FOLD_1/b.txt"],
        ["stra\u00dfe.txt", "strasse.txt"],
        ["caf\u00e9.txt", "cafe\u0301.txt"],
    ],
)
def test_a_zip_with_names_that_not_every_system_takes_is_not_unpacked(entries, tmp_path, names):
    prefix = f"{PART.dataset}/{PART.configuration}/"
    archive = tmp_path / "model.zip"
    archive.write_bytes(zip_of({prefix + name: b"a" for name in [*entries, *names]}))
    with pytest.raises(ModelFolderError, match="nothing was unpacked"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_that_only_look_like_devices_and_what_file_managers_leave_are_unpacked(tmp_path):
    names = ["console.txt", "com10", "auxiliary/nulls.txt", ".hidden", "a.b.c", "__MACOSX/._CON", "x/.DS_Store"]
    (tmp_path / "model.zip").write_bytes(zip_of({name: b"a" for name in names}))
    (tmp_path / "out").mkdir()
    unpack(tmp_path / "model.zip", tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == set(names[:5])


@pytest.mark.parametrize("kind", ["parent", "root", "drive", "backslash", "link", "bomb", "many"])
def test_a_zip_that_would_do_harm_is_not_unpacked(server, entries, own_models, monkeypatch, kind):
    monkeypatch.setattr(archives, "FREE_BYTES", 1_000_000)
    monkeypatch.setattr(archives, "MOST_ENTRIES", 20)
    outside = own_models.parent / "outside.txt"
    files = {f"{PART.dataset}/{PART.configuration}/{name}": content for name, content in entries.items()}
    names = {"parent": "../outside.txt", "root": str(outside), "drive": "C:outside.txt", "backslash": "..\\outside.txt"}
    if kind == "link":
        link = zipfile.ZipInfo(f"{PART.dataset}/link")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        files[link] = b"/etc"
    elif kind == "bomb":
        files["zeros"] = bytes(10_000_000)
    elif kind == "many":
        files |= {f"{PART.dataset}/{number}": b"" for number in range(archives.MOST_ENTRIES)}
    else:
        files[names[kind]] = b"harm"
    serve(server, PART, zip_of(files))
    with pytest.raises(ModelFolderError, match="nothing was unpacked"):
        install()
    assert not outside.exists() and installed(TASK) is None
    assert left_in(own_models) == []


def test_a_damaged_zip_and_one_of_something_else_are_errors(server, entries, own_models):
    content = bytearray(stand_in(PART, entries))
    content[len(content) // 2] ^= 0xFF
    for wrong, words in (
        (bytes(content), "is damaged at"),
        (b"<html>Please log in</html>", "is not a readable zip"),
        (zip_of({"readme.txt": b"nothing"}), "should hold nnUNetTrainer.*; found readme.txt"),
        (stand_in(PART, {"plans.json": entries["plans.json"]}), "does not hold the model: .*dataset.json is missing"),
    ):
        serve(server, PART, wrong)
        with pytest.raises(ModelFolderError, match=f"{words}.*By hand: download {PART.url}"):
            install()
        assert left_in(own_models) == []


@pytest.mark.parametrize("within", ["{configuration}/", "other_name/{configuration}/", "__MACOSX/x/"])
def test_a_zip_may_begin_with_another_folder(server, entries, within):
    files = {f"{PART.dataset}/{PART.configuration}/{name}": content for name, content in entries.items()}
    content = zip_of({**files, "__MACOSX/._x": b""}) if "MACOSX" in within else stand_in(PART, entries, within)
    serve(server, PART, content)
    assert install()[0].parts[-2:] == (PART.dataset, PART.configuration)
    assert not (models_folder() / "__MACOSX").exists()
