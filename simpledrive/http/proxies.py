"""What a proxy says of the client that it speaks for, and whom to believe: TRUSTED_PROXIES and nobody else.

The headers are gone behind this, counted or not, so that nothing can lean on them by accident. Who the client
is stands in `request.remote_addr`, and whether it came over TLS in `request.is_secure`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

from flask import Flask

from simpledrive.config import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

FORWARDED = "HTTP_X_FORWARDED_"
COUNTED = ("FOR", "PROTO", "HOST", "PORT", "PREFIX")

_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?")
_PORT = re.compile(r"[0-9]{1,5}")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_WITH_PORT = re.compile(r"\[(?P<six>[^\]]+)\](?::[0-9]+)?|(?P<four>[0-9.]+):[0-9]+")


def init_app(app: Flask, settings: Settings) -> None:
    """Puts the app behind TrustedProxies."""
    app.wsgi_app = TrustedProxies(app.wsgi_app, settings.proxies)  # type: ignore[method-assign]


class TrustedProxies:
    """X-Forwarded-For, -Proto, -Host, -Port and -Prefix, counted for requests from these networks alone.

    Of -For, the client is the last address that is no trusted proxy. Of the others, the last value counts:
    what the nearest proxy says. A value that cannot be one has no effect.
    """

    def __init__(self, app: WSGIApplication, trusted: Iterable[Network]) -> None:
        self._app, self._trusted = app, tuple(trusted)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        claims = {name: environ.pop(name) for name in [*environ] if name.startswith(FORWARDED)}
        said = {name: claims.get(FORWARDED + name, "") for name in COUNTED}
        peer = _address(environ.get("REMOTE_ADDR", ""))
        if peer is not None:
            environ["REMOTE_ADDR"] = str(peer)
            if self._is_trusted(peer):
                environ["REMOTE_ADDR"] = str(self._client(peer, said["FOR"]))
                _believe(environ, {name: value.rpartition(",")[2].strip() for name, value in said.items()})
        return self._app(environ, start_response)

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)

    def _client(self, peer: Address, forwarded_for: str) -> Address:
        known = peer
        for text in reversed(forwarded_for.split(",")):
            address = _address(text.strip())
            if address is None:  # the one before it is the last that anybody trusted has seen
                return known
            known = address
            if not self._is_trusted(address):
                return known
        return known


def _believe(environ: WSGIEnvironment, said: dict[str, str]) -> None:
    if said["PROTO"].lower() in ("http", "https"):
        environ["wsgi.url_scheme"] = said["PROTO"].lower()
    if host := _HOST.fullmatch(said["HOST"]):
        environ["HTTP_HOST"] = said["HOST"]
        environ["SERVER_NAME"] = host["name"]
        environ["SERVER_PORT"] = host["port"] or _usual_port(environ)
    if _PORT.fullmatch(said["PORT"]) and (host := _HOST.fullmatch(environ.get("HTTP_HOST", ""))):
        environ["SERVER_PORT"] = said["PORT"]
        ending = "" if said["PORT"] == _usual_port(environ) else f":{said['PORT']}"
        environ["HTTP_HOST"] = host["name"] + ending
    if _PREFIX.fullmatch(prefix := said["PREFIX"].rstrip("/")):
        environ["SCRIPT_NAME"] = prefix


def _usual_port(environ: WSGIEnvironment) -> str:
    return "443" if environ["wsgi.url_scheme"] == "https" else "80"


def _address(text: str) -> Address | None:
    """An address, with or without a port; an IPv4 address in IPv6's clothes is one of IPv4."""
    if found := _WITH_PORT.fullmatch(text):
        text = found["six"] or found["four"]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
