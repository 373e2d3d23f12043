# SPDX-License-Identifier: MIT
"""Forks and spawned processes: the first call in a child opens what belongs to it."""
import multiprocessing
import os
import pickle
import threading
import unittest

import cellar
from kit import forked, raises, said_by, threads


def a_child_opens_a_store_of_its_own():
    with cellar.Cache("4M", ttl=3600) as cache:
        cache.set("k", 1)
        part = cache.namespace("part", ttl=600)
        part.set("k", 1)
        for call, said in ((lambda: cache.get("k", 0), "0"), (lambda: cache.set("k", 2), "None"),
                           (lambda: "k" in cache, "False"), (lambda: cache.delete("k"), "False"),
                           (lambda: cache.clear(), "None"), (lambda: cache.stats()["sets"], "0"),
                           (lambda: cache.close(), "None"), (lambda: len(cache), "0"),
                           (lambda: list(cache), "[]"), (lambda: part.get("k", 0), "0"),
                           (lambda: cache.get_or_load("k", lambda k: 5), "5"),
                           (lambda: (part.set("k", 3), 0 < part.ttl("k") <= 600), "(None, True)"),
                           (lambda: (cache.set("k", 3), 600 < cache.ttl("k")), "(None, True)")):
            assert forked(call) == said
        assert cache["k"] == 1 and part["k"] == 1


def a_closed_cache_stays_closed_in_a_child():
    cache = cellar.Cache("4M")
    cache.close()
    assert "closed" in forked(lambda: cache.get("k"))


def threads_of_a_child_open_one_store():
    with cellar.Cache("4M") as cache:
        cache.set("k", 1)

        def child():
            return sorted(threads(8, lambda: cache.incr("n")))
        assert forked(child) == str(list(range(1, 9)))


def what_belongs_to_a_cache_follows_it_into_the_child():
    with cellar.Cache("4M") as cache:
        memo = cache.memoize(lambda n: os.getpid())
        limiter, lock = cellar.Limiter(2, 600), cellar.Lock("k")
        assert memo(1) == os.getpid() and limiter.allow("k") and lock.acquire()
        said = forked(lambda: (memo(1) == os.getpid(), limiter.allow("k"), limiter.allow("k"),
                               limiter.allow("k"), lock.fence, cellar.Lock("k").acquire(False)))
        assert said == "(True, True, True, False, None, True)", said
        assert lock.fence and limiter.allow("k") and not limiter.allow("k")
        lock.release()


def a_child_of_a_child_has_its_own_store():
    with cellar.Cache("4M") as cache:
        def child():
            cache.set("k", os.getpid())
            return forked(lambda: cache.get("k", 0)), cache["k"] == os.getpid()
        assert forked(child) == "('0', True)"


def a_fork_during_calls_of_other_threads_leaves_a_working_child(folder):
    cache = cellar.Cache("4M", path=folder + "/c", disk="16M", optional=True)
    stop = threading.Event()

    def work():
        n = 0
        while not stop.is_set():
            n += 1
            cache.set(n % 100, n)
            cache.get(n % 200)
    running = [threading.Thread(target=work) for _ in range(3)]
    for thread in running:
        thread.start()
    for _ in range(10):
        assert forked(lambda: (cache.set("k", 1), cache["k"], cache.close())) == "(None, 1, None)"
    stop.set()
    for thread in running:
        thread.join()
    cache.close()


def a_cache_does_not_pickle_and_says_what_to_do():
    with cellar.Cache("4M") as cache:
        text = str(raises(TypeError, pickle.dumps, cache))
        assert "shared=" in text and "path=" in text


def _square(n):
    with cellar.Cache("2M") as cache:
        return cache.get_or_load(n, lambda k: k * k)


def spawned_processes_open_their_own():
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_square, range(4)) == [0, 1, 4, 9]


def a_sub_interpreter_cannot_import_the_module():
    try:
        import _xxsubinterpreters  # noqa: F401
    except ImportError:
        raise unittest.SkipTest("this Python has no _xxsubinterpreters") from None
    for first in ("import cellar", ""):
        assert "cellar.Error of this interpreter" == said_by(first + """
import _xxsubinterpreters as other
number = other.create()
try:
    other.run_string(number, "import cellar")
except other.RunFailedError as error:
    assert "ImportError" in str(error), error
other.destroy(number)
import cellar
try:
    cellar.Cache("1M").get("")
except cellar.Error:
    print("cellar.Error of this interpreter")
""")


OPEN_BESIDE_A_FORK = """
import os, signal, sys, threading, types
for name in "", ".core", ".core.cache", ".core.cache.backends", ".core.cache.backends.base":
    module = sys.modules["django" + name] = types.ModuleType("django" + name)
module.DEFAULT_TIMEOUT, module.BaseCache = ..., type("BaseCache", (), {"__init__": lambda *_: None})
import cellar.django as backend
opens, forked = threading.Event(), threading.Event()
def open_slowly(**options):
    opens.set()
    forked.wait()
backend.Cache = open_slowly
thread = threading.Thread(target=backend.CellarCache, args=("a", {}))
thread.start()
opens.wait()
child = os.fork()
forked.set()
if child == 0:
    signal.alarm(20)
    backend.CellarCache("b", {})
    os._exit(0)
thread.join()
print(os.waitpid(child, 0)[1])
"""


def a_child_opens_a_backend_of_django_while_its_parent_opens_one():
    assert said_by(OPEN_BESIDE_A_FORK) == "0"
