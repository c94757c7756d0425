-- A dissector for Wireshark and tshark that decodes packhorse's datagrams, which are those of de_net.
--
--   tshark -X lua_script:packhorse.lua -d udp.port==8082,packhorse -r capture.pcap
--
-- Wireshark loads it from its folder of personal plugins. The port is a preference of the protocol (8082);
-- "Decode As" takes it for any other.

local packhorse = Proto("packhorse", "packhorse reliable UDP packages")

local HEADER = 4
local CONTROL = 0x80
local INTRODUCTION = 0x81
local REFUSAL = 0x82
local INTRODUCTION_SIZE = 13
local LONGEST = 508
local RELIABILITIES = { [0] = "unreliable", [1] = "unordered", [2] = "semi-ordered", [3] = "invalid" }
local PEERS = { [0] = "players", [1] = "server" }

local fields = {
    flags = ProtoField.uint8("packhorse.flags", "Flags", base.HEX),
    control = ProtoField.bool("packhorse.control", "Control datagram", 8, nil, 0x80),
    reliability = ProtoField.uint8("packhorse.reliability", "Reliability", base.DEC, RELIABILITIES, 0x60),
    peers = ProtoField.uint8("packhorse.peers", "Peers", base.DEC, PEERS, 0x10),
    hint = ProtoField.uint8("packhorse.hint", "Hint", base.DEC, nil, 0x0F),
    series = ProtoField.uint24("packhorse.series", "Series", base.DEC, nil, 0xFFFFF0),
    attempt = ProtoField.uint24("packhorse.attempt", "Attempt, from 0", base.DEC, nil, 0x00000F),
    identity = ProtoField.bytes("packhorse.identity", "Identity"),
    chosen = ProtoField.uint8("packhorse.chosen", "Chosen hint", base.DEC, nil, 0x0F),
    checksum = ProtoField.bytes("packhorse.checksum", "Checksum of a package that follows"),
    echo = ProtoField.uint24("packhorse.echo", "Echo", base.HEX),
    mark = ProtoField.uint16("packhorse.mark", "High bits of the mark in the echo", base.HEX),
    id = ProtoField.uint24("packhorse.id", "Id", base.DEC),
    payload = ProtoField.bytes("packhorse.payload", "Payload"),
    confirmed = ProtoField.uint24("packhorse.confirmed", "Confirmed id", base.DEC),
    count = ProtoField.uint16("packhorse.confirmed.count", "Confirmed ids", base.DEC),
    fragment = ProtoField.bytes("packhorse.fragment", "Trailing fragment, ignored"),
    first = ProtoField.framenum("packhorse.first", "Copy of the package in frame", base.NONE, frametype.RETRANS_PREV),
}
packhorse.fields = fields

local experts = {
    invalid = ProtoExpert.new(
        "packhorse.invalid", "Not a valid datagram; receivers drop it", expert.group.MALFORMED, expert.severity.ERROR
    ),
    again = ProtoExpert.new(
        "packhorse.again", "Package sent again", expert.group.SEQUENCE, expert.severity.NOTE
    ),
}
packhorse.experts = experts

packhorse.prefs.port = Pref.uint("UDP port", 8082, "The port that packhorse is bound to")

local seen = {} -- where each package was first seen: its direction, header and payload to the frame
local copies = {} -- the frames that are copies, to the first one; frames are dissected more than once

function packhorse.init()
    seen = {}
    copies = {}
end

local function is_invalid(length, flags)
    if length < HEADER or length > LONGEST then
        return "a datagram has 4 to 508 bytes"
    end
    if flags == INTRODUCTION then
        local more = length - INTRODUCTION_SIZE
        return (more < 0 or more % 4 > 0) and "an introduction has 13 bytes, and 4 for each package" or nil
    end
    if flags >= CONTROL then
        return flags > REFUSAL and "the control bit stands alone, or with 1 or 2" or nil
    end
    return math.floor(flags / 0x20) % 4 == 3 and "reliability 11" or nil
end

-- Note which frame a package was first seen in; return it if that was another one.
local function first_frame(buffer, pinfo)
    if not pinfo.visited then
        local key = tostring(pinfo.src) .. " " .. pinfo.src_port .. " " .. tostring(pinfo.dst) .. " " .. pinfo.dst_port
        key = key .. " " .. tostring(buffer:bytes())
        if seen[key] then
            copies[pinfo.number] = seen[key]
        else
            seen[key] = pinfo.number
        end
    end
    return copies[pinfo.number]
end

local function control(buffer, tree)
    local length = buffer:len()
    local count = math.floor((length - HEADER) / 3)
    if buffer(1, 3):uint() > 0 then
        tree:add(fields.echo, buffer(1, 3))
    end
    tree:add(fields.count, buffer(), count)
    local ids = {}
    for place = 0, count - 1 do
        local range = buffer(HEADER + 3 * place, 3)
        tree:add(fields.confirmed, range)
        ids[#ids + 1] = tostring(range:uint())
    end
    local rest = (length - HEADER) % 3
    if rest == 2 and buffer(1, 3):uint() > 0 then
        tree:add(fields.mark, buffer(length - rest, rest))
    elseif rest > 0 then
        tree:add(fields.fragment, buffer(length - rest, rest))
    end
    if count == 0 then
        return "still here"
    end
    return "confirms " .. table.concat(ids, ", ")
end

local function package_of(buffer, pinfo, tree, flags)
    local length = buffer:len()
    local reliability = math.floor(flags / 0x20) % 4
    local id = buffer(1, 3)
    tree:add(fields.id, id) -- with an assigned hint it is moved by a base that both ends know; confirmations are not
    if length > HEADER then
        tree:add(fields.payload, buffer(HEADER, length - HEADER))
    end
    local info = "#" .. id:uint() .. " " .. RELIABILITIES[reliability]
    info = info .. ", for " .. (math.floor(flags / 0x10) % 2 == 1 and "the server" or "the players")
    info = info .. ", " .. (length - HEADER) .. " bytes"
    local first = reliability ~= 0 and first_frame(buffer, pinfo)
    if first then
        tree:add(fields.first, first):set_generated()
        tree:add_proto_expert_info(experts.again)
        info = info .. " [again]"
    end
    return info
end

function packhorse.dissector(buffer, pinfo, root)
    local length = buffer:len()
    if length == 0 then
        return 0
    end
    pinfo.cols.protocol = "packhorse"
    local tree = root:add(packhorse, buffer())
    local flags = buffer(0, 1):uint()
    local bits = tree:add(fields.flags, buffer(0, 1))
    for _, field in ipairs({ fields.control, fields.reliability, fields.peers, fields.hint }) do
        bits:add(field, buffer(0, 1))
    end
    local wrong = is_invalid(length, flags)
    local info
    if wrong then
        tree:add_proto_expert_info(experts.invalid, "Not a valid datagram: " .. wrong)
        info = "invalid: " .. wrong
    elseif flags == CONTROL then
        info = control(buffer, tree)
    elseif flags == INTRODUCTION then
        tree:add(fields.series, buffer(1, 3))
        tree:add(fields.attempt, buffer(1, 3))
        tree:add(fields.identity, buffer(HEADER, 8))
        tree:add(fields.chosen, buffer(INTRODUCTION_SIZE - 1, 1))
        local hint = buffer(INTRODUCTION_SIZE - 1, 1):uint() % 0x10
        local count = (length - INTRODUCTION_SIZE) / 4
        for place = 0, count - 1 do
            tree:add(fields.checksum, buffer(INTRODUCTION_SIZE + 4 * place, 4))
        end
        info = "introduces series " .. math.floor(buffer(1, 3):uint() / 0x10) .. ", hint " .. hint
        info = info .. ", " .. math.floor(count) .. " packages"
    elseif flags == REFUSAL then
        tree:add(fields.echo, buffer(1, 3))
        info = "refuses hint " .. math.floor(buffer(1, 1):uint() / 0x10)
    else
        info = package_of(buffer, pinfo, tree, flags)
    end
    pinfo.cols.info = info
    tree:append_text(", " .. info)
    return length
end

local ports = DissectorTable.get("udp.port")
local bound = packhorse.prefs.port
ports:add(bound, packhorse)
ports:add_for_decode_as(packhorse)

function packhorse.prefs_changed()
    if bound ~= packhorse.prefs.port then
        ports:remove(bound, packhorse)
        bound = packhorse.prefs.port
        ports:add(bound, packhorse)
    end
end
