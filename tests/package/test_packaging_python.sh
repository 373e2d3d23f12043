#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the shared library works from another language by its documented rules: a prefix of an
#         option struct, a whole output struct, a loader.
# Method: ctypes, on the library of the build.
. tests/support/t.sh
CELLAR_SO=$(realpath "${CELLAR_SO:-build/libcellar.so}")
export CELLAR_SO

ctypes_calls() { # name of a function below
    python3 - "$1" <<'END'
import ctypes as C, os, sys
lib = C.CDLL(os.environ["CELLAR_SO"])
LOADER = C.CFUNCTYPE(C.c_int, C.c_void_p, C.c_void_p, C.c_size_t, C.c_void_p)

class Prefix(C.Structure):  # the first fields of cellar_config: struct_size says where they end
    _fields_ = [("struct_size", C.c_size_t), ("abi", C.c_uint32), ("eviction", C.c_int),
                ("memory_bytes", C.c_uint64)]

class Result(C.Structure):  # cellar_result, whole: the library writes all its fields
    _fields_ = [("struct_size", C.c_size_t), ("buf", C.c_void_p), ("buf_cap", C.c_size_t),
                ("value", C.c_void_p), ("value_len", C.c_size_t), ("source", C.c_int),
                ("flags", C.c_uint32), ("user_flags", C.c_uint32), ("loader_err", C.c_int32),
                ("age_ms", C.c_int64), ("ttl_left_ms", C.c_int64), ("retry_after_ms", C.c_int64),
                ("version", C.c_uint64), ("load_us", C.c_uint64), ("opaque", C.c_uint64 * 4)]

cache = C.c_void_p()
config = Prefix(C.sizeof(Prefix), 3, 0, 1 << 21)
assert lib.cellar_open(C.byref(config), C.byref(cache)) == 0
result = Result(C.sizeof(Result))

def prefix():
    assert lib.cellar_set(cache, b"k", C.c_size_t(1), b"abc", C.c_size_t(3), None) == 0
    assert lib.cellar_set(cache, b"k", C.c_size_t(1), b"x" * (1 << 21), C.c_size_t(1 << 21), None) < 0

def load():
    loader = LOADER(lambda load, key, n, ctx: lib.cellar_load_value(C.c_void_p(load), b"abc", C.c_size_t(3)))
    assert lib.cellar_get_or_load(cache, b"k", C.c_size_t(1), None, loader, None, C.byref(result)) == 0
    assert C.string_at(result.value, result.value_len) == b"abc" and result.source == 3

def fail():
    loader = LOADER(lambda load, key, n, ctx: -1234)
    assert lib.cellar_get_or_load(cache, b"k", C.c_size_t(1), None, loader, None, C.byref(result)) == -17
    assert result.loader_err == -1234

globals()[sys.argv[1]]()
lib.cellar_result_free(C.byref(result))
assert lib.cellar_close(cache) == 0
END
}
if python3 -c 'import ctypes' 2>/dev/null; then
    t_case a_prefix_of_an_option_struct_is_a_struct ctypes_calls prefix
    t_case a_whole_output_struct_is_filled ctypes_calls load
    t_case the_code_of_a_loader_comes_back ctypes_calls fail
else
    t_skip python_uses_the_shared_library "no python3 with ctypes"
fi
t_end packaging_python
