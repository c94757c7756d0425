"""Round-trip time and the timeout that follows from it, by RFC 6298.

The rules, with the RFC's names:

- first sample R: SRTT = R, RTTVAR = R/2; then RTTVAR = 3/4 RTTVAR + 1/4 |SRTT - R| and SRTT = 7/8 SRTT + 1/8 R;
- RTO = SRTT + max(G, 4 RTTVAR);
- samples come only from packages that were sent once (Karn's algorithm; the caller sees to that).

Where we differ, and why: before the first sample the RFC waits 1 s, which suits the whole Internet's past; the
protocol's original sends again after 220 to 330 ms, its peers expect that, and so 0.3 s is our first timeout. The RFC's
floor of 1 s for RTO guards against receivers that delay acknowledgements; ours say how late they may be (see
`Confirmations`), and that delay is part of every sample, so a small G suffices.
"""

from __future__ import annotations

from typing import Final

__all__ = ["INITIAL_TIMEOUT", "RoundTrip"]

INITIAL_TIMEOUT: Final = 0.3
"""Seconds to wait for a confirmation before anything was measured."""
GRANULARITY: Final = 0.025
"""Seconds of scheduling noise to expect on a busy machine; the RFC's G."""


class RoundTrip:
    """What is known of one peer's round-trip time.

    Attributes:
        smoothed: SRTT in seconds, or None before the first sample.
        variation: RTTVAR in seconds.
        minimum: the smallest sample in seconds, or None before the first.
    """

    __slots__ = ("minimum", "smoothed", "variation")

    def __init__(self) -> None:
        self.smoothed: float | None = None
        self.variation = 0.0
        self.minimum: float | None = None

    def sample(self, seconds: float) -> None:
        """Take one measurement, in seconds, of a package that was sent once."""
        if self.smoothed is None or self.minimum is None:
            self.smoothed = self.minimum = seconds
            self.variation = seconds / 2
            return
        self.variation += (abs(self.smoothed - seconds) - self.variation) / 4
        self.smoothed += (seconds - self.smoothed) / 8
        self.minimum = min(self.minimum, seconds)

    @property
    def timeout(self) -> float:
        """RTO: seconds to wait for a confirmation before sending again."""
        if self.smoothed is None:
            return INITIAL_TIMEOUT
        return self.smoothed + max(GRANULARITY, 4 * self.variation)
