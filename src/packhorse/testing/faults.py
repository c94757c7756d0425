"""Faults on request: nodes of a stack that crash, hang or stand still when a test wants it.

    trap = crash_on(stack, "ureceiver", nth=1000)
    ...                                     # traffic
    assert trap.wait(5.0)

`traps` has the rules. What is not set costs a stack nothing.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import pykka

from .._stack import Stack
from ..actors import wiring
from ..actors.messages import Fault
from ..actors.stack_supervisor import StackSupervisor
from .traps import WHEN, Hold, Trap, Traps, raising

if TYPE_CHECKING:
    from pykka import ActorRef

    from ..actors.node import Station

__all__ = ["crash", "crash_on", "crash_on_start", "hang", "pause"]

_setting: Final = threading.Lock()


def crash(stack: Stack | ActorRef[StackSupervisor], node: str, error: BaseException | None = None) -> Trap:
    """Crash a node, in its place behind what waits for it already.

    Args:
        stack: a `Stack`, or the ref of a `StackSupervisor`.
        node: its name, such as "resender".
        error: what it dies of; SystemExit is a way to die of its own.

    Raises:
        ValueError: there is no such node.
        TypeError: that is no stack.
        pykka.ActorDeadError: the stack has ended.
    """
    trap = Trap(raising(error), 0, "before")
    _, ref = _station(stack, node)
    _tell(ref, trap)
    return trap


def crash_on(
    stack: Stack | ActorRef[StackSupervisor],
    node: str,
    nth: int = 1,
    *,
    when: str = "before",
    error: BaseException | None = None,
) -> Trap:
    """Crash a node over the nth item that it handles from now on.

    Args:
        stack: as for `crash`.
        node: as for `crash`.
        error: as for `crash`.
        nth: which item, from 1; see the module's rules.
        when: "before", "middle" or "after".

    Raises:
        ValueError: there is no such node, `nth` is less than 1, or `when` is none of the three.
        TypeError: that is no stack.
        pykka.ActorDeadError: the stack has ended.
    """
    _check(nth, when)
    station, _ = _station(stack, node)
    trap = Trap(raising(error), nth, when)
    _set(station, trap)
    return trap


def crash_on_start(
    stack: Stack | ActorRef[StackSupervisor],
    node: str,
    times: int = 1,
    *,
    error: BaseException | None = None,
) -> Trap:
    """Let the next incarnations of a node crash in `on_start`. It does not bring about a restart; `crash` does.

    Args:
        stack: as for `crash`.
        node: as for `crash`.
        error: as for `crash`.
        times: how many incarnations, from 1. The trap has sprung when the first of them has crashed.

    Raises:
        ValueError: there is no such node, or `times` is less than 1.
        TypeError: that is no stack.
        pykka.ActorDeadError: the stack has ended.
    """
    if times < 1:
        raise ValueError(f"at least 1 incarnation can crash, not {times!r}")
    station, _ = _station(stack, node)
    trap = Trap(raising(error), times, "start")
    _set(station, trap)
    return trap


def pause(stack: Stack | ActorRef[StackSupervisor], node: str) -> Hold:
    """Let a node stand still until the returned handle is released. It counts as asleep, not as hung.

        with pause(stack, "sreceiver"):
            ...                             # nothing is confirmed meanwhile

    It stands still when it has handled what waits for it; `wait` of the handle waits for that.

    Raises:
        ValueError: there is no such node.
        TypeError: that is no stack.
        pykka.ActorDeadError: the stack has ended.
    """
    station, ref = _station(stack, node)
    hold = Hold(station.clock, 0, "before", asleep=True)
    _tell(ref, hold)
    return hold


def hang(stack: Stack | ActorRef[StackSupervisor], node: str, nth: int | None = None, *, when: str = "before") -> Hold:
    """Let a node hang: after `hang_after` seconds the stack leaves it behind. Its thread ends when that is released.

    Args:
        stack: as for `crash`.
        node: as for `crash`.
        nth: over which item from now on, from 1; None: at once, in its place behind what waits for it already.
        when: "before", "middle" or "after", if it hangs over an item. "After" means that it hangs before it has
            passed on anything, so nothing of that batch is lost.

    Raises:
        ValueError: there is no such node, `nth` is less than 1, or `when` is none of the three.
        TypeError: that is no stack.
        pykka.ActorDeadError: the stack has ended.
    """
    station, ref = _station(stack, node)
    if nth is None:
        hold = Hold(station.clock, 0, "before", asleep=False)
        _tell(ref, hold)
        return hold
    _check(nth, when)
    hold = Hold(station.clock, nth, when, asleep=False)
    _set(station, hold)
    return hold


def _check(nth: int, when: str) -> None:
    if nth < 1:
        raise ValueError(f"items are counted from 1, so nth cannot be {nth!r}")
    if when not in WHEN:
        raise ValueError(f"when is one of {', '.join(WHEN)}, not {when!r}")


def _station(stack: Stack | ActorRef[StackSupervisor], node: str) -> tuple[Station[Any], ActorRef[Any]]:
    """Return what belongs to a node, and the ref that stays valid."""
    ref: Any = stack.supervisor if isinstance(stack, Stack) else stack
    if not isinstance(ref, pykka.ActorRef):
        raise TypeError(f"a stack is a Stack or the ref of a StackSupervisor, not {stack!r}")
    supervisor: Any = ref._actor_weakref()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType] - an ask would wait behind what hangs
    if not isinstance(supervisor, StackSupervisor | None):
        raise TypeError(f"{ref} is no StackSupervisor")  # pyright: ignore[reportUnknownMemberType]
    if supervisor is None or not ref.is_alive():
        raise pykka.ActorDeadError(f"{ref} has ended")
    if node not in wiring.NODES:
        raise ValueError(f"there is no node {node!r}; the nodes are {', '.join(wiring.NODES)}")
    child = supervisor._children[node]  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - as above
    return supervisor._nodes[node].station, child.ref  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - as above


def _tell(ref: ActorRef[Any], trap: Trap) -> None:
    ref.tell(Fault(trap.strike))


def _set(station: Station[Any], trap: Trap) -> None:
    with _setting:
        traps = station.prepare
        if not isinstance(traps, Traps):
            traps = station.prepare = Traps(station)
    traps.add(trap)
