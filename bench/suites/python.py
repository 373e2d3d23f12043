# SPDX-License-Identifier: MIT
"""The suite python of `make bench`: the package beside dict, lru_cache and the caches that are here.

Usage: python.py JSON-FILE. 10,000 keys of 11 bytes, values of 100. Each row runs its two subjects in
turns, in a process with no other cache, and takes the best of the rounds of each. A ratio above 1
says that cellar takes longer, "x faster" the reverse. A peer that is not installed is left out;
python_peers.txt has the versions of the published figures."""
import asyncio
import functools
import gc
import importlib.util
import json
import multiprocessing
import shutil
import sys
import tempfile
import time

N, ROUNDS = 10_000, 15
KEYS = [f"key:{n:07d}" for n in range(N)]
VALUE = b"x" * 100
ROW = {"id": 7, "name": "Ada", "mail": "ada@example.org", "active": True}


def each(call, *value):
    """Return a round: the call for each key, or for each key and a value."""
    def with_key():
        for key in KEYS:
            found = call(key)  # kept until the next one, as in a program
        return found

    def with_value():
        one = value[0]
        for key in KEYS:
            call(key, one)
    return with_value if value else with_key


def filled(store, value=VALUE):
    """Return the cache with all keys."""
    for key in KEYS:
        store(key, value)


def times(first, second):
    """Return the best time of a call of each round, ns."""
    best = [1e18, 1e18]
    gc.disable()
    for _ in range(ROUNDS):
        for n, run in enumerate((first, second)):
            begin = time.perf_counter_ns()
            run()
            best[n] = min(best[n], (time.perf_counter_ns() - begin) / N)
    return best


def memory():
    import cellar
    cache, plain = cellar.Cache("64M"), {}
    filled(cache.set)
    filled(plain.__setitem__)
    return cache, plain


def get():
    cache, plain = memory()
    return times(each(cache.get), each(plain.get))


def get_with_a_path():
    import cellar
    folder = tempfile.mkdtemp()
    with cellar.Cache("64M", path=folder, disk="128M") as cache:
        plain = dict.fromkeys(KEYS, VALUE)
        filled(cache.set)
        out = times(each(cache.get), each(plain.get))
    shutil.rmtree(folder)
    return out


def set_replaces():
    cache, plain = memory()
    return times(each(cache.set, VALUE), each(plain.__setitem__, VALUE))


def set_with_ttl():
    cache, plain = memory()
    set_ = cache.set

    def ours():
        for key in KEYS:
            set_(key, VALUE, ttl=60)
    return times(ours, each(plain.__setitem__, VALUE))


def set_new_keys():
    import cellar
    cache, plain = cellar.Cache("4M"), dict.fromkeys(KEYS)
    lists = [[f"{n}:{key}" for key in KEYS] for n in range(8)]  # far more than it holds
    turn = [0]

    def ours():
        turn[0] = (turn[0] + 1) % len(lists)
        for key in lists[turn[0]]:
            cache.set(key, VALUE)
    for _ in lists:
        ours()
    return times(ours, each(plain.__setitem__, VALUE))


def get_a_dict():
    cache, plain = memory()
    filled(cache.set, ROW)
    return times(each(cache.get), each(plain.get))


def set_a_dict():
    cache, plain = memory()
    return times(each(cache.set, ROW), each(plain.__setitem__, ROW))


def get_or_load():
    cache, _ = memory()
    return times(each(cache.get_or_load, None), each(cache.get))


def memoize(*argument, result=1):
    import cellar
    ours = cellar.Cache("64M").memoize(lambda *args: result)
    theirs = functools.lru_cache(None)(lambda *args: result)

    def round_of(fn):
        def run():
            for n in range(N):
                found = fn(*argument, n)  # kept, as in each()
            return found
        return run
    return times(round_of(ours), round_of(theirs))


def memoize_two():
    return memoize("a")


def memoize_dict():
    return memoize(result=ROW)


def coroutine():
    import cellar

    @cellar.Cache("64M").memoize
    async def ours(n):
        return n

    async def theirs(n):
        return n

    def round_of(fn):
        async def main():
            for _ in range(N):
                await fn(1)
        return lambda: asyncio.run(main())
    return times(round_of(ours), round_of(theirs))


def peer_get(make):
    cache, _ = memory()
    get, set_ = make()
    filled(set_)
    return times(each(cache.get), each(get))


def cachetools():
    import cachetools as module
    cache = module.TTLCache(2 * N, 3600)
    return peer_get(lambda: (cache.get, cache.__setitem__))


def cachebox():
    import cachebox as module
    cache = module.TTLCache(2 * N, 3600)
    return peer_get(lambda: (cache.get, cache.insert))


def moka():
    import moka_py as module
    cache = module.Moka(2 * N, ttl=3600)
    return peer_get(lambda: (cache.get, cache.set))


def on_disk(call):
    """Return the times of a set of 1,000 bytes, or of the first get after an open."""
    import cellar
    import diskcache as module
    folder, keys, value, best = tempfile.mkdtemp(), KEYS[:1000], b"x" * 1000, [1e18, 1e18]
    for _ in range(5):
        with cellar.Cache("64M", path=folder + "/a", disk="128M") as ours, \
                module.Cache(folder + "/b") as theirs:
            for n, cache in enumerate((ours, theirs)):
                begin = time.perf_counter_ns()
                for key in keys:
                    if call == "set":
                        cache.set(key, value)
                    else:
                        cache.get(key)
                best[n] = min(best[n], (time.perf_counter_ns() - begin) / len(keys))
                for key in keys:
                    cache.set(key, value)
    shutil.rmtree(folder)
    return best


def set_on_disk():
    return on_disk("set")


def first_get_from_disk():
    return on_disk("get")


def diskcache():
    import diskcache as module
    folder = tempfile.mkdtemp()
    with module.Cache(folder) as cache:
        out = peer_get(lambda: (cache.get, cache.set))
    shutil.rmtree(folder)
    return out


def django(call):
    from django.conf import settings
    settings.configure(CACHES={
        "default": {"BACKEND": "cellar.django.CellarCache"},
        "local": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache",
                  "OPTIONS": {"MAX_ENTRIES": 2 * N}}})
    from django.core.cache import caches
    ours, theirs = caches["default"], caches["local"]
    for cache in (ours, theirs):
        filled(cache.set)
    more = () if call == "get" else (VALUE,)
    return times(each(getattr(ours, call), *more), each(getattr(theirs, call), *more))


def django_get():
    return django("get")


def django_set():
    return django("set")


# Function, label, the other subject, its package, true if the other subject is slower, floor.
TABLE = [
    (get, "get", "dict.get", None, False, 2.3),
    (get_with_a_path, "get with a path open", "dict.get", None, False, 3.2),
    (set_replaces, "set", "a dict's set", None, False, 1.3),
    (set_with_ttl, "set with ttl=", "a dict's set", None, False, 1.8),
    (set_new_keys, "set of new keys, with eviction", "a dict's set", None, False, 4),
    (get_a_dict, "get a dict of 4 fields", "dict.get", None, False, 12),
    (set_a_dict, "set a dict of 4 fields", "a dict's set", None, False, 4.2),
    (get_or_load, "get_or_load, a hit", "our get", None, False, 1.3),
    (memoize, "memoize, int", "lru_cache", None, False, 2.3),
    (memoize_two, "memoize, (str, int)", "lru_cache", None, False, 1.6),
    (memoize_dict, "memoize, a dict", "lru_cache", None, False, 10),
    (coroutine, "memoized coroutine, a hit", "a plain coroutine", None, False, 4),
    (cachetools, "get", "cachetools TTLCache", "cachetools", True, 14),
    (cachebox, "get", "cachebox TTLCache", "cachebox", False, 1.3),
    (moka, "get", "moka-py", "moka_py", True, 2.2),
    (diskcache, "get", "diskcache", "diskcache", True, 80),
    (set_on_disk, "set of 1,000 bytes on disk", "diskcache", "diskcache", True, 15),
    (first_get_from_disk, "first get from disk", "diskcache", "diskcache", True, 2),
    (django_get, "Django get", "LocMemCache", "django", True, 4.5),
    (django_set, "Django set", "LocMemCache", "django", True, 4),
]


def main():
    with open(sys.argv[1], "w", encoding="utf-8") as lines:
        under = missing = 0
        for fn, label, other, package, slower, floor in TABLE:
            if package and importlib.util.find_spec(package) is None:
                print(f"{label:31} {other:22} not installed")
                missing += 1
                continue
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                ours, theirs = pool.apply(fn)
            ratio = theirs / ours if slower else ours / theirs
            met = ratio >= floor if slower else ratio <= floor
            under += not met
            print(f"{label:31} {other:22} {ours:7.0f} {theirs:7.0f} ns  {ratio:5.2f} x"
                  f"{' faster' if slower else ''}"
                  f"{'' if met else f'  UNDER its floor, {floor:g}'}", flush=True)
            print(json.dumps({"suite": "python", "row": label, "peer": other, "ns": round(ours, 1),
                              "peer_ns": round(theirs, 1), "floor": floor, "met": met}), file=lines)
        good = len(TABLE) - under - missing
        print(f"figures: {under} under their floor, {missing} not measured, {good} met")


if __name__ == "__main__":
    main()
