# SPDX-License-Identifier: MIT
"""What the cases share: a child of a fork, another Python, a call that must fail, threads."""
import os
import subprocess
import sys
import threading
import time

SECONDS = 60  # a wait that a fault would make endless


def _traceback_of(error):
    return f"{type(error).__name__}: {error}"


def forked(fn):
    """Return what `fn` returns or raises in a child, as text."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = repr(fn())
        except BaseException as error:
            said = _traceback_of(error)
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    return said


def python(text, *args, **options):
    """Start another Python that runs the text."""
    return subprocess.Popen([sys.executable, "-c", text, *args], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **options)


def said_by(text, *args):
    """Return the output of another Python, which must end well."""
    process = python(text, *args)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    return out.strip()


def raises(kind, fn, *args, **kwargs):
    """Return the exception of a call, which must be of this type."""
    try:
        value = fn(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} expected, got {value!r}")


def threads(count, fn):
    """Run `fn` in threads, and return what each returned or raised."""
    out = []

    def run():
        try:
            out.append(fn())
        except BaseException as error:
            out.append(error)
    running = [threading.Thread(target=run) for _ in range(count)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(SECONDS)
    return out


def until(fn):
    """Wait until the function returns a true value, and return it."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if value := fn():
            return value
        time.sleep(.001)
    raise AssertionError("waited too long")
