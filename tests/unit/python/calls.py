# SPDX-License-Identifier: MIT
"""The calls of a Cache in memory."""
import logging

import cellar
from kit import SECONDS, python, raises, said_by, threads, until


def a_get_finds_what_a_set_stored():
    with cellar.Cache("2M") as cache:
        assert cache.get("k") is None and cache.get("k", 1) == 1 and "k" not in cache
        cache.set("k", None)
        assert cache.get("k", 1) is None and cache["k"] is None and "k" in cache
        cache["l"] = 2
        assert cache["l"] == 2 and len(cache) == 2 and sorted(cache) == ["k", "l"]
        del cache["l"]
        raises(KeyError, lambda: cache["l"])
        raises(KeyError, cache.__delitem__, "l")
        assert cache.delete("k") is True and cache.delete("k") is False


def wrong_calls_are_typeerrors():
    with cellar.Cache("2M") as cache:
        for call, args in ((cache.get, ()), (cache.get, (1, 2, 3)), (cache.set, (1,)),
                           (cache.set, (1, 2, 3, 4)), (cache.add, (1,)), (cache.get_or_load, (1,))):
            raises(TypeError, call, *args)
        raises(TypeError, cache.set, "k", 1, wrong=1)
        raises(TypeError, cache.set, "k", 1, 5, ttl=10)
        raises(TypeError, cache.get_or_load, "k", lambda k: 1, 5, ttl=10)
        raises(TypeError, cache.set, "k", 1, tags="x")
        raises(TypeError, cache.set, "k", 1, tags=("x",) * 17)
        raises(TypeError, cache.set, "k", 1, ttl="x")
        raises(TypeError, cache.__reduce__)


def a_ttl_is_seconds_none_or_that_of_the_namespace():
    with cellar.Cache("2M", ttl=1000) as cache:
        cache.set("a", 1)
        cache.set("b", 1, ttl=400)
        cache.set("c", 1, None)
        cache.set("d", 1, ...)
        assert 500 < cache.ttl("a") <= 1000 and 200 < cache.ttl("b") <= 400
        assert cache.ttl("c") is None and 500 < cache.ttl("d") <= 1000
        raises(KeyError, cache.ttl, "none")
        assert cache.touch("b", 200) and 100 < cache.ttl("b") <= 200
        assert cache.touch("b", None) and cache.ttl("b") is None and not cache.touch("none", 1)
        for ttl in (0, -1, float("nan")):
            for call in (cache.set, cache.add):
                raises(ValueError, call, "k", 1, ttl)
            raises(ValueError, cache.touch, "a", ttl)
            raises(ValueError, cellar.Cache, "2M", ttl=ttl)
        part = cache.namespace("part", ttl=500)
        part.set("k", 1)
        assert 0 < part.ttl("k") <= 500


def an_expired_value_is_a_miss():
    with cellar.Cache("2M") as cache:
        cache.set("k", 1, ttl=.001)
        until(lambda: cache.get("k") is None)
        assert cache.why("k") == "expired"


def add_stores_once():
    with cellar.Cache("2M") as cache:
        stored = threads(8, lambda: cache.add("k", 1, ttl=60))
        assert sorted(stored) == [False] * 7 + [True] and 30 < cache.ttl("k") <= 60


def incr_is_exact_over_threads_and_keeps_the_ttl():
    with cellar.Cache("2M") as cache:
        cache.incr("n", 0, ttl=60)
        threads(4, lambda: [cache.incr("n") for _ in range(1000)])
        assert cache["n"] == 4000 and 30 < cache.ttl("n") <= 60
        assert cache.incr("m", -2, initial=10) == 8
        raises(KeyError, cache.incr, "none", initial=None)
        assert "none" not in cache
        for value in ("x", 1.5, 2**63, True, None):
            cache.set("k", value)
            raises(TypeError, cache.incr, "k")
            assert cache["k"] == value
        cache.set("k", 2**63 - 1)
        raises(OverflowError, cache.incr, "k")
        assert cache["k"] == 2**63 - 1


def many_keys_are_read_and_stored_in_one_call():
    with cellar.Cache("16M") as cache:
        cache.set_many({n: str(n) for n in range(500)}, ttl=60)
        assert cache.get_many(range(400, 600)) == {n: str(n) for n in range(400, 500)}
        assert 30 < cache.ttl(7) <= 60
        assert len(list(cache)) == 500 == len(cache)


def tags_and_patterns_delete_what_they_name():
    with cellar.Cache("2M") as cache:
        for n in range(10):
            cache.set(f"user:{n}", n, tags=("users", f"group{n % 2}"))
        cache.set("other", 1)
        cache.delete_tag("group1")
        assert sorted(cache.get_many([f"user:{n}" for n in range(10)]).values()) == [0, 2, 4, 6, 8]
        assert cache.delete_pattern("user:[0-3]") == 2
        assert sorted(cache) == ["other", "user:4", "user:6", "user:8"]
        assert sorted(cache.keys("user:*")) == ["user:4", "user:6", "user:8"]
        cache.clear()
        assert list(cache) == [] and cache.get("other") is None


def namespaces_are_apart_and_share_the_budget():
    with cellar.Cache("2M") as cache:
        users = cache.namespace("users")
        cache.set("k", 1)
        users.set("k", 2)
        assert (cache["k"], users["k"], cache.namespace("users")["k"]) == (1, 2, 2)
        assert cache.namespace("inner").namespace("users")["k"] == 2
        users.clear()
        assert users.get("k") is None and cache["k"] == 1
        users.close()
        raises(cellar.Error, users.get, "k")
        assert cache["k"] == 1


def the_budget_is_kept():
    with cellar.Cache("1M", max_entries=0) as cache:
        for n in range(3000):
            cache.set(n, "x" * 1000)
        stats = cache.stats()
        assert stats["used_bytes"] <= stats["budget_bytes"] == 1 << 20 and stats["evicted"] > 1000
        raises(cellar.Error, cache.set, "k", "x" * (1 << 20))
    with cellar.Cache("2M", max_entries=100) as cache:
        for n in range(300):
            cache.set(n, n)
        assert len(cache) <= 100


def sizes_are_numbers_or_texts():
    for memory, bytes_ in ((1 << 21, 1 << 21), ("2048K", 1 << 21), ("2M", 1 << 21)):
        with cellar.Cache(memory) as cache:
            assert cache.stats()["budget_bytes"] == bytes_
    for memory in ("2m", "M", "", "2.5M"):
        raises(ValueError, cellar.Cache, memory)
    assert "memory_bytes" in str(raises(cellar.Error, cellar.Cache, 1000))


def stats_and_why_tell_what_happened():
    with cellar.Cache("2M") as cache:
        cache.set("k", 1)
        cache.get("k"), cache.get("none"), cache.delete("k")
        stats = cache.stats()
        assert (stats["hits"], stats["misses"], stats["sets"], stats["deletes"]) == (1, 1, 1, 1)
        assert cache.why("k") == "deleted" and cache.why("none") == "unknown"


def calls_after_close_are_errors_and_a_second_close_is_none():
    cache = cellar.Cache("2M")
    part = cache.namespace("part")
    cache.close()
    cache.close()
    for call in (lambda: cache.get("k"), lambda: "k" in cache, lambda: cache.delete("k"), cache.clear,
                 cache.stats, lambda: len(cache), lambda: list(cache), lambda: part.get("k"),
                 lambda: cache.namespace("x"), lambda: cache.get_or_load("k", str)):
        error = raises(cellar.Error, call)
        assert "closed" in str(error) and error.code == -10
    part.close()


def errors_name_call_rule_and_remedy():
    error = raises(cellar.Error, cellar.Cache, path="/proc/none")
    assert error.code < 0 and "cellar_open" in str(error)
    raises(ValueError, cellar.Cache, path="x", shared="unix:///x")
    raises(cellar.Error, cellar.Cache, shared="nonsense")


def log_lines_go_to_logging():
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append((record.name, record.levelno, record.getMessage()))
    logging.getLogger("cellar").addHandler(handler)
    try:
        with cellar.Cache("2M") as cache:
            part = cache.namespace("x")
            for _ in range(3):
                part.close()
        with cellar.Cache("4M", shared="unix:///none/at/all?prefix=x"):
            until(lambda: lines)
    finally:
        logging.getLogger("cellar").removeHandler(handler)
    assert lines[0][0] == "cellar" and lines[0][1] >= logging.WARNING


LINE_DURING_IMPORT = """
import sys, cellar
store = cellar.Cache("2M", path=sys.argv[1])
def write_line():
    cellar.Cache("2M", path=sys.argv[1], optional=True).close()
    for _ in range(9999): pass
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "string":
            write_line()
sys.modules.pop("string", None)
sys.meta_path.insert(0, Finder())
import logging
write_line()
"""


def a_line_in_the_middle_of_an_import_of_logging_is_written(folder):
    process = python(LINE_DURING_IMPORT, folder)
    said = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 0 and "in use" in said and "Error" not in said, said


def the_import_reads_few_other_modules():
    said = said_by("import sys; before = set(sys.modules); import cellar\n"
                   "print((set(sys.modules) - before) & {'asyncio', 'inspect', 'logging', 'typing', 'pickle',"
                   " 'django', 'ctypes'})")
    assert said == "set()", said


def a_close_by_code_of_the_program_ends_the_call_that_runs_it():
    class Codec:
        """Closes the Cache in the middle of a set and a load."""
        def dumps(self, value):
            cache.close()
            return b"x"
        loads = bytes
        __name__ = "codec"

    def closing_key(*_):
        cache.close()
        return "k"
    for call in (lambda: cache.set("k", object()), lambda: cache.memoize(key=closing_key)(str)(1),
                 lambda: cache.namespace("n", codec=Codec()).set("k", object())):
        cache = cellar.Cache("2M", codec=Codec())
        error = raises(cellar.Error, call)
        assert "the Cache is closed" in str(error) and error.code == -10


CLOSE_BESIDE_CALLS = """
import sys, threading, time, cellar
sys.setswitchinterval(1e-5)
class Codec:
    __name__ = "codec"
    def dumps(self, value):
        time.sleep(.0001)
        return b"x"
    loads = bytes
def work(call, n):
    try:
        while True:
            n += 1
            call(n)
    except cellar.Error as error:
        codes.add(error.code)
codes = set()
for n in range(int(sys.argv[1])):
    cache = cellar.Cache("2M", codec=Codec())
    calls = [lambda n: cache.get_or_load(n, str)] * 3 + [lambda n: cache.set(n, work)] * 2 + [cache.get]
    running = [threading.Thread(target=work, args=(call, i << 32)) for i, call in enumerate(calls)]
    for thread in running: thread.start()
    time.sleep(n % 8 / 4000)
    cache.close()
    for thread in running: thread.join()
print(codes)
"""


def a_close_overlaps_neither_gets_nor_loads_nor_sets_that_convert_values():
    assert said_by(CLOSE_BESIDE_CALLS, "60") == "{-10}"


def none_is_no_key():
    with cellar.Cache("2M") as cache:
        for call in (cache.get, cache.delete, cache.touch, cache.ttl, cache.why, cache.incr):
            raises(TypeError, call, None)
        assert len(cache) == 0


COLLECTION_IN_A_SCAN = """
import gc, cellar
class Closes:
    def __init__(self): self.me = self
    def __del__(self): cache.close()
cache = cellar.Cache("2M")
for n in range(100): cache.set((n,) * 25, n)
args, scan = (0, 0, None), cache._scan
keys = scan(*args)
gc.collect()
gc.disable()
Closes()
gc.set_threshold(1)
gc.enable()
try:
    found = scan(*args)
except cellar.Error as error:
    found = keys if error.code == -10 else error
gc.disable()
print(found == keys and len(keys[0]) > 0)
"""


def a_collection_that_closes_the_cache_ends_no_scan():
    assert said_by(COLLECTION_IN_A_SCAN) == "True"


COLLECTION_IN_A_KEY = """
import gc, cellar
class Closes:
    def __init__(self): self.me = self
    def __del__(self): cache.close()
key, codes = ("\\ud800",), set()  # no UTF-8: an exception, which may begin a collection
gc.disable()
gc.set_threshold(1)
for call in (cellar.Cache.get, cellar.Cache.delete, cellar.Cache.__contains__, cellar.Cache.touch,
             lambda cache, key: cache.get_or_load(key, len)):
    cache = cellar.Cache("2M")
    Closes()
    gc.enable()
    try:
        call(cache, key)
    except cellar.Error as error:
        codes.add(error.code)
    gc.disable()
print(codes - {-10})
"""


def a_collection_that_closes_the_cache_ends_the_call_that_makes_a_key():
    assert said_by(COLLECTION_IN_A_KEY) == "set()"
