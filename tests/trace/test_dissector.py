"""The Wireshark dissector, run by a Lua interpreter against a stand-in of Wireshark's API and the recorded traffic.

(What it does in Wireshark itself was looked at with tshark.)
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# The reason: lupa has no types, and what comes out of Lua has none.
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lupa
import pytest

from packhorse.cli.tracing import dissector
from packhorse.protocol.header import INTRODUCTION, KINDS, MAX_DATAGRAM, Kind, unpack_confirmation, unpack_header
from packhorse.protocol.identity import INTRODUCTION_SIZE

GOLDEN = Path(__file__).parents[1] / "golden"

STAND_IN = """
fields, experts, ports = {}, {}, {}
local function field(kind)
    return function(name, label, base, values, mask) return { name = name, kind = kind, mask = mask } end
end
ProtoField = { uint8 = field("uint8"), uint16 = field("uint16"), uint24 = field("uint24"), bool = field("bool"),
    bytes = field("bytes"), framenum = field("framenum") }
ProtoExpert = { new = function(name) return { name = name } end }
base = { HEX = 1, DEC = 2, NONE = 3 }
frametype = { RETRANS_PREV = 1 }
expert = { group = { MALFORMED = 1, SEQUENCE = 2 }, severity = { ERROR = 1, NOTE = 2 } }
Pref = { uint = function(_, port) return port end }
function Proto(name) proto = { name = name, prefs = {} } return proto end
DissectorTable = { get = function(name)
    return {
        add = function(_, port, what) ports[name .. " " .. port] = what.name end,
        remove = function(_, port) ports[name .. " " .. port] = nil end,
        add_for_decode_as = function(_, what) ports.decode_as = what.name end,
    }
end }

local Range = {}
Range.__index = Range
Range.__call = function(self, from, length)
    from, length = from or 0, length or (#self.data - (from or 0))
    assert(from >= 0 and length > 0 and from + length <= #self.data, "out of bounds")
    return setmetatable({ data = self.data:sub(from + 1, from + length) }, Range)
end
function Range:len() return #self.data end
function Range:uint()
    assert(#self.data <= 4)
    local number = 0
    for place = 1, #self.data do number = number * 256 + self.data:byte(place) end
    return number
end
function Range:bytes()
    return (self.data:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

local Tree = {}
Tree.__index = Tree
function Tree:add(what, range, value)
    if what ~= proto then
        if value == nil and what.kind ~= "bytes" and type(range) == "table" then value = range:uint() end
        if value == nil then value = type(range) == "table" and range:bytes() or range end
        shown[#shown + 1] = { what.name, value }
    end
    return setmetatable({}, Tree)
end
function Tree:add_proto_expert_info(what) shown[#shown + 1] = { what.name, true } end
function Tree:append_text() end
function Tree:set_generated() end

function dissect(data, number, src, visited)
    shown = {}
    local there = src == "stack"
    local pinfo = { number = number, visited = visited, cols = {}, src = src, dst = there and "peer" or "stack",
        src_port = there and 1 or 2, dst_port = there and 2 or 1 }
    local used = proto.dissector(setmetatable({ data = data }, Range), pinfo, setmetatable({}, Tree))
    return used, pinfo.cols.info, shown
end
"""


class Wireshark:
    """The dissector, loaded."""

    def __init__(self) -> None:
        runtime: Any = lupa.LuaRuntime
        self.lua: Any = runtime(encoding=None)  # bytes, not text
        self.lua.execute(STAND_IN.encode())
        self.lua.execute(dissector().encode())
        self.lua.globals()[b"proto"][b"init"]()
        self.number = 0

    def dissect(self, data: bytes, source: str = "stack") -> tuple[str, dict[str, list[Any]]]:
        """Return the line for a datagram and what its tree shows, by field."""
        self.number += 1
        return self.look(self.number, data, source, visited=False)

    def look(
        self, number: int, data: bytes, source: str = "stack", *, visited: bool
    ) -> tuple[str, dict[str, list[Any]]]:
        used, info, shown = self.lua.globals()[b"dissect"](data, number, source.encode(), visited)
        assert used == len(data)
        fields: dict[str, list[Any]] = {}
        for _, entry in sorted(shown.items()):
            fields.setdefault(entry[1].decode(), []).append(entry[2])
        return info.decode(), fields


@pytest.fixture
def wireshark() -> Wireshark:
    return Wireshark()


def recorded() -> list[tuple[str, list[dict[str, Any]]]]:
    found: list[tuple[str, list[dict[str, Any]]]] = []
    for path in sorted(GOLDEN.glob("*.json")):
        events = json.loads(path.read_text(encoding="utf-8")).get("events", [])
        datagrams: list[dict[str, Any]] = [event for event in events if "hex" in event]
        if datagrams:
            found.append((path.stem, datagrams))
    return found


@pytest.mark.parametrize(("name", "datagrams"), recorded(), ids=[name for name, _ in recorded()])
def test_recorded_traffic_is_decoded_as_the_protocol_says(
    wireshark: Wireshark, name: str, datagrams: list[dict[str, Any]]
) -> None:
    for datagram in datagrams:
        data = bytes.fromhex(datagram["hex"])
        if not data:
            continue
        info, fields = wireshark.dissect(data, "stack" if datagram["dir"] == "stack->peer" else "peer")
        least, step = (INTRODUCTION_SIZE, 4) if data[0] == INTRODUCTION else (4, 1)
        whole = least <= len(data) <= MAX_DATAGRAM and (len(data) - least) % step == 0
        kind = KINDS[data[0]] if whole else Kind.INVALID
        assert (kind is Kind.INVALID) == ("packhorse.invalid" in fields) == info.startswith("invalid: "), name
        if kind is Kind.CONTROL:
            assert fields.get("packhorse.confirmed", []) == unpack_confirmation(data)
        elif kind is Kind.PACKAGE:
            reliability, peers, wire_id = unpack_header(data)
            assert fields["packhorse.id"] == [wire_id]
            assert fields.get("packhorse.payload", [b""]) == [data[4:].hex().encode()]
            word = reliability.name.lower().replace("_", "-")
            assert info.startswith(f"#{wire_id} {word}, for the {peers.name.lower()}, {len(data) - 4} bytes")


def test_what_is_behind_the_ids_belongs_to_the_echo_if_there_is_one(wireshark: Wireshark) -> None:
    fields = wireshark.dissect(bytes.fromhex("8010412300000115AF"))[1]
    assert fields["packhorse.echo"] == [0x104123]
    assert fields["packhorse.mark"] == [0x15AF]
    assert "packhorse.fragment" not in fields
    fields = wireshark.dissect(bytes.fromhex("8000000000000115AF"))[1]
    assert "packhorse.mark" not in fields
    assert fields["packhorse.fragment"] == [b"15af"]


def test_a_copy_points_to_the_first_frame_with_the_package(wireshark: Wireshark) -> None:
    package, other = bytes.fromhex("20000000aa"), bytes.fromhex("20000000bb")
    assert "packhorse.first" not in wireshark.dissect(package)[1]
    assert "packhorse.first" not in wireshark.dissect(package, "peer")[1], "the other direction has ids of its own"
    assert "packhorse.first" not in wireshark.dissect(other)[1], "an id that is used again is another package"
    info, fields = wireshark.dissect(package)
    assert fields["packhorse.first"] == [1]
    assert info.endswith("[again]")
    assert wireshark.look(4, package, visited=True)[1]["packhorse.first"] == [1]
    assert "packhorse.first" not in wireshark.look(1, package, visited=True)[1]


@pytest.mark.parametrize(
    ("data", "info"),
    [
        ("80000000", "still here"),
        ("80000000 000001 0000", "confirms 1"),
        ("83000000", "invalid: the control bit stands alone, or with 1 or 2"),
        ("81000000", "invalid: an introduction has 13 bytes, and 4 for each package"),
        ("81 000010 0123456789ABCDEF 09 0102", "invalid: an introduction has 13 bytes, and 4 for each package"),
        ("81 000010 0123456789ABCDEF 09", "introduces series 1, hint 9, 0 packages"),
        ("81 000010 0123456789ABCDEF 09 01020304 05060708", "introduces series 1, hint 9, 2 packages"),
        ("82 900123", "refuses hint 9"),
        ("80 104123 000001", "confirms 1"),
        ("80 104123 000001 6AF3", "confirms 1"),
        ("29 000000 6869", "#0 unordered, for the players, 2 bytes"),
        ("60000000", "invalid: reliability 11"),
        ("200000", "invalid: a datagram has 4 to 508 bytes"),
        ("20" + "00" * 508, "invalid: a datagram has 4 to 508 bytes"),
        ("50 01A583 123456", "#107907 semi-ordered, for the server, 3 bytes"),
    ],
)
def test_lines_of_examples(wireshark: Wireshark, data: str, info: str) -> None:
    assert wireshark.dissect(bytes.fromhex(data))[0] == info


def test_every_invalid_first_byte_is_told(wireshark: Wireshark) -> None:
    for flags in range(256):
        _, fields = wireshark.dissect(bytes([flags, 0, 0, 1, flags]) + bytes(8))
        assert ("packhorse.invalid" in fields) == (KINDS[flags] is Kind.INVALID)


def test_the_port_is_a_preference(wireshark: Wireshark) -> None:
    ports = wireshark.lua.globals()[b"ports"]
    proto = wireshark.lua.globals()[b"proto"]
    assert set(ports) == {b"udp.port 8082", b"decode_as"}
    proto[b"prefs"][b"port"] = 9000
    # The stand-in keeps preferences and callbacks in different tables, as Wireshark does.
    wireshark.lua.globals()[b"proto"][b"prefs_changed"]()
    assert set(ports) == {b"udp.port 9000", b"decode_as"}
