"""Where the parts of the BitTorrent swarm stand, in a network namespace of their own: any port is free there."""

from __future__ import annotations

N_PEERS = 4
SEEDS = [("127.0.0.1", 7001 + i) for i in range(N_PEERS)]
LINES = [(f"127.0.0.{11 + i}", 6881) for i in range(N_PEERS)]
"""The proxies: one address each, since a client takes only one connection from an address."""
TRACKER = ("127.0.0.1", 6969)
