# SPDX-License-Identifier: MIT
"""CellarCache: the cache of Django, in memory, on disk, or shared by workers.

    CACHES = {"default": {"BACKEND": "cellar.django.CellarCache", "LOCATION": "/var/cache/app",
                          "OPTIONS": {"memory": "64M", "disk": "1G"}}}

LOCATION is a directory, a URL of shared=, or another name: a store in memory. Backends with one
LOCATION have one store. OPTIONS are arguments of cellar.Cache; MAX_ENTRIES is max_entries. Values
of any type are stored, by pickle where it is needed, as Django requires: only this program may be
able to write into the directory or to the server.
"""
import os
import re
import threading

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

from . import Cache, Lock, _literal

_plain_key = re.compile(r"[!-~\x80-\U0010ffff]{1,250}").fullmatch
_stores = {}
_opening = threading.Lock()  # a child has a new one: a lost thread may hold this
os.register_at_fork(after_in_child=lambda: globals().update(_opening=threading.Lock()))


def _open(location, options):
    """Return the store of a location."""
    name = location, tuple(sorted(options.items()))
    with _opening:
        if name not in _stores:
            if "://" in location:
                options["shared"] = location
            elif "/" in location:
                options["path"] = location
            _stores[name] = Cache(codec="pickle", **options)
        return _stores[name]


class CellarCache(BaseCache):
    """The calls of django.core.cache, and those of django-redis: ttl, expire, persist,
    delete_pattern, iter_keys, lock."""

    def __init__(self, location, params):
        super().__init__(params)
        options = dict(params.get("OPTIONS", {}))
        options.pop("CULL_FREQUENCY", None)
        most = params.get("max_entries", options.pop("MAX_ENTRIES", 0))
        self._cache = _open(str(location), {"max_entries": int(most), **options})

    def _key(self, key, version):
        key = self.make_key(key, version)
        if not _plain_key(key):
            self.validate_key(key)  # warnings of Django
        return key

    def _seconds(self, timeout):
        """Return the TTL of a timeout, 0 if it is over."""
        if timeout is DEFAULT_TIMEOUT:
            timeout = self.default_timeout
        return None if timeout is None else max(timeout, 0)

    def get(self, key, default=None, version=None):
        return self._cache.get(self._key(key, version), default)

    def set(self, key, value, timeout=DEFAULT_TIMEOUT, version=None):
        key = self._key(key, version)
        if timeout is DEFAULT_TIMEOUT:  # in line: `_seconds` costs a call
            timeout = self.default_timeout
        if timeout is None or timeout > 0:
            self._cache.set(key, value, timeout)
        else:
            self._cache.delete(key)

    def add(self, key, value, timeout=DEFAULT_TIMEOUT, version=None):
        seconds, key = self._seconds(timeout), self._key(key, version)
        return key not in self._cache if seconds == 0 else self._cache.add(key, value, seconds)

    def touch(self, key, timeout=DEFAULT_TIMEOUT, version=None):
        seconds, key = self._seconds(timeout), self._key(key, version)
        return self._cache.delete(key) if seconds == 0 else self._cache.touch(key, seconds)

    def delete(self, key, version=None):
        return self._cache.delete(self._key(key, version))

    def has_key(self, key, version=None):
        return self._key(key, version) in self._cache

    def incr(self, key, delta=1, version=None):
        try:
            return self._cache.incr(self._key(key, version), delta, initial=None)
        except KeyError:
            raise ValueError(f"Key '{key}' not found") from None

    def clear(self):
        self._cache.clear()

    def ttl(self, key, version=None):
        """Return the seconds left, rounded up; None without a TTL, 0 without a value."""
        try:
            left = self._cache.ttl(self._key(key, version))
        except KeyError:
            return 0
        return None if left is None else -int(-left // 1)

    def expire(self, key, timeout, version=None):
        """Give an entry a new TTL; return whether it has a value."""
        return self.touch(key, timeout, version)

    def persist(self, key, version=None):
        """Take the TTL of an entry away; return whether it has a value."""
        return self._cache.touch(self._key(key, version), None)

    def _around(self, version):
        """Return what KEY_FUNCTION puts before a key and behind it."""
        head, _, tail = self.make_key("\0", version).partition("\0")
        return head, tail

    def delete_pattern(self, pattern, version=None):
        """Delete the keys that match * ? [a-z]; return how many were in memory."""
        head, tail = self._around(version)
        return self._cache.delete_pattern(_literal(head) + pattern + _literal(tail))

    def iter_keys(self, pattern, version=None):
        """Iterate over the keys that match, without prefix and version."""
        head, tail = self._around(version)
        for key in self._cache.keys(_literal(head) + pattern + _literal(tail)):
            yield key[len(head):len(key) - len(tail)]

    def lock(self, key, version=None, timeout=30, blocking_timeout=None):
        """Return the lock of a key, which is no entry. TimeoutError: it is not free in time."""
        return Lock(self._key(key, version), hold=timeout, timeout=blocking_timeout,
                    cache=self._cache)
