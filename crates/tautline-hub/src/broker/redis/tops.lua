-- Whoever asks for a topic has subscribers to it: it is not forgotten.
local answer = {}
for i, meta in ipairs(KEYS) do
  local known = redis.call('HMGET', meta, 's', 'e', 'a')
  if known[1] then
    redis.call('PEXPIRE', meta, string.format('%.0f', tonumber(known[3]) + tonumber(ARGV[1])))
    answer[i] = known[1] .. ':' .. known[2]
  else
    answer[i] = ''
  end
end
return answer
