-- How far offsets jump when another server, or the same one after a restart, goes on with a history. What
-- was published last may be lost then: its offsets are not used again.
local JUMP = 1000000000

-- A whole number as text; Lua's own way loses digits.
local function text(number)
  return string.format('%.0f', number)
end

-- The time in milliseconds, and an epoch for a history that begins now.
local function clock()
  local time = redis.call('TIME')
  local seconds, micros = tonumber(time[1]), tonumber(time[2])
  return seconds * 1000 + math.floor(micros / 1000), text(seconds * 1000000 + micros)
end

-- What is known of a topic: its last offset, its epoch, the bytes published so far, which server it was, and
-- the age that is kept. What was forgotten begins anew, with an empty log.
local function open(meta, log, epoch, server)
  local known = redis.call('HMGET', meta, 's', 'e', 'b', 'r', 'a')
  if known[1] then
    return tonumber(known[1]), known[2], tonumber(known[3]), known[4], tonumber(known[5])
  end
  redis.call('DEL', log)
  redis.call('HSET', meta, 's', '0', 'e', epoch, 'b', '0', 'r', server, 'a', '0')
  return 0, epoch, 0, server, 0
end

-- Removes the entries that are older than the horizon, or before so many bytes. Both grow along the log, so
-- the last to go is found by steps that double, and then by halves.
local function trim(log, horizon, bytes)
  local function offset_if_gone(entry)
    local fields = entry and entry[2]
    if fields and (tonumber(fields[4]) < bytes or tonumber(fields[6]) < horizon) then
      return tonumber(string.match(entry[1], '^%d+'))
    end
  end
  local function from(offset)
    return offset_if_gone(redis.call('XRANGE', log, text(offset), '+', 'COUNT', 1)[1])
  end
  local gone = offset_if_gone(redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1])
  if not gone then
    return
  end
  local kept, step = nil, 1
  while not kept do
    local found = from(gone + step)
    if found then
      gone, step = found, step * 2
    else
      kept = gone + step
    end
  end
  while kept - gone > 1 do
    local middle = gone + math.floor((kept - gone) / 2)
    local found = from(middle)
    if found then
      gone = found
    else
      kept = middle
    end
  end
  redis.call('XTRIM', log, 'MINID', '=', text(gone + 1))
end

