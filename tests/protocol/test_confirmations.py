"""The receiving half, second part: what is confirmed, when, and in which pieces."""

# pyright: reportPrivateUsage=false
# The reason: it looks into the tables to see that they stay small.
from __future__ import annotations

import pytest

from packhorse.protocol import ConfirmPolicy
from packhorse.protocol.confirmations import Confirmations
from packhorse.protocol.header import unpack_confirmation
from packhorse.protocol.messages import Datagrams, StillHere, ToConfirm

from .helpers import A, B


def _add(
    confirmations: Confirmations, ids: list[int], time: float, *, urgent: bool = False, source: tuple[str, int] = A
) -> None:
    confirmations.add(ToConfirm(source, ids, urgent, time))


def _pieces(confirmations: Confirmations) -> list[list[int]]:
    return [unpack_confirmation(piece) for run in confirmations.to_dsender for piece in run.datagrams]


def test_ids_go_out_together_a_delay_after_the_oldest() -> None:
    confirmations = Confirmations(ConfirmPolicy(delay=0.1, urgent=False))
    assert confirmations.deadline() is None
    _add(confirmations, [2], 10.0)
    _add(confirmations, [4, 3], 10.05)
    assert confirmations.deadline() == pytest.approx(10.1)
    confirmations.tick(10.099)
    assert confirmations.to_dsender == []
    confirmations.tick(10.1)
    assert confirmations.to_dsender == [Datagrams(A, [bytes.fromhex("80000000 000002 000004 000003")])]
    assert confirmations.deadline() is None
    assert confirmations.confirmed == 3


def test_the_delay_starts_anew_after_a_confirmation() -> None:
    confirmations = Confirmations(ConfirmPolicy(delay=0.1))
    _add(confirmations, [0], 10.0)
    confirmations.tick(10.1)
    _add(confirmations, [1], 10.15)
    assert confirmations.deadline() == pytest.approx(10.25)


def test_each_source_has_its_own_delay() -> None:
    confirmations = Confirmations(ConfirmPolicy(delay=0.1))
    _add(confirmations, [1], 10.0, source=A)
    _add(confirmations, [2], 10.05, source=B)
    confirmations.tick(10.1)
    assert [run.target for run in confirmations.to_dsender] == [A]
    assert confirmations.deadline() == pytest.approx(10.15)
    confirmations.tick(10.15)
    assert [run.target for run in confirmations.to_dsender] == [A, B]


def test_sources_that_are_due_shortly_after_another_go_with_it() -> None:
    confirmations = Confirmations(ConfirmPolicy(delay=0.005))
    for place, source in enumerate((A, B, ("127.0.0.1", 3), ("127.0.0.1", 4))):
        _add(confirmations, [place], 10.0 + place * 0.0005, source=source)
    confirmations.tick(10.0049)
    assert confirmations.to_dsender == []
    confirmations.tick(10.005)
    assert [run.target for run in confirmations.to_dsender] == [A, B, ("127.0.0.1", 3)]
    assert confirmations.deadline() == pytest.approx(10.0065)


def test_enough_ids_go_out_without_waiting() -> None:
    confirmations = Confirmations(ConfirmPolicy(count=3))
    _add(confirmations, [0, 1], 10.0)
    confirmations.tick(10.0)
    assert confirmations.to_dsender == []
    _add(confirmations, [2], 10.0)
    _add(confirmations, [3], 10.0)
    confirmations.tick(10.0)
    assert _pieces(confirmations) == [[0, 1, 2, 3]]


def test_an_urgent_id_takes_with_it_what_waits_of_its_source() -> None:
    confirmations = Confirmations(ConfirmPolicy())
    _add(confirmations, [0], 10.0)
    _add(confirmations, [0], 10.0, source=B)
    _add(confirmations, [0], 10.001, urgent=True)
    confirmations.tick(10.001)
    assert [run.target for run in confirmations.to_dsender] == [A]
    assert _pieces(confirmations) == [[0, 0]]


def test_the_original_is_never_in_a_hurry() -> None:
    confirmations = Confirmations(ConfirmPolicy.original())
    _add(confirmations, list(range(5000)), 10.0, urgent=True)
    confirmations.tick(10.099)
    assert confirmations.to_dsender == []


@pytest.mark.parametrize(
    ("count", "pieces"),
    [
        (1, [range(1)]),
        (168, [range(168)]),
        (169, [range(1, 169), range(1)]),
        (250, [range(82, 250), range(82)]),
        (336, [range(168, 336), range(168)]),
        (337, [range(169, 337), range(1, 169), range(1)]),
    ],
)
def test_the_original_cuts_more_ids_than_a_datagram_holds_from_the_newest_end(count: int, pieces: list[range]) -> None:
    confirmations = Confirmations(ConfirmPolicy.original())
    _add(confirmations, list(range(count)), 10.0)
    confirmations.tick(11.0)
    assert _pieces(confirmations) == [list(piece) for piece in pieces]
    assert all(len(datagram) <= 508 for run in confirmations.to_dsender for datagram in run.datagrams)
    assert confirmations.confirmed == count


def test_of_more_ids_than_a_datagram_holds_the_oldest_go_first() -> None:
    confirmations = Confirmations(ConfirmPolicy(repeat=0.0))
    _add(confirmations, list(range(337)), 10.0)
    confirmations.tick(10.0)
    assert _pieces(confirmations) == [list(range(168)), list(range(168, 336)), [336]]


def test_a_sign_of_life_confirms_nothing() -> None:
    confirmations = Confirmations(ConfirmPolicy())
    _add(confirmations, [7], 10.0)
    confirmations.still_here(StillHere([A, B]))
    alive = bytes.fromhex("80000000")
    assert confirmations.to_dsender == [Datagrams(A, [alive]), Datagrams(B, [alive])]
    assert confirmations.confirmed == 0
    assert confirmations.deadline() is not None


def test_at_the_end_everything_is_confirmed_at_once() -> None:
    confirmations = Confirmations(ConfirmPolicy.original())
    _add(confirmations, [1], 10.0, source=A)
    _add(confirmations, [2], 10.0, source=B)
    confirmations.confirm_all(10.0)
    assert _pieces(confirmations) == [[1], [2]]
    assert confirmations.deadline() is None
    confirmations.to_dsender.clear()
    confirmations.confirm_all(10.0)
    confirmations.tick(20.0)
    assert confirmations.to_dsender == []


def test_what_was_urgent_is_confirmed_once_even_when_everything_is() -> None:
    confirmations = Confirmations(ConfirmPolicy())
    _add(confirmations, [1], 10.0, urgent=True)
    confirmations.confirm_all(10.0)
    confirmations.tick(10.0)
    assert _pieces(confirmations) == [[1]]


# Confirming again.


def _confirm(confirmations: Confirmations, ids: list[int], now: float, source: tuple[str, int] = A) -> list[list[int]]:
    """Confirm these ids now; return what is in the control datagrams."""
    confirmations.to_dsender.clear()
    _add(confirmations, ids, now, source=source)
    confirmations.confirm_all(now)
    return _pieces(confirmations)


def test_recent_ids_are_confirmed_again_behind_the_fresh_ones_the_latest_first() -> None:
    confirmations = Confirmations(ConfirmPolicy(repeat=1.0))
    assert _confirm(confirmations, [0, 1], 10.0) == [[0, 1]]
    assert _confirm(confirmations, [2], 10.5) == [[2, 1, 0]]
    assert _confirm(confirmations, [3], 10.9) == [[3, 2, 1, 0]]
    assert confirmations.confirmed == 4, "only the fresh ones count"


def test_ids_are_not_confirmed_again_when_they_are_too_old_or_another_sources() -> None:
    confirmations = Confirmations(ConfirmPolicy(repeat=1.0))
    _confirm(confirmations, [0], 10.0)
    _confirm(confirmations, [1], 10.5)
    assert _confirm(confirmations, [9], 10.6, source=B) == [[9]]
    assert _confirm(confirmations, [2], 11.2) == [[2, 1]]


def test_at_most_32_ids_are_confirmed_again_and_only_in_spare_room() -> None:
    confirmations = Confirmations(ConfirmPolicy(repeat=1.0))
    for number in range(100):
        (piece,) = _confirm(confirmations, [number], 10.0)
        assert piece == [number, *range(number - 1, max(-1, number - 33), -1)]
    (piece,) = _confirm(confirmations, list(range(100, 260)), 10.1)
    assert piece == [*range(100, 260), *range(99, 91, -1)]
    assert _confirm(confirmations, list(range(300, 468)), 10.2) == [list(range(300, 468))]


def test_of_several_pieces_the_last_which_is_the_shortest_has_the_spare_room() -> None:
    confirmations = Confirmations(ConfirmPolicy(repeat=1.0))
    _confirm(confirmations, [7], 10.0)
    assert _confirm(confirmations, list(range(10, 179)), 10.1) == [list(range(10, 178)), [178, 7]]


def test_with_no_time_for_it_nothing_is_confirmed_again() -> None:
    confirmations = Confirmations(ConfirmPolicy(repeat=0.0))
    _confirm(confirmations, [0], 10.0)
    assert _confirm(confirmations, [1], 10.0) == [[1]]


def test_memory_of_what_was_confirmed_does_not_grow() -> None:
    confirmations = Confirmations(ConfirmPolicy(repeat=1.0))
    for number in range(10_000):
        _confirm(confirmations, [number], 10.0 + number / 1e6, source=A)
        _confirm(confirmations, list(range(100)), 10.0 + number / 1e6, source=B)
    recent = confirmations._recent
    assert all(len(known.ids) == len(known.times) <= 64 for known in recent.values())
    for number in range(5000):
        _confirm(confirmations, [0], 20.0 + number / 100, source=("10.1.0.1", number + 1))
    assert len(recent) < 110, "sources that are silent are forgotten"
