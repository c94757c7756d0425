"""How packages and failures are told to an actor that has subscribed, and how far it has come with them.

The rules:

- a subscriber has at most `UNHANDLED` items in its inbox that it has not begun to handle;
- how far it has come shows when Pykka takes an item out of its envelope, so its failures stay what they are;
- that it died is learned from a probe, an ask that waits behind the items: a dead actor's inbox answers its asks. What
  it had not begun to handle goes back to the end it came from.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from pykka import ActorRef, Future
from pykka._envelope import Envelope  # Pykka's own; tests/actors/test_pykka_contract.py holds it to that
from pykka.messages import ProxyGetAttr

if TYPE_CHECKING:
    from .ends import UserEnd

T = TypeVar("T")

__all__ = ["UNHANDLED", "Subscription"]

UNHANDLED: Final = 1024
"""Items a subscriber may have in its inbox."""


class Subscription(Generic[T]):
    """What one subscriber was told and has not begun to handle."""

    def __init__(self, end: UserEnd[T], ref: ActorRef[Any], *, batch: bool, keeps: object) -> None:
        self.unhandled: deque[T] = deque()
        self._batch = batch
        self.dead = False
        self._end = end
        self._ref = ref
        self._keeps = keeps
        self._probing = False

    def tell(self, items: list[T]) -> None:
        """Put items into the subscriber's inbox. Called with the end's condition held."""
        if items and self._ref.is_alive():
            self.unhandled.extend(items)
            if self._batch:
                self._ref.actor_inbox.put(_Delivery(items, self, len(items)))
            else:
                for item in items:
                    self._ref.actor_inbox.put(_Delivery(item, self, 1))
            self._probe()
        elif items:
            self.unhandled.extend(items)
        # An actor that was alive after the last put will answer the probe, one that was not is known to be dead.
        if not self._ref.is_alive():
            self._end.subscriber_died(self)

    def handled(self, count: int) -> None:
        """Note that the subscriber begins to handle the next items. Called in its thread."""
        before = len(self.unhandled)
        for _ in range(count):
            self.unhandled.popleft()
        if before > UNHANDLED // 2 >= before - count:
            self._end.subscriber_handled(self)

    def probe_answered(self) -> None:
        """Note that the subscriber was alive up to the probe. Called in its thread."""
        self._probing = False
        if self.unhandled:
            self._probe()

    def died(self) -> None:
        """Note that the subscriber died before it came to the probe."""
        self._end.subscriber_died(self)

    def _probe(self) -> None:
        if not self._probing:
            self._probing = True
            question = ProxyGetAttr(attr_path=("actor_urn",))
            self._ref.actor_inbox.put(Envelope(question, reply_to=cast("Future[Any]", _Answer(self))))


class _Delivery(Envelope[Any]):
    """A tell that notices when it is taken."""

    __slots__ = ("_count", "_item", "_subscription")

    def __init__(self, item: Any, subscription: Subscription[Any], count: int) -> None:
        self.reply_to = None
        self._item = item
        self._count = count
        self._subscription: Subscription[Any] | None = subscription

    @property
    def message(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride] - taking it is the event
        """Return the item."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.handled(self._count)
        return self._item


class _Answer:
    """As much of a future as Pykka needs to answer an ask."""

    def __init__(self, subscription: Subscription[Any]) -> None:
        self._subscription = subscription

    def set(self, value: Any = None) -> None:
        del value
        self._subscription.probe_answered()

    def set_exception(self, exc_info: Any = None) -> None:
        del exc_info
        self._subscription.died()
