# SPDX-License-Identifier: MIT
"""Run the cases of the files beside this one: each function without "_" in front of its name.

A case passes when it returns. It gets a folder of its own if it has an argument. Usage: run.py
[FILE or CASE]... A case that raises unittest.SkipTest is a skip."""
import importlib
import inspect
import os
import shutil
import sys
import tempfile
import traceback
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = ["values", "calls", "disk", "loads", "coroutines", "processes", "guards", "workers", "documents"]


def cases(wanted):
    for name in [*FILES, "frameworks", "gunicorn_workers", "references"] if wanted else FILES:
        module = importlib.import_module(name)
        for case, fn in vars(module).items():
            if (inspect.isfunction(fn) and fn.__module__ == name and not case.startswith("_")
                    and (not wanted or name in wanted or case in wanted)):
                yield case, fn


def run(fn):
    folder = tempfile.mkdtemp(prefix="cellar-python.")
    try:
        fn(*[folder] * fn.__code__.co_argcount)
        return "passed", ""
    except unittest.SkipTest as why:
        return "skipped", f" # SKIP {why}"
    except BaseException:
        traceback.print_exc()
        return "failed", ""
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for number, (case, fn) in enumerate(cases(sys.argv[1:]), 1):
        result, why = run(fn)
        counts[result] += 1
        print("not ok" if result == "failed" else "ok", number, "-", case + why, flush=True)
    print("python: {passed} passed, {failed} failed, {skipped} skipped".format(**counts))
    return counts["failed"] > 0 or counts["passed"] == 0


if __name__ == "__main__":
    sys.exit(main())
