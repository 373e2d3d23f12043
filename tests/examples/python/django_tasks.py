# SPDX-License-Identifier: MIT
"""This program shows a status cache of tasks and a limiter of users, over django.core.cache.

Usage: python3 django_tasks.py URL     redis://127.0.0.1:6379/0, unix:///run/cellar.sock?db=0,
or the word memory: a cache in this process, of the package cellar-cache.

It needs Django, for a URL django-redis as well, and an empty database: it ends with cache.clear(),
which deletes all keys of the database, also those of other programs. It refuses a database with
keys. The classes call the cache alone, so the same lines run with a server of Redis, with `cellar
serve` and in one process. The program prints one line a fact; a line has no time and no address, so that the output of
two servers can be compared.
"""
import json
import sys
import time
import types
from urllib.parse import quote

import django
from django.conf import settings


def configure(url):
    """Connect django.core.cache to the server at `url`, or to a cache in this process."""
    if url == "memory":
        settings.configure(CACHES={"default": {"BACKEND": "cellar.django.CellarCache"}})
        return django.setup()
    settings.configure(CACHES={"default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": url,
        "OPTIONS": {"CLIENT_CLASS": "django_redis.client.DefaultClient"},
    }})
    django.setup()


def count(cache, name, seconds):
    """Add 1 to a counter that begins with its first call and lives for `seconds`."""
    while True:
        try:
            return cache.incr(name)
        except ValueError:  # the first call, or the counter has just expired
            if cache.add(name, 1, seconds):
                return 1


class TaskCacheManager:
    """Keep the state of each task as JSON, with a TTL by state."""

    KEY_PREFIX = "image_task"
    CACHE_TTL = {"processing": 300, "success": 3600, "failed": 1800, "batch": 600}

    def __init__(self, cache):
        self.cache = cache

    def key(self, task_id):
        return f"{self.KEY_PREFIX}:{task_id}"

    def set_task(self, task_id, data, status):
        ttl = self.CACHE_TTL.get(status, self.CACHE_TTL["processing"])
        self.cache.set(self.key(task_id), json.dumps({**data, "status": status}), ttl)

    def decode(self, task_id, text):
        """Return the task of a text. Remove an entry that is no JSON."""
        try:
            return json.loads(text)
        except (TypeError, ValueError):
            self.cache.delete(self.key(task_id))
            return None

    def get_task(self, task_id):
        """Return the task, or None. A page that shows the task calls count_read, too."""
        text = self.cache.get(self.key(task_id))
        return None if text is None else self.decode(task_id, text)

    def update_task_status(self, task_id, status, more=None):
        """Merge `more` into the task and give it the TTL of its new state.

        The lock is for the merges of two workers: without it one of them would get lost. Raise
        LockError if the lock is not free within 5 s (the merge is not done: try again), or if the
        merge took more than the 10 s of the lock (another merge may have run in between)."""
        with self.cache.lock(f"lock:{self.key(task_id)}", timeout=10, blocking_timeout=5):
            task = self.get_task(task_id)
            if task is None:
                return False
            self.set_task(task_id, {**task, **(more or {})}, status)
            return True

    def batch_get_tasks(self, task_ids):
        found = self.cache.get_many([self.key(t) for t in task_ids])
        tasks = {t: self.decode(t, found[self.key(t)]) for t in task_ids if self.key(t) in found}
        return {t: task for t, task in tasks.items() if task is not None}

    def batch_set_tasks(self, tasks):
        self.cache.set_many({self.key(t): json.dumps(d) for t, d in tasks.items()},
                            self.CACHE_TTL["batch"])

    def count_read(self, task_id):
        """Count a read, and return the reads of the last minute."""
        return count(self.cache, f"hot:{self.key(task_id)}", 60)

    def clear(self):
        return self.cache.delete_pattern(f"{self.KEY_PREFIX}:*")


class UserRateLimiter:
    """Admit `limit` calls of a user in each window of whole seconds; around the begin of a window
    up to twice as many."""

    def __init__(self, cache):
        self.cache = cache

    def prefix(self, user):
        # quoted: no ":" and no wildcard, so the pattern of one user never matches another one
        return f"rate_limit:{quote(str(user), safe='')}:"

    def key(self, user, window, now):
        return f"{self.prefix(user)}{window}:{int(now) // window * window}"

    def check(self, user, limit, window, now=None):
        """Return whether the call is admitted, and how many calls the window has left."""
        name = self.key(user, window, time.time() if now is None else now)
        calls = count(self.cache, name, window)
        return calls <= limit, max(limit - calls, 0)

    def reset(self, user):
        """Forget every window of the user: its keys have a time in their names."""
        return self.cache.delete_pattern(f"{self.prefix(user)}*")


def show_tasks(cache, client):
    tasks = TaskCacheManager(cache)
    print("missing:", tasks.get_task("none"))
    for state in ("processing", "success", "failed", "unknown"):
        tasks.set_task(state, {"user": 7, "name": "\u00e9t\u00e9"}, state)
        want = tasks.CACHE_TTL.get(state, 300)
        print(state, tasks.get_task(state), want - 100 < cache.ttl(tasks.key(state)) <= want)
    print("merge:", tasks.update_task_status("processing", "success", {"url": "/a.png"}))
    print("merged:", tasks.get_task("processing"),
          3500 < cache.ttl(tasks.key("processing")) <= 3600)
    print("merge of a missing task:", tasks.update_task_status("none", "success"))
    tasks.batch_set_tasks({n: {"n": n} for n in range(50)})
    print("batch:", tasks.batch_get_tasks([3, 99, 1, 3, 49]), 500 < cache.ttl(tasks.key(3)) <= 600)
    cache.set(tasks.key("broken"), "{", 60)
    print("broken:", tasks.get_task("broken"), tasks.key("broken") in cache)
    cache.set(tasks.key("broken"), "{", 60)
    print("broken of a batch:", tasks.batch_get_tasks(["broken", 3]), tasks.key("broken") in cache)
    print("reads:", [tasks.count_read("counted") for _ in range(3)])
    print("keys:", sorted(cache.iter_keys("image_task:1*")))
    print("known to the server:", client.dbsize())
    print("cleared:", tasks.clear(), tasks.batch_get_tasks(range(50)), tasks.clear())


def show_limiter(cache):
    limiter = UserRateLimiter(cache)
    print("window:", [limiter.check("ada", 3, 600, 1800) for _ in range(5)])
    print("other user:", limiter.check("bob", 3, 600, 1800))
    print("next window:", limiter.check("ada", 3, 600, 2400))
    print("expiry:", 500 < cache.ttl(limiter.key("ada", 600, 1800)) <= 600)
    print("reset of another name:", [limiter.reset(name) for name in ("*", "a?a", "ad")])
    print("windows of two lengths:", limiter.check("ada", 3, 300, 1800))
    print("reset:", limiter.reset("ada"), limiter.check("ada", 3, 600, 1800))
    try:
        cache.incr("nothing")
    except ValueError as e:
        print("increment of a missing key:", e)


def show_calls(cache):
    """Other calls of django.core.cache."""
    print("add:", cache.add("a", 1), cache.add("a", 2), cache.get("a"))
    print("counter:", cache.incr("a", 5), cache.decr("a", 2), cache.get("a"))
    print("objects:", cache.set("o", {"list": [1, 2.5, None]}), cache.get("o"))
    print("get or set:", cache.get_or_set("s", lambda: "made", 60), cache.get("s"))
    print("touch:", cache.touch("s", 900), 800 < cache.ttl("s") <= 900, cache.touch("none", 9))
    print("persist:", cache.persist("s"), cache.ttl("s"), cache.expire("s", 50))
    print("version:", cache.incr_version("s"), cache.get("s"), cache.get("s", version=2))
    print("no value stays:", cache.set("z", 1, 0), cache.get("z"))
    with cache.lock("job", timeout=10):
        print("lock:", cache.add("job", 1))
    print("delete:", cache.delete("a"), cache.delete("a"), cache.delete_many(["o", "s"]))
    print("clear:", cache.clear(), cache.get("o"), list(cache.iter_keys("*")))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    configure(sys.argv[1])
    from django.core.cache import cache
    if sys.argv[1] == "memory":
        client = types.SimpleNamespace(dbsize=lambda: len(cache._cache))
    else:
        from django_redis import get_redis_connection
        client = get_redis_connection("default")
    if client.dbsize() != 0:
        sys.exit("django_tasks: the database has keys, and this program would delete them: "
                 "name an empty one, for example /15 instead of /0")
    show_tasks(cache, client)
    show_limiter(cache)
    show_calls(cache)
