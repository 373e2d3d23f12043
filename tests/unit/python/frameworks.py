# SPDX-License-Identifier: MIT
"""The tests of other projects: Django's for its caches, dogpile's, CPython's of lru_cache, mypy."""
import functools
import importlib.util
import inspect
import os
import re
import subprocess
import sys
import types
import unittest

import cellar
from kit import SECONDS

ROOT = os.getcwd()


def _needs(*modules):
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise unittest.SkipTest(f"{module} is not installed")


def _failures(case):
    """Run a test case; return the names of the tests that failed, and how many ran."""
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(case)
    result = unittest.TextTestRunner(stream=sys.stderr).run(suite)
    failed = {case.id().split(".")[-1] for case, _ in result.failures + result.errors}
    return failed, result.testsRun


def django_passes_its_own_tests_but_two_of_another_eviction():
    _needs("django")
    tests = os.environ.get("DJANGO_TESTS", "")
    if not os.path.isdir(tests):
        raise unittest.SkipTest("the sdist of Django is not there")
    sys.path.append(tests)
    import django
    from django.conf import settings
    settings.configure(INSTALLED_APPS=["cache"], SECRET_KEY="x", USE_TZ=False, MIDDLEWARE=[], DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
    django.setup()
    from cache import tests as theirs
    from django.core.management import call_command
    from django.test import TestCase
    from django.test.utils import override_settings, setup_test_environment
    setup_test_environment()
    call_command("migrate", run_syncdb=True, verbosity=0)
    caches = theirs.caches_setting_for_tests(BACKEND="cellar.django.CellarCache")

    @override_settings(CACHES=caches)
    class Cellar(theirs.BaseCacheTests, TestCase):
        pass
    failed, ran = _failures(Cellar)
    assert failed == {"test_cull", "test_zero_cull"} and ran == 54, (failed, ran)


def a_pattern_of_django_is_of_one_prefix_as_it_is_written():
    _needs("django")
    from cellar.django import CellarCache
    caches = [CellarCache("one", {"KEY_PREFIX": prefix}) for prefix in ("s1", "s[1]", "a:b")]
    caches.append(CellarCache("one", {"KEY_FUNCTION": lambda key, prefix, version: f"{key}@{version}"}))
    for cache in caches:
        cache.set("k:1", 1)
        assert list(cache.iter_keys("k*")) == ["k:1"]
    assert caches[1].delete_pattern("*") == 1
    assert [cache.get("k:1") for cache in caches] == [1, None, 1, 1]
    assert caches[3].delete_pattern("k*") == 1


class _LruCache:
    """functools.lru_cache over memoize: most entries in place of bytes, and methods by identity."""

    def __init__(self, fn, maxsize, typed):
        functools.update_wrapper(self, fn)
        self._store = cellar.Cache("16M", max_entries=maxsize or 0)
        first = list(inspect.signature(fn).parameters)[:1]
        key = (lambda *args: (id(args[0]), *args[1:])) if first == ["self"] else None
        self._memo = self._store.memoize(key=key)(fn)
        self._parameters = {"maxsize": maxsize, "typed": typed}
        self.cache_clear = self._memo.cache_clear

    def __call__(self, *args, **kwargs):
        if self._parameters["maxsize"] == 0:
            self._memo.forget(*args, **kwargs)
        return self._memo(*args, **kwargs)

    def __get__(self, instance, owner=None):
        return self if instance is None else types.MethodType(self, instance)

    def __copy__(self, _memo=None):
        return self
    __deepcopy__ = __copy__

    def __reduce__(self):
        return self.__qualname__

    def cache_info(self):
        size = 0 if self._parameters["maxsize"] == 0 else len(self._store)
        return functools._CacheInfo(*self._memo.cache_info(), self._parameters["maxsize"], size)

    def cache_parameters(self):
        return dict(self._parameters)


def _lru_cache(maxsize=128, typed=False):
    if callable(maxsize):
        return _LruCache(maxsize, 128, typed)
    if maxsize is not None and not isinstance(maxsize, int):
        raise TypeError("Expected first argument to be an integer, a callable, or None")
    return lambda fn: _LruCache(fn, maxsize and max(maxsize, 0), typed)


@_lru_cache()
def _cached(x, y):
    return 3 * x + y


def the_tests_of_lru_cache_pass_but_those_of_other_rules():
    _needs("test", "test.test_functools")
    from test import test_functools
    module = types.SimpleNamespace(**{**vars(functools), "lru_cache": _lru_cache,
                                      "cache": _lru_cache(None)})

    class Lru(test_functools.TestLRU, unittest.TestCase):
        cached_func = _cached,

        @_lru_cache()
        def cached_meth(self, x, y):
            return 3 * x + y

        @staticmethod
        @_lru_cache()
        def cached_staticmeth(x, y):
            return 3 * x + y
    Lru.module = module
    Lru.__qualname__ = "Lru"
    globals()["Lru"] = Lru
    for fn in (Lru.cached_meth, Lru.cached_staticmeth):
        fn.__qualname__ = fn.__qualname__.split("<locals>.")[-1]
    failed, ran = _failures(Lru)
    del globals()["Lru"]
    assert ran == 27 and failed == {
        "test_lru_hash_only_once", "test_need_for_rlock",  # keys of other types need key=
        "test_lru_cache_typed_is_not_recursive",  # (1,) and (True,) are two keys
        "test_lru_cache_threaded2",  # threads wait for one run
        "test_lru_method"}, (failed, ran)  # which of three entries leaves


def the_program_of_tasks_runs_in_one_process():
    _needs("django")
    said = subprocess.run([sys.executable, "tests/examples/python/django_tasks.py", "memory"],
                          capture_output=True, text=True, timeout=SECONDS, check=True).stdout
    lines = said.splitlines()
    assert len(lines) == 34, said
    for line in ("batch: {3: {'n': 3}, 1: {'n': 1}, 49: {'n': 49}} True", "reads: [1, 2, 3]",
                 "cleared: 54 {} 0", "expiry: True", "reset: 3 (True, 2)", "counter: 6 4 4",
                 "touch: True True False", "persist: True None True", "lock: True",
                 "window: [(True, 2), (True, 1), (True, 0), (False, 0), (False, 0)]"):
        assert line in lines, (line, said)


def dogpile_passes_over_the_lines_of_the_page(folder):
    _needs("dogpile.cache", "pytest")
    with open(os.path.join(ROOT, "include/python.md"), encoding="utf-8") as page:
        code = re.search(r"```python\n(class CellarBackend.*?)```", page.read(), re.S)[1]
    with open(folder + "/test_region.py", "w", encoding="utf-8") as file:
        file.write("import sys, cellar, dogpile.cache.api\n"
                   "from dogpile.cache import register_backend\n"
                   "from dogpile.cache.api import NO_VALUE\n"
                   "from dogpile.testing.fixtures import _GenericBackendTestSuite\n" + code +
                   "register_backend('cellar', __name__, 'CellarBackend')\n"
                   "class TestCellar(_GenericBackendTestSuite):\n"
                   "    backend = 'cellar'\n"
                   "    config_args = {'arguments': {'cache': cellar.Cache('8M', codec='pickle')}}\n")
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder],
                          capture_output=True, text=True, timeout=10 * SECONDS)
    assert done.returncode == 0 and int(re.search(r"(\d+) passed", done.stdout)[1]) > 20, done.stdout


def stubs_are_clean_under_mypy_strict(folder):
    _needs("mypy")
    program = folder + "/program.py"
    with open(program, "w", encoding="utf-8") as file:
        file.write('''import cellar
cache = cellar.Cache("2M", ttl=60)
cache.set("k", 1, ttl=None)
cache[("a", 1)] = {"b": 2}
@cache.memoize(ttl=1, tags=("x",))
def square(n: int) -> int:
    return n * n
@cache.memoize
async def row(n: int) -> str:
    return str(n)
total: int = square(3) + cache.incr("n")
square.forget(3)
decision = cellar.Limiter(1, 60, cache=cache).check("k")
seconds: float | None = decision.retry_after
async def main() -> str:
    async with cellar.Lock("k"):
        return await row(1)
with cellar.serve(unix="/tmp/x") as server:
    server.close()
''')
    env = {**os.environ, "MYPYPATH": os.path.dirname(os.path.dirname(cellar.__file__))}
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--cache-dir", folder, program],
                          capture_output=True, text=True, env=env, timeout=10 * SECONDS)
    assert done.returncode == 0, done.stdout
