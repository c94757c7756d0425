"""Targets get their canonical form at the user's edge: names are resolved, once; what has no way is refused."""

from __future__ import annotations

import socket
from typing import Any, Final

import msgspec

from ..protocol.address import Address, canonical, check_target, is_numeric
from ..protocol.errors import PackageError
from ..protocol.packages import OutPackage, normalized

__all__ = ["Resolver"]

_REMEMBERED: Final = 4096


class Resolver:
    """Makes targets ready to be sent to: resolves names, once each, and refuses what the socket cannot reach."""

    def __init__(self, bound: Address) -> None:
        self._four_only = len(bound) == 2  # noqa: PLR2004 - an IPv4 address
        self._six_only = not self._four_only and bound[0] != "::"
        self._known: dict[Address, Address] = {}
        """The canonical address of targets that were resolved lately; the very same tuple if that is what was given."""

    def resolve(self, target: Address) -> Address:
        """Return the canonical address of a user's target.

        Raises:
            PackageError: the name is unknown, or the address is of the wrong family for this stack.
        """
        known = self._known.get(target)
        if known is None:
            known = self._check(normalized(target))
            if known == target:
                known = target  # the very tuple that packages for it have, so that they need no change
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[target] = known
        return known

    def resolved(self, package: OutPackage) -> OutPackage:
        """Return the package with its target resolved."""
        target = self.resolve(package.target)
        if target is package.target:
            return package
        return msgspec.structs.replace(package, target=target)

    def _check(self, target: Address) -> Address:
        if not is_numeric(target[0]):
            return self._look_up(target)
        if len(target) == 4 and self._four_only:  # noqa: PLR2004 - an IPv6 address
            raise PackageError(f"{target[0]} is an IPv6 address, and this stack is bound to IPv4; start it on '::'")
        if len(target) == 2 and self._six_only:  # noqa: PLR2004 - an IPv4 address
            raise PackageError(f"{target[0]} is an IPv4 address, and this stack is bound to IPv6; start it on '::'")
        return target

    def _look_up(self, target: Address) -> Address:
        family = socket.AF_INET if self._four_only else socket.AF_INET6 if self._six_only else socket.AF_UNSPEC
        try:
            results = socket.getaddrinfo(target[0], target[1], family, socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:
            bound = {socket.AF_INET: " to an IPv4 address", socket.AF_INET6: " to an IPv6 address"}.get(family, "")
            raise PackageError(f"the host name {target[0]!r} cannot be resolved{bound}: {error}") from error
        address: Any = results[0][4]
        return check_target(canonical(address[0].partition("%")[0], *address[1:2], *address[3:4]))
