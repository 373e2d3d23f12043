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
import atexit
import functools
import math
import os
import re
import threading
import time
import types
import weakref
from collections import namedtuple

from . import _cellar
from ._cellar import version as __version__

__all__ = ["Cache", "Decision", "Error", "Limiter", "LoadError", "Lock", "Server", "serve"]


class Error(Exception):
    """A call of the library failed. `code` is its number in cellar.h."""
    code = 0


class LoadError(Error):
    """A load failed in another process, or by a code alone: `code`."""


_NOMEM, _BUSY, _TYPE, _RANGE, _LOADER, _DEPTH, _LOST = -2, -6, -8, -9, -17, -22, -29  # of cellar.h
_KINDS = {_NOMEM: MemoryError, _DEPTH: RecursionError, _LOADER: LoadError}
_TOUCH, _TTL, _WHY, _TAG, _PATTERN, _CLEAR, _DELETE, _ADD = range(8)  # of cache.c
_ACQUIRE, _RELEASE, _EXTEND = range(3)  # of guard.c
_ANSWERS = "unknown", "live", "stale", "negative", "error", "loading", "gone", "not in source"
_MISSING = object()
_forks = 0
_stores = weakref.WeakSet()


def _error(kind, code, text):
    """Return the exception of a code of the library."""
    error = _KINDS.get(kind, Error)(text)
    error.code = code
    return error


def _log(level, text):
    import logging
    logging.getLogger("cellar").log((40, 40, 30, 20, 10, 10)[level], "%s", text)


def _forked():
    global _forks
    _forks += 1
    _cellar._forked()


def _close_all():
    """Write what is buffered, at the exit of the interpreter."""
    for store in list(_stores):
        store._close(True)
    _cellar._end()


_cellar._start(threading.main_thread().ident, time.sleep, _error, _log)
os.register_at_fork(after_in_child=_forked)
atexit.register(_close_all)


def _bytes(size, what):
    """Return the number of bytes of 67108864, "64M" or "1G"."""
    if isinstance(size, str):
        match = re.fullmatch(r"(\d+)([KMGT]?)", size)
        if not match:
            raise ValueError(f'cellar: {what} must be a number of bytes, or as "64M" (got {size!r})')
        size = int(match[1]) << " KMGT".index(match[2] or " ") * 10
    return size


def _literal(text):
    """Return the pattern of a text."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)


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
    if isinstance(codec, str) or not hasattr(codec, "dumps") or getattr(codec, "__name__", "") == "pickle":
        raise ValueError(f'cellar: codec must be None, "pickle", or have dumps and loads '
                         f"(got {codec!r})")

    def dumps(value):
        said = codec.dumps(value)  # str of json, for one
        return said.encode() if isinstance(said, str) else said
    return dumps, codec.loads, False


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
        import logging  # whole before the first line, which may come in the middle of an import
        if path is not None and shared is not None:
            raise ValueError("cellar: path= and shared= exclude each other: the server has no disk")
        self = super().__new__(cls, None, *_codec(codec), False, (
            _bytes(memory, "memory"), None if path is None else os.fspath(path),
            0 if path is None else _bytes(disk, "disk"), shared, max_entries,
            ... if ttl is None else ttl, optional, durable))
        _stores.add(self)
        self._spaces = {}  # of each namespace: names of memoized functions, with their number
        self._names = self._spaces.setdefault("", {})
        return self

    def namespace(self, name, *, ttl=None, raw=False, codec=None):
        """Open a part of the cache with keys and options of its own, such as "users".

        raw=True: values are bytes and stay as they are, for programs in C and clients of the port.
        """
        space = _cellar.Cache.__new__(type(self), self, *_codec(codec), raw,
                                      (name, ... if ttl is None else ttl))
        space._spaces = self._spaces
        space._names = self._spaces.setdefault(name, {})
        return space

    def incr(self, key, delta=1, *, initial=0, ttl=...):
        """Add to an int of 64 bits and return the sum. A live counter keeps its TTL.

        A missing key gets initial + delta, with ttl; initial=None: it is a KeyError. TypeError: the
        value is no such int. OverflowError: the sum is none."""
        for left in reversed(range(1000)):  # workers that count at once
            try:
                code, total, _ = self._call(_ADD, key, ttl, None, initial is None, delta, initial or 0)
                break
            except Error as error:
                if error.code == _TYPE:
                    raise TypeError("cellar: incr needs an int of 64 bits") from None
                if error.code == _RANGE:
                    raise OverflowError("cellar: the counter would leave 64 bits") from None
                if error.code != _BUSY or left == 0:
                    raise
                time.sleep(.001)
        if code != 0:
            raise KeyError(key)
        return total

    def touch(self, key, ttl=...):
        """Begin a new TTL; return whether the key has a value."""
        return self._call(_TOUCH, key, ttl)[0] == 0

    def ttl(self, key):
        """Return the seconds until the entry expires, None without a TTL. KeyError: no value."""
        code, left, _ = self._call(_TTL, key)
        if code != 0:
            raise KeyError(key)
        return None if left < 0 else left / 1000

    def why(self, key):
        """Say what became of a key: "live", "expired", "evicted", "deleted", "unknown", .."""
        _, answer, cause = self._call(_WHY, key)
        return cause if _ANSWERS[answer] == "gone" else _ANSWERS[answer]

    def delete_tag(self, tag, *, stale=False):
        """Delete all entries of the store that have the tag.

        stale=True: memoize(stale=) may still return them while it loads."""
        self._call(_TAG, None, ..., tag, stale)

    def delete_pattern(self, pattern):
        """Delete the keys that match * ? [a-z]; return how many were in memory."""
        return self._call(_PATTERN, None, ..., pattern)[1]

    def clear(self):
        """Delete all entries of this namespace."""
        self._call(_CLEAR, None)

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

    def __len__(self):
        return self.stats()["entries"]

    def __iter__(self):
        """Iterate over the keys, also those on disk; not over those of other workers."""
        return self.keys()

    def keys(self, pattern="*"):
        """Iterate over the keys that match a pattern of * ? [a-z]."""
        seen = set()
        cursor = place = 0
        while True:
            try:
                found, cursor, place = self._scan(cursor, place, None if pattern == "*" else pattern)
            except Error as error:
                if error.code != _BUSY:
                    raise
                time.sleep(.001)  # the disk does not answer: go on here
                continue
            for key in found:
                if key not in seen:
                    seen.add(key)
                    yield key
            if cursor == 0:
                return

    def close(self):
        """Write what is buffered and close. A second call does nothing."""
        self._close(False)

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
        import inspect

        def decorate(fn):
            code = getattr(inspect.unwrap(fn), "__code__", None)  # none: a type, a partial, in C
            if key is None and code is not None and code.co_varnames[:code.co_argcount][:1] in (("self",), ("cls",)):
                raise TypeError(f"cellar: {fn.__qualname__} is a method: give key=, a function of "
                                "its arguments, because `self` is no key")
            name = f"{fn.__module__}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"
            count = self._names[name] = self._names.get(name, 0) + 1
            prefix = name if count == 1 else f"{name}#{count}"
            is_coroutine = inspect.iscoroutinefunction(fn)
            memo = Memo(self, _MISSING if is_coroutine else fn, prefix.encode(), ttl, stale, key,
                        _options_of(tags, store))
            functools.update_wrapper(memo, fn)
            for own in ("forget", "cache_info", "cache_clear"):  # `fn` may be a memo, too
                vars(memo).pop(own, None)
            memo._pattern = "\0m" + _literal(prefix) + "\0*"
            memo._cache = self
            return _coroutine_of(memo) if is_coroutine else memo
        if callable(ttl):
            fn, ttl = ttl, ...
            return decorate(fn)
        return decorate


def _options_of(tags, store):
    """Return the tags of each result, or a function that finds them; None: do not store it."""
    def checked(tags):
        return tags if isinstance(tags, str) else tuple(tags or ())  # a str is a TypeError of cache.c

    if store is None and not callable(tags):
        return checked(tags)

    def options(value, args, kwargs):
        if store is not None and not store(value):
            return None
        return checked(tags(*args, **kwargs or {}) if callable(tags) else tags)
    return options


class CacheInfo(namedtuple("CacheInfo", "hits misses")):
    """Calls of a memoized function in this process."""
    __slots__ = ()


class Memo(_cellar.Memo):
    """A memoized function: memoize of Cache makes it."""

    def forget(self, *args, **kwargs):
        """Delete the value of these arguments."""
        self._cache._call(_DELETE, self._key(*args, **kwargs), ..., None, True)

    def cache_info(self):
        """Return the calls that found a value, and all others."""
        return CacheInfo(self._hits, self._misses)

    def cache_clear(self):
        """Forget all results of this function, and begin cache_info at 0."""
        self._cache.delete_pattern(self._pattern)
        self._hits = self._misses = 0

    def __copy__(self, _memo=None):
        return self

    __deepcopy__ = __copy__

    def __reduce__(self):
        return self.__qualname__  # as functions pickle: by name

    def __get__(self, instance, owner=None):
        return self if instance is None else types.MethodType(self, instance)

    async def _miss(self, args, kwargs):
        """Share the task that loads the key; return a stale value without a wait."""
        import asyncio
        loop = asyncio.get_running_loop()
        key = self._key(*args, **kwargs)
        value, lease = self._lease(key)
        if value is not _MISSING and lease is None:
            return value
        task = self._running.get((loop, key))
        if task is None or lease is not None:
            task = loop.create_task(self._load(key, lease, args, kwargs))
            self._running[loop, key] = task

            def ended(_):
                if self._running.get((loop, key)) is task:
                    del self._running[loop, key]
                if lease is not None and task.cancelled():  # perhaps before its first step
                    self._release(lease, False)
            task.add_done_callback(ended)
            if value is not _MISSING:  # a stale one: the task refreshes it
                task.add_done_callback(_log_failure)
                return value
        return await asyncio.shield(task)

    async def _load(self, key, lease, args, kwargs):
        """Run the function with the lease of the key, or wait for the load of another thread."""
        import asyncio
        while lease is None:
            await asyncio.sleep(.01)
            value, lease = self._lease(key)
            if value is not _MISSING and lease is None:
                return value
        try:
            value = await self.__wrapped__(*args, **kwargs)
            self._fulfill(lease, value, args, kwargs)
        except BaseException as error:
            self._release(lease, isinstance(error, Exception))
            raise
        return value


def _coroutine_of(memo):
    """Return a coroutine function over a memo. The tasks of a loop share one load of a key."""
    missing = _MISSING
    memo._running = {}

    @functools.wraps(memo.__wrapped__)
    async def call(*args, **kwargs):
        value = memo(*args, **kwargs)
        return await memo._miss(args, kwargs) if value is missing else value
    call.forget, call.cache_info, call.cache_clear = memo.forget, memo.cache_info, memo.cache_clear
    call.memo = memo
    return call


def _log_failure(task):
    """Report the exception of a refresh, which no task waits for."""
    if not task.cancelled() and task.exception() is not None:
        task.get_loop().call_exception_handler(
            {"message": "cellar: a refresh failed", "exception": task.exception(), "task": task})


class Decision(namedtuple("Decision", "allowed limit remaining retry_after")):
    """What a Limiter decided. retry_after in seconds, None: never; true if the call may pass."""
    __slots__ = ()

    def __bool__(self):
        return self.allowed

    def headers(self):
        """Return the headers of a response of HTTP, Retry-After with a denial."""
        left = min(self.remaining, self.limit)  # a burst may have more: clients take both for one
        out = {"RateLimit-Limit": str(self.limit), "RateLimit-Remaining": str(left)}
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
        self._limiters, self._opening = {}, {}  # by the count of forks: handles, and locks of opens
        self._open()

    def _open(self):
        with self._opening.setdefault(_forks, threading.RLock()):
            if _forks not in self._limiters:
                self._limiters[_forks] = _cellar.limiter(*self._arguments)
            return self._limiters[_forks]

    def check(self, key, cost=1):
        """Decide and charge: return a Decision."""
        limiter = self._limiters.get(_forks) or self._open()
        allowed, remaining, retry_after = _cellar.check(limiter, cost, key)
        return Decision(allowed, self._arguments[1], remaining, retry_after)

    def allow(self, key, cost=1):
        """Return whether the call may pass."""
        return self.check(key, cost).allowed

    async def acheck(self, key, cost=1):
        """Decide in a thread of the loop's executor: for a shared limiter in a coroutine."""
        import asyncio
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
            owner = _cellar.lock(self._cache, _ACQUIRE, wait, self._hold, b"", self._key)
            if owner:  # else another thread may have it
                self._owner, self._forks = owner, _forks
            if owner or time.monotonic() >= end or not blocking:
                return owner is not None

    def _held(self):
        return self._owner is not None and self._forks == _forks

    @property
    def fence(self):
        """Number above that of all earlier owners; None: not held."""
        return self._owner[1] if self._held() else None

    def _change(self, call, hold=...):
        if not self._held():
            raise RuntimeError("cellar: this Lock is not held")
        owner, self._owner = self._owner, None
        try:
            changed = _cellar.lock(self._cache, call, 0, hold, owner[0], self._key)
        except Exception as error:
            if getattr(error, "code", 0) == _LOST:
                error.args = "cellar: the hold ended before: another owner may have begun",
            elif call == _EXTEND:
                self._owner = owner  # to release
            raise
        if call == _EXTEND:
            self._owner = changed

    def release(self):
        """Let the next owner begin. Error with E_LOST: the hold had ended."""
        self._change(_RELEASE)

    def extend(self, hold=30.0):
        """Let the hold end so many seconds from now. Error with E_LOST: it had ended."""
        self._change(_EXTEND, hold)

    def __enter__(self):
        if not self.acquire():
            raise TimeoutError(f"cellar: the lock is not free within {self._timeout} s")
        return self

    def __exit__(self, *_):
        self.release()

    async def __aenter__(self):
        import asyncio
        entry = asyncio.get_running_loop().run_in_executor(None, self.__enter__)
        try:
            return await asyncio.shield(entry)
        except asyncio.CancelledError:
            entry.add_done_callback(self._leave)
            raise

    def _leave(self, entry):
        """Release a lock that a thread acquired for a cancelled task."""
        if entry.exception() is None:
            self.release()

    async def __aexit__(self, *_):
        import asyncio
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self.release))


class Server:
    """The server of shared=, in a thread of this process: serve() makes it."""

    def __init__(self, handle):
        self._handle = handle

    def close(self):
        """End the server; its values are lost."""
        self._handle = None

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
    import logging  # as Cache does
    return Server(_cellar.serve(None if unix is None else os.fspath(unix), group, port or 0,
                                _bytes(shared or 0, "shared"), writable))
