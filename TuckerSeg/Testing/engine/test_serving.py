"""A server of several clients: turns, ends, addresses, and that nothing of a client stays."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace

import nibabel
import numpy as np
import pytest

from Testing.engine.server_requests import AFFINE, TOKEN, VOXELS, job, played_servers, segments_well, wait_for
from Testing.engine.serving_inputs import Client, RunningServer, tls_proxy
from TuckerSegLib import InferenceSpec
from TuckerSegLib.errors import ServerError, SpecError
from TuckerSegLib.records.server_address import Address, address_of
from TuckerSegLib.serving import compute
from TuckerSegLib.serving.client_session import Limits
from TuckerSegLib.serving.connection import declared
from TuckerSegLib.serving.server import ServerSettings
from TuckerSegLib.serving.wire import read_token


@pytest.fixture
def start_server(tmp_path, own_models):
    """A function that starts a server whose worker is played."""
    with played_servers(tmp_path, own_models) as start:
        yield start


def test_a_volume_goes_up_and_labels_come_down_and_nothing_stays(start_server):
    server = start_server()
    client = server.client()
    number = client.begin("segment", VOXELS, AFFINE, job=job("quick", structures=("liver",)))
    event = client.until(number, "result")
    asked = event["asked"]
    assert asked["volume"]["name"] == "volume"
    assert asked["volume"]["affine"] == AFFINE.tolist()
    assert asked["job"]["structures"] == ["liver"]
    assert str(server.server.folder) not in str(event), "the server's folders are its own affair"
    wait_for(lambda: server.files() == [])
    folder = server.server.folder
    server.stop()
    assert not folder.exists()


def test_the_worker_reads_what_was_sent(start_server, monkeypatch):
    monkeypatch.setattr("TuckerSegLib.serving.uploads.Upload.remove", lambda upload: None)
    server = start_server(limits=Limits())
    volume = np.random.default_rng(0).normal(size=(5, 300, 900)).astype(np.float64)  # of several pieces
    client = server.client()
    client.until(client.begin("segment", volume, AFFINE, job=job("quick")), "result")
    (sent,) = (path for path in server.files() if path.name == "volume.npy")
    np.testing.assert_array_equal(np.load(sent), volume)


def test_two_clients_at_once_take_turns_and_the_second_is_told_that_it_waits(start_server):
    server = start_server()
    first, second = server.client(), server.client()
    held = first.begin("segment", VOXELS, AFFINE, job=job("hold"))
    first.until(held, "stage")
    number = second.begin("segment", VOXELS, AFFINE, job=job("quick"))
    waiting = second.until(number, "stage")
    assert (waiting["stage"], waiting["ahead"]) == ("waiting", 1)
    assert second.ask("describe_model", job=job())["labels"] == [{"value": 1, "name": "one"}], "facts come meanwhile"
    first.connection.request(held, "cancel", target=held)
    assert first.until(held, "result", "cancelled")["event"] == "cancelled"
    assert second.until(number, "result")["labels"]["voxels"].all()
    assert segments_well(server, first)


def test_a_client_that_is_cut_in_the_middle_frees_its_place_and_its_files(start_server):
    server = start_server()
    first, second = server.client(), server.client()
    first.until(first.begin("segment", VOXELS, AFFINE, job=job("hold")), "stage")
    number = second.begin("segment", VOXELS, AFFINE, job=job("quick"))
    second.until(number, "stage")
    first.close()
    second.until(number, "result")
    assert segments_well(server)


def test_a_client_that_is_cut_while_it_waits_or_sends_leaves_nothing(start_server):
    server = start_server()
    first, second, third = server.client(), server.client(), server.raw().greeted()
    held = first.begin("segment", VOXELS, AFFINE, job=job("hold"))
    first.until(held, "stage")
    second.until(second.begin("segment", VOXELS, AFFINE, job=job("quick")), "stage")
    third.send({"id": 1, "request": "segment", "job": job("quick"), "volume": declared(VOXELS, AFFINE)})
    third.until("upload")
    third.send(b'{"id": 1, "request": "upload", "bytes": 48}\n' + bytes(20))
    wait_for(lambda: len(server.files()) == 3 + 3)
    second.close()
    third.cut()
    wait_for(lambda: len(server.files()) == 2)
    first.connection.request(0, "cancel", target=held)
    first.until(held, "cancelled")
    assert segments_well(server)


def test_a_run_that_does_not_hear_is_ended_with_its_process_and_the_next_has_another(start_server, monkeypatch):
    monkeypatch.setattr(compute, "CANCEL_GRACE_S", 0.05)
    server = start_server()
    client = server.client()
    number = client.begin("segment", VOXELS, AFFINE, job=job("deaf"))
    client.until(number, "stage")
    client.connection.request(0, "cancel", target=number)
    client.until(number, "cancelled")
    assert segments_well(server, client)


def test_a_worker_that_dies_ends_its_request_and_not_the_server(start_server):
    server = start_server()
    client = server.client()
    event = client.until(client.begin("segment", VOXELS, AFFINE, job=job("die")), "error", "result")
    assert event["event"] == "error"
    assert "ended (exit code 9)" in event["message"]
    assert segments_well(server, client)


def test_a_run_is_cancelled_before_its_turn(start_server):
    server = start_server()
    client = server.client()
    held = client.begin("segment", VOXELS, AFFINE, job=job("hold"))
    client.until(held, "stage")
    number = client.begin("segment", VOXELS, AFFINE, job=job("quick"))
    client.connection.request(0, "cancel", target=number)
    client.until(number, "cancelled")
    assert len(server.files()) == 2


def test_of_estimates_and_previews_of_a_client_only_the_latest_counts_and_others_have_theirs(start_server):
    server = start_server()
    first, second = server.client(), server.client()
    point = [1, 1, 1]
    older = first.begin("preview", VOXELS, AFFINE, job=job("hold"), point=point)
    first.until(older, "stage")
    other = second.begin("preview", VOXELS, AFFINE, job=job("quick"), point=point)
    newer = first.begin("preview", VOXELS, AFFINE, job=job("quick"), point=point)
    assert {event["event"] for event in first.said if event["id"] == older} >= {"stage"}
    assert second.until(other, "result", "dropped")["event"] == "result"
    assert first.until(newer, "result", "dropped")["event"] == "result"
    assert next(event["event"] for event in first.said if event["id"] == older and event["event"] != "stage") in (
        "upload",
        "dropped",
    )


def test_what_the_cache_learns_of_a_volume_goes_with_the_server(start_server, own_cache):
    kept = own_cache / "v1" / "calibrations" / ("0" * 32 + ".safetensors")
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"kept")
    server = start_server()
    assert segments_well(server)
    cache = server.server.folder / "cache"
    assert (cache / kept.relative_to(own_cache)).read_bytes() == b"kept", "what the user's cache has is there"
    (cache / "v1" / "calibrations" / ("1" * 32 + ".safetensors")).write_bytes(b"of a client")
    server.stop()
    assert [path for path in own_cache.rglob("*") if path.is_file()] == [kept]


def test_addresses_and_tokens_are_checked(tmp_path):
    assert address_of("gpu-room") == Address("gpu-room", 9310)
    assert address_of("[::1]:80") == Address("::1", 80)
    assert str(address_of("tls://gpu.example.org:443")) == "tls://gpu.example.org:443"
    for text in ("", "a:b", "a:0", "a:70000", "http://x", "a b", "x:1/../y"):
        with pytest.raises(SpecError, match="HOST:PORT"):
            address_of(text)
    token = tmp_path / "token"
    with pytest.raises(ServerError, match="cannot be read"):
        read_token(token)
    token.write_bytes(TOKEN + b"\n")
    token.chmod(0o644)
    with pytest.raises(ServerError, match="others can read"):
        read_token(token)
    token.chmod(0o600)
    assert read_token(token) == TOKEN
    token.write_bytes(b"short")
    with pytest.raises(ServerError, match="16 to 1024"):
        read_token(token)


def test_another_address_than_this_computers_needs_a_token():
    for host in ("0.0.0.0", "192.168.1.5", "::", "gpu-room"):
        with pytest.raises(ServerError, match="a token is needed"):
            ServerSettings(host=host)
        assert ServerSettings(host=host, token=TOKEN)
    assert ServerSettings(host="::1") and replace(ServerSettings(), host="localhost")


@pytest.fixture
def small_server(make_model_folder, warm_python, tmp_path):
    """A server with a worker, which has a small model."""
    from TuckerSegLib.model_zoo.importing import import_model

    import_model(make_model_folder(patch_shape=(16, 16, 16)), "small")
    token = tmp_path / "token"
    token.write_bytes(TOKEN)
    token.chmod(0o600)
    server = RunningServer(ServerSettings(port=0, token=TOKEN, python=str(warm_python), folder=tmp_path))
    yield server
    server.stop()


def test_the_command_line_gives_the_same_files_over_a_server(small_server, small_ct, tmp_path, run_here):
    options = ("--model", "small", "--device", "torch:cpu", "--precision", "fp32", "--threads", "1")
    there = ("--server", small_server.address, "--token-file", tmp_path / "token")
    run_here("segment", small_ct, tmp_path / "here.nii.gz", *options)
    printed = run_here("segment", small_ct, tmp_path / "there.nii.gz", *options, *there, "--json")
    events = [json.loads(line) for line in printed.splitlines()]
    here, far = (np.asarray(nibabel.load(tmp_path / f"{name}.nii.gz").dataobj) for name in ("here", "there"))
    assert here.any()
    np.testing.assert_array_equal(far, here)
    assert events[-1]["statistics"]["volume"] == str(small_ct)
    assert {"hand over", "network", "write"} <= {event.get("stage") for event in events}
    wait_for(lambda: small_server.files() == [])
    run_here("segment", small_ct, tmp_path / "x.nii.gz", *options[2:], "--model", "other", *there, code=1)
    run_here("segment", small_ct, tmp_path / "x.nii.gz", *options, *there[:2], code=1)
    run_here("segment", small_ct, tmp_path / "x.nii.gz", *options, *there[2:], code=1)
    assert not (tmp_path / "x.nii.gz").exists()
    (tmp_path / "cts").mkdir()
    small_ct.rename(tmp_path / "cts" / "one.nii.gz")
    (tmp_path / "cts" / "damaged.nii.gz").write_bytes(b"no image")
    cohort = ("segment", tmp_path / "cts", tmp_path / "folder", *options, *there)
    run_here(*cohort, code=1)  # for the damaged one
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "folder" / "one.nii.gz").dataobj), here)
    (tmp_path / "cts" / "damaged.nii.gz").unlink()
    assert "1 were before" in run_here(*cohort)
    run_here(*cohort, "--cluster", "local", code=1)


def test_an_application_sees_no_difference_between_a_worker_and_a_server(
    small_server, hand_over, start_worker, tmp_path, own_folder, small_ct
):
    inference = InferenceSpec(device="torch:cpu", precision="fp32", threads=1)
    asked = {"job": job("small", inference=inference), "volume": hand_over((24, 30, 28)).document}
    there = ("--server", str(small_server.address), "--token-file", str(tmp_path / "token"))
    relay = start_worker(*there)
    assert relay.ask("devices")["automatic"]["id"]
    assert relay.ask("describe_model", job=asked["job"])["name"]
    far = relay.ask("segment", **asked, labels=str(relay.workspace / "labels.npy"))
    worker = start_worker()
    here = worker.ask("segment", **asked, labels=str(worker.workspace / "labels.npy"))
    assert (far["labels"]["lower"], far["labels"]["upper"]) == (here["labels"]["lower"], here["labels"]["upper"])
    np.testing.assert_array_equal(np.load(far["labels"]["path"]), np.load(here["labels"]["path"]))
    assert far["statistics"]["volume"] == here["statistics"]["volume"] == "noise"
    assert far["statistics"]["structures"] == here["statistics"]["structures"]
    (image,) = relay.ask("list_images", folder=str(small_ct.parent))["images"]
    assert image == {"path": str(small_ct), "name": "ct"}
    output = tmp_path / "labels.nii.gz"
    done = relay.ask("segment_file", job=asked["job"], image=image["path"], output=str(output))
    assert done["statistics"]["structures"] and nibabel.load(output).shape == nibabel.load(small_ct).shape
    missing = relay.ask("segment_file", job=asked["job"], image="/nowhere.nii.gz", output=str(output))
    assert missing["kind"] == "ImageError"
    assert "should be" in relay.ask("list_images", folder=7)["message"]
    small_server.stop()
    assert "cannot be reached" in relay.ask("devices")["message"]
    relay.process.stdin.close()
    assert relay.process.wait(60) == 0
    assert not relay.workspace.exists()


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes its certificate by openssl")
def test_a_proxy_that_speaks_tls_may_stand_before_it(start_server, tmp_path, monkeypatch):
    server, files = start_server(token=TOKEN, limits=Limits()), (tmp_path / "certificate", tmp_path / "key")
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run(["openssl", *words.split(), "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    address = tls_proxy(server.address, *files)
    with pytest.raises(ServerError, match="certificate"):
        Client(address, TOKEN)
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    assert segments_well(server, Client(address, TOKEN))
    client = Client(address, TOKEN)
    large = np.zeros((10, 512, 512), np.float32)
    assert client.until(client.begin("segment", large, AFFINE, job=job("quick")), "result")["labels"]
    client.close()
