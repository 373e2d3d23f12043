# SPDX-License-Identifier: MIT
"""get_or_load and memoize: one load of a key, exceptions as themselves, waits that end."""
import asyncio
import copy
import functools
import gc
import os
import pickle
import resource
import signal
import sys
import threading
import time
import weakref

import cellar
from kit import SECONDS, forked, raises, said_by, threads, until


_memo = cellar.Cache("1M").memoize(str)
_memo.__module__, _memo.__qualname__ = __name__, "_memo"


class Mine(Exception):
    """What a loader raises."""


def _slow(event, begun=None):
    """Return a loader that waits for the event, and the list of its runs."""
    runs = []

    def load(key):
        runs.append(key)
        if begun:
            begun.set()
        assert event.wait(SECONDS)
        return {"key": key}
    return load, runs


def _gather(cache, count, load, key="k"):
    """Start threads that load the key, and return them and their results when all wait."""
    out = []

    def run():
        try:
            out.append(cache.get_or_load(key, load))
        except BaseException as error:
            out.append(error)
    running = [threading.Thread(target=run) for _ in range(count)]
    for thread in running:
        thread.start()
    return running, out


def threads_that_miss_share_one_load():
    with cellar.Cache("4M") as cache:
        event, begun = threading.Event(), threading.Event()
        load, runs = _slow(event, begun)
        running, out = _gather(cache, 50, load)
        begun.wait()
        event.set()
        for thread in running:
            thread.join()
        assert out == [{"key": "k"}] * 50 and runs == ["k"]
        stats = cache.stats()
        assert stats["hits"] + stats["misses"] == 50 and stats["loads"] == 1


def a_loader_that_raises_reaches_every_waiter_as_itself():
    for _ in range(20):
        with cellar.Cache("4M") as cache:
            waiting, runs = threading.Barrier(21), []

            def load(key):
                runs.append(key)
                until(lambda: len(begun) == 20)
                time.sleep(.005)  # all are on their way into the wait
                raise Mine("no row")
            begun = []

            def run():
                waiting.wait()
                begun.append(1)
                cache.get_or_load("k", load)
            out = []
            main = threading.Thread(target=lambda: out.extend(threads(20, run)))
            main.start()
            waiting.wait()
            main.join()
            assert len(out) == 20 and {type(x) for x in out} == {Mine}, out
            assert len({id(x) for x in out}) <= len(runs)
            assert cache.get("k") is None


def a_loader_that_replaces_an_exception_raises_its_own():
    with cellar.Cache("4M") as cache:
        def bad(key):
            raise KeyError(key)

        def load(key):
            try:
                cache.get_or_load(key, bad)
            except KeyError:
                raise Mine from None
        assert str(raises(Mine, cache.get_or_load, "k", load)) == ""


def an_exception_is_of_one_namespace_alone():
    with cellar.Cache("4M") as cache:
        first, second = cache.namespace("first"), cache.namespace("second")
        begun, event, out = threading.Event(), threading.Event(), []

        def load(key):
            begun.set()
            assert event.wait(SECONDS)
            raise Mine

        def run():
            out.extend(threads(1, lambda: second.get_or_load("k", load)))
        running = [threading.Thread(target=run) for _ in range(2)]
        for thread in running:
            thread.start()
            assert begun.wait(SECONDS)
        time.sleep(.02)  # the second thread waits for the load of the first
        raises(ZeroDivisionError, first.get_or_load, "k", lambda key: 1 / 0)
        event.set()
        for thread in running:
            thread.join()
        assert [type(error) for error in out] == [Mine, Mine], out


def calls_that_begin_while_a_load_fails_get_its_exception():
    def load(key):
        raise Mine

    def run():
        for _ in range(1000):
            raises(Mine, cache.get_or_load, "k", load)
        return True
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with cellar.Cache("4M") as cache:
            assert threads(8, run) == [True] * 8
    finally:
        sys.setswitchinterval(interval)


def the_main_thread_gets_the_exception_between_its_slices():
    with cellar.Cache("4M") as cache:
        def load(key):
            runs.append(1)
            begun.set()
            time.sleep(pause)
            raise Mine
        for pause in (.12 * 2 ** n for n in range(8)):  # from three slices of the main thread
            begun, runs = threading.Event(), []
            thread = threading.Thread(target=lambda: raises(Mine, cache.get_or_load, "k", load))
            thread.start()
            begun.wait()
            raises(Mine, cache.get_or_load, "k", load)
            thread.join()
            if len(runs) == 1:
                break  # else the main thread came after the load
        assert len(runs) == 1


def a_call_that_loads_after_a_cancelled_load_raises_no_older_exception():
    with cellar.Cache("4M") as cache:
        begun = threading.Event()

        def bad(key):
            raise Mine

        def load(key):
            raises(Mine, cache.get_or_load, key, bad)
            begun.set()
            time.sleep(.12)  # three slices of the main thread, which began after the exception
            raise SystemExit
        thread = threading.Thread(target=lambda: threads(1, lambda: cache.get_or_load("k", load)))
        thread.start()
        begun.wait()
        assert cache.get_or_load("k", lambda key: 2) == 2
        thread.join()


def a_call_may_leave_while_its_older_exception_ends():
    assert forked(lambda: until(_leave)) == "True"


def _leave():
    """Leave the main thread's wait while a load replaces its exception; False: it led the load, or came late."""
    class Left(Exception):
        """Leaves the wait of the main thread."""

    class Old(Exception):
        def __del__(self):
            if ends:
                os.kill(os.getpid(), signal.SIGALRM)
                assert left.wait(SECONDS)

    def leave(*_):
        if calls:
            raise Left
        left.set()
    signal.signal(signal.SIGALRM, leave)
    begun, left, ends, calls = threading.Event(), threading.Event(), [], []
    with cellar.Cache("4M") as cache:
        def old(key):
            raise Old

        def load(key):
            raises(Old, cache.get_or_load, key, old)
            begun.set()
            time.sleep(.06)  # the other calls wait, and have the exception
            raise SystemExit

        def new(key):
            ends.append(1)
            time.sleep(.02)
            raise Mine
        running = [threading.Thread(target=lambda fn=fn: threads(1, lambda: cache.get_or_load("k", fn)))
                   for fn in (load, new)]
        for thread in running:
            thread.start()
            begun.wait()
        time.sleep(.01)
        try:
            calls.append(1)
            cache.get_or_load("k", str)
            calls.clear()
        except Mine:  # the exception ended before the call
            calls.clear()
        except Left:
            for n in range(900):  # overwrite the stack that the call used
                cache.get(("A" * n, "A" * (900 - n)))
        left.set()
        for thread in running:
            thread.join()
        return bool(calls and ends)


def exceptions_are_kept_no_longer_than_calls_wait():
    with cellar.Cache("4M") as cache:
        class Big:
            pass
        refs = []

        def load(key):
            big = Big()
            refs.append(weakref.ref(big))
            raise Mine(key)
        for n in range(5):
            raises(Mine, cache.get_or_load, n, load)
        gc.collect()
        assert [ref() for ref in refs] == [None] * 5
        for n in range(2000):
            raises(Mine, cache.get_or_load, n, load)
        if "libasan" in os.environ.get("LD_PRELOAD", ""):
            return  # it keeps what was freed
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for n in range(20_000):
            raises(Mine, cache.get_or_load, n, load)
            refs.clear()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 4096


def keyboard_interrupt_ends_a_wait():
    with cellar.Cache("4M") as cache:
        event, begun = threading.Event(), threading.Event()
        load, runs = _slow(event, begun)
        running, out = _gather(cache, 1, load)
        begun.wait()
        armed = []

        def interrupt(*_):
            if armed:
                raise KeyboardInterrupt

        def interrupted(call, *args):
            try:
                armed.append(1)
                return call(*args)
            finally:
                armed.clear()
        handler = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, .02, .02)
            raises(KeyboardInterrupt, interrupted, cache.get_or_load, "k", load)
            with cellar.Lock("k"):
                raises(KeyboardInterrupt, interrupted, cellar.Lock("k").acquire)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
        assert not event.is_set()
        event.set()
        running[0].join()
        assert out == [{"key": "k"}] and runs == ["k"]


def an_exception_that_ends_a_thread_is_of_that_thread_alone():
    for end in KeyboardInterrupt, SystemExit:
        with cellar.Cache("4M") as cache:
            runs, begun, out = [], threading.Event(), []

            def load(key):
                runs.append(1)
                if len(runs) == 1:
                    begun.set()
                    time.sleep(.05)
                    raise end
                return 2

            def first():
                out.append(raises(end, cache.get_or_load, "k", load))
            thread = threading.Thread(target=first)
            thread.start()
            begun.wait()
            assert threads(5, lambda: cache.get_or_load("k", load)) == [2] * 5
            thread.join()
            assert len(out) == 1 and len(runs) == 2


def loaders_recurse_and_ask_for_their_own_key():
    with cellar.Cache("16M") as cache:
        @cache.memoize
        def fib(n):
            return n if n < 2 else fib(n - 1) + fib(n - 2)
        assert fib(80) == 23416728348467685
        assert cache.get_or_load("r", lambda k: cache.get_or_load("r", lambda k: 1)) == 1

        @cache.memoize
        def deep(n):
            return 0 if n == 0 else deep(n - 1) + 1
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(10_000)
        try:
            threading.stack_size(64 << 20)
            most = 300 if sys.version_info[:2] == (3, 12) else 900  # 3.12 bounds calls of C in each other
            assert threads(1, lambda: deep(most)) == [most]
            assert isinstance(threads(1, lambda: deep(3000))[0], RecursionError)
        finally:
            sys.setrecursionlimit(limit)
            threading.stack_size(0)


def results_without_a_codec_are_typeerrors_of_all_callers():
    with cellar.Cache("4M") as cache:
        async def coroutine():
            return 1
        text = str(raises(TypeError, cache.get_or_load, "k", lambda k: object()))
        assert "object" in text and "codec=" in text
        made = coroutine()
        raises(TypeError, cache.get_or_load, "k", lambda k: made)
        made.close()


def bytes_of_another_program_are_loaded_again():
    with cellar.Cache("4M") as cache:
        raw, own = cache.namespace("n", raw=True), cache.namespace("n")
        raw.set("k", b"text of C")
        assert own.get_or_load("k", lambda k: 1) == 1 == own["k"]


def memoize_keeps_results_by_arguments():
    with cellar.Cache("4M") as cache:
        runs = []

        @cache.memoize(ttl=60)
        def f(*args, **kwargs):
            """Say it."""
            runs.append((args, kwargs))
            return len(runs)
        calls = [((), {}), ((1,), {}), ((1.0,), {}), ((True,), {}), (("1",), {}), ((b"1",), {}),
                 ((None,), {}), (((1, "a"),), {}), ((1, "a"), {}), ((), {"a": 1}), ((2**70,), {}),
                 ((), {"b": 1}), (("a", 1), {}), ((), {"a": 1, "b": 2}), ((float("nan"),), {})]
        for args, kwargs in calls + calls:
            f(*args, **kwargs)
        assert len(runs) == len(calls) and f.cache_info() == (len(calls), len(calls))
        assert f.__name__ == "f" and f.__doc__ == "Say it." and f.__wrapped__(5) == len(runs)
        f.forget(1)
        f(1)
        assert len(runs) == len(calls) + 2
        f.cache_clear()
        f(1)
        assert len(runs) == len(calls) + 3 and f.cache_info() == (0, 1)
        for bad in ([], {}, object(), (1, [])):
            assert "key=" in str(raises(TypeError, f, bad))
        assert list(cache) == []


def functions_of_one_name_have_their_own_results():
    with cellar.Cache("4M") as cache:
        made = [cache.memoize(lambda x, n=n: x * n) for n in range(5)]
        made += [cache.namespace("n").memoize(lambda x, n=n: x * n) for n in range(5, 8)]
        assert [f(3) for f in made + made] == [0, 3, 6, 9, 12, 15, 18, 21] * 2


def a_memo_is_copied_and_pickled_as_functions_are():
    assert pickle.loads(pickle.dumps(_memo)) is _memo is copy.copy(_memo) is copy.deepcopy(_memo)
    with cellar.Cache("4M") as cache:
        half = cache.memoize(functools.partial(lambda x, y: x * y, 2))
        assert half(3) == half(3) == 6 and half.cache_info() == (1, 1)


def a_memo_over_a_memo_forgets_its_own_results():
    async def row(n):
        return n
    for fn, ask in (lambda n: n, lambda call: call(1)), (row, lambda call: asyncio.run(call(1))):
        with cellar.Cache("4M") as cache, cellar.Cache("4M") as other:
            inner = other.memoize(fn)
            outer = cache.memoize(inner)
            ask(outer)
            outer.forget(1)
            assert ask(outer) == ask(outer) == 1
            assert outer.cache_info() == (1, 2) and inner.cache_info() == (1, 1)
            outer.cache_clear()
            ask(outer)
            assert outer.cache_info() == (0, 1) and inner.cache_info() == (2, 1)


def methods_need_a_key():
    with cellar.Cache("4M") as cache:
        with_self = raises(TypeError, cache.memoize, lambda self, x: x)
        assert "key=" in str(with_self)

        class User:
            def __init__(self, number):
                self.number = number

            @cache.memoize(key=lambda self, field: (self.number, field))
            def read(self, field):
                return f"{self.number}.{field}"
        assert User(1).read("a") == "1.a" and User(2).read("a") == "2.a" == User(2).read("a")
        assert User.read.cache_info() == (1, 2)
        User.read.forget(User(1), "a")


def tags_and_store_decide_on_each_result():
    with cellar.Cache("4M") as cache:
        runs = []

        @cache.memoize(tags=lambda n: (f"n{n}",), store=lambda value: value is not None)
        def f(n):
            runs.append(n)
            return n or None
        assert [f(0), f(0), f(1), f(1), f(2)] == [None, None, 1, 1, 2] and runs == [0, 0, 1, 2]
        cache.delete_tag("n1")
        f(1), f(2)
        assert runs == [0, 0, 1, 2, 1]
        raises(ZeroDivisionError, cache.memoize(store=lambda v: 1 / 0)(lambda: 1))
        for tags in "rows", lambda: "rows":  # no letters as tags
            raises(TypeError, cache.memoize(tags=tags)(lambda: 1))


def a_stale_window_is_the_same_in_sets_loads_and_memos():
    async def row():
        return 1
    with cellar.Cache("4M") as cache:
        calls = [lambda stale: cache.set("set", 1, 60, stale=stale),
                 lambda stale: cache.add("add", 1, 60, stale=stale),
                 lambda stale: cache.get_or_load("load", len, 60, stale=stale),
                 lambda stale: cache.memoize(60, stale=stale)(lambda: 1)(),
                 lambda stale: asyncio.run(cache.memoize(60, stale=stale)(row)())]
        for call in calls:
            for stale in 1e7, 1e15, float("inf"):  # above 2^32 - 1 ms
                raises(cellar.Error, call, stale)
            call(None)
            call(1)


def a_cache_goes_with_its_last_reference_while_loads_run():
    cache = cellar.Cache("4M")
    event, begun = threading.Event(), threading.Event()
    load, _ = _slow(event, begun)
    running, out = _gather(cache, 2, load)
    begun.wait()
    del cache
    event.set()
    for thread in running:
        thread.join()
    assert out == [{"key": "k"}] * 2
    memo = cellar.Cache("4M").memoize(ttl=.001, stale=600)(lambda: 1)
    assert memo() == 1
    until(lambda: memo.cache_info()[1] > 1 or memo() is None)
    ref = weakref.ref(memo._cache)
    del memo
    until(lambda: gc.collect() is None or ref() is None)


def a_signal_handler_may_close_the_cache_that_the_main_thread_waits_for():
    for part in (False, True):
        cache = cellar.Cache("2M")
        of = cache.namespace("part") if part else cache
        event, begun = threading.Event(), threading.Event()
        load, _ = _slow(event, begun)
        running, out = _gather(of, 1, load)
        begun.wait()

        def close(*_):
            event.set()
            cache.close()
        before = signal.signal(signal.SIGALRM, close)
        try:
            signal.setitimer(signal.ITIMER_REAL, .01)
            error = raises(cellar.Error, of.get_or_load, "k", load)
        finally:
            signal.signal(signal.SIGALRM, before)
        running[0].join()
        assert error.code == -10 and "the Cache is closed" in str(error), error
        assert out == [{"key": "k"}]


EXIT_WITH_REFRESH = """
import sys, time, cellar
cache = cellar.Cache("1M")
part = cache.namespace("n") if sys.argv[1] == "part" else cache
@part.memoize(ttl=.001, stale=600)
def slow(n):
    if slow.cache_info().misses > 1: time.sleep(float(sys.argv[2]))
slow(1)
time.sleep(.01)
slow(1)
time.sleep(float(sys.argv[3]))
"""


def an_exit_while_a_refresh_begins_or_runs_is_clean():
    for part in ("root", "part"):
        for sleep, wait in (("0", "0"), (".05", "0"), (".05", ".001"), (".05", ".045")):
            said_by(EXIT_WITH_REFRESH, part, sleep, wait)


def a_refresh_that_closes_another_cache_may_drop_its_own():
    assert forked(_drop) == "True"


def _drop():
    done, begun, caches = threading.Event(), [], [cellar.Cache("4M")]

    def outer():
        if begun:
            for n in range(9):
                inner(n)  # two refreshes run, the others wait until the close
            other.close()
            memos.clear()
            caches.clear()
            gc.collect()
            done.set()
        return 1
    memos = [caches[0].memoize(ttl=.001, stale=600)(outer)]
    other = cellar.Cache("4M")
    inner = other.memoize(ttl=.001, stale=600)(lambda n: time.sleep(.02 if begun else 0))
    for n in range(9):
        inner(n)
    memos[0]()
    time.sleep(.01)
    begun.append(1)
    memos[0]()
    done.wait(SECONDS)
    return until(lambda: len(os.listdir("/proc/self/task")) == 1)


def many_caches_that_go_in_a_refresh_are_all_closed():
    assert forked(_drop_many) == "True"


def _drop_many():
    cache, done, begun, caches = cellar.Cache("4M"), threading.Event(), [], []

    def load():
        if begun:
            caches.clear()
            done.set()
        return 1
    memo = cache.memoize(ttl=.001, stale=600)(load)
    memo()
    caches += [cellar.Cache("1M") for _ in range(70)]  # Python has room for 32 calls
    begun.append(1)
    until(lambda: memo() and done.is_set())
    cache.close()
    return until(lambda: len(os.listdir("/proc/self/task")) == 1)


def a_fork_inside_a_loader_leaves_the_load_to_the_parent():
    with cellar.Cache("4M") as cache:
        def load(key):
            return forked(lambda: (cache.get("x", "none"), cache.set("x", 1), cache["x"],
                                   cache.get_or_load("y", str)))
        assert cache.get_or_load("k", load) == "('none', None, 1, 'y')"
        assert cache["k"] == "('none', None, 1, 'y')" and "x" not in cache
