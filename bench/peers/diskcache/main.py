# SPDX-License-Identifier: MIT
"""Driver for diskcache: a Cache (SQLite in a folder), least-recently-stored by default. Its bound is
in bytes; values under 32 KiB stay in the database. The folder is below TMPDIR and is removed."""
import shutil
import tempfile

import diskcache
import driver


class Diskcache(driver.Peer):
    name, version, caps = "diskcache", diskcache.__version__, "bytes ttl load"

    def __init__(self, cfg):
        self.dir = tempfile.mkdtemp(prefix="bench-diskcache-")
        self.c = diskcache.Cache(self.dir, size_limit=cfg.bytes or 1 << 40)
        self.ttl, self.bytes = cfg.ttl_ms / 1e3 or None, cfg.bytes

    def get(self, key):
        return self.c.get(key)

    def set(self, key, value):
        self.c.set(key, value, expire=self.ttl)

    def delete(self, key):
        self.c.delete(key)

    def load(self, key, f):  # Lock is its recipe for work to be done once
        with diskcache.Lock(self.c, "lock:" + key):
            v = self.c.get(key)
            if v is None:
                v = f()
                self.c.set(key, v)
        return v

    def count(self):
        self.c.expire()
        return len(self.c)

    def accounted(self):
        return self.c.volume() if self.bytes else 0

    def settle(self):
        self.c.cull()

    def close(self):
        self.c.close()
        shutil.rmtree(self.dir, ignore_errors=True)


driver.serve(Diskcache)
