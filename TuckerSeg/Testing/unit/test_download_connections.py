"""The ways to a server: https only, redirections, certificates, proxies, and computers that are off."""

from __future__ import annotations

import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from Testing.unit.downloads import CONTENT, QUICK, SHA256, fetching, names, with_model
from TuckerSegLib.download import fetch
from TuckerSegLib.errors import DownloadError


@pytest.fixture
def server(file_server):
    return with_model(file_server)


@pytest.fixture
def get(server, tmp_path):
    return fetching(server, tmp_path)


def test_a_file_that_is_not_there_is_an_error_at_once(server, get, tmp_path):
    with pytest.raises(DownloadError, match=r"/none\.zip: the server answered with HTTP status 404"):
        get(path="/none.zip")
    assert len(server.requests) == 1
    assert names(tmp_path) == []


def test_a_computer_that_is_off_is_said_to_be(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1 cannot be reached \(Connection refused\)"):
        fetch(f"http://127.0.0.1:{port}/model.zip", tmp_path / "model.zip", patience=QUICK)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "url", ["http://example.org/model.zip", "ftp://127.0.0.1/model.zip", "file:///etc/passwd", "https:///model.zip"]
)
def test_only_https_is_asked(url, tmp_path):
    with pytest.raises(DownloadError, match="https:// addresses only"):
        fetch(url, tmp_path / "model.zip", patience=QUICK)


def test_redirections_are_followed_with_the_range_but_not_to_plain_http(server, get):
    server.redirections = {"/moved.zip": f"{server.url}/model.zip", "/away.zip": "http://example.org/model.zip"}
    server.cuts = [1_000_000]
    assert get(path="/moved.zip").path.read_bytes() == CONTENT
    assert server.requests[-1][0] == "/model.zip" and server.requests[-1][1]["Range"] == "bytes=1000000-"
    with pytest.raises(DownloadError, match="https:// addresses only"):
        get(path="/away.zip")


def test_certificates_are_verified_and_one_can_be_added(certificate, tmp_path, monkeypatch):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *arguments):
            pass

    key, file = certificate
    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        url = f"https://127.0.0.1:{server.server_port}/model.zip"
        with pytest.raises(
            DownloadError, match="certificate cannot be verified .self-signed certificate.*SSL_CERT_FILE"
        ):
            fetch(url, tmp_path / "model.zip", SHA256, patience=QUICK)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert fetch(url, tmp_path / "model.zip", SHA256, patience=QUICK).path.read_bytes() == CONTENT
    finally:
        server.shutdown()
        server.server_close()


def test_the_proxy_of_the_environment_is_asked_but_not_for_this_computer(server, get, tmp_path, monkeypatch):
    asked = []

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self):
            asked.append(self.path)
            self.send_error(502)

        def log_message(self, *arguments):
            pass

    proxy = HTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_port}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(DownloadError, match="models.example cannot be reached .*502"):
            fetch("https://models.example/model.zip", tmp_path / "other.zip", patience=QUICK)
        assert asked == ["models.example:443"] * 3
        assert get().path.read_bytes() == CONTENT
        assert len(asked) == 3
    finally:
        proxy.shutdown()
        proxy.server_close()
