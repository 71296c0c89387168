"""A server and clients that mean it harm: refused in words, bounded, and the server lives on."""

from __future__ import annotations

import pytest

from Testing.engine.server_requests import AFFINE, TOKEN, VOXELS, job, played_servers, segments_well, wait_for
from TuckerSegLib.errors import ServerError
from TuckerSegLib.serving.connection import ServerConnection, declared


@pytest.fixture
def start_server(tmp_path, own_models):
    """A function that starts a server whose worker is played."""
    with played_servers(tmp_path, own_models) as start:
        yield start


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
