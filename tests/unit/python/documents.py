# SPDX-License-Identifier: MIT
"""What the five documents behind cellar do with a cache in Python: their calls, over this package."""
import asyncio
import hashlib
import threading

import cellar
from kit import SECONDS, said_by, until

# ---- Managers of a cache, of answers of a model, of embeddings ----------------------------------


class CacheManager:
    """get_or_set with one load a key, a negative result and counters."""

    def __init__(self, cache):
        self.cache = cache

        @cache.memoize(3600, key=lambda key, fetch: key, store=lambda value: value is not None)
        async def load(key, fetch):
            value = await fetch()
            if value is None:
                cache.set(("none", key), True, 60)
            return value
        self._load = load

    async def get_or_set(self, key, fetch):
        return None if ("none", key) in self.cache else await self._load(key, fetch)

    def get_stats(self):
        stats = self.cache.stats()
        total = stats["hits"] + stats["misses"]
        return {**stats, "total": total, "hit_rate": stats["hits"] / total if total else 0}

    def clear_pattern(self, pattern):
        return self.cache.delete_pattern(pattern)


def _digest(text, model):
    return hashlib.md5(f"{model}:{text}".encode()).hexdigest()


class LLMCacheManager(CacheManager):
    """Answers of a model, by prompt and model."""

    def __init__(self, cache, ask):
        super().__init__(cache)
        self.answer = cache.memoize(3600, key=lambda prompt, model="small":
                                    f"llm:{_digest(prompt, model)}")(ask)


class EmbeddingCacheManager(CacheManager):
    """Vectors of texts: a list of floats is a value."""

    def __init__(self, cache, embed):
        super().__init__(cache)
        self.embedding = cache.memoize(86400, key=lambda text, model="small":
                                       f"emb:{_digest(text, model)}")(embed)


def managers_load_once_and_keep_negative_results():
    with cellar.Cache("8M") as cache:
        manager, runs = CacheManager(cache), []

        async def fetch():
            runs.append(1)
            return None if len(runs) > 1 else "data"

        async def main():
            keys = "test_key", "test_key", "none", "none"
            return [await manager.get_or_set(key, fetch) for key in keys]
        assert asyncio.run(main()) == ["data", "data", None, None] and len(runs) == 2
        assert manager.get_stats()["hit_rate"] > 0 and manager.clear_pattern("*") == 2
        vectors = EmbeddingCacheManager(cache, lambda text, model="small": [len(text), .5])
        answers = LLMCacheManager(cache, lambda prompt, model="small": prompt.upper())
        assert [vectors.embedding("ab"), vectors.embedding("ab")] == [[2, .5]] * 2
        assert [answers.answer("a", model="m"), answers.answer("a", model="m")] == ["A", "A"]
        assert vectors.embedding.cache_info() == answers.answer.cache_info() == (1, 1)


# ---- A manager with strategies, versions, fallback, metrics, a lock -----------------------------


def a_manager_and_a_decorator_run_over_a_cache():
    with cellar.Cache("8M") as cache:
        runs = []

        @cache.memoize(ttl=1800, key=lambda user_id, category: f"data:{user_id}:{category}")
        async def expensive(user_id, category):
            runs.append(user_id)
            return None  # a negative result is a stored None

        async def main():
            return [await expensive(7, "a") for _ in range(3)]
        with cellar.Lock("lock:user:7", timeout=10):
            assert not cellar.Lock("lock:user:7").acquire(False)
            assert asyncio.run(main()) == [None] * 3 and runs == [7] and "data:7:a" not in cache


# ---- States of tasks over a restart, limits of users --------------------------------------------


def states_of_3000_tasks_stay_over_a_restart(folder):
    text = ("import sys, cellar\ncache = cellar.Cache('16M', path=sys.argv[1], disk='64M')\n"
            "for n in range(3000): cache.set(f'task:{n}', {'status': 'processing', 'n': n}, ttl=3600)\n"
            "for n in range(0, 3000, 3): cache.set(f'task:{n}', {'status': 'success', 'n': n})")
    said_by(text, folder + "/c")
    with cellar.Cache("16M", path=folder + "/c", disk="64M") as cache:
        found = [cache[f"task:{n}"] for n in range(3000)]
        assert found == [{"status": "processing" if n % 3 else "success", "n": n} for n in range(3000)]
        assert 3000 < cache.ttl("task:1") <= 3600 and cache.ttl("task:0") is None
        limiter = cellar.Limiter(10, per=3600, cache=cache)
        assert sum(limiter.allow(("user", 7)) for _ in range(30)) == 10


# ---- Key templates, refresh, a source that fails ------------------------------------------------


def templates_refresh_and_survive_a_source_that_fails():
    with cellar.Cache("8M") as cache:
        runs, goes_on, fails = [], threading.Event(), threading.Event()

        @cache.memoize(ttl=.01, stale=600, key=lambda project, part: f"zsxq:project:{project}:{part}")
        def fetch(project, part):
            runs.append(threading.current_thread())
            if fails.is_set():
                raise ConnectionError("the source is away")
            assert len(runs) == 1 or goes_on.wait(SECONDS)
            return {"project": project, "part": part, "run": len(runs)}
        assert fetch(7, "stats")["run"] == 1
        until(lambda: fetch(7, "stats")["run"] == 1 and len(runs) == 2)  # a thread loads it again
        assert fetch(7, "stats")["run"] == 1 and runs[1] is not threading.current_thread()
        goes_on.set()
        until(lambda: fetch(7, "stats")["run"] > 1)
        fails.set()
        before = len(runs)
        until(lambda: fetch(7, "stats")["part"] == "stats" and len(runs) > before)
        assert fetch(7, "stats")["part"] == "stats"  # the old value serves
        cache.set_many({f"zsxq:project:7:{part}": part for part in ("info", "topics")}, ttl=7200)
        cache.set("zsxq:project:8:info", "info", ttl=7200)
        assert cache.delete_pattern("zsxq:project:7:*") == 2
        assert cache.get_many(["zsxq:project:7:info", "zsxq:project:8:info"]) == {
            "zsxq:project:8:info": "info"}
