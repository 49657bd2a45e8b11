"""A peer's URL, checked once at the edge."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit

from ..errors import InputError

_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,252}[a-z0-9_.])?\Z")
_MAX_URL = 1000


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where a peer is reached: ``scheme://host:port/prefix``."""

    scheme: str
    host: str
    """A name in ASCII, or an IPv4 or IPv6 address without brackets."""
    port: int
    prefix: str = ""
    """What the peer's paths are appended to: "" or "/something", percent-encoded."""

    @property
    def is_tls(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """The host and, where it isn't the scheme's own, the port, as ``Host`` and the URL carry them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}"


def parse_peer_url(text: str) -> PeerAddress:
    """Return the address that a URL names; InputError says in one line what is wrong with it."""
    url = text.strip()
    if not url or len(url) > _MAX_URL or not url.isprintable() or " " in url:
        raise _refusal(url, "it is empty, too long, or has spaces or control characters in it")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise _refusal(url, str(exc)) from exc
    if parts.scheme not in _PORTS or not parts.hostname:
        raise _refusal(url, "it does not begin with http:// or https:// and a host")
    _refuse_extras(url, parts)
    if port == 0:
        raise _refusal(url, "no peer listens on port 0")
    prefix = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~")
    return PeerAddress(parts.scheme, _host(url, parts.hostname), port or _PORTS[parts.scheme], prefix)


def _refuse_extras(url: str, parts: SplitResult) -> None:
    if parts.username is not None or parts.password is not None:
        host = parts.netloc.rpartition("@")[2]
        raise _refusal(f"{parts.scheme}://...@{host}", "peers know no user names or passwords")
    if "?" in url or "#" in url:
        raise _refusal(url, "it has a query or a fragment")


def _host(url: str, host: str) -> str:
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host if "%" not in host else ""))
        except ValueError as exc:
            raise _refusal(url, "its host is no IPv6 address (one with a zone isn't either)") from exc
    try:
        name = host.encode("idna").decode()  # also refuses empty and overlong labels
    except UnicodeError as exc:
        raise _refusal(url, "its host is no host name") from exc
    if not _NAME.match(name):
        raise _refusal(url, "its host is no host name")
    return name


def _refusal(url: str, why: str) -> InputError:
    shown = ascii(url[:80])[1:-1]
    return InputError(f"'{shown}' is no peer's URL: {why}; write for example http://lab.example.org:8080")
