"""Two stacks on real sockets of this machine, with a link between them that does what a test wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from .._stack import startup
from .link import Link
from .relay import UdpLink

if TYPE_CHECKING:
    from types import TracebackType

    from ..protocol import Address

__all__ = ["StackPair"]

HOST: Final = "127.0.0.1"


class StackPair:
    """Two stacks and a link each way. Use it in a `with` statement, or `close` it.

        first.send(data, to=pair.second_address)
        second.send(data, to=pair.first_address)

    Each sees the other at the link's address, so that replies to the source of a package go over the link too.

    Args:
        there: the link from the first stack to the second; one that loses nothing if None.
        back: the link from the second stack to the first.
        options: for both stacks; see `StackSupervisor`.

    Attributes:
        first, second: the stacks.
        there, back: the links; `there.up = False` is a blackout.
        second_address: where the first stack sends to, to reach the second.
        first_address: where the second stack sends to, to reach the first.

    Raises:
        OSError: there are no more sockets.
    """

    def __init__(self, there: Link | None = None, back: Link | None = None, **options: Any) -> None:
        self.there = there or Link()
        self.back = back or Link()
        self.first = startup(host=HOST, **options)
        self.second = startup(host=HOST, **options)
        self._relay = UdpLink(self.second.address, there=self.there, back=self.back, clients=[self.first.address])
        self.second_address: Address = self._relay.address
        self.first_address: Address = self._relay.seen_as(self.first.address)

    def close(self, timeout: float = 0.0) -> None:
        """End both stacks and the link. What is not confirmed gets `timeout` seconds. May be repeated.

        Raises:
            Timeout: a stack did not end.
        """
        try:
            self.first.close(timeout)
        finally:
            try:
                self.second.close(timeout)
            finally:
                self._relay.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
