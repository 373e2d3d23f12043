# SPDX-License-Identifier: MIT
"""A Cache with a path: what stays after an exit, a kill and a restart."""
import os
import sys
import threading
import time

import cellar
from kit import forked, python, raises, said_by, until

OPEN = "import sys, os, cellar; cache = cellar.Cache('16M', path=sys.argv[1], disk='64M')\n"


def _open(folder, **options):
    return cellar.Cache("16M", path=folder + "/c", disk="64M", **options)


def entries_stay_over_close_and_open(folder):
    with _open(folder) as cache:
        cache.set_many({n: {"n": n} for n in range(3000)})
        cache.namespace("part").set("k", 1)
    with _open(folder) as cache:
        assert cache.get_many(range(3000)) == {n: {"n": n} for n in range(3000)}
        assert cache.namespace("part")["k"] == 1 and cache.stats()["hits_below"] >= 3000
        assert len(set(cache)) == 3000
        assert cache.delete(1) and 1 not in cache and cache.incr("n") == 1


def a_count_after_a_delete_begins_again(folder):
    """Threads add while the key is set and deleted: no sum of before the delete comes back."""
    done, ended = [0] * 3, threading.Event()

    def add(i):
        while not ended.is_set():
            cache.incr("n")
            done[i] += 1
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    with _open(folder) as cache:
        running = [threading.Thread(target=add, args=(i,)) for i in range(3)]
        for thread in running:
            thread.start()
        for _ in range(40):
            cache.set("n", 10**9)
            cache.delete("n")
            before = list(done)
            until(lambda: all(now >= then + 2 for now, then in zip(done, before)))
            if cache.get("n", 0) >= 10**9:
                break
        ended.set()
        for thread in running:
            thread.join()
        sys.setswitchinterval(interval)
        assert cache["n"] < 10**9


def an_exit_with_a_thread_in_a_load_ends_and_keeps_the_entries(folder):
    said_by(OPEN + "import threading, time\nfor n in range(100): cache.set(n, n)\n"
            "begun = threading.Event()\n"
            "def slow(key): begun.set(); time.sleep(1000)\n"
            "threading.Thread(target=cache.get_or_load, args=('k', slow), daemon=True).start()\n"
            "begun.wait()", folder + "/c")
    with _open(folder) as cache:
        assert len(cache.get_many(range(100))) == 100


def durable_sets_survive_a_kill(folder):
    text = OPEN.replace("disk='64M'", "disk='64M', durable=True")
    process = python(text + "for n in range(500): cache.set(n, n)\n"
                     "print('done', flush=True); sys.stdin.read()", folder + "/c", stdin=-1)
    assert process.stdout.readline() == "done\n"
    process.kill()
    process.communicate()
    with _open(folder) as cache:
        assert len(cache.get_many(range(500))) == 500


def a_kill_50_ms_after_the_last_set_loses_nothing(folder):
    text = OPEN + "for n in range(5000): cache.set(n, str(n))\nprint('done', flush=True); sys.stdin.read()"
    for number, seconds in enumerate((.05, .2, 1, 5)):  # the writer of a busy machine is late
        path = f"{folder}/c{number}"
        process = python(text, path, stdin=-1)
        assert process.stdout.readline() == "done\n"
        time.sleep(seconds)
        process.kill()
        process.communicate()
        with cellar.Cache("16M", path=path, disk="64M") as cache:
            found = cache.get_many(range(5000))
        if len(found) == 5000:
            break
    assert found == {n: str(n) for n in range(5000)}, len(found)


def a_path_in_use_names_the_process(folder):
    with _open(folder) as cache:
        said = forked(lambda: _open(folder))
        assert "in use" in said and str(os.getpid()) in said, said
        cache.set("k", 1)
        assert forked(lambda: _open(folder, optional=True).get("k", 2)) == "2"
        said = forked(lambda: cache.get("k"))
        assert "Error" in said and str(os.getpid()) in said, said
        raises(cellar.Error, _open, folder)
        assert cache["k"] == 1


def a_child_may_open_the_path_after_the_parent_closed_it(folder):
    cache = _open(folder)
    cache.set("k", 1)
    cache.close()
    assert forked(lambda: _open(folder)["k"]) == "1"


def a_full_disk_is_no_error(folder):
    with cellar.Cache("2M", path=folder + "/c", disk="16M") as cache:
        for n in range(40_000):
            cache.set(n, "x" * 1000)
        assert cache[39_999] == "x" * 1000


def memoized_results_stay_over_a_restart(folder):
    text = OPEN + ("@cache.memoize\ndef square(n): print('ran', n); return n * n\n"
                   "print(square(3), square(3))")
    assert said_by(text, folder + "/c") == "ran 3\n9 9"
    assert said_by(text, folder + "/c") == "9 9"


def _damage(path, begin=0):
    for name in os.listdir(path):
        with open(f"{path}/{name}", "r+b") as file:
            file.seek(begin)
            file.write(b"\xff" * (os.path.getsize(file.name) - begin))


def a_log_line_that_is_cut_inside_of_a_character_is_written(folder):
    text = """
import logging, sys, cellar
logging.basicConfig(stream=sys.stdout, format="%(message)s")
cellar.Cache("4M", path=sys.argv[1], disk="16M").close()
"""
    for begin in ("", "x"):  # of the two lines one is cut inside of a character
        path = f"{folder}/{begin}" + ("\u00e4" * 100 + "/") * 4
        os.makedirs(path)
        cellar.Cache("4M", path=path, disk="16M").close()
        _damage(path, 8)
        assert "l2_path is damaged" in said_by(text, path)


def a_damaged_directory_opens_empty_or_in_memory(folder):
    with _open(folder) as cache:
        cache.set("k", 1)
    _damage(folder + "/c")
    with _open(folder, optional=True) as cache:
        until(lambda: cache.get("k") is None)
        cache.set("k", 2)
        assert cache["k"] == 2
