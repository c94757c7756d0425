"""Who is behind an address: what the receiving half makes of introductions and hints."""

# pyright: reportPrivateUsage=false
# The reason: it looks into the tables to see that they stay small.
from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.protocol import Peers
from packhorse.protocol.header import MAX_DATAGRAM, pack_confirmation, pack_header, unpack_confirmation
from packhorse.protocol.identity import (
    SPURNED,
    VOUCHED,
    Acquaintance,
    Verdict,
    choose_hint,
    introduction,
    make_identity,
    mark_of,
    mark_of_numbering,
    pack_echo,
    read_echo,
    read_introduction,
    read_refusal,
    refusal,
    unpack_echo,
)
from packhorse.protocol.messages import Received, Refuse, Restarted
from packhorse.protocol.receiving import Receiving

from .helpers import SEMI_ORDERED, UNORDERED, UNRELIABLE, A
from .introduced import FIRST, ONE, TWO, US, arrive, datagram_of, introduce, take


@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 0xFFFFFF),
    st.integers(0, 15),
    st.lists(st.binary(min_size=4, max_size=20), max_size=VOUCHED),
)
def test_an_introduction_is_read_as_it_was_made(identity: int, series: int, chosen: int, packages: list[bytes]) -> None:
    datagram = introduction(identity, series, chosen, packages)
    checksums = b"".join(crc32(one).to_bytes(4, "big") for one in packages)
    assert read_introduction(datagram) == (identity, series, chosen, checksums)
    assert len(datagram) <= MAX_DATAGRAM
    assert read_introduction(datagram[:-1]) is None
    assert read_introduction(datagram + b"\0") is None


@given(
    st.integers(1, 15),
    st.integers(0, 2**26 - 1),
    st.integers(0, 1023),
    st.lists(st.integers(0, 0xFFFFFF), max_size=167),
)
def test_an_echo_is_read_as_it_was_made(hint: int, mark: int, by: int, ids: list[int]) -> None:
    echo = pack_echo(hint, mark, by)
    assert unpack_echo(echo) == (hint, mark, by)
    datagram = pack_confirmation(ids, echo)
    assert read_echo(datagram) == echo
    assert unpack_confirmation(datagram) == ids, "what does not fit the header is for originals a fragment of an id"
    assert len(datagram) <= MAX_DATAGRAM
    assert read_refusal(refusal(hint, by)) == (hint, by)


@pytest.mark.parametrize(
    "datagram", [b"\x80\0\0\0" + b"\0\0\5" + b"ab", b"\x80\xff\0\1" + b"\0\0\5", b"\x80\x30\0\1" + b"a"]
)
def test_half_an_echo_is_none(datagram: bytes) -> None:
    assert read_echo(datagram) == 0


def test_numberings_that_begin_shortly_one_after_the_other_have_other_hints() -> None:
    hints = [choose_hint(ONE, FIRST, now) for now in (0.0, 0.25, 0.5, 1.0, 1.75)]
    assert len(set(hints)) == len(hints)
    assert choose_hint(ONE, FIRST, 0.0) != choose_hint(ONE, FIRST + 16, 0.0)
    stacks = [make_identity(lambda: 0.5, serial, 0.0) for serial in range(8)]
    assert len({choose_hint(identity, FIRST, 0.0) for identity in stacks}) == 8
    assert all(8 <= choose_hint(identity, FIRST, 3.3) <= 15 for identity in stacks)
    assert all(identity < 1 << 64 for identity in (*stacks, make_identity(lambda: 1 - 2**-53, 7, 1e9)))


def test_lives_that_begin_within_50_seconds_have_other_marks() -> None:
    marks = {mark_of(make_identity(lambda: 0.5, 0, 7.01 + number / 20)) for number in range(1000)}
    assert len(marks) == 1000
    assert len({mark_of(make_identity(lambda: 0.5, serial, 7.0)) for serial in range(1000)}) == 1000


def test_what_is_not_mark_or_serial_of_an_identity_is_random() -> None:
    none, most = make_identity(lambda: 0.0, 0, 7.0), make_identity(lambda: 1 - 2**-53, 0, 7.0)
    assert none ^ most == (1 << 61) - 1024


def test_packages_are_taken_with_either_hint_and_each_once() -> None:
    receiving = Receiving(US)
    assigned = introduce(receiving)
    assert take(receiving, 8, 0, 1) == [0, 1]
    assert take(receiving, assigned, 1, 2, 4) == [2, 4]
    assert take(receiving, 8, 2, 3) == [3]
    assert receiving.to_refuse == []


def test_with_the_chosen_hint_only_packages_are_taken_that_were_introduced() -> None:
    """Another life of the sender may have chosen the same hint, and its first package has the same id."""
    receiving = Receiving(US)
    assigned = introduce(receiving, numbers=[0, 1])
    arrive(receiving, pack_header(UNORDERED, Peers.PLAYERS, 0, 8) + b"another")
    assert take(receiving, 8, 2) == []
    assert receiving.to_refuse == [], "its sender goes on introducing itself"
    assert [run for run in receiving.to_confirmer if run.ids] == []
    assert take(receiving, 8, 0, 1) == [0, 1]
    assert introduce(receiving, numbers=[2, 3]) == assigned
    assert take(receiving, 8, 3, 2) == [2, 3], "the first of them was held"


def test_no_more_than_256_packages_are_expected_with_the_chosen_hint() -> None:
    receiving = Receiving(US)
    for first in range(0, 256, 32):
        introduce(receiving, numbers=range(first, first + 32))
    assert take(receiving, 8, 127) == []
    assert take(receiving, 8, 128, 255) == [128, 255]


PACKAGE = st.binary(min_size=4, max_size=6).map(datagram_of(UNORDERED, 0, 8).__add__)


@given(st.lists(PACKAGE, max_size=20), PACKAGE)
def test_a_checksum_is_found_only_where_one_begins(packages: list[bytes], other: bytes) -> None:
    who = Acquaintance()
    _, _, _, checksums = read_introduction(introduction(ONE, FIRST, 8, packages)) or (0, 0, 0, b"")
    who.introduced(ONE, FIRST, 8, 0.0, seen=False, checksums=checksums)
    assert all(who.takes(one) for one in packages)
    assert who.takes(other) == (other in packages)
    across = checksums[2:-2]
    who.introduced(ONE, FIRST + 16, 8, 100.0, seen=False, checksums=across)
    assert [who.takes(one) for one in packages] == [
        any(across[at : at + 4] == crc32(one).to_bytes(4, "big") for at in range(0, len(across), 4)) for one in packages
    ]


def test_confirmations_list_numbers_and_say_whose_they_are() -> None:
    receiving = Receiving(US)
    assigned = introduce(receiving)
    take(receiving, 8, 0)
    take(receiving, assigned, 1, 2)
    assert [wire_id for run in receiving.to_confirmer for wire_id in run.ids] == [0, 1, 2]
    assert {run.echo for run in receiving.to_confirmer} == {pack_echo(assigned, mark_of_numbering(ONE, FIRST), US)}


@pytest.mark.parametrize("hint", [1, 7, 8, 15])
def test_packages_of_nobody_known_are_refused_once_per_batch(hint: int) -> None:
    receiving = Receiving(US)
    assert take(receiving, hint, 0, 1, 2, reliability=SEMI_ORDERED) == []
    assert receiving.to_confirmer == []
    assert receiving.to_refuse == [Refuse(A, hint, US)]
    assert receiving.strange == 3
    receiving.to_refuse.clear()
    take(receiving, hint, 0)
    assert receiving.to_refuse == [Refuse(A, hint, US)]


def test_a_hint_that_was_refused_is_assigned_to_nobody_for_a_minute() -> None:
    receiving = Receiving(US)
    for hint in (1, 2, 3, 5, 6, 7):
        take(receiving, hint, 0)
    assert introduce(receiving, now=59.0) == 4


def test_after_strange_packages_only_the_assigned_hint_is_taken() -> None:
    receiving = Receiving(US)
    take(receiving, 9, 0)
    assigned = introduce(receiving)
    assert take(receiving, 8, 0) == []
    assert take(receiving, assigned, 0, 1) == [0, 1]


@pytest.mark.parametrize("others", [(), (8, 8), (9,), (9, 8), (1,), (8, 1)])
def test_the_first_packages_of_a_stranger_may_overtake_its_introduction(others: tuple[int, ...]) -> None:
    receiving = Receiving(US)
    for hint in others:
        take(receiving, hint, 0)
    assigned = introduce(receiving)
    early = set(others) <= {8}
    assert take(receiving, 8, 0) == ([0] if early else [])
    take(receiving, assigned, 1)
    assert receiving.to_confirmer[-1].echo == pack_echo(
        assigned if early else assigned | SPURNED, mark_of_numbering(ONE, FIRST), US
    )


def test_those_of_one_who_is_known_may_not() -> None:
    receiving = Receiving(US)
    assigned = introduce(receiving)
    take(receiving, assigned, 0)
    take(receiving, 9, 0)
    introduce(receiving, TWO, chosen=9)
    assert take(receiving, 9, 0) == []


def test_unreliable_packages_pass_whatever_their_hint_is() -> None:
    receiving = Receiving(US)
    assert [take(receiving, hint, 5, reliability=UNRELIABLE) for hint in (0, 8)] == [[5], [5]]
    assert receiving.to_refuse == []


def test_another_identity_begins_anew_and_is_told() -> None:
    receiving = Receiving(US)
    old = introduce(receiving)
    take(receiving, 8, 0, 2)
    assert take(receiving, 8, 3, reliability=SEMI_ORDERED) == []
    assert receiving.kept == 1
    receiving.to_confirmer.clear()
    new = introduce(receiving, TWO, chosen=9)
    assert receiving.to_usender == [Restarted(A, mark_of(TWO))]
    assert receiving.kept == 0
    assert new not in (0, old)
    assert take(receiving, old, 1) == [], "of the old life"
    assert take(receiving, 9, 0) == [], "it could be of the old life"
    assert take(receiving, new, 0, 1, identity=TWO) == [0, 1]
    assert {run.echo for run in receiving.to_confirmer} == {pack_echo(new | SPURNED, mark_of_numbering(TWO, FIRST), US)}


def test_a_late_introduction_is_refused_and_changes_nothing() -> None:
    receiving = Receiving(US)
    introduce(receiving, series=FIRST)
    second = introduce(receiving, series=FIRST + 16, chosen=9)
    third = introduce(receiving, TWO, chosen=10)
    receiving.to_usender.clear()
    for series in (FIRST, FIRST + 16):
        assert introduce(receiving, ONE, series, chosen=11) == 0
        assert receiving.to_refuse == [Refuse(A, 11, US)]
        receiving.to_refuse.clear()
    assert receiving.to_usender == []
    assert take(receiving, third, 0, identity=TWO) == [0]
    assert introduce(receiving, ONE, FIRST + 17) not in (0, second), "the next attempt is newer, and nothing was taken"
    assert receiving.to_usender == [Restarted(A, mark_of(ONE))]


def test_a_peer_that_has_forgotten_us_begins_anew_and_nobody_is_told() -> None:
    receiving = Receiving(US)
    old = introduce(receiving)
    take(receiving, old, 0, 1)
    new = introduce(receiving, series=FIRST + 16, chosen=9)
    assert receiving.to_usender == []
    assert take(receiving, new, 0, series=FIRST + 16) == [0]
    assert take(receiving, old, 2) == []


def test_what_was_forgotten_is_not_begun_again_if_packages_of_it_were_taken() -> None:
    receiving = Receiving(US)
    old = introduce(receiving)
    take(receiving, 8, 0)
    receiving.forget(A)
    for attempt in range(3):
        assert introduce(receiving, series=FIRST + attempt) == old, "its sender is to use this hint, and be refused"
        receiving.to_refuse.clear()
        assert take(receiving, old, 0) == take(receiving, 8, 0) == []
        assert receiving.to_refuse == [Refuse(A, old, US), Refuse(A, 8, US)]
    new = introduce(receiving, series=FIRST + 16)
    assert new not in (0, old)
    assert receiving.to_usender == []
    assert take(receiving, new, 0, series=FIRST + 16) == [0]


def test_what_was_forgotten_before_anything_came_is_only_introduced_again() -> None:
    receiving = Receiving(US)
    old = introduce(receiving)
    receiving.forget(A)
    new = introduce(receiving)
    assert new not in (0, old)
    assert take(receiving, new, 0) == [0]


@pytest.mark.parametrize("forgotten", [False, True])
def test_one_in_whose_place_another_was_taken_is_told_to_begin_anew(forgotten: bool) -> None:
    """The introduction of a dead life may come late, and be the first that is heard of it."""
    receiving = Receiving(US)
    living = introduce(receiving, TWO)
    take(receiving, 8, 0)
    if forgotten:
        receiving.forget(A)
    dead = introduce(receiving, ONE, chosen=9)
    assert take(receiving, 9, 0, 1) == [], "nothing of an old life comes after the first package of a new one"
    assert introduce(receiving, TWO) == living not in (0, dead)
    assert take(receiving, living, 0, 1, identity=TWO) == []
    new = introduce(receiving, TWO, FIRST + 16)
    assert take(receiving, new, 0, identity=TWO, series=FIRST + 16) == [0]


def test_an_assigned_hint_with_another_base_is_answered_by_an_echo() -> None:
    receiving = Receiving(US)
    assigned = introduce(receiving)
    take(receiving, assigned, 0)
    receiving.to_confirmer.clear()
    assert take(receiving, assigned, 1, identity=TWO) == []
    (answer,) = receiving.to_confirmer
    assert answer.echo == pack_echo(assigned, mark_of_numbering(ONE, FIRST), US)


def test_a_program_without_identity_in_the_place_of_one_that_had_one_is_told() -> None:
    receiving = Receiving(US)
    take(receiving, introduce(receiving), 0, 1)
    receiving.to_confirmer.clear()
    assert take(receiving, 0, 0, 1) == [0, 1]
    assert receiving.to_usender == [Restarted(A, -1)]
    assert {run.echo for run in receiving.to_confirmer} == {0}
    assert introduce(receiving, TWO)
    assert receiving.to_usender[1:] == [Restarted(A, mark_of(TWO))]


def test_without_an_identity_nothing_of_this_is_understood() -> None:
    receiving = Receiving()
    assert introduce(receiving) == 0
    assert take(receiving, 8, 0, 1) == [0, 1]
    assert take(receiving, 0, 2) == [2]
    assert take(receiving, 0, 0, now=200.0) == []
    assert (receiving.to_refuse, receiving.to_usender, receiving.duplicates) == ([], [], 1)


def test_a_run_of_introductions_and_packages_is_taken_apart() -> None:
    receiving = Receiving(US)
    packages = [pack_header(UNORDERED, Peers.PLAYERS, number, 8) + bytes(21) for number in range(3)]
    datagrams = [introduction(ONE, FIRST, 8, packages), *packages]
    receiving.received(Received(A, 25, b"".join(datagrams), 0.0))
    assert len(receiving.to_user) == 3
    receiving.received(Received(A, 13, introduction(ONE, FIRST, 8) * 2, 0.0))
    assert len(receiving.to_user) == 3


def test_no_more_than_a_few_former_lives_are_remembered() -> None:
    who = Acquaintance()
    for identity in range(50):
        verdict = who.introduced(identity, FIRST, 8, float(identity), seen=True)
        assert verdict is Verdict.RESTARTED
        assert 1 <= who.hint <= 7
    assert who.introduced(48, FIRST, 8, 50.0, seen=True) is Verdict.TAKEN
    assert len(who._former) <= 4
    assert len(who._stale) <= 16


def test_state_that_is_made_anew_still_knows_its_sources() -> None:
    receiving = Receiving(US)
    assigned = introduce(receiving)
    assert take(receiving, assigned, 0) == [0]
    receiving.renew(None, 1.0)
    assert take(receiving, assigned, 1, 0, now=1.0) == [1]
    assert take(receiving, 8, 9, now=1.0) == []
    assert receiving.to_refuse == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0x81, 0x81, 0x20, 0x23, 0x28, 0x4F]),
            st.binary(min_size=3, max_size=14)
            | st.integers(0, 3).map(lambda id_: bytes([0, 0, id_]) + bytes(9) + b"\x08"),
            st.floats(0, 200),
        ),
        max_size=30,
    )
)
def test_whatever_arrives_nothing_raises_and_only_the_confirmed_is_delivered(
    datagrams: list[tuple[int, bytes, float]],
) -> None:
    receiving, now = Receiving(US), 0.0
    for flags, rest, later in datagrams:
        now += later
        arrive(receiving, bytes([flags]) + rest, now)
        assert len(receiving.to_user) <= sum(len(run.ids) for run in receiving.to_confirmer)
        assert all(0 < refuse.hint <= 15 or refuse.hint == rest[-1] & 0x0F for refuse in receiving.to_refuse)
        receiving.to_refuse.clear()
