"""What the sending half notes of packages that had to wait for their numbers."""

from __future__ import annotations

from typing import Any

from packhorse.protocol import OutPackage
from packhorse.protocol.messages import Grant
from packhorse.protocol.numbering import Numbering
from packhorse.protocol.runs import WORTH_SORTING

from .helpers import A, package

PLENTY = 1 << 20


def _numbering(*, noting: bool = True) -> Numbering:
    """Return one that has nothing to give at first: numbers up to the first grant are used up."""
    numbering = Numbering(window=1)
    numbering.send(package(b"first"), 0.0)
    if noting:
        numbering.notes = []
    return numbering


def _numbered(numbering: Numbering) -> list[dict[str, Any]]:
    notes = numbering.notes or []
    return [fields for event, fields in notes if event == "package:numbered"]


def _grant(numbering: Numbering, limit: int, now: float) -> None:
    numbering.granted(Grant(A, 1, limit, PLENTY), now)


def test_packages_tell_how_long_each_of_them_waited() -> None:
    numbering = _numbering()
    for now in (1.0, 1.0, 2.5):
        numbering.send(package(), now)
    _grant(numbering, 3, 3.0)
    _grant(numbering, 4, 4.0)
    both, last = _numbered(numbering)
    assert (both["id"], both["count"], both["waited"]) == (1, 2, 2.0)
    assert (last["id"], last["count"], last["waited"]) == (3, 1, 1.5)


def test_packages_that_waited_differently_long_tell_it_in_a_list() -> None:
    numbering = _numbering()
    for now in (1.0, 2.0, 2.0):
        numbering.send(package(), now)
    _grant(numbering, 100, 4.0)
    (fields,) = _numbered(numbering)
    assert fields["waited"] == [3.0, 2.0, 2.0]


def test_packages_that_change_places_take_their_waiting_with_them() -> None:
    numbering = _numbering()
    sizes = [1 + place % 3 for place in range(WORTH_SORTING)]
    for place, size in enumerate(sizes):
        numbering.send(package(bytes(size)), float(place))
    _grant(numbering, 100, 100.0)
    (fields,) = _numbered(numbering)
    expected = sorted(zip(sizes, range(WORTH_SORTING), strict=True))
    assert fields["size"] == [size for size, _ in expected]
    assert fields["waited"] == [100.0 - place for _, place in expected]


def test_a_package_with_a_context_tells_its_own_waiting() -> None:
    class WithContext(OutPackage, frozen=True, kw_only=True):
        context: dict[str, str]

    plain = package()
    special = WithContext(plain.data, plain.reliability, plain.peers, A, context={"request": "7"})
    numbering = _numbering()
    for now, one in ((1.0, plain), (2.0, special), (3.0, plain)):
        numbering.send(one, now)
    _grant(numbering, 100, 4.0)
    told = {tuple(fields.get("ids", [fields.get("id")])): fields for fields in _numbered(numbering)}
    assert told[1, 3]["waited"] == [3.0, 1.0]
    assert (told[2,]["waited"], told[2,]["context"]) == (2.0, {"request": "7"})


def test_packages_that_did_not_wait_tell_nothing_of_it() -> None:
    numbering = Numbering()
    numbering.notes = []
    numbering.send(package(), 1.0)
    (fields,) = _numbered(numbering)
    assert "waited" not in fields


def test_of_packages_that_came_before_anybody_listened_it_is_not_known() -> None:
    numbering = _numbering(noting=False)
    numbering.send(package(), 1.0)
    numbering.notes = []
    numbering.send(package(), 2.0)
    _grant(numbering, 100, 3.0)
    (fields,) = _numbered(numbering)
    assert "waited" not in fields


def test_introduced_packages_tell_it_too_part_by_part() -> None:
    numbering = Numbering(window=1, identity=5 << 40)
    numbering.send(package(b"first"), 0.0)
    numbering.notes = []
    for place in range(100):
        numbering.send(package(b"%d" % place), float(place))
    _grant(numbering, 1000, 200.0)
    waited = [one for fields in _numbered(numbering) for one in fields["waited"]]
    assert len(_numbered(numbering)) > 1
    assert waited == [200.0 - place for place in range(100)]
