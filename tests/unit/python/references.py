# SPDX-License-Identifier: MIT
"""The references that calls keep, in a Python that counts them all (python3-dbg)."""
import asyncio
import gc
import sys
import threading
import unittest

import cellar
from kit import forked, raises, threads

ROUNDS = 200


class Mine(Exception):
    """What a loader raises."""


def _raise(*_):
    raise Mine


def _calls(cache):
    """Return calls, each of which leaves the cache as it was."""
    memo = cache.memoize(lambda *a, **k: [a], tags=lambda *a, **k: ("t",), store=lambda v: True)
    by_key = cache.memoize(ttl=60, key=lambda n: ("k", n))(lambda n: {"n": n})
    failing = cache.memoize(_raise)
    limiter, lock = cellar.Limiter(4096, 600), cellar.Lock("l")
    raw, pickled = cache.namespace("raw", raw=True), cache.namespace("p", codec="pickle")

    @cache.memoize(ttl=60)
    async def row(n):
        if n < 0:
            raise Mine
        return n

    def forget(fn, *args):
        fn(*args)
        fn(*args)
        fn.forget(*args)

    def locked():
        with lock:
            lock.extend(5)
            assert lock.fence and not cellar.Lock("l").acquire(False)
    value = {"a": [1, (2.5, None, True)], "b": b"x", 1: "\ud800", "n": 2**70}
    return [
        lambda: (cache.set("k", value), cache.get("k"), cache["k"], cache.delete("k")),
        lambda: (cache.set(("k", 1), 1, 60, tags=("a", "b"), stale=5), cache.delete(("k", 1))),
        lambda: (cache.add("a", 1), cache.add("a", 1), cache.touch("a", 5), cache.ttl("a"),
                 cache.why("a"), "a" in cache, len(cache), list(cache), cache.delete_tag("x"),
                 cache.delete_pattern("a*"), cache.stats()),
        lambda: (cache.incr("n"), raises(TypeError, cache.incr, "n", "x"), cache.delete("n")),
        lambda: raises(TypeError, cache.set, "k", [object()]),
        lambda: raises(TypeError, cache.set, 1.5, 1),
        lambda: raises(TypeError, cache.set, "k", 1, wrong=1),
        lambda: raises(KeyError, lambda: cache["none"]),
        lambda: raises(ValueError, cache.set, "k", 1, 0),
        lambda: raises(cellar.Error, cache.get, ""),
        lambda: (raw.set("r", b"\x01\xf9\xf9\x00"), cache.namespace("raw").get("r"), raw.clear()),
        lambda: (pickled.set("p", {1, 2}), pickled["p"], pickled.clear()),
        lambda: (cache.get_or_load("g", lambda k: value), cache.delete("g")),
        lambda: raises(Mine, cache.get_or_load, "g", _raise),
        lambda: raises(TypeError, cache.get_or_load, "g", lambda k: object()),
        lambda: forget(memo, 1, "x"),
        lambda: forget(by_key, 3),
        lambda: raises(TypeError, memo, []),
        lambda: raises(Mine, failing, 1),
        lambda: (asyncio.run(row(1)), row.forget(1), raises(Mine, asyncio.run, row(-1))),
        lambda: (limiter.check("u"), limiter.allow(("u", 1))),
        locked,
        lambda: raises(RuntimeError, lock.release),
        lambda: cellar.Cache("1M").close(),
        lambda: cache.namespace("n").close(),
    ]


def calls_keep_no_reference():
    if not hasattr(sys, "gettotalrefcount"):
        raise unittest.SkipTest("this Python does not count references: python3-dbg")
    with cellar.Cache("4M") as cache:
        for number, call in enumerate(_calls(cache)):
            counts = []
            for _ in range(4):
                for _ in range(ROUNDS):
                    call()
                gc.collect()
                counts.append(sys.gettotalrefcount())
            grown = counts[-1] - counts[1]
            assert grown < ROUNDS / 4, (number, counts)


def loads_of_threads_keep_no_reference():
    if not hasattr(sys, "gettotalrefcount"):
        raise unittest.SkipTest("this Python does not count references: python3-dbg")
    with cellar.Cache("4M") as cache:
        stale = cache.memoize(ttl=.001, stale=600)(lambda n: [n])

        def round_():
            barrier = threading.Barrier(8)

            def run():
                barrier.wait()
                raises(Mine, cache.get_or_load, "k", _raise)
                stale(1)
            threads(8, run)
        counts = []
        for _ in range(4):
            for _ in range(20):
                round_()
            gc.collect()
            counts.append(sys.gettotalrefcount())
        assert counts[-1] - counts[1] < 60, counts
        assert forked(lambda: cache.get("none")) == "None"
