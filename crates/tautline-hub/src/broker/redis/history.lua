-- How many entries are read at once, and the first time, before it is known how long they are.
local AT_ONCE, FIRST = 64, 4
local meta, log = KEYS[1], KEYS[2]
local server, linger, start = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local limit, most = tonumber(ARGV[4]), tonumber(ARGV[5])

local now, epoch = clock()
local last, sum, owner, age
last, epoch, sum, owner, age = open(meta, log, epoch, server)
redis.call('PEXPIRE', meta, text(age + linger))
trim(log, now - age, 0)
local answer = { text(last) .. ':' .. epoch }
local function take(entry)
  local fields = entry[2]
  table.insert(answer, string.match(entry[1], '^%d+') .. ':' .. fields[2])
  table.insert(answer, fields[8])
end
if start == '' then
  for _, entry in ipairs(redis.call('XREVRANGE', log, '+', '-', 'COUNT', text(limit))) do
    take(entry)
  end
  return answer
end
-- A few at once: of long ones, there may be more than the memory has room for.
local bytes, longest, count = 0, 1, FIRST
while limit > 0 and bytes < most do
  count = math.min(count, limit)
  local entries = redis.call('XRANGE', log, start, '+', 'COUNT', count)
  for _, entry in ipairs(entries) do
    if bytes >= most then
      break
    end
    take(entry)
    local length = #entry[2][8]
    bytes, longest = bytes + length, math.max(longest, length)
  end
  if #entries < count then
    break
  end
  limit = limit - count
  start = '(' .. entries[count][1]
  count = math.max(1, math.min(AT_ONCE, math.floor((most - bytes) / longest)))
end
return answer
