"""A `Redelivery` to test, in the place of the resender."""

# pyright: reportPrivateUsage=false
# The reason: what was measured is not shown to anybody else.
from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import inf

from packhorse.protocol import Address, FailureReason, Reliability, ResendPolicy
from packhorse.protocol.congestion import Controller, DelayController
from packhorse.protocol.messages import Confirmed, Dropped, Failed, Grant, Revive, Sent, Unknown
from packhorse.protocol.redelivery import Redelivery
from packhorse.protocol.unconfirmed import Recovery

from .helpers import UNORDERED, A, datagram, package

START = 10.0


class Resender:
    """A `Redelivery` whose clock is turned by hand, and what it hands out."""

    def __init__(
        self,
        policy: ResendPolicy | None = None,
        *,
        window: int = 512,
        controller: Callable[[], Controller] = DelayController,
    ) -> None:
        self.redelivery = Redelivery(policy or ResendPolicy(), lambda: 0.0, controller=controller, window=window)
        self.now = START
        self.resent: list[tuple[float, bytes]] = []
        self.total: Counter[Address] = Counter()

    def sent(
        self,
        first: int,
        count: int = 1,
        *,
        target: Address = A,
        life: int = 1,
        size: int = 1,
        reliability: Reliability = UNORDERED,
        eager: int = 1,
    ) -> None:
        datagrams = [
            datagram(number, bytes([number & 0xFF]) * size, reliability) for number in range(first, first + count)
        ]
        before = self.total[target]
        self.total[target] += sum(map(len, datagrams))
        self.redelivery.sent(Sent(target, life, first, datagrams, before, self.now, eager))

    def revive(self, following: int, *, life: int = 2) -> None:
        """Let the user send to A again, whose next package gets the number `following`."""
        self.redelivery.revive(Revive(A, life, following, self.total[A]), self.now)

    def recovery(self, target: Address = A) -> Recovery:
        return self.redelivery._peers[target].recovery

    def confirmed(self, *ids: int, source: tuple[str, int] = A) -> None:
        self.redelivery.confirmed(Confirmed(source, list(ids), self.now))

    def run(self, until: float) -> None:
        """Let time pass from one deadline to the next, answering `Failed` as `Numbering` would."""
        while True:
            deadline = self.redelivery.deadline()
            if deadline is None or deadline > until:
                break
            self.now = max(self.now, deadline)
            self.redelivery.tick(self.now)
            assert (self.redelivery.deadline() or inf) > self.now, "a tick does everything that is due"
            self.collect()
        self.now = until

    def collect(self) -> None:
        self.resent += [(self.now, sent) for run in self.redelivery.to_dsender for sent in run.datagrams]
        self.redelivery.to_dsender.clear()

    def messages(self) -> list[Failed | Unknown]:
        """Take what is for Numbering, and leave out the grants."""
        messages = [message for message in self.redelivery.to_usender if isinstance(message, (Failed, Unknown))]
        self.redelivery.to_usender.clear()
        return messages

    def grants(self) -> list[Grant]:
        """Take what is for Numbering, and leave out everything but grants."""
        grants = [message for message in self.redelivery.to_usender if isinstance(message, Grant)]
        self.redelivery.to_usender.clear()
        return grants

    def fail(self, backlog: int = 0, life: int = 1) -> None:
        """Let A stay silent until it is given up and reported."""
        self.run(self.now + 21)
        assert Failed(A, life) in self.messages()
        self.redelivery.dropped(Dropped(A, life, [package(b"backlog")] * backlog))

    def failures(self) -> list[tuple[Address, FailureReason, list[bytes]]]:
        """Take the reports."""
        failures = [
            (failure.target, failure.reason, [package.data for package in failure.unconfirmed])
            for failure in self.redelivery.failures
        ]
        assert all(failure.count == len(failure.unconfirmed) for failure in self.redelivery.failures)
        self.redelivery.failures.clear()
        return failures
