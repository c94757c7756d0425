"""The sending half, first part: who gets which id, and what waits for one."""

# pyright: reportPrivateUsage=false
# The reason: counters are set near the wrap.
from __future__ import annotations

import copy

from packhorse.protocol import OutPackage, Peers
from packhorse.protocol.congestion import BURST, INITIAL
from packhorse.protocol.header import HEADER_SIZE
from packhorse.protocol.messages import (
    Datagrams,
    Dropped,
    Failed,
    Flush,
    Forgotten,
    Grant,
    Revive,
    Sent,
    Unknown,
)
from packhorse.protocol.numbering import WINDOW, Numbering
from packhorse.protocol.runs import MAX_RUN

from .helpers import SEMI_ORDERED, UNORDERED, UNRELIABLE, A, B, datagram, package

PLENTY = 1 << 30
"""Bytes; more than any test sends."""


def _send(numbering: Numbering, count: int, target: tuple[str, int] = A) -> None:
    for _ in range(count):
        numbering.send(package(target=target), 1.0)


def _numbers(numbering: Numbering) -> list[int]:
    """Return the numbers that Redelivery hears of, and forget the messages."""
    sent = [message for message in numbering.to_resender if type(message) is Sent]
    numbering.to_resender.clear()
    return [number for run in sent for number in range(run.first, run.first + len(run.datagrams))]


def _failed(numbering: Numbering) -> None:
    """Let A fail in its first life, and forget the messages."""
    numbering.failed(Failed(A, 1))
    numbering.to_resender.clear()


def test_reliable_ids_count_per_target_and_unreliable_ids_over_all_targets() -> None:
    numbering = Numbering()
    for reliability, target in [
        (UNORDERED, A),
        (UNORDERED, B),
        (SEMI_ORDERED, A),
        (UNRELIABLE, A),
        (UNRELIABLE, B),
        (UNRELIABLE, A),
    ]:
        numbering.send(package(reliability=reliability, target=target), 1.0)
    assert [(run.target, run.datagrams) for run in numbering.to_dsender] == [
        (A, [datagram(0)]),
        (B, [datagram(0)]),
        (A, [datagram(1, reliability=SEMI_ORDERED), datagram(0, reliability=UNRELIABLE)]),
        (B, [datagram(1, reliability=UNRELIABLE)]),
        (A, [datagram(2, reliability=UNRELIABLE)]),
    ]
    assert [
        (sent.target, sent.life, sent.first, sent.datagrams) for sent in numbering.to_resender if type(sent) is Sent
    ] == [
        (A, 1, 0, [datagram(0)]),
        (B, 2, 0, [datagram(0)]),
        (A, 1, 1, [datagram(1, reliability=SEMI_ORDERED)]),
    ]


def test_unreliable_packages_pass_a_full_window_and_wrap_around() -> None:
    numbering = Numbering(window=1)
    _send(numbering, 3)
    numbering.to_dsender.clear()
    numbering._unreliable = 0xFFFFFF
    for _ in range(2):
        numbering.send(package(reliability=UNRELIABLE), 1.0)
    assert numbering.to_dsender == [
        Datagrams(A, [datagram(0xFFFFFF, reliability=UNRELIABLE), datagram(0, reliability=UNRELIABLE)])
    ]


def test_numbers_go_on_where_ids_wrap() -> None:
    numbering = Numbering()
    _send(numbering, 1)
    numbering.granted(Grant(A, 1, 0x1000010, PLENTY), 1.0)
    numbering._targets[A].next = 0xFFFFFF
    numbering.to_dsender.clear()
    numbering.to_resender.clear()
    _send(numbering, 2)
    assert numbering.to_dsender == [Datagrams(A, [datagram(0xFFFFFF), datagram(0)], mark=2)]
    assert _numbers(numbering) == [0xFFFFFF, 0x1000000]


def test_at_the_window_packages_wait_and_a_grant_lets_them_go_in_order() -> None:
    numbering = Numbering(window=2)
    for data in (b"0", b"1", b"2", b"3", b"4"):
        numbering.send(package(data), 1.0)
    assert numbering.waiting == 3
    assert numbering.released == {A: 2}
    numbering.to_dsender.clear()
    numbering.granted(Grant(A, 1, 4, PLENTY), 2.0)
    assert numbering.to_dsender == [Datagrams(A, [datagram(2, b"2"), datagram(3, b"3")], mark=1)]
    assert numbering.waiting == 1
    assert numbering.released == {A: 4}


def test_beyond_the_granted_bytes_packages_wait_though_there_are_numbers() -> None:
    numbering = Numbering()
    count = INITIAL // 508
    for _ in range(count + 3):
        numbering.send(package(bytes(504)), 1.0)
    assert numbering.waiting == 3
    numbering.to_resender.clear()
    numbering.granted(Grant(A, 1, WINDOW, INITIAL + 2 * 508 - 1), 2.0)
    assert numbering.waiting == 2
    numbering.granted(Grant(A, 1, WINDOW, INITIAL + 3 * 508), 2.0)
    assert numbering.waiting == 0
    last = [datagram(number, bytes(504)) for number in range(count, count + 3)]
    assert numbering.to_resender[-1] == Sent(A, 1, count, last, count * 508, 2.0, mark=2)


def test_more_room_is_needed_at_once_when_half_of_it_is_used_or_a_burst_is_left() -> None:
    numbering = Numbering()
    _send(numbering, 1)
    for room, until in ((1000, 500), (4 * BURST, 3 * BURST)):
        total = numbering._targets[A].total
        numbering.granted(Grant(A, 1, WINDOW, total + room), 1.0)
        numbering.urgent = False
        sizes: list[int] = []
        while not numbering.urgent and sum(sizes) < room:
            numbering.send(package(bytes(96)), 1.0)
            sizes.append(HEADER_SIZE + 96)
        assert until < sum(sizes) <= until + sizes[0], room


def test_a_large_package_that_must_wait_is_not_overtaken_by_a_small_one() -> None:
    numbering = Numbering()
    for _ in range(INITIAL // 508 - 1):
        numbering.send(package(bytes(504)), 1.0)
    for data in (b"small", bytes(504), b"small"):
        numbering.send(package(data), 1.0)
    assert numbering.waiting == 2


def test_unreliable_packages_do_not_use_up_what_was_granted() -> None:
    numbering = Numbering()
    for _ in range(1000):
        numbering.send(package(bytes(504), UNRELIABLE), 1.0)
    numbering.send(package(), 1.0)
    assert numbering.waiting == 0


def test_eager_packages_travel_alone_and_say_in_how_many_copies() -> None:
    numbering = Numbering()
    for eager in (1, 2, 2, 1):
        numbering.send(OutPackage(b"x", UNORDERED, Peers.PLAYERS, A, eager=eager), 1.0)
    assert [(sent.first, sent.eager, sent.before) for sent in numbering.to_resender if type(sent) is Sent] == [
        (0, 1, 0),
        (1, 2, 5),
        (2, 2, 10),
        (3, 1, 15),
    ]
    assert numbering.to_dsender == [Datagrams(A, [datagram(number) for number in range(4)], mark=4)]


def test_one_target_at_its_limit_holds_up_no_other() -> None:
    numbering = Numbering(window=1)
    _send(numbering, 3, A)
    _send(numbering, 1, B)
    assert numbering.waiting == 2
    assert numbering.to_dsender[-1] == Datagrams(B, [datagram(0)], mark=2)


def test_a_grant_of_an_older_life_or_for_an_unknown_target_changes_nothing() -> None:
    numbering = Numbering(window=1)
    _send(numbering, 2)
    numbering.granted(Grant(A, 0, 100, PLENTY), 1.0)
    numbering.granted(Grant(B, 1, 100, PLENTY), 1.0)
    assert numbering.waiting == 1


def test_runs_hold_consecutive_packages_of_one_target_and_are_not_too_long() -> None:
    numbering = Numbering()
    _send(numbering, MAX_RUN + 1)
    assert [len(run.datagrams) for run in numbering.to_dsender] == [MAX_RUN, 1]
    assert [(sent.first, len(sent.datagrams)) for sent in numbering.to_resender if type(sent) is Sent] == [
        (0, MAX_RUN),
        (MAX_RUN, 1),
    ]


def test_runs_are_not_joined_across_another_message() -> None:
    numbering = Numbering()
    _send(numbering, 1)
    numbering.flush("token")
    _send(numbering, 1)
    assert [type(message) for message in numbering.to_resender] == [Sent, Flush, Sent]


def test_the_window_leaves_receivers_room_for_every_hole() -> None:
    numbering = Numbering()
    _send(numbering, 2000)
    assert _numbers(numbering) == list(range(WINDOW))
    assert WINDOW <= 1024


def test_a_failure_gives_up_the_backlog_and_answers_with_it() -> None:
    numbering = Numbering(window=1)
    packages = [package(data) for data in (b"0", b"1", b"2")]
    for waiting in packages:
        numbering.send(waiting, 1.0)
    numbering.to_resender.clear()
    numbering.released.clear()
    numbering.failed(Failed(A, 1))
    assert numbering.to_resender == [Dropped(A, 1, packages[1:])]
    assert numbering.released == {A: 2}
    assert numbering.waiting == 0


def test_a_failure_of_another_life_or_target_is_not_answered() -> None:
    numbering = Numbering()
    _send(numbering, 1)
    numbering.to_resender.clear()
    numbering.failed(Failed(A, 7))
    numbering.failed(Failed(B, 1))
    assert numbering.to_resender == []


def test_after_a_failure_the_next_package_revives_the_peer_once_and_waits_for_room() -> None:
    numbering = Numbering()
    _send(numbering, 3)
    _failed(numbering)
    numbering.to_dsender.clear()
    _send(numbering, 2)
    assert numbering.to_resender == [Revive(A, 2, 3, 15)]
    assert numbering.to_dsender == []
    numbering.to_resender.clear()
    numbering.granted(Grant(A, 1, 500, PLENTY), 1.0)
    assert numbering.waiting == 2, "a grant of the old life"
    numbering.granted(Grant(A, 2, 500, PLENTY), 1.0)
    assert numbering.to_resender == [Sent(A, 2, 3, [datagram(3), datagram(4)], 15, 1.0, mark=2)]


def test_unreliable_packages_do_not_revive_a_peer() -> None:
    numbering = Numbering()
    _send(numbering, 1)
    _failed(numbering)
    numbering.send(package(reliability=UNRELIABLE), 1.0)
    assert numbering.to_resender == []


def test_a_target_that_is_unknown_starts_at_zero() -> None:
    numbering = Numbering()
    _send(numbering, 3)
    numbering.to_resender.clear()
    numbering.unknown(Unknown(A, 1, 3), 1.0)
    _send(numbering, 1)
    assert numbering.to_resender == [Sent(A, 2, 0, [datagram(0)], 0, 1.0, mark=2)]


def test_a_target_that_got_numbers_since_does_not_start_anew() -> None:
    numbering = Numbering()
    _send(numbering, 3)
    _numbers(numbering)
    _send(numbering, 1)
    numbering.unknown(Unknown(A, 1, 3), 1.0)
    _send(numbering, 1)
    assert _numbers(numbering) == [3, 4]


def test_a_failed_target_that_nobody_revived_is_forgotten_with_its_last_life() -> None:
    numbering = Numbering()
    _send(numbering, 3)
    _failed(numbering)
    numbering.unknown(Unknown(A, 1, 3), 1.0)
    _send(numbering, 1)
    assert numbering.to_resender == [Sent(A, 2, 0, [datagram(0)], 0, 1.0, mark=2)]


def test_what_was_unknown_before_it_was_revived_waits_for_the_answer_to_the_revival() -> None:
    numbering = Numbering()
    _send(numbering, 3)
    _failed(numbering)
    _send(numbering, 2)
    numbering.to_resender.clear()
    numbering.unknown(Unknown(A, 1, 3), 1.0)
    assert (numbering.to_resender, numbering.waiting) == ([], 2)
    numbering.unknown(Unknown(A, 2, 3), 1.0)
    assert numbering.to_resender == [Sent(A, 3, 0, [datagram(0), datagram(1)], 0, 1.0, mark=2)]
    assert numbering.waiting == 0


def test_a_backlog_longer_than_the_window_goes_on_waiting_in_a_new_numbering() -> None:
    numbering = Numbering(window=2)
    _send(numbering, 2)
    _failed(numbering)
    _send(numbering, 5)
    numbering.to_resender.clear()
    numbering.unknown(Unknown(A, 2, 2), 1.0)
    assert _numbers(numbering) == [0, 1]
    assert numbering.waiting == 3


def test_forgetting_gives_up_the_backlog_and_starts_at_zero() -> None:
    numbering = Numbering(window=1)
    packages = [package(data) for data in (b"0", b"1")]
    for waiting in packages:
        numbering.send(waiting, 1.0)
    numbering.to_resender.clear()
    numbering.forget(A)
    numbering.forget(B)
    assert numbering.to_resender == [Forgotten(A, 1, packages[1:])]
    assert (numbering.waiting, numbering.released) == (0, {A: 2})
    _send(numbering, 1)
    assert numbering.to_resender[1:] == [Sent(A, 2, 0, [datagram(0)], 0, 1.0, mark=2)]


def test_a_flush_marks_what_was_sent_but_not_failed_targets() -> None:
    numbering = Numbering(window=2)
    _send(numbering, 1, A)
    numbering.failed(Failed(A, 1))
    _send(numbering, 2, B)
    numbering.to_resender.clear()
    numbering.flush("token")
    assert numbering.to_resender == [Flush({B: (2, 2)}, "token")]


def test_a_flush_waits_for_what_has_no_id_yet() -> None:
    numbering = Numbering(window=2)
    _send(numbering, 5, B)
    numbering.to_resender.clear()
    numbering.flush("token")
    numbering.granted(Grant(B, 1, 4, 1 << 30), 1.0)
    assert all(type(message) is not Flush for message in numbering.to_resender)
    _send(numbering, 3, B)  # sent after the flush, which need not wait for it
    numbering.granted(Grant(B, 1, 5, 1 << 30), 1.0)
    assert numbering.to_resender[-1] == Flush({B: (1, 5)}, "token")


def test_a_flush_does_not_wait_for_what_was_given_up_before_it_had_an_id() -> None:
    numbering = Numbering(window=1)
    _send(numbering, 3, A)
    numbering.flush("failed")
    numbering.failed(Failed(A, 1))
    assert numbering.to_resender[-1] == Flush({}, "failed")
    _send(numbering, 3, B)
    numbering.flush("forgotten")
    numbering.forget(B)
    assert numbering.to_resender[-1] == Flush({}, "forgotten")


def test_a_flush_of_nothing_has_no_marks() -> None:
    numbering = Numbering()
    numbering.send(package(reliability=UNRELIABLE), 1.0)
    numbering.flush("token")
    assert numbering.to_resender == [Flush({}, "token")]


def test_a_copy_keeps_what_has_to_wait() -> None:
    numbering = Numbering(window=2)
    _send(numbering, 2)
    copied = copy.deepcopy(numbering)  # as for the successor of a node that hangs
    _send(copied, 3)
    assert copied.waiting == 3
    copied.granted(Grant(A, 1, 10, PLENTY), 2.0)
    assert copied.waiting == 0
    assert _numbers(copied) == [0, 1, 2, 3, 4]
