# SPDX-License-Identifier: MIT
"""Cache for Python on Linux: values with a TTL and a bound in bytes, on disk, or shared by workers.

    import cellar
    cache = cellar.Cache("64M", path="/var/cache/app")
    cache.set("user:7", {"name": "Ada"}, ttl=60)
    cache.get("user:7")

    @cache.memoize(ttl=300)
    def page(number): ...

Times are seconds. `ttl=...` (Ellipsis, the default) is that of the namespace, None never expires.
A value is a copy: None, bool, int, float, str, bytes, and list, tuple and dict of these.
"""
import asyncio
import atexit
import functools
import inspect
import math
import os
import re
import threading
import time
from typing import NamedTuple

from . import _cellar
from ._cellar import Error, LoadError, version as __version__

__all__ = ["Cache", "Decision", "Error", "Limiter", "LoadError", "Lock", "Server", "serve"]

_cellar._start(threading.main_thread().ident, time.sleep)
os.register_at_fork(after_in_child=_cellar._forked)
atexit.register(_cellar._exit)

_MISSING = object()


def _bytes(size, what):
    """Return the number of bytes of 67108864, "64M" or "1G"."""
    if isinstance(size, str):
        match = re.fullmatch(r"(\d+)([KMGT]?)", size)
        if not match:
            raise ValueError(f'cellar: {what} must be a number of bytes, or as "64M" (got {size!r})')
        size = int(match[1]) << " KMGT".index(match[2] or " ") * 10
    return size


def _codec(codec):
    """Return dumps, loads and whether they are those of pickle.

    codec="pickle" runs code that a value names: whatever writes to path= or to the server of
    shared= runs code in this process (as CVE-2025-69872 of diskcache). Use it where nothing else
    can write there."""
    if codec is None:
        return None, None, False
    if codec == "pickle":
        import pickle
        return functools.partial(pickle.dumps, protocol=5), pickle.loads, True
    if isinstance(codec, str) or not hasattr(codec, "dumps") or codec.__name__ == "pickle":
        raise ValueError(f'cellar: codec must be None, "pickle", or have dumps and loads '
                         f"(got {codec!r})")
    return codec.dumps, codec.loads, False


class Cache(_cellar.Cache):
    """A cache, bounded in bytes.

    memory   budget of keys and values: bytes, or as "64M"
    path     directory: entries stay there over a restart, also after kill -9; one process at a time
    disk     size of the files in it, from "16M"
    shared   URL of a server, "unix:///run/app.sock?prefix=app": one cache for all workers
    ttl      seconds, of entries stored without one; None: they never expire
    codec    of values of other types: "pickle", or an object with dumps and loads
    optional True: open in memory if `path` is in use or damaged
    durable  True: a set returns when the entry is in the file; else the file has it 10 ms later
    max_entries  most entries in memory; 0: no bound
    """

    __slots__ = ("_names", "_spaces", "__weakref__")

    def __new__(cls, memory="64M", path=None, disk="1G", shared=None, *, ttl=None, codec=None,
                optional=False, durable=False, max_entries=0):
        if path is not None and shared is not None:
            raise ValueError("cellar: path= and shared= exclude each other: the server has no disk")
        self = super().__new__(
            cls, None, None, _bytes(memory, "memory"), None if path is None else os.fspath(path),
            _bytes(disk, "disk"), shared, max_entries,
            ... if ttl is None else ttl, *_codec(codec), optional,
            durable, False)
        self._spaces = {}  # of each namespace: names of memoized functions, with their number
        self._names = self._spaces.setdefault("", {})
        return self

    def namespace(self, name, *, ttl=None, raw=False, codec=None):
        """Open a part of the cache with keys and options of its own, such as "users".

        raw=True: values are bytes and stay as they are, for programs in C and clients of the port.
        """
        space = _cellar.Cache.__new__(type(self), self, name, 0, None, 0, None, 0,
                                      ... if ttl is None else ttl, *_codec(codec), False, False, raw)
        space._spaces = self._spaces
        space._names = self._spaces.setdefault(name, {})
        return space

    def incr(self, key, delta=1, *, initial=0, ttl=...):
        """Add to an int of 64 bits and return the sum. A live counter keeps its TTL.

        A missing key gets initial + delta, with ttl; initial=None: it is a KeyError. TypeError: the
        value is no such int. OverflowError: the sum is none."""
        return self._incr(key, delta, initial, ttl)

    def touch(self, key, ttl=...):
        """Begin a new TTL; return whether the key has a value."""
        return self._call(0, key, ttl, None, False)

    def ttl(self, key):
        """Return the seconds until the entry expires, None without a TTL. KeyError: no value."""
        return self._call(1, key, ..., None, False)

    def why(self, key):
        """Say what became of a key: "live", "expired", "evicted", "deleted", "unknown", .."""
        return self._call(2, key, ..., None, False)

    def delete_tag(self, tag, *, stale=False):
        """Delete all entries of the store that have the tag.

        stale=True: memoize(stale=) may still return them while it loads."""
        self._call(3, None, ..., tag, stale)

    def delete_pattern(self, pattern):
        """Delete the keys that match * ? [a-z]; return how many were in memory."""
        return self._call(4, None, ..., pattern, False)

    def clear(self):
        """Delete all entries of this namespace."""
        self._call(5, None, ..., None, False)

    def get_many(self, keys):
        """Return a dict of the keys that have a value."""
        return {key: value for key in keys
                if (value := self.get(key, _MISSING)) is not _MISSING}

    def set_many(self, items, ttl=...):
        """Store the items of a dict."""
        for key, value in dict(items).items():
            self.set(key, value, ttl)

    def __reduce__(self):
        raise TypeError("cellar: a Cache does not pickle: open one in each process, on the same "
                        "shared= or, one after the other, on the same path=")

    def __iter__(self):
        """Iterate over the keys, also those on disk; not over those of other workers."""
        return self.keys()

    def keys(self, pattern="*"):
        """Iterate over the keys that match a pattern of * ? [a-z]."""
        seen = set()
        cursor = place = 0
        while True:
            found, cursor, place = self._scan(cursor, place, None if pattern == "*" else pattern)
            for key in found:
                if key not in seen:
                    seen.add(key)
                    yield key
            if cursor == 0:
                return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def memoize(self, ttl=..., *, stale=..., key=None, tags=None, store=None):
        """Decorate a function or a coroutine function: keep its results.

        ttl    seconds; stale: seconds after it in which the old value is returned while a thread
               of the package loads the new one
        key    a function of the arguments that returns the key; needed for methods
        tags   a tuple of str, or a function of the arguments
        store  a function of the result: False for results that are returned, not kept
        """
        def decorate(fn):
            names = tuple(inspect.signature(fn).parameters)[:1] if key is None else ()
            if names in (("self",), ("cls",)):
                raise TypeError(f"cellar: {fn.__qualname__} is a method: give key=, a function of "
                                "its arguments, because `self` is no key")
            name = f"{fn.__module__}.{fn.__qualname__}"
            count = self._names[name] = self._names.get(name, 0) + 1
            prefix = name if count == 1 else f"{name}#{count}"
            memo = Memo(self, fn, prefix.encode(), ttl, stale, key, tags, store)
            memo._pattern = "\0m" + re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + "\0*"
            memo._cache = self
            functools.update_wrapper(memo, fn)
            return _coroutine_of(memo) if inspect.iscoroutinefunction(fn) else memo
        if callable(ttl):
            fn, ttl = ttl, ...
            return decorate(fn)
        return decorate


class CacheInfo(NamedTuple):
    """Calls of a memoized function in this process."""
    hits: int
    misses: int


class Memo(_cellar.Memo):
    """A memoized function: memoize of Cache makes it."""

    def forget(self, *args, **kwargs):
        """Delete the value of these arguments."""
        self._cache._call(6, self._key(args, kwargs), ..., None, False)

    def cache_info(self):
        """Return the calls that found a value, and all others."""
        return CacheInfo(*self._counts(False))

    def cache_clear(self):
        """Forget all results of this function, and begin cache_info at 0."""
        self._cache.delete_pattern(self._pattern)
        self._counts(True)

    async def _miss(self, args, kwargs):
        """Share the task that loads the key; return a stale value without a wait."""
        loop = asyncio.get_running_loop()
        key = self._key(args, kwargs)
        task = self._running.get((loop, key))
        if task is None:
            value, lease = self._lease(key, _MISSING)
            if value is not _MISSING and lease is None:
                return value
            task = loop.create_task(self._load(key, lease, args, kwargs))
            self._running[loop, key] = task
            task.add_done_callback(lambda _: self._running.pop((loop, key)))
            if value is not _MISSING:  # a stale one: the task refreshes it
                task.add_done_callback(_log_failure)
                return value
        return await asyncio.shield(task)

    async def _load(self, key, lease, args, kwargs):
        """Run the function with the lease of the key, or wait for the load of another thread."""
        while lease is None:
            await asyncio.sleep(.01)
            value, lease = self._lease(key, _MISSING)
            if value is not _MISSING and lease is None:
                return value
        value = _MISSING
        try:
            value = await self.__wrapped__(*args, **kwargs)
        finally:
            self._fulfill(lease, value, _MISSING, args, kwargs)
        return value


def _coroutine_of(memo):
    """Return a coroutine function over a memo. The tasks of a loop share one load of a key."""
    hit, missing = memo._hit, _MISSING
    memo._running = {}

    @functools.wraps(memo.__wrapped__)
    async def call(*args, **kwargs):
        value = hit(args, kwargs, missing)
        return await memo._miss(args, kwargs) if value is missing else value
    call.forget, call.cache_info, call.cache_clear = memo.forget, memo.cache_info, memo.cache_clear
    call.memo = memo
    return call


def _log_failure(task):
    """Report the exception of a refresh, which no task waits for."""
    if not task.cancelled() and task.exception() is not None:
        task.get_loop().call_exception_handler(
            {"message": "cellar: a refresh failed", "exception": task.exception(), "task": task})


class Decision(NamedTuple):
    """What a Limiter decided. retry_after in seconds, None: never; true if the call may pass."""
    allowed: bool
    limit: int
    remaining: int
    retry_after: float | None

    def __bool__(self):
        return self.allowed

    def headers(self):
        """Return the headers of a response of HTTP, Retry-After with a denial."""
        out = {"RateLimit-Limit": str(self.limit), "RateLimit-Remaining": str(self.remaining)}
        if not self.allowed and self.retry_after is not None:
            out["Retry-After"] = str(math.ceil(self.retry_after))
        return out


class Limiter:
    """Admit at most `limit` calls of a key in any `per` seconds, exactly.

    With `burst` a token bucket: `limit` calls per `per` seconds, and `burst` of them at once.
    With a shared `cache` the limit is that of all workers: those with the same name share it.
    Without its server each worker admits its share."""

    def __init__(self, limit, per, *, burst=0, cache=None, name="default"):
        self._arguments = cache, limit, per, burst, name
        self._open()

    def _open(self):
        self._forks = _cellar.forks()
        self._limiter = _cellar.limiter(*self._arguments)

    def check(self, key, cost=1):
        """Decide and charge: return a Decision."""
        if self._forks != _cellar.forks():
            self._open()
        allowed, remaining, retry_after = _cellar.check(self._limiter, key, cost)
        return Decision(allowed, self._arguments[1], remaining, retry_after)

    def allow(self, key, cost=1):
        """Return whether the call may pass."""
        return self.check(key, cost).allowed

    async def acheck(self, key, cost=1):
        """Decide in a thread of the loop's executor: for a shared limiter in a coroutine."""
        return await asyncio.get_running_loop().run_in_executor(None, self.check, key, cost)


class Lock:
    """The lock of a key, of this process, or of all workers of a shared `cache`.

    hold     seconds after which the lock ends by itself; the resource compares `fence`
    timeout  longest wait of `with` and acquire, in seconds; None: no limit"""

    def __init__(self, key, *, hold=30.0, timeout=30.0, cache=None):
        self._key, self._hold, self._timeout, self._cache = key, hold, timeout, cache
        self._owner = None

    def acquire(self, blocking=True, timeout=...):
        """Return whether the lock is held now."""
        if self._held():
            raise RuntimeError("cellar: this Lock is held; use a Lock object for each owner")
        if timeout is ...:
            timeout = self._timeout
        end = math.inf if timeout is None else time.monotonic() + timeout
        main = threading.current_thread() is threading.main_thread()
        while True:  # the main thread runs signal handlers between slices
            left = max(end - time.monotonic(), .001) if blocking else 0
            wait = int(min(left, .05 if main else 1e9) * 1000) or int(blocking)
            self._owner = _cellar.acquire(self._cache, self._key, wait, self._hold)
            if self._owner or time.monotonic() >= end or not blocking:
                self._forks = _cellar.forks()
                return self._owner is not None

    def _held(self):
        return self._owner is not None and self._forks == _cellar.forks()

    @property
    def fence(self):
        """Number above that of all earlier owners; None: not held."""
        return self._owner[1] if self._held() else None

    def _change(self, hold):
        if not self._held():
            raise RuntimeError("cellar: this Lock is not held")
        (owner, fence), self._owner = self._owner, None
        owner = _cellar.change(self._cache, self._key, owner, hold)
        if hold is not None:
            self._owner = owner, fence

    def release(self):
        """Let the next owner begin. Error with E_LOST: the hold had ended."""
        self._change(None)

    def extend(self, hold=30.0):
        """Let the hold end so many seconds from now. Error with E_LOST: it had ended."""
        self._change(hold)

    def __enter__(self):
        if not self.acquire():
            raise TimeoutError(f"cellar: the lock is not free within {self._timeout} s")
        return self

    def __exit__(self, *_):
        self.release()

    async def __aenter__(self):
        return await asyncio.get_running_loop().run_in_executor(None, self.__enter__)

    async def __aexit__(self, *_):
        await asyncio.get_running_loop().run_in_executor(None, self.release)


class Server:
    """The server of shared=, in a thread of this process: serve() makes it."""

    def __init__(self, handle):
        self._handle = handle

    def close(self):
        """End the server; its values are lost."""
        _cellar.close(self._handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def serve(*, unix=None, shared="256M", group=None, port=None, writable=False):
    """Serve Caches with shared=, and clients of Redis, until close() or the end of the process.

    unix      socket file, for the user of this process and for `group`
    shared    bytes of what the workers share
    port      TCP port of 127.0.0.1 and ::1
    writable  True: clients of Redis may change values
    """
    if unix is None and port is None:
        raise ValueError("cellar: serve needs unix= or port=")
    return Server(_cellar.serve(None if unix is None else os.fspath(unix), group, port or 0,
                                _bytes(shared or 0, "shared"), writable))
