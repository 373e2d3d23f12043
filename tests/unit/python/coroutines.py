# SPDX-License-Identifier: MIT
"""Memoized coroutine functions: one load for the tasks of a loop, which may be cancelled."""
import asyncio
import threading

import cellar
from kit import raises, until


def tasks_of_a_loop_share_one_load():
    with cellar.Cache("4M") as cache:
        runs = []

        @cache.memoize(ttl=60)
        async def row(n):
            runs.append(n)
            await asyncio.sleep(.01)
            return {"n": n}

        async def main():
            return await asyncio.gather(*[row(1) for _ in range(1000)])
        assert asyncio.run(main()) == [{"n": 1}] * 1000 and runs == [1]
        assert asyncio.run(row(1)) == {"n": 1} and runs == [1]
        assert row.cache_info() == (1, 1000)
        row.forget(1)
        assert asyncio.run(row(1)) == {"n": 1} and runs == [1, 1]


def a_cancelled_task_cancels_no_other():
    with cellar.Cache("4M") as cache:
        runs = []

        @cache.memoize
        async def row(event):
            runs.append(1)
            await events[event].wait()
            return 5

        async def main():
            events["e"] = asyncio.Event()
            tasks = [asyncio.ensure_future(row("e")) for _ in range(10)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            await asyncio.sleep(0)
            events["e"].set()
            return await asyncio.gather(*tasks, return_exceptions=True)
        events = {}
        out = asyncio.run(main())
        assert isinstance(out[0], asyncio.CancelledError) and out[1:] == [5] * 9 and runs == [1]


def a_load_cancelled_before_its_first_step_leaves_the_lease():
    with cellar.Cache("4M") as cache:
        @cache.memoize
        async def row(n):
            await asyncio.sleep(0)
            return n

        async def main():
            first = asyncio.ensure_future(row(1))
            await asyncio.sleep(0)  # it has the lease, and its load has not begun
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.wait([first])
            return await asyncio.wait_for(row(1), 20)  # a lease ends by itself after 30 s
        assert asyncio.run(main()) == 1


def an_exception_reaches_every_task_and_nothing_is_kept():
    with cellar.Cache("4M") as cache:
        @cache.memoize
        async def row(n):
            await asyncio.sleep(0)
            raise LookupError(n)

        async def main():
            return await asyncio.gather(*[row(1) for _ in range(10)], return_exceptions=True)
        out = asyncio.run(main())
        assert len(out) == 10 and {type(x) for x in out} == {LookupError}
        assert not row.memo._running and cache.stats()["entries"] == 0


def a_delete_during_the_load_of_a_task_wins():
    with cellar.Cache("4M") as cache:
        @cache.memoize
        async def row(n):
            row.forget(n)
            return n
        assert asyncio.run(row(1)) == 1 and cache.stats()["entries"] == 0


def a_task_behind_a_delete_joins_no_older_load():
    with cellar.Cache("4M") as cache:
        runs, event = [], asyncio.Event()

        @cache.memoize
        async def row():
            runs.append(1)
            n = len(runs)
            await event.wait() if n == 1 else None
            return n

        async def main():
            first = asyncio.ensure_future(row())
            while not runs:
                await asyncio.sleep(0)
            row.forget()
            later = await asyncio.wait_for(row(), 20)
            event.set()
            return later, await first, await row()
        assert asyncio.run(main()) == (2, 1, 2)


def threads_and_tasks_share_one_load():
    with cellar.Cache("4M") as cache:
        runs, begun, event = [], threading.Event(), threading.Event()

        @cache.memoize(key=lambda n: n)
        async def row(n):
            runs.append("task")
            begun.set()
            await asyncio.get_running_loop().run_in_executor(None, event.wait)
            return n
        thread = threading.Thread(target=lambda: out.append(asyncio.run(row(7))))
        out = []
        thread.start()
        begun.wait()

        async def main():
            other = asyncio.ensure_future(row(7))
            await asyncio.sleep(.02)
            event.set()
            return await other
        assert asyncio.run(main()) == 7
        thread.join()
        assert out == [7] and runs == ["task"]


def a_stale_value_is_returned_while_a_task_loads():
    with cellar.Cache("4M") as cache:
        runs = []

        @cache.memoize(ttl=.01, stale=600)
        async def row(n):
            runs.append(n)
            return len(runs)

        async def main():
            first = await row(1)
            found = [first]
            while len(runs) < 2:
                found.append(await row(1))
                await asyncio.sleep(.001)
            return found
        assert set(asyncio.run(main())) <= {1, 2} and len(runs) >= 2


def a_stale_value_is_returned_to_each_task_while_one_loads():
    with cellar.Cache("4M") as cache:
        @cache.memoize(ttl=.001, stale=600)
        async def row():
            await event.wait() if event else None
            return 1
        event = None
        assert asyncio.run(row()) == 1
        until(lambda: row.memo() is cellar._MISSING)  # past its TTL

        async def main():
            nonlocal event
            event = asyncio.Event()
            return [await asyncio.wait_for(row(), 20) for _ in range(3)]
        assert asyncio.run(main()) == [1] * 3


def a_stale_value_that_the_codec_refuses_leaves_the_lease_to_the_next_task():
    class Codec:
        def dumps(value):
            return b"x"

        def loads(data):
            if refused:
                raise ValueError("damaged")
            return data
    refused = []
    with cellar.Cache("4M", codec=Codec) as cache:
        @cache.memoize(ttl=.001, stale=600)
        async def row():
            return object()
        asyncio.run(row())
        until(lambda: row.memo() is cellar._MISSING)  # past its TTL
        refused.append(1)
        raises(ValueError, asyncio.run, row())
        refused.clear()
        assert row.memo._lease(row.memo._key())[1] is not None


def a_refresh_that_fails_is_not_begun_by_each_next_task():
    with cellar.Cache("4M") as cache:
        runs, results = [], [1]

        @cache.memoize(ttl=.001, stale=600)
        async def row():
            runs.append(1)
            return results.pop()

        async def main():
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)
            assert await row() == 1
            until(lambda: row.memo() is cellar._MISSING)  # past its TTL
            for _ in range(100):
                assert await row() == 1
                await asyncio.sleep(0)
        asyncio.run(main())
        assert len(runs) == 2, runs


def a_task_raises_what_a_thread_raises():
    def bad():
        raise LookupError

    def closing():
        cache.close()
        raise LookupError
    for fn, kind in ((bad, LookupError), (closing, LookupError), (lambda: 1, TypeError),
                     (lambda: bytes(4 << 20), cellar.Error)):
        async def row():
            return fn()
        with cellar.Cache("4M") as cache:
            raises(kind, asyncio.run, cache.namespace("raw", raw=True).memoize(row)())


def a_task_loads_again_what_another_program_wrote():
    with cellar.Cache("4M") as cache:
        @cache.namespace("n").memoize
        async def row(n):
            return n
        assert asyncio.run(row(1)) == 1
        raw = cache.namespace("n", raw=True)
        raw.set(row.memo._key(1), b"text of C")
        for found in (1, 1):
            assert asyncio.run(asyncio.wait_for(row(1), 60)) == found
        assert row.cache_info() == (1, 2)


def store_and_tags_hold_for_coroutines():
    with cellar.Cache("4M") as cache:
        runs = []

        @cache.memoize(tags=("rows",), store=lambda value: value > 0)
        async def row(n):
            runs.append(n)
            return n

        async def main(n):
            return await row(n)
        for n in (0, 0, 1, 1):
            asyncio.run(main(n))
        assert runs == [0, 0, 1]
        cache.delete_tag("rows")
        asyncio.run(main(1))
        assert runs == [0, 0, 1, 1]
        until(lambda: not row.memo._running)
