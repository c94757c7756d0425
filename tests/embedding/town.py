"""A larger system that owns a stack: `python -m tests.embedding.town PORT` runs it until its standard input ends.

One supervisor keeps three children, started in this order; "rest_for_one" means that whoever comes after a child that
crashed is restarted with it.

- `ledger` remembers what the town was told. It comes first, so that no failure of the network costs it anything.
- `stack` is the whole of packhorse. When it gives up, it is replaced by a new one on the same port.
- `gate` belongs to one stack: in `on_start` it asks for the handles, subscribes, and from then on gets every package by
  tell.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import pykka

from packhorse import (
    ChildSpec,
    InPackage,
    OutPackage,
    PackageSender,
    PackhorseError,
    StackSupervisor,
    SupervisedActor,
    Supervisor,
)

if TYPE_CHECKING:
    from pykka import ActorRef

__all__ = ["Gate", "Ledger", "start"]


class Ledger(SupervisedActor):
    """Remembers."""

    def __init__(self) -> None:
        super().__init__()
        self._entries: list[bytes] = []

    def enter(self, entry: bytes) -> int:
        """Add an entry, and return how many there are."""
        self._entries.append(entry)
        return len(self._entries)

    def entries(self) -> list[bytes]:
        """Return all of them."""
        return list(self._entries)


class Gate(SupervisedActor):
    """Takes packages, enters them in the ledger, and replies with their number."""

    _sender: PackageSender

    def __init__(self, stack: ActorRef[StackSupervisor], ledger: ActorRef[Ledger]) -> None:
        super().__init__()
        self._stack = stack.proxy()
        self._ledger = ledger.proxy()

    def on_start(self) -> None:
        """Ask the present stack for its handles; the answer waits until there is one."""
        self._sender = self._stack.sender().get()
        self._stack.receiver().get().subscribe(self.actor_ref)

    def on_receive(self, message: InPackage) -> None:
        """Handle one package."""
        count = self._ledger.enter(message.data).get()
        reply = OutPackage(b"%d %s" % (count, message.data), message.reliability, message.peers, message.source)
        try:
            self._sender.send(reply, timeout=1.0)
        except PackhorseError as error:
            # Nobody takes it, or the stack is gone; in the second case this gate will be replaced at once.
            print("no reply:", error, file=sys.stderr)


def start(port: int) -> ActorRef[Supervisor]:
    """Start the town and return its supervisor."""
    supervisor = Supervisor.start(
        [
            ChildSpec("ledger", Ledger),
            ChildSpec("stack", partial(StackSupervisor, port=port, host="127.0.0.1"), shutdown=None),
        ],
        strategy="rest_for_one",
    )
    town = supervisor.proxy()
    stack, ledger = town.child("stack").get(), town.child("ledger").get()
    town.add_child(ChildSpec("gate", partial(Gate, stack, ledger))).get()
    return supervisor


def main(port: int) -> None:
    """Run until standard input ends."""
    supervisor = start(port)
    host, bound = supervisor.proxy().child("stack").get().proxy().address.get()[:2]
    print(f"listening on {host} {bound}", flush=True)
    sys.stdin.read()
    pykka.ActorRegistry.stop_all()


if __name__ == "__main__":
    main(int(sys.argv[1]))
