"""A server of several clients: turns, refusals, ends, and that nothing of a client stays."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import replace

import nibabel
import numpy as np
import pytest

from Testing.engine.serving_inputs import Client, RunningServer, playing_worker, tls_proxy
from TuckerSegLib import InferenceSpec, Job
from TuckerSegLib.errors import ServerError, SpecError
from TuckerSegLib.records.serialization import to_json
from TuckerSegLib.records.server_address import Address, address_of
from TuckerSegLib.serving import compute
from TuckerSegLib.serving.client_session import Limits
from TuckerSegLib.serving.connection import ServerConnection, declared
from TuckerSegLib.serving.server import ServerSettings
from TuckerSegLib.serving.wire import read_token

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
VOXELS = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
TOKEN = b"0123456789abcdef-not-secret"
QUICK = Limits(greeting_s=0.3, line_s=0.3, idle_s=600, stall_s=30, refusal_s=0.0)


def job(model: str = "demo", **fields) -> dict:
    return to_json(Job((), model=model, **fields))


@pytest.fixture
def start_server(tmp_path, own_models):
    """A function that starts a server whose worker is played; models of these names are there."""
    for name in ("hold", "deaf", "die", "quick"):
        (own_models / "imported" / name).mkdir(parents=True)
    python, servers = playing_worker(tmp_path), []

    def start(**settings) -> RunningServer:
        settings = {"port": 0, "python": str(python), "folder": tmp_path, "limits": QUICK, **settings}
        servers.append(RunningServer(ServerSettings(**settings)))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def wait_for(condition, within_s: float = 60) -> None:
    ends_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def segments_well(server, client=None) -> bool:
    """Whether a client that speaks as it should gets its labels; then nothing of it is left."""
    client = client or server.client()
    event = client.until(client.begin("segment", VOXELS, AFFINE, job=job("quick")), "result")
    wait_for(lambda: server.files() == [] and server.server.room.taken_bytes == 0)
    return event["labels"]["voxels"].shape == (2, 3, 4) and bool(event["labels"]["voxels"].all())


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


@pytest.mark.parametrize("token", [None, b"another-token-altogether"])
def test_a_wrong_token_is_refused_and_the_right_one_is_not(start_server, token):
    server = start_server(token=TOKEN)
    with pytest.raises(ServerError, match="token"):
        ServerConnection(server.address, token)
    assert segments_well(server)


def test_the_token_itself_is_no_answer_and_every_challenge_is_another(start_server):
    server = start_server(token=TOKEN)
    challenges = []
    for _ in range(2):
        raw = server.raw()
        challenges.append(raw.hello["challenge"])
        raw.send({"protocol": 1, "answer": TOKEN.decode()})
        assert "token" in raw.line()["message"]
    assert challenges[0] != challenges[1]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"protocol": 2}, "speaks version 1.* speaks 2"),
        ({"protocol": "1"}, "speaks version 1"),
        ({"protocol": True}, "speaks version 1"),
        ({}, "no greeting"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "no greeting"),
        (b"\x16\x03\x01\x02\x00\x01\x00\n", "no greeting"),
        (b"[" * 5000 + b"\n", "no greeting"),
        (b"x" * 200_000, "no greeting"),
        (b'{"protocol": 1', "within 0.3 s"),
        (b"", "within 0.3 s"),
    ],
)
def test_what_is_no_greeting_is_refused_in_words_and_the_server_lives_on(start_server, sent, said):
    server = start_server()
    raw = server.raw()
    raw.send(sent)
    answer = raw.line()
    assert answer["event"] == "error"
    pytest.raises(ServerError, _raise, answer["message"]).match(said)
    assert raw.line() is None
    assert segments_well(server)


def _raise(message: str) -> None:
    raise ServerError(message)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"garbage\n", "no request"),
        (b"\xff\xfe\n", "no request"),
        (b"[]\n", "no request"),
        (b'{"request": "devices", "id": "1"}\n', "whole number"),
        (b'{"request": "devices", "id": 1', "within 0.3 s"),
        (b"x" * 200_000, "longer than any request"),
        (b'{"id": 1, "request": "upload", "bytes": 100000000}\n', "A piece should have"),
        (b'{"id": 1, "request": "upload", "bytes": 100}\nxx', "within 0.3 s"),
    ],
)
def test_garbage_and_dawdling_end_the_connection_in_words_and_the_server_lives_on(start_server, sent, said):
    server = start_server()
    raw = server.raw().greeted()
    raw.send(sent)
    assert said in raw.line()["message"]
    assert raw.line() is None
    assert segments_well(server)


def test_a_volume_that_does_not_come_is_given_up(start_server, monkeypatch):
    monkeypatch.setattr("TuckerSegLib.serving.client_job.UPLOAD_GRACE_S", 0.05)
    server = start_server()
    raw = server.raw().greeted()
    raw.send({"id": 1, "request": "segment", "job": job("quick"), "volume": declared(VOXELS, AFFINE)})
    assert "did not come" in raw.until("error")["message"]
    wait_for(lambda: server.files() == [] and server.server.room.taken_bytes == 0)


def test_more_bytes_than_were_declared_end_the_connection(start_server):
    server = start_server()
    raw = server.raw().greeted()
    raw.send({"id": 2, "request": "segment", "job": job("quick"), "volume": declared(VOXELS, AFFINE)})
    raw.until("upload")
    raw.send(b'{"id": 2, "request": "upload", "bytes": 100}\n' + bytes(100))
    assert "More bytes" in raw.until("error")["message"]
    assert segments_well(server)


def sent_alone(client, **fields) -> str:
    """What is said of a request that is refused before a byte of its volume is sent."""
    request = {"job": job("quick"), "volume": declared(VOXELS, AFFINE), **fields}
    event = client.ask("segment", **{name: value for name, value in request.items() if value is not None})
    assert event["event"] == "error", event
    return event["message"]


def test_volumes_are_bounded_before_room_is_taken(start_server):
    server = start_server(most_per_client=100, most_in_all=120)
    first, second = server.client(), server.client()
    huge = {**declared(VOXELS, AFFINE), "shape": [100_000, 100_000, 100_000], "bytes": 2 * 10**15}
    assert "takes 0 MB of one client" in sent_alone(first, volume=huge)
    first.until(first.begin("segment", VOXELS, AFFINE, job=job("hold")), "stage")
    number = first.begin("segment", VOXELS, AFFINE, job=job("quick"))
    assert "which has" in sent_alone(first)
    assert "at most" in sent_alone(second)
    first.connection.request(0, "cancel", target=number)
    first.until(number, "cancelled")
    wait_for(lambda: server.server.room.taken_bytes == VOXELS.nbytes)
    second.begin("segment", VOXELS, AFFINE, job=job("quick"))


def test_a_full_disk_is_told(start_server, monkeypatch):
    server = start_server()
    client = server.client()
    with monkeypatch.context() as full:
        full.setattr("TuckerSegLib.serving.uploads.free_bytes", lambda folder: 10**6)
        assert "disk of the server is full" in sent_alone(client)
    assert segments_well(server, client)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"job": job("/etc/passwd")}, "no model of the name '/etc/passwd'"),
        ({"job": job("../../etc")}, "no model of the name"),
        ({"job": job("./quick")}, "no model of the name"),
        ({"job": {**job("demo"), "ensemble": ["/etc/passwd"]}}, "one model by its name"),
        ({"job": {**job("demo"), "previous_stage": "/etc"}}, "one model by its name"),
        ({"job": {**job("demo"), "save_probabilities": True}}, "one model by its name"),
        ({"job": {**job("demo"), "postprocessing": "/etc/passwd"}}, "cleans labels as body, vertebrae_pp or none"),
        ({"job": {**job("demo"), "preview": True}}, "not by a server"),
        ({"job": job("total")}, "no model of the name 'total'; it has demo"),
        ({"job": job("quick", folds=("../0",))}, "A fold should be"),
        ({"labels": "/tmp/labels.npy"}, "'labels' is no field"),
        ({"model": "/etc/passwd"}, "'model' is no field"),
        ({"volume": {**declared(VOXELS, AFFINE), "path": "/etc/passwd"}}, "'path' is no field"),
        ({"volume": {**declared(VOXELS, AFFINE), "dtype": "object"}}, "'dtype' should be"),
        ({"volume": {**declared(VOXELS, AFFINE), "bytes": 47}}, "should be 48; found 47"),
        ({"volume": {**declared(VOXELS, AFFINE), "bytes": 48.0}}, "should be 48"),
        ({"volume": {**declared(VOXELS, AFFINE), "shape": [2, 3]}}, "'shape' should be"),
        ({"volume": {**declared(VOXELS, AFFINE), "affine": [[0] * 4] * 4}}, "'affine' should be"),
        ({"volume": []}, "'volume' should be"),
        ({"job": {**job("quick"), "crop": "never"}}, "crop should be"),
        ({"job": {**job("quick"), "inference": {"threads": 10**9}}}, "threads"),
    ],
)
def test_names_of_files_and_fields_that_are_none_are_refused(start_server, fields, said):
    server = start_server()
    client = server.client()
    assert said in sent_alone(client, **fields)
    assert server.files() == []
    assert segments_well(server, client)


def test_a_job_keeps_no_files_that_a_client_names(start_server):
    server = start_server()
    client = server.client()
    named = {**job("quick"), "images": ["/etc/passwd"], "output": "/tmp/x.nii.gz", "series": "1"}
    named["outputs"] = [{"version": 1, "path": "/tmp/y.nii.gz", "type": "nifti"}]
    event = client.until(client.begin("segment", VOXELS, AFFINE, job=named), "result")
    sent = event["asked"]["job"]
    assert (sent["images"], sent["output"], sent["series"], sent.get("outputs")) == ([], None, None, None)


@pytest.mark.parametrize("kind", ["import_model", "list_images", "segment_file", "compare", "forget", "__init__"])
def test_requests_of_files_are_not_served(start_server, kind):
    server = start_server()
    client = server.client()
    event = client.ask(kind, path="/etc", name="x", folder="/etc", image="/etc/passwd", output="/tmp/x")
    assert "does not do" in event["message"]
    assert segments_well(server, client)


def test_a_full_server_refuses_and_a_place_that_is_left_is_taken(start_server):
    server = start_server(most_clients=1)
    first = server.client()
    assert first.ask("devices")["event"] == "result"
    with pytest.raises(ServerError, match="as many clients as it takes"):
        server.client()
    first.close()
    wait_for(lambda: not server.server._sessions)
    assert segments_well(server)


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
