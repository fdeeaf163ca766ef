"""The servers that are compared: one file and one row each."""

import importlib

from bench.peers.servers.base import Peer

#: name -> "module:class" of a Peer
PEERS = {
    "hubserve": "bench.peers.servers.hubserve:Hubserve",
    "hubserve-v2": "bench.peers.servers.hubserve:HubserveRepository",
    "mosec": "bench.peers.servers.mosec:Mosec",
    "mosec-batching": "bench.peers.servers.mosec:MosecBatching",
    "mlserver": "bench.peers.servers.mlserver:MLServer",
    "triton": "bench.peers.servers.triton:Triton",
    "paddlehub": "bench.peers.servers.paddlehub:PaddleHub",
}


def load(name: str) -> Peer:
    """Return the peer of a row.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in PEERS:
        raise ValueError(f"there is no peer '{name}'; there are {', '.join(PEERS)}")
    module, _, cls = PEERS[name].partition(":")
    peer: Peer = getattr(importlib.import_module(module), cls)()
    return peer
