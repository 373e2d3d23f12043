# SPDX-License-Identifier: MIT
"""Four workers of gunicorn with 12 threads each, with and without preload, over a server of shared=."""
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

from kit import SECONDS, threads, until

CONFIG = """
import cellar
bind, workers, threads, worker_class = "unix:{folder}/http", 4, 12, "gthread"
preload_app, accesslog, loglevel, backlog = {preload}, None, "error", 1024
def on_starting(server):
    server.cellar = cellar.serve(unix="{folder}/sock", shared="16M") if {own} else None
"""
APP = """
import os, time, cellar
cache = cellar.Cache("4M", shared="unix://{folder}/sock?prefix=app")
limiter = cellar.Limiter(100, 3600, cache=cache)
def load(key):
    with open("{folder}/loads", "a") as file:
        file.write(f"{{os.getpid()}} {{key}}\\n")
    time.sleep(1 if key.startswith("slow") else .02)
    return key
def app(environ, start_response):
    what, key = environ["PATH_INFO"][1:].split("/")
    if what == "load":
        said = cache.get_or_load(key, load)
    elif what == "limit":
        said = str(limiter.allow(key))
    else:
        time.sleep(.02)  # so that no worker answers alone
        said = f"{{os.getpid()}} {{cache.stats()['shared']}}"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [said.encode()]
"""


class _Gunicorn:
    """Workers with an app in a folder, and what they answer."""

    def __init__(self, folder, preload, own=True):
        if importlib.util.find_spec("gunicorn") is None:
            raise unittest.SkipTest("gunicorn is not installed")
        self.folder = folder
        for name, text in (("gunicorn.conf.py", CONFIG), ("app.py", APP)):
            with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
                file.write(text.format(folder=folder, preload=preload, own=own))
        self.master = subprocess.Popen([sys.executable, "-m", "gunicorn", "--chdir", folder, "-c",
                                        folder + "/gunicorn.conf.py", "app:app"])

    def __enter__(self):
        self.workers()
        return self

    def __exit__(self, *_):
        self.master.terminate()
        assert self.master.wait(SECONDS) == 0

    def get(self, path):
        """Return the answer to one request, which must be 200."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(SECONDS)
            client.connect(self.folder + "/http")
            client.sendall(f"GET /{path} HTTP/1.0\r\n\r\n".encode())
            with client.makefile("rb") as file:
                head, _, body = file.read().partition(b"\r\n\r\n")
        assert b" 200 " in head.split(b"\r\n")[0], (path, head)
        return body.decode()

    def workers(self):
        """Wait until four workers answer, with links that are proven. Return their numbers."""
        proven = set()

        def ask():
            try:
                pid, shared = self.get("who/me").split()
                proven.update([pid] if shared == "1" else [])
            except OSError:
                pass
        until(lambda: threads(24, ask) and len(proven) >= 4)
        return proven

    def get_all(self, paths):
        """Ask for all paths at once, over 40 connections."""
        left, out = list(paths), []

        def run():
            while left:
                try:
                    path = left.pop()
                except IndexError:
                    break
                out.append(self.get(path))
        done = threads(40, run)
        assert done == [None] * 40, done
        return out

    def loads(self):
        """Return (pid, key) of each load."""
        try:
            with open(self.folder + "/loads", encoding="utf-8") as file:
                return [line.split() for line in file]
        except FileNotFoundError:
            return []


def _loads_and_limits_are_those_of_all(workers):
    keys = [f"k{n}" for n in range(20)]
    assert sorted(workers.get_all(f"load/{key}" for key in keys * 20)) == sorted(keys * 20)
    assert sorted(key for _, key in workers.loads()) == sorted(keys), workers.loads()
    answers = workers.get_all("limit/u" for _ in range(400))
    assert answers.count("True") == 100 and len(answers) == 400, answers.count("True")


def gunicorn_loads_each_key_once_and_admits_exactly(folder):
    for preload in False, True:
        part = f"{folder}/{preload}"
        os.mkdir(part)
        with _Gunicorn(part, preload) as workers:
            _loads_and_limits_are_those_of_all(workers)


def a_worker_of_gunicorn_killed_in_its_load_is_replaced(folder):
    late = []
    for _ in range(5):
        with _Gunicorn(folder, preload=False) as workers:
            name = f"slow{len(late)}"
            out = []
            asking = [threading.Thread(target=lambda: out.append(_answer(workers, name)))
                      for _ in range(12)]
            for thread in asking:
                thread.start()
            pid = until(lambda: [p for p, key in workers.loads() if key == name])[0]
            os.kill(int(pid), signal.SIGKILL)
            begin = time.monotonic()
            for thread in asking:
                thread.join(SECONDS)
            late.append(time.monotonic() - begin - 1)  # its successor loads for 1 s
            assert name in out and set(out) <= {name, None}, out  # None: a request of the dead worker
            workers.workers()
        if late[-1] < .5:
            return
    raise AssertionError(late)


def _answer(workers, name):
    try:
        return workers.get(f"load/{name}")
    except (AssertionError, OSError):
        return None


def gunicorn_goes_on_without_its_server(folder):
    def serve():
        server = subprocess.Popen([sys.executable, "-m", "cellar", "serve", "--unix",
                                   folder + "/sock", "--shared", "16M"], stdout=subprocess.PIPE)
        assert server.stdout.readline() == b"ready\n"
        return server
    server = serve()
    with _Gunicorn(folder, preload=False, own=False) as workers:
        for number, end in enumerate((signal.SIGTERM, signal.SIGKILL)):
            keys = [f"load/{number}.{n}" for n in range(20)]
            assert len(workers.get_all(keys * 5)) == 100
            server.send_signal(end)
            server.communicate()
            assert len(workers.get_all(keys * 5)) == 100
            server = serve()
            workers.workers()
            keys = [f"load/{number}.new.{n}" for n in range(20)]
            assert len(workers.get_all(keys * 5)) == 100
            loaded = [key for _, key in workers.loads() if f"{number}.new." in key]
            assert sorted(loaded) == sorted(path[5:] for path in keys), loaded
    server.terminate()
    server.communicate()
