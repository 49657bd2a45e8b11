"""Who is answered, and what all others learn: one line, and nothing of what there is."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from serve_fakes import serving

from kacheryfs.core import wire
from kacheryfs.core.secret import Secret
from kacheryfs.serve import networks
from kacheryfs.serve.access import Access, KnownSecret, OwnNetwork
from kacheryfs.serve.networks import is_local, own_networks
from kacheryfs.serve.routes import Refusal

SECRET = Secret("the-secret-of-our-lab")
WRONG = ("", "Bearer", "Bearer x", "Basic dGhlOnNlY3JldA==", f"Bearer {SECRET.token[:-1]}", "Bearer " + "x" * 8000)


async def test_without_the_secret_nothing_is_told_of_what_there_is():
    async with serving(access=KnownSecret([SECRET])) as server:
        sha1, _ = server.source.add(b"data")
        paths = ["/", "/v1/peer", wire.sha1_path(sha1), wire.file_path(sha1), "/nothing", "/sha1/BAD", "x" * 5000]
        answers = [await server.ask(path) for path in paths]
        answers += [await server.ask(wire.sha1_path(sha1), authorization=said) for said in WRONG]
        assert {got.status for got in answers} == {401}
        assert len({got.body for got in answers}) == 1
        assert "--secret-file" in answers[0].error
        assert answers[0].headers["www-authenticate"] == "Bearer"
    assert server.counters.refused["secret"] == len(answers)


async def test_a_guess_costs_a_connection():
    async with serving(access=KnownSecret([SECRET])) as server:
        client = await server.open()
        assert (await client.ask("/v1/peer", authorization="Bearer of-good-tidings")).status == 401
        assert await client.is_closed()


async def test_with_the_secret_everything_is_as_ever():
    async with serving(access=KnownSecret([Secret("x" * 20), SECRET])) as server:
        sha1, _ = server.source.add(b"data")
        client = await server.open()
        for path in ("/v1/peer", wire.sha1_path(sha1)):
            assert (await client.ask(path, authorization=SECRET.header)).status == 200
        assert (await client.ask(wire.sha1_path(sha1), "HEAD", authorization=SECRET.header)).status == 200
    assert not server.counters.refused


class NobodyNear(OwnNetwork):
    def refuse_address(self, host: str) -> Refusal | None:
        return super().refuse_address("203.0.113.9")


async def test_a_stranger_is_told_once_and_hung_up_on():
    async with serving(access=NobodyNear()) as server:
        sha1, _ = server.source.add(b"data")
        client = await server.open()
        got = await client.ask(wire.sha1_path(sha1))
        assert (got.status, got.error) == (403, "this peer answers only its own network")
        assert await client.is_closed()
    assert server.counters.refused["address"] == 1
    assert server.counters.n_connections == 0


async def test_this_machine_is_local():
    access: Access = OwnNetwork()
    async with serving(access=access) as server:
        assert (await server.ask("/v1/peer")).status == 200


OWN = [ipaddress.ip_network("198.51.100.0/24"), ipaddress.ip_network("2001:db8:7::/64")]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.255.0.9",
        "::1",
        "10.1.2.3",
        "172.31.0.1",
        "192.168.5.5",
        "169.254.1.1",
        "fe80::1%eth0",
        "fd00::7",
        "::ffff:10.0.0.1",
        "198.51.100.77",
        "::ffff:198.51.100.77",
        "2001:db8:7::9",
    ],
)
def test_private_link_local_and_own_addresses_are_local(host: str) -> None:
    assert is_local(host, OWN)


@pytest.mark.parametrize(
    "host",
    [
        "8.8.8.8",
        "172.32.0.1",
        "100.64.0.1",
        "198.51.101.1",
        "2001:db8:8::9",
        "::ffff:8.8.8.8",
        "0.0.0.0",
        "::",
        "lab",
        "192.0.2.1",
        "203.0.113.9",
        "240.0.0.1",
        "2002:0a00:0001::1",
    ],
)
def test_others_are_not(host: str) -> None:
    assert not is_local(host, OWN)


HEADING = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
DEFAULT = "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
CAMPUS = "eth0\t006433C6\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
BEHIND_A_GATEWAY = "eth0\t0064A8C0\t010200C0\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
TUNNEL = (
    "wg0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n"
    "wg0\t00000080\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n"
    "wg0\t00000808\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
)
"""All the world in two halves, and 8.8.0.0/16, in which we have no address."""
ADDRESSES = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 198.51.100.0/24 2 0 2
        |-- 198.51.100.0
           /24 link UNICAST
        |-- 198.51.100.2
           /32 host LOCAL
        |-- 198.51.100.255
           /32 link BROADCAST
"""
IPV6_ADDRESSES = """\
20010db8000700000000000000000002 04 40 00 82     eth0
20010db8000800000000000000000002 04 02 00 82      wg0
00000000000000000000000000000001 01 80 10 80       lo
"""


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine at a campus, with a tunnel that takes all traffic."""
    files = {
        "_ROUTES": HEADING + DEFAULT + CAMPUS + BEHIND_A_GATEWAY + TUNNEL,
        "_ADDRESSES": ADDRESSES,
        "_IPV6_ADDRESSES": IPV6_ADDRESSES,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(networks, name, tmp_path / name)
    return tmp_path


def test_own_networks_are_those_in_which_we_have_an_address_and_no_tunnels_world(kernel: Path) -> None:
    assert [str(network) for network in own_networks()] == ["198.51.100.0/24", "2001:db8:7::/64", "::1/128"]
    access = OwnNetwork()
    assert access.refuse_address("198.51.100.77") is None
    for host in ("8.8.8.8", "203.0.113.9", "9.9.9.9", "2001:db8:9::1", "2606:4700::1111"):
        assert access.refuse_address(host) is not None, host


def test_a_machine_without_a_network_has_none(kernel: Path) -> None:
    for path in kernel.iterdir():
        path.unlink()
    assert own_networks() == []


def test_the_kernels_tables_are_understood() -> None:
    assert all(network.prefixlen >= 8 for network in own_networks())
