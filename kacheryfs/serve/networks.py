"""Which addresses are of our own network; the decisions are pure, ``own_networks`` reads the kernel's routes."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from pathlib import Path

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PRIVATE_IPV4 = ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16")
_PRIVATE_IPV6 = ("::1/128", "fc00::/7", "fe80::/10")
_PRIVATE: Sequence[Network] = [ipaddress.ip_network(text) for text in (*_PRIVATE_IPV4, *_PRIVATE_IPV6)]
"""Loopback, private (RFC 1918, RFC 4193) and link-local (RFC 3927, RFC 4291). ``is_private`` of ipaddress has more."""
_ROUTES = Path("/proc/net/route")
_ADDRESSES = Path("/proc/net/fib_trie")
_IPV6_ADDRESSES = Path("/proc/net/if_inet6")
_GATEWAY = 0x2
_REJECT = 0x200
"""Flags of a route, from linux/route.h."""
_LARGEST = {4: 8, 6: 32}
"""The shortest prefix of what can be one site's. A tunnel that takes all traffic (WireGuard, sshuttle) makes routes
without a gateway, too: 0.0.0.0/1 and 128.0.0.0/1, in which an address of this machine may well lie."""


def is_local(host: str, own: Sequence[Network]) -> bool:
    """Tell whether an address is private, or in one of our ``own`` networks; what is no address isn't."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(_is_in(address, network) for network in (*_PRIVATE, *own))


def _is_in(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network


def own_networks() -> list[Network]:
    """Return the networks that this machine stands in: it reaches them without a gateway, and has an address there."""
    own = list(parse_addresses(_read(_ADDRESSES)))
    routes = [network for network in parse_routes(_read(_ROUTES)) if any(_is_in(address, network) for address in own)]
    return [
        network
        for network in (*routes, *parse_ipv6_networks(_read(_IPV6_ADDRESSES)))
        if network.prefixlen >= _LARGEST[network.version]
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # without IPv6, or without routes, there is none


def parse_routes(text: str) -> Iterator[Network]:
    """Read ``/proc/net/route``: addresses in hex, the bytes as they lie in memory."""
    for line in text.splitlines()[1:]:
        _, destination, _, flags, _, _, _, mask, *_ = line.split()
        if int(mask, 16) and not int(flags, 16) & (_GATEWAY | _REJECT):
            octets = [bytes.fromhex(word)[::-1] for word in (destination, mask)]
            address, netmask = (ipaddress.IPv4Address(word) for word in octets)
            yield ipaddress.ip_network(f"{address}/{netmask}", strict=False)


def parse_addresses(text: str) -> Iterator[Address]:
    """Read this machine's own IPv4 addresses out of ``/proc/net/fib_trie``."""
    leaf = ""
    for line in text.splitlines():
        words = line.split()
        if words[0] == "|--":
            leaf = words[1]
        elif words == ["/32", "host", "LOCAL"]:
            yield ipaddress.IPv4Address(leaf)


def parse_ipv6_networks(text: str) -> Iterator[Network]:
    """Read the networks of this machine's IPv6 addresses, out of ``/proc/net/if_inet6``."""
    for line in text.splitlines():
        address, _, length, *_ = line.split()
        yield ipaddress.ip_network((bytes.fromhex(address), int(length, 16)), strict=False)
