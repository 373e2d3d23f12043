# SPDX-License-Identifier: MIT
"""oracle: keys, vectors and patterns of the library against hashlib, struct and a redis-server.

USE     python3 oracle.py keys|vectors ORACLE         ORACLE: the program of consumers/oracle.c
        python3 oracle.py globs ORACLE SOCKET         SOCKET: of a redis-server without data
EXIT    0: all equal. 1: the first difference on stdout.
"""
import hashlib
import math
import random
import socket
import struct
import subprocess
import sys


def run(program, *args, data):
    return subprocess.run([program, *args], input=data, stdout=subprocess.PIPE, check=True).stdout


def same(what, got, want):
    if got != want:
        sys.exit(print(f"{what}\n  got  {got}\n  want {want}") or 1)


# ---- keys: an encoder of its own, after the FORMAT of src/guests/kit/key.c ----

def leb128(n):
    out = bytearray()
    while True:
        out.append(n & 0x7f | (0x80 if n > 0x7f else 0))
        n >>= 7
        if n == 0:
            return bytes(out)


def part(kind, data):
    return kind + leb128(len(data)) + data


def number(x):
    """A double that is a whole number below 2^53 has the key of the integer."""
    if isinstance(x, float) and x == int(x) and abs(x) < 2**53:
        x = int(x)
    if isinstance(x, float):
        return part(b"d", struct.pack(">d", x))
    return part(b"i", struct.pack(">q", x)) if x < 2**63 else part(b"u", struct.pack(">Q", x))


def encode(x):
    if x is None or isinstance(x, bool):
        return part({None: b"n", True: b"t", False: b"f"}[x], b"")
    if isinstance(x, bytes):
        return part(b"s", x)
    if isinstance(x, list):
        return b"[" + leb128(len(x)) + b"".join(map(encode, x))
    if isinstance(x, dict):
        return b"{" + leb128(len(x)) + b"".join(encode(k) + encode(x[k]) for k in sorted(x))
    return number(x)


def words(x):
    if x is None or isinstance(x, bool):
        return [{None: "n", True: "t", False: "f"}[x]]
    if isinstance(x, bytes):
        return ["s" + x.hex()]
    if isinstance(x, list):
        return ["["] + [w for y in x for w in words(y)] + ["]"]
    if isinstance(x, dict):
        return ["{"] + [w for k in x for w in words(k) + words(x[k])] + ["}"]
    if isinstance(x, float):
        return ["d" + repr(x)]
    return ["i%d" % x if x < 2**63 else "u%d" % x]


def value(r, depth):
    kind = r.randrange(9 if depth < 3 else 7)
    if kind == 0:
        return r.choice([None, True, False])
    if kind == 1:
        return r.choice([0, 1, -1, 2**63 - 1, -2**63, 2**63, 2**64 - 1, r.randrange(-1000, 1000)])
    if kind == 2:
        return r.choice([0.0, -0.0, 1.0, 0.1, -2.5, 1e300, 2.0**63, 2.0**64, 5e-324, r.random()])
    if kind < 7:
        return bytes(r.randrange(256) for _ in range(r.choice([0, 1, 5, 30, 130, 300])))
    if kind == 7:
        return [value(r, depth + 1) for _ in range(r.randrange(4))]
    return {bytes(r.randrange(256) for _ in range(3)): value(r, depth + 1)
            for _ in range(r.randrange(4))}


def keys(program):
    r = random.Random(19)
    tuples = [[value(r, 0) for _ in range(r.randrange(1, 5))] for _ in range(5000)]
    lines = "".join(" ".join(w for x in t for w in words(x)) + "\n" for t in tuples)
    answers = run(program, "keys", data=lines.encode()).decode().split("\n")
    for t, got in zip(tuples, answers):
        plain = b"".join(map(encode, t))
        want = plain if len(plain) <= 200 else b"#" + hashlib.sha256(plain).digest()
        same(t, got, want.hex())
    same("number of keys", len(answers), len(tuples) + 1)


# ---- vectors ----

def vectors(program):
    r = random.Random(19)
    for dim in (1, 3, 1536):
        floats = [r.uniform(-70000, 70000) if i % 7 == 0 else r.gauss(0, 0.05) for i in range(dim)]
        data = struct.pack("<%df" % dim, *floats)
        floats = struct.unpack("<%df" % dim, data)
        halves = [math.copysign(min(abs(x), 65504.0), x) for x in floats]
        head = lambda kind: struct.pack("<HHI", 1, kind, dim)
        stored = lambda kind: bytes.fromhex(run(program, "vector", kind, str(dim),
                                                data=data).decode())
        same("f32s", stored("f32s"), data)
        same("f32", stored("f32"), head(1) + data)
        same("f16", stored("f16"), head(2) + struct.pack("<%de" % dim, *halves))
        i8 = stored("i8")
        same("i8, head", i8[:8], head(3))
        scale, = struct.unpack("<f", i8[8:12])
        same("i8, scale", scale, struct.unpack("<f", struct.pack("<f", max(map(abs, floats)) / 127))[0])
        for x, q in zip(floats, struct.unpack("<%db" % dim, i8[12:])):
            same(f"i8 of {x}", abs(x - q * scale) <= scale * 0.5001, True)


# ---- patterns ----

class Redis:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def ask(self, *args):
        self.socket.sendall(b"*%d\r\n" % len(args) +
                            b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args))
        return self.answer()

    def answer(self):
        line = self.file.readline()
        if line[:1] == b"*":
            return [self.answer() for _ in range(int(line[1:]))]
        if line[:1] == b"$":
            return self.file.read(int(line[1:]) + 2)[:-2]
        return line


def globs(program, path):
    """Patterns without bytes above 127: redis compares these as signed in ranges (base/glob.c)."""
    r = random.Random(19)
    alphabet = b"aab-]\\^["
    some = lambda letters, most: bytes(r.choice(letters) for _ in range(r.randrange(1, most)))
    names = sorted({some(alphabet + b"\xff", 7) for _ in range(600)})
    patterns = [some(alphabet + b"**??[[]]--^^\\!", 9) for _ in range(3000)]
    redis = Redis(path)
    for name in names:
        redis.ask(b"SET", name, b"1")
    data = "".join(["k " + n.hex() + "\n" for n in names] + ["p " + p.hex() + "\n" for p in patterns])
    answers = run(program, "globs", data=data.encode()).decode().split("\n")
    index = {name: i for i, name in enumerate(names)}
    matched = 0
    for pattern, got in zip(patterns, answers):
        want = sorted(index[name] for name in redis.ask(b"KEYS", pattern))
        same(pattern, [int(n) for n in got.split()], want)
        matched += len(want)
    same("some pairs match, most do not", 0 < matched < len(names) * len(patterns) / 2, True)


if __name__ == "__main__":
    {"keys": keys, "vectors": vectors, "globs": globs}[sys.argv[1]](*sys.argv[2:])
