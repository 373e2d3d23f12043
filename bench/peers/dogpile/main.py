# SPDX-License-Identifier: MIT
"""Driver for dogpile.cache: a region over its memory backend (a dict, no bound); get_or_create is
its single flight."""
import importlib.metadata

import driver
from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE


class Dogpile(driver.Peer):
    name, version, caps = "dogpile", importlib.metadata.version("dogpile.cache"), "ttl load"

    def __init__(self, cfg):
        self.store = {}
        self.r = make_region().configure("dogpile.cache.memory", expiration_time=cfg.ttl_ms / 1e3 or None,
                                         arguments={"cache_dict": self.store})

    def get(self, key):
        v = self.r.get(key)
        return None if v is NO_VALUE else v

    def set(self, key, value):
        self.r.set(key, value)

    def load(self, key, f):
        return self.r.get_or_create(key, f)

    def count(self):
        return len(self.store)


driver.serve(Dogpile)
