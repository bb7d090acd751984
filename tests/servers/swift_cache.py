"""The part of memcached that Swift's proxy server uses, in the memory of that server.

A filter for the pipeline, in the place of Swift's own `cache`. It holds what must not be forgotten, like tokens, and
for how long it is good. That is sound as long as there is one proxy server with one process, as in these tests; it
would be wrong for two, which would not know each other's tokens. Values go through JSON, as they do with memcached,
so that nobody keeps a reference into them.
"""

import json
import time

# What runs out is looked for each time that so many values were set.
SWEEP = 1000


class Cache:
    def __init__(self):
        self.values = {}
        self.sets = 0

    def set(self, key, value, serialize=True, time=0, **_):
        self.sets += 1
        if self.sets % SWEEP == 0:
            for old in [old for old in self.values if self.text(old) is None]:
                del self.values[old]
        if isinstance(value, bytes):
            value = value.decode()
        self.values[key] = (json.dumps(value), end_of(time))

    def get(self, key, **_):
        text = self.text(key)
        return None if text is None else json.loads(text)

    def set_multi(self, mapping, server_key=None, time=0, **_):
        for key, value in mapping.items():
            self.set(key, value, time=time)

    def get_multi(self, keys, server_key=None, **_):
        return [self.get(key) for key in keys]

    def incr(self, key, delta=1, time=0, **_):
        value = max(0, int(self.get(key) or 0) + int(delta))
        self.set(key, value, time=time)
        return value

    def decr(self, key, delta=1, time=0, **_):
        return self.incr(key, -int(delta), time=time)

    def delete(self, key, server_key=None):
        self.values.pop(key, None)

    def text(self, key):
        text, end = self.values.get(key, (None, None))
        return None if end is not None and end <= time.time() else text


def end_of(seconds):
    """The time when a value runs out, for ever being 0. As for memcached, what is longer than a month is a date."""
    if not seconds or seconds < 0:
        return None
    return seconds if seconds > 30 * 86400 else time.time() + seconds


def filter_factory(_global, **_local):
    cache = Cache()

    def with_cache(application):
        def call(environment, start_response):
            environment["swift.cache"] = cache
            return application(environment, start_response)

        return call

    return with_cache
