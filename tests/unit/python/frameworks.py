# SPDX-License-Identifier: MIT
"""The tests of other projects: Django's for its caches, dogpile's, mypy."""
import importlib.util
import os
import re
import subprocess
import sys
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
