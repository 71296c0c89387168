"""Connections to servers of files: HTTPS, proxies and certificates."""

from __future__ import annotations

import contextlib
import ipaddress
import ssl
import urllib.parse
import urllib.request

from ..errors import DownloadError


def check_address(url: str) -> None:
    """Raise DownloadError unless an address is HTTPS, or HTTP on this computer."""
    parts = urllib.parse.urlsplit(url)
    if not (parts.scheme == "https" and parts.hostname) and not (parts.scheme == "http" and is_local(parts.hostname)):
        raise DownloadError(f"{url}: models are fetched from https:// addresses only (http:// on this computer).")


def is_local(host: str | None) -> bool:
    """Whether a host is this computer, by its name or address alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class _CheckedRedirections(urllib.request.HTTPRedirectHandler):
    """Follows a redirection unless it leads from HTTPS to something else; what was asked for stays the same."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        check_address(newurl)
        if req.type == "https" and urllib.parse.urlsplit(newurl).scheme != "https":
            raise DownloadError(f"{req.full_url}: the server leads from https:// to {newurl}, which is not followed.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def opener_for(url: str) -> urllib.request.OpenerDirector:
    """With the proxies of the environment or system, except for this computer itself."""
    parts = urllib.parse.urlsplit(url)
    handlers = [_CheckedRedirections, *([_secure_handler()] if parts.scheme == "https" else [])]
    if is_local(parts.hostname):
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def _secure_handler() -> urllib.request.HTTPSHandler:
    context = ssl.create_default_context()
    with contextlib.suppress(ImportError):  # where the system has no certificates, as Python on macOS
        import certifi

        context.load_verify_locations(certifi.where())
    return urllib.request.HTTPSHandler(context=context)
