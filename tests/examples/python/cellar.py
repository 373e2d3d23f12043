# SPDX-License-Identifier: MIT
"""This module calls the C library cellar from Python, with ctypes and the standard library alone.

    import cellar
    with cellar.Cache(memory_bytes=64 << 20) as cache:
        cache.set("user:7", b"Ada", ttl=60)
        page = cache.get_or_load("page", lambda key: fetch(key), ttl=60)

Keys are bytes or str, values are bytes, times are seconds. A miss is None. An error raises OSError
with the code of the library. A number outside 0..2^63-1 (times in units of the library) raises
OverflowError, a negative ttl OSError: ctypes alone would cut it to 64 bits. After a fork the child
opens objects of its own: calls on those of its parent raise OSError. CELLAR_LIBRARY names another
shared library.
"""
import ctypes as C
import os

# Numbers of the headers: codes of results, the ABI, and the algorithm of a limiter.
OK, STALE, LIMITED, E_LOADER = 0, 3, 9, -17
ABI = 3
SLIDING_LOG = 2


class Prefix(C.Structure):
    """Options: the first fields of a C struct. struct_size tells the library where they end."""

    def __init__(self, **fields):
        super().__init__(struct_size=C.sizeof(type(self)), **fields)


class Config(Prefix):
    _fields_ = [("struct_size", C.c_size_t), ("abi", C.c_uint32), ("eviction", C.c_int),
                ("memory_bytes", C.c_uint64)]


class SetOpts(Prefix):
    _fields_ = [("struct_size", C.c_size_t), ("ttl_ms", C.c_int64)]


class LoadOpts(Prefix):
    _fields_ = [("struct_size", C.c_size_t), ("ttl_ms", C.c_int64)]


class Result(Prefix):
    """cellar_result, whole: the library writes all its fields."""
    _fields_ = [("struct_size", C.c_size_t), ("buf", C.c_void_p), ("buf_cap", C.c_size_t),
                ("value", C.c_void_p), ("value_len", C.c_size_t), ("source", C.c_int),
                ("flags", C.c_uint32), ("user_flags", C.c_uint32), ("loader_err", C.c_int32),
                ("age_ms", C.c_int64), ("ttl_left_ms", C.c_int64), ("retry_after_ms", C.c_int64),
                ("version", C.c_uint64), ("load_us", C.c_uint64), ("opaque", C.c_uint64 * 4)]


class Rule(C.Structure):
    """cellar_rule, whole. The rule makers of the header are inline: no library has them."""
    _fields_ = [("algorithm", C.c_int), ("flags", C.c_uint32), ("limit", C.c_uint64),
                ("period_ns", C.c_uint64), ("burst", C.c_uint64), ("ban_ns", C.c_uint64),
                ("calendar", C.c_uint32), ("reserved0", C.c_uint32), ("name", C.c_char_p),
                ("reserved1", C.c_uint64)]


LOADER = C.CFUNCTYPE(C.c_int, C.c_void_p, C.c_void_p, C.c_size_t, C.c_void_p)
_key = [C.c_void_p, C.c_char_p, C.c_size_t]
_calls = {  # name: result, arguments
    "open": (C.c_int, [C.POINTER(Config), C.POINTER(C.c_void_p)]),
    "close": (C.c_int, [C.c_void_p]),
    "get_alloc": (C.c_int, _key + [C.POINTER(C.c_void_p), C.POINTER(C.c_size_t)]),
    "free": (None, [C.c_void_p]),
    "set": (C.c_int, _key + [C.c_char_p, C.c_size_t, C.POINTER(SetOpts)]),
    "delete": (C.c_int, _key),
    "get_or_load": (C.c_int, _key + [C.POINTER(LoadOpts), LOADER, C.c_void_p, C.POINTER(Result)]),
    "load_value": (C.c_int, [C.c_void_p, C.c_char_p, C.c_size_t]),
    "load_absent": (C.c_int, [C.c_void_p]),
    "result_free": (None, [C.POINTER(Result)]),
    "limiter_open": (C.c_int, [C.c_void_p, C.POINTER(Rule), C.c_uint32, C.POINTER(C.c_void_p)]),
    "limiter_check": (C.c_int, _key + [C.c_uint64, C.c_void_p]),
    "limiter_close": (None, [C.c_void_p]),
    "strerror": (C.c_char_p, [C.c_int]),
}
lib = C.CDLL(os.environ.get("CELLAR_LIBRARY", "libcellar.so.%d" % ABI))
for _name, (_result, _arguments) in _calls.items():
    _call = getattr(lib, "cellar_" + _name)
    _call.restype = _result
    _call.argtypes = _arguments


def check(code):
    """Return a code that is no error. Raise OSError for a negative one."""
    if code < 0:
        raise OSError(code, lib.cellar_strerror(code).decode())
    return code


def _bytes(key):
    return key.encode() if isinstance(key, str) else key


def _fit(number):
    """Return the number. Raise OverflowError if the library gets another one."""
    if not 0 <= number < 2**63:
        raise OverflowError("cellar: a number must be 0..2^63-1 (got %d)" % number)
    return number


def _ms(ttl):
    """Convert seconds. 0 stays 0: no limit. A shorter time than 1 ms does not become 0."""
    return -1 if ttl < 0 else _fit(round(ttl * 1000) or int(ttl > 0))


class Cache:
    """A store. Use it in a with statement, or call close()."""

    def __init__(self, memory_bytes=0):
        self._c = C.c_void_p()
        config = Config(abi=ABI, memory_bytes=_fit(memory_bytes))
        check(lib.cellar_open(C.byref(config), C.byref(self._c)))

    def get(self, key):
        """Return the value, or None."""
        key = _bytes(key)
        value = C.c_void_p()
        size = C.c_size_t()
        code = lib.cellar_get_alloc(self._c, key, len(key), C.byref(value), C.byref(size))
        if check(code) != OK:
            return None
        try:
            return C.string_at(value, size.value)
        finally:
            lib.cellar_free(value)

    def set(self, key, value, ttl=0):
        """Store a value; ttl 0: no limit, else 1 ms at least. Return False if the store is off."""
        key = _bytes(key)
        options = SetOpts(ttl_ms=_ms(ttl))
        code = lib.cellar_set(self._c, key, len(key), value, len(value), C.byref(options))
        return check(code) == OK

    def delete(self, key):
        """Delete an entry. Return True if there was a value."""
        key = _bytes(key)
        return check(lib.cellar_delete(self._c, key, len(key))) == OK

    def get_or_load(self, key, loader, ttl=0):
        """Return the value, loaded by loader(key: bytes) -> bytes or None if it is missing.

        Threads that ask for one missing key share one load. Raise what the loader raises;
        a thread that shared the failed load of another one raises OSError with its code."""
        raised = []

        def load(handle, key_at, key_len, _):
            try:  # no exception may cross C
                value = loader(C.string_at(key_at, key_len))
                if value is None:
                    return lib.cellar_load_absent(handle)
                return lib.cellar_load_value(handle, value, len(value))
            except BaseException as e:
                raised.append(e)
                return e.errno if isinstance(e, OSError) and (e.errno or 0) < 0 else E_LOADER

        key = _bytes(key)
        options = LoadOpts(ttl_ms=_ms(ttl))
        result = Result()
        callback = LOADER(load)  # lives until the call has returned
        code = lib.cellar_get_or_load(self._c, key, len(key), C.byref(options), callback, None,
                                      C.byref(result))
        try:
            if code < 0 and raised:
                raise raised[-1]
            if code == E_LOADER and result.loader_err < 0:
                code = result.loader_err
            if check(code) not in (OK, STALE):
                return None
            return C.string_at(result.value, result.value_len)
        finally:
            lib.cellar_result_free(C.byref(result))

    def close(self):
        """Close the store. No other call may run."""
        check(lib.cellar_close(self._c))
        self._c = C.c_void_p()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Limiter:
    """At most `limit` calls of a key in any window of `seconds`, exactly.

    Use it in a with statement, or call close()."""

    def __init__(self, limit, seconds):
        self._l = C.c_void_p()
        rule = Rule(algorithm=SLIDING_LOG, limit=_fit(limit),
                    period_ns=_fit(round(seconds * 10**9)))
        check(lib.cellar_limiter_open(None, C.byref(rule), 1, C.byref(self._l)))

    def allow(self, key, cost=1):
        """Return True and charge the key if the call is admitted."""
        key = _bytes(key)
        code = lib.cellar_limiter_check(self._l, key, len(key), _fit(cost), None)
        return check(code) != LIMITED

    def close(self):
        """Close the limiter. No other call may run."""
        lib.cellar_limiter_close(self._l)
        self._l = C.c_void_p()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
