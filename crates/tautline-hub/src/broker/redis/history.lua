local meta, log = KEYS[1], KEYS[2]
local server, linger, start, limit = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]

local now, epoch = clock()
local last, sum, owner, age
last, epoch, sum, owner, age = open(meta, log, epoch, server)
redis.call('PEXPIRE', meta, text(age + linger))
trim(log, now - age, 0)
local entries
if start == '' then
  entries = redis.call('XREVRANGE', log, '+', '-', 'COUNT', limit)
else
  entries = redis.call('XRANGE', log, start, '+', 'COUNT', limit)
end
local answer = { text(last) .. ':' .. epoch }
for _, entry in ipairs(entries) do
  local fields = entry[2]
  table.insert(answer, string.match(entry[1], '^%d+') .. ':' .. fields[2])
  table.insert(answer, fields[8])
end
return answer
