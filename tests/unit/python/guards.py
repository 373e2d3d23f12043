# SPDX-License-Identifier: MIT
"""Limiters and locks of one process."""
import asyncio

import cellar
from kit import raises, threads


def a_limiter_admits_its_number_exactly():
    limiter = cellar.Limiter(100, 600)
    admitted = threads(8, lambda: sum(limiter.allow("k") for _ in range(50)))
    assert sum(admitted) == 100
    assert limiter.allow("other") and limiter.check("third", 100).allowed
    assert not limiter.check("third").allowed


def a_denial_has_the_headers_of_a_429():
    limiter = cellar.Limiter(1, 600)
    first, second = limiter.check("k"), limiter.check("k")
    assert first and first.headers() == {"RateLimit-Limit": "1", "RateLimit-Remaining": "0"}
    assert not second and 300 < second.retry_after <= 600
    assert second.headers()["Retry-After"] == "600"
    never = limiter.check("k", 2)
    assert never.retry_after is None and "Retry-After" not in never.headers()


def a_burst_makes_a_token_bucket():
    limiter = cellar.Limiter(1, 600, burst=5)
    assert [limiter.allow("k") for _ in range(6)] == [True] * 5 + [False]
    assert asyncio.run(limiter.acheck("other")).remaining == 4
    # Fault: the headers said more than the limit, as those of C do not.
    assert limiter.check("third").headers() == {"RateLimit-Limit": "1",
                                                "RateLimit-Remaining": "1"}


def bad_numbers_are_refused():
    for limit, per in ((1, 0), (1, -1), (1, float("nan")), (1 << 30, 60)):
        raises((cellar.Error, ValueError), cellar.Limiter, limit, per)


def numbers_of_more_than_64_bits_are_refused():
    for number in (1 << 64, (1 << 64) + 1, -1):
        for call in (lambda: cellar.Limiter(number, 60), lambda: cellar.Limiter(1, 60, burst=number),
                     lambda: cellar.Limiter(1, 60).check("k", number), lambda: cellar.Cache(number),
                     lambda: cellar.Cache(max_entries=number), lambda: cellar.serve(port=abs(number) << 32)):
            raises((OverflowError, cellar.Error), call)


def a_later_owner_has_a_larger_fence():
    first, second = cellar.Lock("k"), cellar.Lock("k")
    assert first.acquire() and not second.acquire(False) and not second.acquire(timeout=.01)
    fence = first.fence
    raises(RuntimeError, first.acquire)
    first.extend(60)
    first.release()
    raises(RuntimeError, first.release)
    assert first.fence is None and second.acquire() and second.fence > fence
    second.release()


def an_acquire_in_vain_leaves_the_owner_of_another_thread():
    class Hold:
        """Lets another thread have the lock in the middle of the first acquire."""
        is_first = True

        def __float__(self):
            if self.is_first:
                self.is_first = False
                assert threads(1, lock.acquire) == [True]
            return 30.0
    lock = cellar.Lock("two threads", hold=Hold())
    assert not lock.acquire(False) and lock.fence
    lock.release()


def a_hold_that_ended_is_an_error_of_the_release():
    lock = cellar.Lock("k", hold=.001)
    lock.acquire()
    with cellar.Lock("k"):
        assert raises(cellar.Error, lock.release).code == -29


def with_raises_timeouterror_when_the_lock_is_not_free():
    with cellar.Lock("k"):
        raises(TimeoutError, cellar.Lock("k", timeout=.01).__enter__)


def tasks_lock_in_the_executor():
    async def work():
        async with cellar.Lock("k") as lock:
            return lock.fence

    async def main():
        return await asyncio.gather(*[work() for _ in range(5)])
    assert len(set(asyncio.run(main()))) == 5


def a_cancelled_task_leaves_no_lock():
    async def main():
        with cellar.Lock("k"):
            lock = cellar.Lock("k")
            task = asyncio.ensure_future(lock.__aenter__())
            await asyncio.sleep(0)  # a thread waits for the lock
            task.cancel()
            assert isinstance((await asyncio.gather(task, return_exceptions=True))[0],
                              asyncio.CancelledError)
        return await asyncio.to_thread(cellar.Lock("k", timeout=20).acquire)  # a hold ends after 30 s
    assert asyncio.run(main())


def a_cache_of_another_type_is_a_typeerror():
    for cache in (1, "x", cellar.Limiter(1, 1)):
        raises(TypeError, cellar.Limiter, 1, 600, cache=cache)
        raises(TypeError, cellar.Lock("k", cache=cache).acquire)


def an_extend_by_no_time_keeps_the_lock():
    lock = cellar.Lock("extended", hold=None)
    assert lock.acquire()
    raises(ValueError, lock.extend, -1)
    raises(TypeError, lock.extend, "x")
    lock.release()
    assert cellar.Lock("extended").acquire(False)
