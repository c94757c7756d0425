"""The sending half when its hint is refused or spurned, and when nothing an introduction vouched for is confirmed."""

from __future__ import annotations

from packhorse.protocol.identity import (
    SPURNED,
)
from packhorse.protocol.messages import (
    Left,
)

from .sending import Sender, chosen, echo, introduced, with_hint


def test_what_was_spurned_is_sent_again_at_once() -> None:
    sender = Sender()
    sender.send(b"a", b"b")
    assert sender.confirm(echo=echo(hint=3 | SPURNED)) == [with_hint(0, b"a", 3), with_hint(1, b"b", 3)]
    assert sender.confirm(echo=echo(hint=3 | SPURNED)) == [], "only the first one"
    sender.confirm(0, echo=echo(hint=3 | SPURNED), now=0.2)
    assert sender.redelivery.peers()[0][1]["rtt"] == 0.1, "that was surely the second copy"


def test_an_echo_without_ids_makes_one_package_be_sent_again_once() -> None:
    """What left with the introduction is lost or has overtaken it, and the refusal may be lost."""
    sender = Sender()
    sender.send(b"a", b"b")
    assert sender.confirm(echo=echo()) == [with_hint(0, b"a", 3)]
    assert sender.confirm(echo=echo()) == []


def test_a_refusal_of_the_chosen_hint_is_answered_by_the_next_attempt_once_per_round_trip() -> None:
    sender = Sender()
    sender.send(b"a")
    first = with_hint(0, b"a", chosen())
    assert sender.refuse(chosen(), now=0.1) == introduced(first, attempt=1)
    assert sender.refuse(chosen(), now=0.17) == []
    assert sender.refuse(chosen(), now=0.18) == introduced(first, attempt=2)
    assert sender.refuse(chosen() % 8 + 1, now=9.0) == [], "that is not the hint in use"
    attempts = [sender.refuse(chosen(), now=float(time)) for time in range(10, 30)]
    assert attempts[-1] == introduced(first, attempt=15), "there are no more"


def test_a_refusal_is_answered_however_soon_it_comes() -> None:
    sender = Sender()
    sender.send(b"a")
    first = with_hint(0, b"a", chosen())
    assert sender.refuse(chosen(), now=0.0005) == introduced(first, attempt=1)
    assert sender.refuse(chosen(), now=0.001) == [], "the same batch may have been refused in pieces"
    assert sender.refuse(chosen(), now=0.0015) == introduced(first, attempt=2)


def test_a_refusal_ends_the_doubling() -> None:
    sender = Sender()
    sender.send(b"a")
    sender.tick(0.3)
    sender.tick(0.9)
    assert sender.refuse(chosen(), now=0.91)
    assert sender.tick(1.2) == []
    assert sender.tick(1.211) == introduced(with_hint(0, b"a", chosen()), attempt=1)


def test_a_refusal_makes_only_what_went_with_the_introduction_be_sent_again() -> None:
    """What was sent in the last three quarters of the time since then can hardly have been refused yet."""
    sender = Sender()
    packages = [with_hint(number, b"x", chosen()) for number in range(10)]
    for number in range(10):
        sender.send(b"x", now=0.01 * number)
    assert sender.refuse(chosen(), now=0.1) == introduced(*packages[:3], attempt=1)


def test_a_refusal_makes_the_oldest_be_sent_again_in_any_case() -> None:
    sender = Sender()
    sender.send(b"a", now=0.0)
    sender.redelivery.left(Left(1, 0.09))
    assert sender.refuse(chosen(), now=0.1) == introduced(with_hint(0, b"a", chosen()), attempt=1)


def test_a_refusal_makes_no_more_than_32_packages_be_sent_again() -> None:
    sender = Sender()
    sent = sender.send(*[bytes([number]) * 4 for number in range(60)])
    assert len(sent) == 1 + 60
    assert len(sender.refuse(chosen())) == 1 + 32
