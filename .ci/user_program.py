"""A small program as users write it: it has to pass mypy --strict against the installed wheel, and to run."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib.metadata import distribution

import packhorse
from packhorse.protocol.codecs import U16, Bincode
from packhorse.testing import ManualClock, MemoryNetwork


@dataclass
class Move:
    """What is sent."""

    distance: U16


def send_and_receive() -> list[Move]:
    """Send two messages over real sockets."""
    codec = Bincode(Move)
    with packhorse.startup(host="127.0.0.1") as server, packhorse.startup(host="127.0.0.1") as client:
        builder = packhorse.PackageBuilder(
            packhorse.Reliability.SEMI_ORDERED, packhorse.Peers.SERVER, server.address, codec=codec
        )
        builder.push(Move(1))
        builder.push(Move(1000))
        client.sender.send_many(builder.build_all())
        package: packhorse.InPackage = server.receiver.recv(timeout=10.0)
        client.sender.flush(timeout=10.0)
        return list(package.decode(Move, codec=codec))


def failures() -> list[packhorse.PeerFailed]:
    """Send to nobody, in a network that is not there."""
    clock = ManualClock()
    network = MemoryNetwork(clock)
    with packhorse.startup(clock=clock, transport=network.transport(("10.0.0.1", 1))) as stack:
        stack.send(b"hi", to=("10.0.0.2", 2))
        clock.advance(30.0)
        return stack.errors.drain()


def main() -> None:
    """Check what was received and what the installation brought."""
    received = send_and_receive()
    if received != [Move(1), Move(1000)]:
        raise SystemExit(f"received {received}")
    reasons = [failure.reason for failure in failures()]
    if reasons != [packhorse.FailureReason.SILENT]:
        raise SystemExit(f"failures: {reasons}")
    files = distribution("packhorse").files or []
    tops = {file.parts[0] for file in files if file.parts[0] != ".."}
    imported = {top for top in tops if not top.endswith(".dist-info")}
    if imported != {"packhorse"}:
        raise SystemExit(f"the installation brought {sorted(imported)}")
    for name in ("actors", "protocol"):
        if importlib.util.find_spec(name) is not None:
            raise SystemExit(f"{name} can be imported by itself")


if __name__ == "__main__":
    main()
