# SPDX-License-Identifier: MIT
"""oracle: stored vectors of the library against struct.

USE     python3 oracle.py ORACLE         ORACLE: the program of consumers/oracle.c
EXIT    0: all equal. 1: the first difference on stdout.
"""
import math
import random
import struct
import subprocess
import sys


def same(what, got, want):
    if got != want:
        sys.exit(print(f"{what}\n  got  {got}\n  want {want}") or 1)


def stored(program, kind, data):
    args = [program, kind, str(len(data) // 4)]
    return bytes.fromhex(subprocess.run(args, input=data, stdout=subprocess.PIPE, check=True).stdout.decode())


def head(kind, dim):
    return struct.pack("<HHI", 1, kind, dim)


def check(program, dim, r):
    floats = [r.uniform(-70000, 70000) if i % 7 == 0 else r.gauss(0, 0.05) for i in range(dim)]
    data = struct.pack("<%df" % dim, *floats)
    floats = struct.unpack("<%df" % dim, data)
    halves = [math.copysign(min(abs(x), 65504.0), x) for x in floats]
    same("f32s", stored(program, "f32s", data), data)
    same("f32", stored(program, "f32", data), head(1, dim) + data)
    same("f16", stored(program, "f16", data), head(2, dim) + struct.pack("<%de" % dim, *halves))
    i8 = stored(program, "i8", data)
    same("i8, head", i8[:8], head(3, dim))
    scale, = struct.unpack("<f", i8[8:12])
    same("i8, scale", scale, struct.unpack("<f", struct.pack("<f", max(map(abs, floats)) / 127))[0])
    for x, q in zip(floats, struct.unpack("<%db" % dim, i8[12:])):
        same(f"i8 of {x}", abs(x - q * scale) <= scale * 0.5001, True)


for dim in (1, 3, 1536):
    check(sys.argv[1], dim, random.Random(19))
