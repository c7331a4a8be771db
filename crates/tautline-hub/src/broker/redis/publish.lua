local meta, log, id = KEYS[1], KEYS[2], KEYS[3]
local channel, payload, server = ARGV[1], ARGV[2], ARGV[3]
local messages, bytes, age = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local linger, remember = tonumber(ARGV[7]), ARGV[8]

if id then
  local first = redis.call('GET', id)
  if first then
    return first
  end
end

local now, epoch = clock()
local last, sum, owner
last, epoch, sum, owner = open(meta, log, epoch, server)
local offset = last + 1
if owner ~= server then
  offset = (math.floor(last / JUMP) + 1) * JUMP + 1
end
redis.call('XADD', log, 'MAXLEN', '=', messages, text(offset) .. '-0',
  'p', text(last), 'b', text(sum), 't', text(now), 'd', payload)
sum = sum + #payload + 64
trim(log, now - age, sum - bytes)
redis.call('HSET', meta, 's', text(offset), 'b', text(sum), 'r', server, 'a', text(age))
redis.call('PEXPIRE', log, text(age))
redis.call('PEXPIRE', meta, text(age + linger))
local place = text(offset) .. ':' .. epoch
if id then
  redis.call('SET', id, place, 'PX', remember)
end
redis.call('PUBLISH', channel, 'h' .. place .. ':' .. text(last) .. ':' .. payload)
return place
