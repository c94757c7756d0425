"""What awaits confirmation is a mapping, however it is taken out."""

# pyright: reportPrivateUsage=false
# The reason: it looks at the slots to see that they stay few.
from __future__ import annotations

import random

import pytest

from packhorse.protocol.awaiting import Awaiting


def _awaiting(*numbers: int) -> Awaiting:
    awaiting = Awaiting()
    for number in numbers:
        awaiting.add(number, [b"%d" % number])
    return awaiting


@pytest.mark.parametrize("seed", range(10))
def test_it_is_the_mapping_that_a_dict_would_be(seed: int) -> None:
    rng = random.Random(seed)
    awaiting, plain, end = Awaiting(), dict[int, bytes](), rng.randrange(100)
    for _ in range(300):
        if rng.random() < 0.4:
            end += rng.choice((0, 0, 0, 3))
            datagrams = [b"%d" % number for number in range(end, end + rng.choice((1, 5, 40)))]
            awaiting.add(end, datagrams)
            plain.update(enumerate(datagrams, end))
            end += len(datagrams)
        elif rng.random() < 0.5:
            number = rng.choice([*list(plain), end, -1])
            assert awaiting.take(number) == plain.pop(number, b"")
        else:
            first = rng.choice([*list(plain)[:3], *list(plain)[-3:], end, 0])
            run = range(first, first + rng.choice((1, 2, 10, 200)))
            tail = [rng.randrange(end + 1) for _ in range(rng.choice((0, 0, 5)))]
            numbers = [*run, *tail]
            taken = awaiting.take_run(numbers)
            assert taken == [plain.pop(number) for number in numbers[: len(taken)]]
        assert dict(awaiting) == plain == awaiting
        assert (len(awaiting), list(awaiting)) == (len(plain), list(plain)), "in order"
        assert all(number in awaiting for number in plain)
        assert end not in awaiting


def test_what_is_consecutive_is_taken_in_one_go_and_what_follows_it_is_left() -> None:
    awaiting = _awaiting(5, 6, 7, 8)
    assert awaiting.take_run([5, 6, 4, 3]) == [b"5", b"6"]
    assert awaiting.take_run(range(7, 20)) == [b"7", b"8"]
    assert awaiting == {}


def test_a_run_in_the_middle_leaves_what_is_around_it() -> None:
    awaiting = _awaiting(5, 6, 7, 8)
    assert awaiting.take_run([6, 7]) == [b"6", b"7"]
    assert awaiting == {5: b"5", 8: b"8"}


@pytest.mark.parametrize(
    "numbers",
    [[], [4, 5], [9], [5, 7, 6, 8], [5, 5, 7, 8], [8, 9, 9]],
    ids=["none", "before", "after", "order", "twice", "end"],
)
def test_nothing_is_taken_in_one_go_that_is_not_there_or_not_in_order(numbers: list[int]) -> None:
    awaiting = _awaiting(5, 6, 7, 8)
    taken = awaiting.take_run(numbers)
    assert taken == [b"%d" % number for number in numbers[: len(taken)]]
    assert len(taken) <= 1
    assert len(awaiting) == 4 - len(taken)


def test_where_there_is_a_hole_nothing_is_taken_in_one_go() -> None:
    awaiting = _awaiting(5, 6, 7, 8)
    awaiting.take(6)
    assert awaiting.take_run([5, 6, 7]) == []
    assert list(awaiting) == [5, 7, 8]


def test_numbers_only_ascend() -> None:
    awaiting = _awaiting(5, 6)
    with pytest.raises(ValueError, match="numbers ascend, so 6 cannot come after 6"):
        awaiting.add(6, [b"again"])
    assert awaiting == {5: b"5", 6: b"6"}


def test_what_is_not_here_has_no_value() -> None:
    awaiting = _awaiting(5, 7)
    for number in (4, 6, 8):
        with pytest.raises(KeyError, match=str(number)):
            awaiting[number]
        assert awaiting.get(number) is None
        assert number not in awaiting


def test_a_hole_takes_no_room_at_either_end() -> None:
    awaiting = _awaiting(*range(100))
    for number in (*range(50), *range(60, 100)):
        awaiting.take(number)
    assert awaiting._slots == [b"%d" % number for number in range(50, 60)]
