# SPDX-License-Identifier: MIT
"""This program tests cellar.py; each test is a function: python3 test_cellar.py NAME...

tests/package/test_packaging_python.sh runs them against the library of the build."""
import ctypes
import sys
import threading
import time

import cellar


def structs_have_the_sizes_of_the_header():
    # include/cellar.h and its siblings, LP64
    assert ctypes.sizeof(cellar.Result) == 128
    assert ctypes.sizeof(cellar.Rule) == 64
    assert ctypes.sizeof(cellar.SetOpts) == 16


def values_come_back_and_a_miss_is_none():
    with cellar.Cache() as cache:
        assert cache.get("k") is None
        assert cache.set("k", b"a\0b") and cache.get(b"k") == b"a\0b"
        assert cache.set("empty", b"") and cache.get("empty") == b""
        large = bytes(range(256)) * 1000
        assert cache.set(b"\0key", large) and cache.get(b"\0key") == large
        assert cache.delete("k") and not cache.delete("k") and cache.get("k") is None


def prefix_of_the_config_sets_the_budget():
    with cellar.Cache(memory_bytes=1 << 20) as cache:
        try:
            cache.set("k", bytes(2 << 20))
        except OSError as e:
            assert e.errno in (-3, -4), e  # E_SPACE, E_TOOBIG
        else:
            raise AssertionError("2 MiB fit into a budget of 1 MiB")
    try:
        cellar.Cache(memory_bytes=4096)
    except OSError as e:
        assert e.errno == -1, e  # E_INVAL
    else:
        raise AssertionError("a budget of 4096 bytes is accepted")


def prefix_of_the_set_options_sets_the_ttl():
    with cellar.Cache() as cache:
        cache.set("short", b"x", ttl=0.001)
        cache.set("long", b"y", ttl=3600)
        time.sleep(0.02)
        assert cache.get("short") is None and cache.get("long") == b"y"


def short_ttl_does_not_become_no_limit():
    with cellar.Cache() as cache:
        cache.set("k", b"x", ttl=0.0004)
        assert cache.get_or_load("l", lambda key: b"y", ttl=0.0004) == b"y"
        time.sleep(0.02)
        assert cache.get("k") is None and cache.get("l") is None
        for ttl in (-60, -0.0001):
            try:
                cache.set("k", b"x", ttl=ttl)
            except OSError as e:
                assert e.errno == -1, e  # E_INVAL
            else:
                raise AssertionError("a negative ttl is accepted")


def number_that_c_would_cut_is_refused():
    with cellar.Cache() as cache, cellar.Limiter(3, seconds=3600) as limiter:
        for call in (lambda: cache.set("k", b"x", ttl=18446744073709552),
                     lambda: cache.get_or_load("k", lambda key: b"x", ttl=18446744073709552),
                     lambda: cellar.Cache(memory_bytes=2**64 + (1 << 20)),
                     lambda: cellar.Limiter(2**64 + 3, 60), lambda: cellar.Limiter(3, 2**60),
                     lambda: cellar.Limiter(-1, 60), lambda: limiter.allow("ip", cost=2**64)):
            try:
                call()
            except OverflowError:
                continue
            raise AssertionError("a number is cut")
        assert cache.get("k") is None


def many_reads_of_one_key_run_one_load():
    runs, values = [], []
    with cellar.Cache() as cache:
        def load(key):
            runs.append(key)
            time.sleep(0.05)
            return b"value of " + key

        def read():
            values.append(cache.get_or_load("k", load, ttl=60))

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert runs == [b"k"], runs
        assert values == [b"value of k"] * 8, values
        assert cache.get("k") == b"value of k"
        assert cache.get_or_load("none", lambda key: None) is None


def exception_of_a_loader_comes_back():
    def fail(key):
        raise KeyError(key)

    with cellar.Cache() as cache:
        try:
            cache.get_or_load("k", fail)
        except KeyError as e:
            assert e.args == (b"k",)
        else:
            raise AssertionError("no exception")
        assert cache.get_or_load("k", lambda key: b"up") == b"up"
        try:
            cache.get_or_load("text", lambda key: "str is no value")
        except ctypes.ArgumentError:
            pass
        else:
            raise AssertionError("a str is accepted")


def limiter_denies_the_fourth_of_three():
    with cellar.Limiter(3, seconds=3600) as limiter:
        assert [limiter.allow("ip") for _ in range(4)] == [True, True, True, False]
        assert limiter.allow("other", cost=3) and not limiter.allow("other")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        globals()[name]()
