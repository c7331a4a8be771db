-- How many entries are read at once.
local AT_ONCE = 64
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
-- In parts: of long ones, there may be more than the memory has room for.
local bytes = 0
while limit > 0 and bytes < most do
  local entries = redis.call('XRANGE', log, start, '+', 'COUNT', math.min(limit, AT_ONCE))
  for _, entry in ipairs(entries) do
    if bytes >= most then
      break
    end
    take(entry)
    bytes = bytes + #entry[2][8]
  end
  if #entries < AT_ONCE then
    break
  end
  limit = limit - #entries
  start = '(' .. entries[#entries][1]
end
return answer
