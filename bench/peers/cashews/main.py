# SPDX-License-Identifier: MIT
"""Driver for cashews: its in-memory backend through its own API, which is async only; each call runs
to its end on one event loop, so the loop's cost is in the figures, as it is for its users."""
import asyncio
import importlib.metadata

import cashews
import driver


class Cashews(driver.Peer):
    name, version, caps = "cashews", importlib.metadata.version("cashews"), "entries ttl"

    def __init__(self, cfg):
        self.loop = asyncio.new_event_loop()
        self.c = cashews.Cache()
        self.c.setup("mem://?size=%d&check_interval=1" % cfg.room())
        self.ttl = cfg.ttl_ms / 1e3 or None
        self.loop.run_until_complete(self.c.init())

    def get(self, key):
        return self.loop.run_until_complete(self.c.get(key))

    def set(self, key, value):
        self.loop.run_until_complete(self.c.set(key, value, expire=self.ttl))

    def count(self):
        return self.loop.run_until_complete(self.c.get_keys_count())

    def close(self):
        self.loop.run_until_complete(self.c.close())
        self.loop.close()


driver.serve(Cashews)
