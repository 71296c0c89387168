"""Connections to servers of files: HTTPS, proxies and certificates."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import ssl
import urllib.parse
import urllib.request

from ..errors import DownloadError
from ..printable import excerpt
from .pacing import Pace, paced


def check_address(url: str) -> None:
    """Raise DownloadError unless an address is HTTPS, or HTTP on this computer, and names no user."""
    try:
        parts = urllib.parse.urlsplit(url)
        fits = parts.scheme == "https" and parts.hostname or parts.scheme == "http" and is_local(parts.hostname)
        fits = fits and "@" not in parts.netloc and parts.port != 0 and url.isprintable()
    except ValueError:
        fits = False
    if not fits:
        raise DownloadError(
            f"{excerpt(url, 300)}: models are fetched from https:// addresses only (http:// on this computer)."
        )


def is_local(host: str | None) -> bool:
    """Whether a host is this computer, by its name or address alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class _CheckedRedirections(urllib.request.HTTPRedirectHandler):
    """Follows a redirection unless it leads from HTTPS to something else; what was asked for stays the same.

    Nothing is read of what a server sends beside it, which may be without end.
    """

    def http_error_302(self, req, fp, code, msg, headers):
        target = headers.get("Location") or headers.get("URI") or ""
        with contextlib.suppress(ValueError):  # what is no address is refused as it is
            target = urllib.parse.urljoin(req.full_url, target)
        check_address(target)
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        check_address(newurl)
        if req.type == "https" and urllib.parse.urlsplit(newurl).scheme != "https":
            raise DownloadError(
                f"{req.full_url}: the server leads from https:// to {excerpt(newurl)}, which is not followed."
            )
        fp.close()
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def opener_for(url: str, pace: Pace) -> urllib.request.OpenerDirector:
    """With the proxies of the environment or system, except for this computer itself.

    Args:
        pace: Counts everything that comes.
    """
    parts = urllib.parse.urlsplit(url)
    handlers = [_CheckedRedirections, _PacedHandler(pace), _PacedSecureHandler(pace)]
    if is_local(parts.hostname):
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


class _PacedHandler(urllib.request.HTTPHandler):
    def __init__(self, pace: Pace):
        super().__init__()
        self._connection = paced(http.client.HTTPConnection, pace)

    def http_open(self, req):
        return self.do_open(self._connection, req)


class _PacedSecureHandler(urllib.request.HTTPSHandler):
    def __init__(self, pace: Pace):
        self._certified = _with_certificates()
        super().__init__(context=self._certified)
        self._connection = paced(http.client.HTTPSConnection, pace)

    def https_open(self, req):
        return self.do_open(self._connection, req, context=self._certified)


def _with_certificates() -> ssl.SSLContext:
    context = ssl.create_default_context()
    with contextlib.suppress(ImportError):  # where the system has no certificates, as Python on macOS
        import certifi

        context.load_verify_locations(certifi.where())
    return context
