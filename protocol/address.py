"""Addresses in one canonical form, so that one peer is one key in every table.

The rules:

- the host is numeric; names are resolved at the edge, by `packhorse.actors.transport`;
- an IPv4 address is `(host, port)`; an IPv4 address mapped into IPv6 (`::ffff:10.0.0.7`) is that IPv4 address;
- an IPv6 address is Python's four-tuple `(host, port, 0, scope)`: the flow label is never part of it;
- a target is one host and one port: not 0.0.0.0 or `::`, not multicast or broadcast, not port 0.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from .errors import PackageError

__all__ = ["Address", "canonical", "check_port", "check_target", "host_port", "is_numeric"]

Address = tuple[str, int] | tuple[str, int, int, int]
"""What identifies a peer: `(host, port)`, or for IPv6 `(host, port, 0, scope)`."""


def is_numeric(host: str) -> bool:
    """Tell whether `host` is an IP address, perhaps with a zone (`fe80::1%eth0`), rather than a name to resolve."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    zone = address.scope_id if isinstance(address, IPv6Address) else None
    return zone is None or zone.isdecimal()


def canonical(host: str, port: int, scope: int = 0) -> Address:
    """Bring a numeric address into canonical form.

    Args:
        host: an IPv4 or IPv6 address, perhaps with a numeric zone (`fe80::1%2`).
        port: the UDP port.
        scope: the zone of a link-local IPv6 address, as a number.

    Raises:
        ValueError: `host` is not an IP address.
    """
    address = ip_address(host)
    if isinstance(address, IPv4Address):
        return str(address), port
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped), port
    zone = address.scope_id
    if zone is not None and zone.isdecimal():
        scope = int(zone)
    return str(IPv6Address(int(address))), port, 0, scope


def host_port(address: Address) -> str:
    """Write an address as people do: `10.0.0.7:8082`, `[2001:db8::1]:8082`."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_port(port: object) -> int:
    """Return `port` if it is a UDP port that can be sent to.

    Raises:
        PackageError: it is not an int from 1 to 65535.
    """
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:  # noqa: PLR2004 - 16 bits
        raise PackageError(f"a target's port is an int from 1 to 65535, not {port!r}")
    return port


def check_target(target: Address) -> Address:
    """Return a canonical address if a package can be sent to it.

    Raises:
        PackageError: it names every host (0.0.0.0, `::`), a group of hosts, or no port.
    """
    check_port(target[1])
    address = ip_address(target[0])
    if address.is_unspecified:
        raise PackageError(f"{target[0]} means every address of this machine; a target is one host")
    if address.is_multicast or target[0] == "255.255.255.255":
        raise PackageError(f"{target[0]} is a group address; a package has one target")
    return target
