//! What is done inside Redis in one step: the scripts over an entry and the epoch of its scope.
//!
//! An entry is absent, a value (`V`), the lease of a reader that is on its way to the storage (`L`), or the
//! tombstone of writers (`T` and a random id for each). An epoch is absent, a random id (`E`), or a tombstone. The
//! keys of one script have one hash slot. A connection is told of changes of what it has read last, and its own change
//! ends that: so a script that writes what is to be watched reads it afterwards (`PTTL`). Nothing here trusts what it finds: what is of another type is deleted.

use redis::Script;

/// Looks an entry up, and leaves a lease where there is none.
///
/// Keys: the entry, and the epoch if it has a scope. Arguments: a lease, its time in milliseconds, an epoch for a
/// scope that has none, its time. Answers `found` with the value and the milliseconds that it has left, `lease` with
/// the epoch, `held` with what is there instead, or `miss` where nothing can be put.
const LOOK_UP: &str = r"
local epoch = ''
if KEYS[2] then
  epoch = redis.pcall('GET', KEYS[2])
  if type(epoch) == 'table' then redis.call('DEL', KEYS[2]); epoch = false end
  if not epoch then
    local put = redis.pcall('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
    if put.err then return {'miss'} end
    epoch = ARGV[3]
    redis.call('PTTL', KEYS[2])
  end
  if string.sub(epoch, 1, 1) ~= 'E' then return {'miss'} end
end
local there = redis.pcall('GET', KEYS[1])
if type(there) == 'table' then redis.call('DEL', KEYS[1]); there = false end
if there then
  if string.sub(there, 1, 1) ~= 'V' then return {'held', there} end
  if not KEYS[2] or string.sub(there, 2, 17) == string.sub(epoch, 2) then
    return {'found', there, redis.call('PTTL', KEYS[1])}
  end
end
local put = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if put.err then return {'miss'} end
redis.call('PTTL', KEYS[1])
return {'lease', epoch}
";

/// Puts a value where the lease still is. Arguments: the lease, the epoch, the value, its time in milliseconds.
const FILL: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if KEYS[2] and redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
redis.call('PTTL', KEYS[1])
return 1
";

/// Puts a tombstone, beside those that are there. Arguments: the id, its time in milliseconds.
///
/// The deletion comes first: a Redis that is out of memory refuses to write what is larger, but goes on with a
/// script that has begun to write.
const BURY: &str = r"
local there = redis.pcall('GET', KEYS[1])
local ids, left = '', tonumber(ARGV[2])
if type(there) == 'string' and string.sub(there, 1, 1) == 'T' then
  ids = string.sub(there, 2)
  left = math.max(left, redis.call('PTTL', KEYS[1]))
end
redis.call('DEL', KEYS[1])
if #ids > 1600 then ids = '!' end
redis.call('SET', KEYS[1], 'T' .. ids .. ARGV[1], 'PX', left)
return 1
";

/// Takes a writer's tombstone away. Where it is lost, whatever came instead may be old and goes too.
const LIFT: &str = r"
local there = redis.pcall('GET', KEYS[1])
if type(there) ~= 'string' or string.sub(there, 1, 1) ~= 'T' then
  redis.call('DEL', KEYS[1])
  return 1
end
local ids = string.sub(there, 2)
local from, to = string.find(ids, ARGV[1], 1, true)
if from then ids = string.sub(ids, 1, from - 1) .. string.sub(ids, to + 1) end
if ids == '' then
  redis.call('DEL', KEYS[1])
elseif from then
  local left = redis.call('PTTL', KEYS[1])
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[1], 'T' .. ids, 'PX', math.max(left, 1))
end
return 1
";

/// Deletes what nobody can believe, if it is still that.
const DISCARD: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
";

/// The scripts with their digests.
pub(super) struct Scripts {
    pub(super) look_up: Script,
    pub(super) fill: Script,
    pub(super) bury: Script,
    pub(super) lift: Script,
    pub(super) discard: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            look_up: Script::new(LOOK_UP),
            fill: Script::new(FILL),
            bury: Script::new(BURY),
            lift: Script::new(LIFT),
            discard: Script::new(DISCARD),
        }
    }

    /// All of them, to be loaded when a connection is made.
    pub(super) fn all(&self) -> [&Script; 5] {
        [&self.look_up, &self.fill, &self.bury, &self.lift, &self.discard]
    }
}
