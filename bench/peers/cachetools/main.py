# SPDX-License-Identifier: MIT
"""Driver for cachetools: LRUCache, or TTLCache where there are deadlines, behind a lock, as its
documentation says shared caches need it."""
import threading

import cachetools
import driver


class Cachetools(driver.Peer):
    name, version, caps = "cachetools", cachetools.__version__, "entries bytes ttl"

    def __init__(self, cfg):
        size = (lambda v: 16 + len(v)) if cfg.bytes else None
        most = cfg.bytes or cfg.room()
        self.c = (cachetools.TTLCache(most, cfg.ttl_ms / 1e3, getsizeof=size) if cfg.ttl_ms else
                  cachetools.LRUCache(most, getsizeof=size))
        self.lock, self.bytes = threading.Lock(), cfg.bytes

    def get(self, key):
        with self.lock:
            return self.c.get(key)

    def set(self, key, value):
        with self.lock:
            self.c[key] = value

    def delete(self, key):
        with self.lock:
            self.c.pop(key, None)

    def count(self):
        return len(self.c)

    def accounted(self):
        return self.c.currsize if self.bytes else 0


driver.serve(Cachetools)
