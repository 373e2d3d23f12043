# SPDX-License-Identifier: MIT
"""Workers that share a server: loads, counters, limiters, locks, and a server that goes away."""
import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import cellar
from kit import SECONDS, forked, raises, said_by, threads, until

WORKER = """
import sys, time, cellar
cache = cellar.Cache("4M", shared=sys.argv[1])
while not cache.stats()["shared"]: time.sleep(.001)
"""


def _url(folder):
    return f"unix://{folder}/sock?prefix=app"


def _workers(folder, text, count=4):
    """Run the text in workers, and return what they printed."""
    running = [subprocess.Popen([sys.executable, "-c", WORKER + text, _url(folder)],
                                stdout=subprocess.PIPE, text=True) for _ in range(count)]
    out = [process.communicate(timeout=SECONDS)[0].split() for process in running]
    assert [process.returncode for process in running] == [0] * count
    return out


def _proven(cache):
    until(lambda: cache.stats()["shared"])


def workers_see_one_cache(folder):
    with cellar.serve(unix=folder + "/sock", shared="16M"):
        with cellar.Cache("4M", shared=_url(folder)) as cache:
            _proven(cache)
            cache.set("k", {"a": 1}, ttl=60)
            part = cache.namespace("part")
            _proven(cache)
            part.set("k", 2)
            said = _workers(folder, "part = cache.namespace('part')\n"
                            "while not cache.stats()['shared']: time.sleep(.001)\n"
                            "print(cache['k']['a'], part['k'], 30 < cache.ttl('k') <= 60)\n"
                            "cache.set('w', 3)", 1)
            assert said == [["1", "2", "True"]], said
            until(lambda: cache.get_many(["k", "w", "none"]) == {"k": {"a": 1}, "w": 3})
            assert cache.delete("k") and "k" not in cache
            said = forked(lambda: (cache.get("w"), _proven(cache), cache["w"], cache.set("child", 1))[2:])
            assert said == "(3, None)" and cache["child"] == 1


def four_workers_load_each_key_once(folder):
    text = """
import threading, os
def load(key):
    print(key, flush=True)
    import time; time.sleep(.02)
    return key
def run():
    for n in range(20): assert cache.get_or_load(n, load) == n
running = [threading.Thread(target=run) for _ in range(5)]
[t.start() for t in running]; [t.join() for t in running]
"""
    with cellar.serve(unix=folder + "/sock", shared="16M"):
        loads = sum(_workers(folder, text), [])
    assert sorted(map(int, loads)) == list(range(20)), loads


def four_workers_share_counters_limiters_and_locks(folder):
    text = """
limiter = cellar.Limiter(100, 3600, cache=cache)
print(sum(limiter.allow('k') for _ in range(100)))
for _ in range(20):
    with cellar.Lock('k', cache=cache):
        cache.set('n', cache.get('n', 0) + 1)
for _ in range(500): cache.incr('count')
"""
    with cellar.serve(unix=folder + "/sock", shared="16M"):
        admitted = sum(int(line) for out in _workers(folder, text) for line in out)
        with cellar.Cache("4M", shared=_url(folder)) as cache:
            _proven(cache)
            assert cache["n"] == 80 and cache["count"] == 2000
    assert admitted == 100, admitted


def without_the_server_each_worker_loads_for_itself(folder):
    server = cellar.serve(unix=folder + "/sock", shared="16M")
    with cellar.Cache("4M", shared=_url(folder)) as cache:
        _proven(cache)
        cache.set("k", 1)
        limiter = cellar.Limiter(10, 3600, cache=cache)
        assert limiter.allow("k")
        server.close()
        until(lambda: not cache.stats()["shared"])
        assert cache.get("k") is None and cache.get_or_load("l", lambda k: 2) == 2
        cache.set("k", 3)
        raises(cellar.Error, cache.incr, "n")
        assert 0 < sum(limiter.allow("l") for _ in range(30)) <= 10
        with cellar.serve(unix=folder + "/sock", shared="16M"):
            _proven(cache)
            cache.set("k", 4)
            assert cache["k"] == 4
            assert [limiter.allow("new") for _ in range(11)] == [True] * 10 + [False]


def a_close_by_an_argument_ends_the_call_of_a_limiter_or_lock(folder):
    class Closing:
        def __float__(self):
            cache.close()
            return 1.0
    with cellar.serve(unix=folder + "/sock", shared="16M"):
        for call in (lambda: cellar.Limiter(1, Closing(), cache=cache),
                     lambda: cellar.Lock("k", hold=Closing(), cache=cache).acquire()):
            cache = cellar.Cache("4M", shared=_url(folder))
            error = raises(cellar.Error, call)
            assert "the Cache is closed" in str(error) and error.code == -10


def threads_of_a_worker_open_one_limiter(folder):
    server = cellar.serve(unix=folder + "/sock", shared="16M")
    with cellar.Cache("4M", shared=_url(folder)) as cache:
        limiter = cellar.Limiter(2, 600, cache=cache)
        server.close()
        said = forked(lambda: sorted(threads(4, lambda: limiter.allow("k")), key=str))
        assert said == "[False, False, True, True]", said


def a_limiter_is_closed_when_its_link_is(folder):
    with cellar.serve(unix=folder + "/sock", shared="16M"):
        with cellar.Cache("4M", shared=_url(folder)) as cache:
            limiter = cellar.Limiter(10, 600, cache=cache)
            assert limiter.allow("k")
            raises(cellar.Error, cache.get_or_load, "k", lambda key: cache.close())
            assert raises(cellar.Error, limiter.allow, "k").code == -10


def the_command_serves_and_writes_log_lines_until_a_signal(folder):
    raises(ValueError, cellar.serve)
    server = subprocess.Popen([sys.executable, "-m", "cellar", "serve", "--unix", folder + "/sock",
                               "--shared", "16M"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True)
    assert server.stdout.readline() == "ready\n"
    assert _workers(folder, "cache.set('k', 5); print(cache['k'])", 1) == [["5"]]
    os.unlink(folder + "/sock")
    watchdog = threading.Timer(SECONDS, server.kill)
    watchdog.start()
    assert "was removed" in server.stderr.readline()
    watchdog.cancel()
    server.terminate()
    assert server.wait(SECONDS) == 0
    server.stdout.close()
    server.stderr.close()


def _state(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0]


def calls_of_a_lock_fail_while_the_server_is_silent(folder):
    server = subprocess.Popen([sys.executable, "-m", "cellar", "serve", "--unix", folder + "/sock",
                               "--shared", "16M"], stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == "ready\n"
    with cellar.Cache("4M", shared=_url(folder)) as cache:
        lock = cellar.Lock("k", hold=600, cache=cache)
        assert lock.acquire()
        server.send_signal(signal.SIGSTOP)
        until(lambda: _state(server.pid) == "T")
        raises(cellar.Error, lock.extend, 600)
        assert lock.fence is not None  # it may still be held
        raises(cellar.Error, lock.release)
        assert lock.fence is None
        server.kill()
        server.communicate()


def a_server_stays_with_its_process(folder):
    with cellar.serve(unix=folder + "/sock", shared="16M") as server:
        assert forked(server.close) == "None"
        assert _workers(folder, "cache.set('k', 5); print(cache['k'])", 1) == [["5"]]


def threads_of_a_worker_open_one_link(folder):
    def fds():
        return len(os.listdir("/proc/self/fd"))

    def child(count):
        before = fds()
        counts = threads(count, lambda: (part if count == 9 else cache).incr("n"))
        return sorted(map(str, counts)), fds() - before
    with cellar.serve(unix=folder + "/sock", shared="16M"):
        with cellar.Cache("4M", shared=_url(folder)) as cache:
            part = cache.namespace("part")
            one, eight, nine = (eval(forked(lambda n=n: child(n))) for n in (1, 8, 9))
            assert one[0] == ["1"] and eight[0] == list("23456789") and nine[0] == list("123456789")
            assert one[1] == eight[1] == nine[1], (one, eight, nine)


def a_close_during_the_open_of_another_thread_closes_the_store(folder):
    def child():
        out = []
        thread = threading.Thread(target=lambda: out.extend(threads(1, lambda: cache.get("k"))))
        thread.start()
        time.sleep(.1)  # the other thread waits for the server
        cache.close()
        thread.join(SECONDS)
        return str(out[0]), until(lambda: len(os.listdir("/proc/self/task")) == 1)
    server = cellar.serve(unix=folder + "/sock", shared="16M")
    with cellar.Cache("4M", shared=_url(folder)) as cache:
        server.close()
        def closed():  # False: the open ended before the close
            said = forked(child)
            assert said.endswith(" True)"), said
            return "closed" in said
        until(closed)


def a_signal_handler_calls_the_store_that_its_thread_opens(folder):
    def child():
        out = []
        signal.signal(signal.SIGALRM, lambda *_: out.append(cache.get("handler", 1)))
        signal.setitimer(signal.ITIMER_REAL, .1)
        return cache.get("k", 2), out
    server = cellar.serve(unix=folder + "/sock", shared="16M")
    with cellar.Cache("4M", shared=_url(folder)) as cache:
        server.close()
        assert forked(child) == "(2, [1])"


def a_failing_loader_is_its_own_in_each_worker(folder):
    text = """
def load(key):
    print("ran", flush=True)
    raise KeyError("no row")
try: cache.get_or_load("k", load)
except KeyError: print("KeyError")
except cellar.LoadError as error: print("LoadError", error.code)
"""
    with cellar.serve(unix=folder + "/sock", shared="16M"):
        out = _workers(folder, text)
    assert all(line[-1] == "KeyError" for line in out), out


def _absent(name, envelope):
    """Return the envelope (remote/form.c) of a value as that of a key known to be absent."""
    head, check = bytearray(envelope[:48]), 0
    head[4], head[40:44] = 2, bytes(4)
    for text in (name, head, b""):
        for at in range(0, len(text), 8):
            check = (check ^ int.from_bytes(text[at:at + 8], "little")) * 0x9E3779B97F4A7C15 % 2**64
            check ^= check >> 32
        check = (check ^ len(text)) * 0xD6E8FEB86659FD93 % 2**64
        check ^= check >> 29
    return head + check.to_bytes(8, "little")


def a_task_takes_a_key_that_a_program_in_c_knows_to_be_absent_for_none(folder):
    async def row():
        return 1

    def ask(*words):
        client.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words))
        return client.recv(4096).split(b"\r\n", 1)[1][:-2]
    with cellar.serve(unix=folder + "/sock", shared="16M", writable=True), socket.socket(socket.AF_UNIX) as client:
        client.connect(folder + "/sock")
        for found in (1, None):
            with cellar.Cache("4M", shared=_url(folder)) as cache:
                assert asyncio.run(asyncio.wait_for(cache.memoize(row)(), 20)) is found
            name = ask(b"KEYS", b"*").split(b"\r\n")[1]
            ask(b"SET", name, _absent(name, ask(b"GET", name)))


def clients_of_redis_use_the_port(folder):
    def ask(*words):
        text = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        client.sendall(text.encode())
        return client.recv(4096).decode()
    with cellar.serve(unix=folder + "/sock", shared=None, writable=True):
        client = socket.socket(socket.AF_UNIX)
        client.connect(folder + "/sock")
        assert ask("SETEX", "k", "60", "text") == "+OK\r\n"
        assert ask("GET", "k") == "$4\r\ntext\r\n"
        assert ask("KEYS", "*") == "*1\r\n$1\r\nk\r\n"
        assert ask("DEL", "k") == ":1\r\n" and ask("GET", "k") == "$-1\r\n"
        client.close()


LAST_REFERENCE = """
import gc, sys, threading, time, weakref, cellar
cache = cellar.Cache("4M", shared=sys.argv[1])
part = cache.namespace("n")
begun, go, ref = threading.Event(), threading.Event(), weakref.ref(cache)
@part.memoize(ttl=.01, stale=600)
def slow():
    if slow.cache_info().misses > 1:
        begun.set()
        go.wait()
slow()
while not begun.is_set(): slow()
del cache, part, slow
gc.collect()
assert ref() is not None
go.set()
while ref() is not None: time.sleep(.001)
import os
while len(os.listdir("/proc/self/task")) > 1: time.sleep(.001)
print("closed")
"""


def the_last_reference_in_a_thread_of_the_store_closes_store_and_link(folder):
    with cellar.serve(unix=folder + "/sock", shared="16M"):
        assert said_by(LAST_REFERENCE, _url(folder)) == "closed"
