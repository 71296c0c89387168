"""Fixtures that every tier uses."""

from __future__ import annotations

import functools
import gc
import itertools
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from Testing.file_server import FileServer

# Before anything loads OpenMP, whose threads else spin while they wait, and of which each process of the suite else
# starts as many as there are cores. Processes that tests start inherit it.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // WORKERS))

# Else each of the hundreds of processes that are started here would compile the library's source for itself.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(Path(__file__).resolve().parent))  # within Slicer, "Testing" may be another extension's


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with public CTs that are not part of the project: TUCKERSEG_SHARED, or ``shared`` beside the project."""
    folder = Path(os.environ.get("TUCKERSEG_SHARED", ROOT.parent / "shared"))
    if not (folder / "data" / "example_ct.nii.gz").is_file():
        pytest.skip(f"needs real CTs in {folder}/data, which are not part of the project")
    return folder


@pytest.fixture(scope="session")
def numbered_folders(tmp_path_factory):
    """Names of folders, one per test; pytest's own way looks through all that are there, for each of thousands."""
    root = tmp_path_factory.mktemp("own")
    return (root / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def own_folder(numbered_folders, monkeypatch) -> Path:
    """Every test has a folder for temporary files, so that none sees those of what runs beside it."""
    folder = next(numbered_folders)
    (folder / "temporary").mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(folder / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "temporary"))
    return folder


@pytest.fixture(autouse=True)
def own_cache(own_folder, monkeypatch) -> Path:
    """Every test has a cache of its own, so that none depends on what another or the user left there."""
    folder = own_folder / "cache"
    folder.mkdir()
    monkeypatch.setenv("TUCKERSEG_CACHE_DIR", str(folder))
    return folder


@pytest.fixture(autouse=True)
def own_models(own_folder, monkeypatch) -> Path:
    """Every test has a folder of its own for models, and sees none that the user has elsewhere."""
    folder = own_folder / "models"
    folder.mkdir()
    monkeypatch.setenv("TUCKERSEG_MODELS_DIR", str(folder))
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(folder / "no_totalsegmentator"))
    for name in ("TOTALSEG_WEIGHTS_PATH", "nnUNet_results", "TUCKERSEG_DOWNLOAD_URL"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="session")
def warm_python() -> Iterator[Path]:
    """An executable that does what ``python -m MODULE ...`` does, in a process that has PyTorch imported already.

    For tests of what a process does. How it starts and how it is ended is for ``sys.executable``.
    """
    if not hasattr(os, "pidfd_open"):  # there is no such server but on Linux
        yield Path(sys.executable)
        return
    folder = Path(__file__).parent / "warm_python"
    home = Path(tempfile.mkdtemp(dir="/tmp"))  # the address of a socket has no room for longer names
    server = subprocess.Popen([sys.executable, folder / "server.py", home / "socket"], stdin=subprocess.PIPE)
    while not (home / "socket").exists():
        assert server.poll() is None, "the server of warm processes has ended"
        time.sleep(0.01)
    words = [sys.executable, "-IS", folder / "launcher.py", home / "socket"]
    (home / "python").write_text(f'#!/bin/sh\nexec {shlex.join(map(str, words))} "$@"\n')
    (home / "python").chmod(0o755)
    yield home / "python"
    server.stdin.close()
    server.wait()
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def demo_folder() -> Path:
    """The built-in demonstration model."""
    return ROOT / "TuckerSeg" / "Resources" / "Models" / "Dataset900_TuckerSegDemo"


@pytest.fixture
def make_model_folder(tmp_path):
    """A function that writes a small, complete nnU-Net results folder with random weights."""
    from small_models import write_model_folder

    return functools.partial(write_model_folder, tmp_path)


@pytest.fixture(scope="session")
def total_networks(tmp_path_factory) -> Path:
    """Small networks with the names and class counts of those of the task ``total``, in a folder of results."""
    from small_models import write_networks

    return write_networks(tmp_path_factory.mktemp("results"), "total")


@pytest.fixture
def installed_total(total_networks, own_models, monkeypatch) -> Path:
    """The same, where the program looks for them."""
    monkeypatch.setenv("nnUNet_results", str(total_networks))
    return total_networks


@pytest.fixture
def install_tasks(tmp_path_factory, monkeypatch):
    """A function that writes small networks of tasks of the catalog to where the program looks for them."""
    from small_models import write_networks

    def install(*task_names: str, **settings) -> Path:
        root = tmp_path_factory.mktemp("results")
        for name in task_names:
            write_networks(root, name, **settings)
        monkeypatch.setenv("nnUNet_results", str(root))
        return root

    return install


@pytest.fixture
def installed_with_fast(install_tasks) -> Path:
    """Networks of tasks that can be cropped, and of the fast task that finds their boxes."""
    return install_tasks("total_v3_fast", "total_v3_fastest", "lung_nodules", "total_fastest")


@pytest.fixture
def serve_task(file_server, tmp_path_factory, monkeypatch):
    """A function that puts small networks of a task of the catalog onto the server, from where they are downloaded."""
    from small_models import write_networks

    def serve(task_name: str) -> FileServer:
        from TuckerSegLib.catalog.entries import task

        root = write_networks(tmp_path_factory.mktemp("published"), task_name)
        for part in task(task_name).parts:
            archive = shutil.make_archive(str(root / part.dataset), "zip", root, part.dataset)
            file_server.files[f"/{part.dataset}.zip"] = Path(archive).read_bytes()
        monkeypatch.setenv("TUCKERSEG_DOWNLOAD_URL", file_server.url)
        return file_server

    return serve


@pytest.fixture
def file_server():
    """A running server; its ``url`` ends without a slash."""
    from file_server import Server

    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server.behavior
    server.behavior.go_on.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def certificate(tmp_path):
    """A key and a certificate of its own for 127.0.0.1."""
    key, file = tmp_path / "key.pem", tmp_path / "certificate.pem"
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    arguments = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    arguments += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", file]
    subprocess.run(arguments, check=True, capture_output=True)
    return key, file


def pytest_collection_finish() -> None:
    """Leave what all test files have imported out of every later search for garbage: it is most of all objects."""
    gc.collect()
    gc.freeze()
