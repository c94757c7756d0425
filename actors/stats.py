"""What a stack has done so far, in numbers: `stack.stats()`.

The rules:

- looking costs the nodes nothing: what they count anyway is read from outside, so numbers of different nodes may be a
  moment apart;
- everything is counted since the stack was started; what a peer has is forgotten with the peer;
- reliable packages are counted per peer; unreliable ones only in the whole.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec

from ..protocol.address import Address, host_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .node import Station

__all__ = ["NodeStats", "PeerStats", "StackStats", "collect"]


class PeerStats(msgspec.Struct, frozen=True, kw_only=True):
    """One peer. Counts are of reliable packages.

    Attributes:
        sent: packages that got an id.
        resent: copies that were sent again.
        lost: packages that were judged lost, each time counted.
        received: packages that came and were new.
        duplicates: packages that came again.
        rtt: smoothed round trip in seconds, or None before the first.
        window: bytes that may be unconfirmed, or None if nothing was sent there.
        in_flight: packages that are unconfirmed.
        backlog: packages that wait for an id.
    """

    sent: int = 0
    resent: int = 0
    lost: int = 0
    received: int = 0
    duplicates: int = 0
    rtt: float | None = None
    window: float | None = None
    in_flight: int = 0
    backlog: int = 0


class NodeStats(msgspec.Struct, frozen=True, kw_only=True):
    """One of the seven nodes.

    Attributes:
        depth: messages that wait in its mailbox.
        high_water: the most that ever waited.
        restarts: how often it was restarted.
        counters: what it has counted.
    """

    depth: int
    high_water: int
    restarts: int
    counters: dict[str, int]


class StackStats(msgspec.Struct, frozen=True, kw_only=True):
    """The whole stack.

    Attributes:
        time: when this was read, in seconds of the stack's clock.
        address: where the stack is bound.
        sent: datagrams that the system took, packages and confirmations.
        received: datagrams that came and were valid.
        resent: copies of packages that were sent again.
        lost: packages that were judged lost.
        duplicates: packages that came again.
        dropped: datagrams that were not taken or could not be sent, by reason.
        peers: by address.
        nodes: by name.
    """

    time: float
    address: Address
    sent: int
    received: int
    resent: int
    lost: int
    duplicates: int
    dropped: dict[str, int]
    peers: dict[Address, PeerStats]
    nodes: dict[str, NodeStats]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain builtins, ready for JSON; addresses become `host:port`."""
        plain: dict[str, Any] = {name: getattr(self, name) for name in self.__struct_fields__}
        plain["address"] = host_port(self.address)
        plain["peers"] = {host_port(address): msgspec.structs.asdict(peer) for address, peer in self.peers.items()}
        plain["nodes"] = {name: msgspec.structs.asdict(node) for name, node in self.nodes.items()}
        return plain

    def as_prometheus(self) -> str:
        """Return it in the text format that Prometheus scrapes; needs the extra `metrics`.

        Raises:
            RuntimeError: prometheus_client is not installed.
        """
        try:
            core: Any = import_module("prometheus_client.core")
            client: Any = import_module("prometheus_client")
        except ImportError:
            raise RuntimeError("as_prometheus needs prometheus_client: pip install 'packhorse[metrics]'") from None
        families = _families(self, core)

        class Collector:
            def collect(self) -> Any:
                return families

        registry = client.CollectorRegistry()
        registry.register(Collector())
        text: bytes = client.generate_latest(registry)
        return text.decode()


def _families(stats: StackStats, core: Any) -> list[Any]:
    stack = host_port(stats.address)

    def family(kind: Any, name: str, meaning: str, labels: list[str], samples: Mapping[tuple[str, ...], float]) -> Any:
        made = kind(f"packhorse_{name}", meaning, labels=["stack", *labels])
        for values, value in samples.items():
            made.add_metric([stack, *values], value)
        return made

    counter, gauge = core.CounterMetricFamily, core.GaugeMetricFamily
    whole = {
        "datagrams_sent": ("datagrams that the system took", stats.sent),
        "datagrams_received": ("valid datagrams that came", stats.received),
        "packages_resent": ("copies of packages that were sent again", stats.resent),
        "packages_lost": ("packages that were judged lost", stats.lost),
        "packages_duplicated": ("packages that came again", stats.duplicates),
    }
    families = [family(counter, name, meaning, [], {(): value}) for name, (meaning, value) in whole.items()]
    families.append(
        family(
            counter,
            "datagrams_dropped",
            "datagrams that were not taken or could not be sent",
            ["reason"],
            {(reason,): count for reason, count in stats.dropped.items()},
        )
    )
    peers = {host_port(address): peer for address, peer in stats.peers.items()}
    of_peers = (
        (counter, "peer_packages_sent", "reliable packages sent", "sent"),
        (counter, "peer_packages_resent", "copies sent again", "resent"),
        (counter, "peer_packages_lost", "packages judged lost", "lost"),
        (counter, "peer_packages_received", "reliable packages received", "received"),
        (gauge, "peer_rtt_seconds", "smoothed round trip", "rtt"),
        (gauge, "peer_window_bytes", "bytes that may be unconfirmed", "window"),
        (gauge, "peer_in_flight", "packages unconfirmed", "in_flight"),
        (gauge, "peer_backlog", "packages that wait for an id", "backlog"),
    )
    for kind, name, meaning, attribute in of_peers:
        values = {(peer,): getattr(known, attribute) for peer, known in peers.items()}
        families.append(family(kind, name, meaning, ["peer"], {k: v for k, v in values.items() if v is not None}))
    of_nodes = (
        (gauge, "mailbox_depth", "messages that wait for a node", "depth"),
        (gauge, "mailbox_high_water", "the most messages that ever waited for a node", "high_water"),
        (counter, "node_restarts", "restarts of a node", "restarts"),
    )
    for kind, name, meaning, attribute in of_nodes:
        samples: dict[tuple[str, ...], float] = {
            (node,): getattr(known, attribute) for node, known in stats.nodes.items()
        }
        families.append(family(kind, name, meaning, ["node"], samples))
    return families


def collect(
    stations: Mapping[str, Station[Any]], restarts: Mapping[str, int], address: Address, now: float
) -> StackStats:
    """Read what the nodes have counted."""
    nodes = {
        name: NodeStats(
            depth=len(station.mailbox),
            high_water=station.mailbox.high_water,
            restarts=restarts[name],
            counters=dict(station.counters),
        )
        for name, station in stations.items()
    }
    peers: dict[Address, dict[str, Any]] = {}
    for name in ("usender", "resender", "ureceiver"):
        for peer, known in stations[name].state.peers():
            peers.setdefault(peer, {}).update(known)
    dropped = {
        f"{direction}.{reason.partition('.')[2]}": count
        for node, prefix, direction in (("dreceiver", "dropped.", "in"), ("dsender", "refused.", "out"))
        for reason, count in nodes[node].counters.items()
        if reason.startswith(prefix)
    }
    return StackStats(
        time=now,
        address=address,
        sent=nodes["dsender"].counters.get("datagrams", 0),
        received=nodes["dreceiver"].counters.get("datagrams", 0),
        resent=stations["resender"].state.resent,
        lost=stations["resender"].state.lost,
        duplicates=stations["ureceiver"].state.duplicates,
        dropped=dropped,
        peers={peer: PeerStats(**known) for peer, known in peers.items()},
        nodes=nodes,
    )
