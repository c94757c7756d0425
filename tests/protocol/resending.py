"""A `Redelivery` to test, in the place of the resender."""

from __future__ import annotations

from math import inf

from packhorse.protocol import Address, FailureReason, ResendPolicy
from packhorse.protocol.messages import Confirmed, Dropped, Expired, Failed, Grant, Sent
from packhorse.protocol.redelivery import Redelivery

from .helpers import A, datagram, package

START = 10.0


class Resender:
    """A `Redelivery` whose clock is turned by hand, and what it hands out."""

    def __init__(self, policy: ResendPolicy | None = None, *, window: int = 512) -> None:
        self.redelivery = Redelivery(policy or ResendPolicy(), lambda: 0.0, window=window)
        self.now = START
        self.resent: list[tuple[float, bytes]] = []

    def sent(self, first: int, count: int = 1, *, target: tuple[str, int] = A, life: int = 1) -> None:
        datagrams = [datagram(number, bytes([number & 0xFF])) for number in range(first, first + count)]
        self.redelivery.sent(Sent(target, life, first, datagrams, self.now))

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

    def messages(self) -> list[Grant | Failed | Expired]:
        """Take what is for Numbering."""
        messages = list(self.redelivery.to_usender)
        self.redelivery.to_usender.clear()
        return messages

    def granted(self) -> int:
        """Take what is for Numbering; return the highest limit granted, or 0."""
        return max((message.limit for message in self.messages() if type(message) is Grant), default=0)

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
