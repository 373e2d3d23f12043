# SPDX-License-Identifier: MIT
"""driver: the window protocol for peers in Python; ../README.md has the commands.

Keys are str of 8 or 16 Latin-1 characters, one object an id, made before timing; values are bytes,
read by reference (Python copies no bytes object). One thread: the interpreter lock allows no more.
A stampede uses threads, because it is made of waiting.
"""
import array
import gc
import platform
import struct
import sys
import threading
import time

KNOWN = set("trace key value ops capacity ttl_ms threads prefill window_ms rounds min_memory subjects".split())
M64 = (1 << 64) - 1
SLOTS = 64 * 40


class Wrong(Exception):
    pass


class Cfg:
    """What to open; zero: no such bound. hint: entries to expect."""

    def __init__(self, entries=0, size=0, hint=0, ttl_ms=0):
        self.entries, self.bytes, self.hint, self.ttl_ms = entries, size, hint, ttl_ms

    def room(self):
        return self.entries or self.hint + self.hint // 4 + 64


class Peer:
    """get(key) -> bytes or None; set(key, value); caps: words of entries bytes ttl load. With bytes
    also delete(key)."""

    name, version, caps = "", "", ""

    def accounted(self):
        return 0

    def settle(self):
        pass

    def close(self):
        pass


def mix64(x):
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & M64
    x = (x ^ x >> 27) * 0x94D049BB133111EB & M64
    return x ^ x >> 31


def key_bytes(number, key_len):
    if key_len == 16:
        return struct.pack("<QQ", mix64(number + 1), number)
    return struct.pack("<Q", number)


def make_key(number, key_len=16):
    return key_bytes(number, key_len).decode("latin-1")


def make_value(number, size):
    if size == 8:
        return struct.pack("<Q", number)[:7] + bytes((number & 255,))
    return struct.pack("<Q", number) + b"\x5a" * (size - 9) + bytes((number & 255,))


def verify(value, number, size):
    return (len(value) == size and value[-1] == number & 255 and
            value[:7] == number.to_bytes(8, "little")[:7])


def slot(v):
    if v < 128:
        return v
    octave = v.bit_length() - 7
    return min(octave * 64 + (v >> octave), SLOTS - 1)


def pairs(hist):
    return ",".join("%d,%d" % s for s in sorted(hist.items()))


def percentile(times, per_million):
    return sorted(times)[min(len(times) - 1, len(times) * per_million // 1000000)]


class Workload:
    def __init__(self, wl, binary):
        word = {"key": "16", "prefill": "all", "ttl_ms": "0", "capacity": "none"}
        with open(wl, encoding="latin-1") as f:
            for number, line in enumerate(f, 1):
                line = line.split("#")[0].strip()
                if line:
                    key, eq, value = line.partition("=")
                    if not eq or key.strip() not in KNOWN:
                        raise Wrong("%s:%d: unknown key" % (wl, number))
                    word[key.strip()] = value.strip()
        with open(binary, "rb") as f:
            try:
                self.take(f.read())
            except (struct.error, IndexError, ValueError):
                raise Wrong("%s: torn" % binary) from None
        self.key_len = int(word["key"])
        n = word["prefill"]
        self.prefill = self.keys if n == "all" else 0 if n == "none" else min(int(n), self.keys)
        kind, _, n = word["capacity"].partition(" ")
        self.cfg = Cfg(int(n) if kind == "entries" else 0, int(n) if kind == "bytes" else 0, self.keys,
                       int(word["ttl_ms"]))
        self.names = [make_key(i, self.key_len) for i in range(self.keys)]

    def take(self, b):
        magic, threads, count, mixes, lengths, self.mask, self.keys, self.hot = struct.unpack_from("<8s7Q", b)
        if magic != b"CELLBTR1":
            raise ValueError
        at = 64
        self.mixes = {}
        for _ in range(mixes):
            name, hot = struct.unpack_from("<16sQ", b, at)
            self.mixes[name.rstrip(b"\0").decode()] = [hot == 1]
            at += 24

        def words(n):
            nonlocal at
            if at + 4 * n > len(b):
                raise ValueError
            out = array.array("I", b[at:at + 4 * n])
            at += 4 * n
            return out
        self.ids = [words(count) for _ in range(threads)]
        self.lengths = words(lengths)
        for mix in self.mixes.values():
            mix.append([words(count // 32) for _ in range(threads)])

    def size(self, number):
        return self.lengths[number & self.mask]


class Driver:
    def __init__(self, peer_class):
        self.cls, self.peer, self.w = peer_class, None, None

    def drop(self):
        if self.peer is not None:
            self.peer.close()
        self.peer = None

    def window(self, metric, ms, position, timed):
        w, p = self.w, self.peer
        if p is None or metric not in w.mixes:
            raise Wrong("nothing is open, or no such metric in the workload")
        hot, masks = w.mixes[metric]
        ids, masks, names, through = w.ids[0], masks[0], w.names, metric == "readthrough"
        get, put, size, hist = p.get, p.set, w.size, {}
        ops = gets = hits = bad = 0
        at = position % len(ids) & ~31
        cpu, begin = time.thread_time_ns(), time.perf_counter_ns()
        until = begin + ms * 1000000
        while True:
            bits = masks[at >> 5]
            for k in range(32):
                i = w.hot if hot else ids[at + k]
                if bits >> k & 1:
                    put(names[i], make_value(i, size(i)))
                    continue
                gets += 1
                if timed:
                    start = time.perf_counter_ns()
                    v = get(names[i])
                    s = slot(time.perf_counter_ns() - start)
                    hist[s] = hist.get(s, 0) + 1
                else:
                    v = get(names[i])
                if v is not None:
                    hits += 1
                    if not verify(v, i, size(i)):
                        bad += 1
                elif through:
                    put(names[i], make_value(i, size(i)))
            ops += 32
            at += 32
            if at + 32 > len(ids):
                at = 0
            end = time.perf_counter_ns()
            if end >= until:
                break
        out = '{"ops":%d,"gets":%d,"hits":%d,"bad":%d,"errors":0,"wall_ns":%d,"cpu_ns":%d' % (
            ops, gets, hits, bad, end - begin, time.thread_time_ns() - cpu)
        if timed:
            out += ',"hist":[%s]' % pairs(hist)
        return out + "}"

    def fill(self, p, count, key_len, size):
        for i in range(count):
            p.set(make_key(i, key_len), make_value(i, size(i)))
        p.settle()

    def open(self, wl, binary):
        self.drop()
        self.w = None
        w = Workload(wl, binary)
        for cap, value in (("entries", w.cfg.entries), ("bytes", w.cfg.bytes), ("ttl", w.cfg.ttl_ms)):
            if value:
                self.needs(cap)
        p = self.cls(w.cfg)
        self.fill(p, w.prefill, w.key_len, w.size)
        self.w, self.peer = w, p
        gc.collect()
        gc.freeze()
        return '{"entries":%d}' % p.count()

    def warm(self, ms):
        for metric in self.w.mixes if self.w else ():
            self.window(metric, ms // len(self.w.mixes), 0, False)
        return '{"ok":1}'

    def digest(self, n):
        if self.w is None:
            raise Wrong("nothing is open")
        ids, (hot, masks) = self.w.ids[0], next(iter(self.w.mixes.values()))
        h = 0xCBF29CE484222325
        for i in range(n):
            at = i % len(ids)
            for b in key_bytes(self.w.hot if hot else ids[at], 16) + bytes((masks[0][at >> 5] >> at % 32 & 1,)):
                h = (h ^ b) * 0x100000001B3 & M64
        return '{"digest":"%016x"}' % h

    def storm(self, size, ms):
        p = self.cls(Cfg(0, size, size // 4096))
        seed, ops, most, begin = mix64(1), 0, 0, time.perf_counter_ns()
        while True:
            now = (time.perf_counter_ns() - begin) // 1000000
            if now >= ms:
                break
            phase = now * 3 // ms
            for _ in range(16):
                seed = seed + 0x9E3779B97F4A7C15 & M64
                draw = mix64(seed)
                octave = 3 + draw % 17
                n = ((1 << octave) + (draw >> 8) % (1 << octave) if phase == 0 else
                     64 + (draw >> 8) % 64 if phase == 1 else 1 << 20)
                p.set(make_key(draw >> 40), make_value(draw >> 40, n))
            ops += 16
            most = max(most, p.accounted())
        p.close()
        return '{"ops":%d,"refused":0,"accounted_max":%d}' % (ops, most)

    def replay(self, path, capacity, size, in_bytes):
        p = self.cls(Cfg(0 if in_bytes else capacity, capacity * (16 + size) if in_bytes else 0, capacity))
        misses = bad = n = 0
        with open(path, "rb") as f:
            b = f.read()
        begin = time.perf_counter_ns()
        for number, _ in struct.iter_unpack("<QQ", b[:len(b) // 16 * 16]):
            key = make_key(number)
            v = p.get(key)
            if v is None:
                misses += 1
                p.set(key, make_value(number, size))
            elif not verify(v, number, size):
                bad += 1
            n += 1
        wall = time.perf_counter_ns() - begin
        p.close()
        return '{"requests":%d,"misses":%d,"bad":%d,"wall_ns":%d}' % (n, misses, bad, wall)

    def stampede(self, threads, rounds, ms):
        p = self.cls(Cfg(10000, 0, 10000))
        calls, last, bad = [], [], []
        for r in range(rounds):
            done, seen, loaded, value = [], [], [0], make_value(r, 100)
            line = threading.Barrier(threads)

            def loader():
                seen.append(1)
                time.sleep(ms / 1e3)
                loaded[0] = time.perf_counter_ns()
                return value

            def one():
                line.wait()
                v = p.load(make_key(r), loader)
                done.append(time.perf_counter_ns())
                if v != value:
                    bad.append(r)
            all_threads = [threading.Thread(target=one) for _ in range(threads)]
            for t in all_threads:
                t.start()
            for t in all_threads:
                t.join()
            calls.append(str(len(seen)))
            last.append("%.1f" % (max(0, max(done) - loaded[0]) / 1e3))
        p.close()
        return '{"calls":[%s],"last_us":[%s],"bad":%d}' % (",".join(calls), ",".join(last), len(bad))

    def expire(self, count, ttl_ms, ms):
        p = self.cls(Cfg(0, 0, count, ttl_ms))
        first = time.perf_counter_ns()
        self.fill(p, count, 16, lambda _: 100)
        time.sleep(max(0, ttl_ms / 1e3 - (time.perf_counter_ns() - first) / 1e9))
        seed = ops = bad = most = 0
        times, anew = [], set()
        end = time.perf_counter_ns() + ms * 1000000
        while time.perf_counter_ns() < end:
            seed = seed + 0x9E3779B97F4A7C15 & M64
            draw = mix64(seed)
            i = draw % count
            key = make_key(i)
            cpu, start = time.thread_time_ns(), time.perf_counter_ns()
            v = None
            if draw >> 56 < 13:
                p.set(key, make_value(i, 100))
            else:
                v = p.get(key)
            times.append(time.perf_counter_ns() - start)
            most = max(most, time.thread_time_ns() - cpu)
            if draw >> 56 < 13:
                anew.add(i)
            bad += v is not None and not verify(v, i, 100)
            ops += 1
        left = p.count()
        p.close()
        return '{"ops":%d,"bad":%d,"p999_ns":%d,"max_us":%.1f,"left":%d,"anew":%d}' % (
            ops, bad, percentile(times, 999000), most / 1e3, left, len(anew))

    def grow(self, count, more):
        """Inserts into an empty store without a hint: CPU of each of `count`; then `more` into another
        one, by the wall clock."""
        times, cpu = [], time.thread_time_ns
        p = self.cls(Cfg(count + count // 4 + 64))
        for i in range(count):
            key, value = make_key(i), make_value(i, 100)
            start = cpu()
            p.set(key, value)
            times.append(cpu() - start)
        p.close()
        p = self.cls(Cfg(more + more // 4 + 64))
        begin = time.perf_counter_ns()
        for i in range(more):
            p.set(make_key(i), make_value(i, 100))
        wall = time.perf_counter_ns() - begin
        p.close()
        return '{"max_ns":%d,"p9999_ns":%d,"over_1ms":%d,"wall_ns":%d,"refused":0}' % (
            max(times), percentile(times, 999900), sum(t > 1000000 for t in times), wall)

    def churn(self, path, budget, size, ms):
        """Phase after phase writes `size` bytes (or stops after ms) with sizes of its own, one operation
        in five deletes; then all keys are read once."""
        lengths = array.array("I")
        with open(path, "rb") as f:
            lengths.frombytes(f.read())
        if len(lengths) != 5 * 4096:
            raise Wrong("%s: torn" % path)
        p, seed = self.cls(Cfg(0, budget, budget // 4096)), mix64(1)
        total = cut = most = last = held = bad = 0
        begin = time.perf_counter_ns()
        for at in range(0, 5 * 4096, 4096):
            mine = lengths[at:at + 4096]
            keys = 4 * budget // (sum(mine) // 4096 + 16)
            written, until = 0, time.perf_counter_ns() + ms * 1000000
            while written < size and time.perf_counter_ns() <= until:
                for _ in range(64):
                    seed = seed + 0x9E3779B97F4A7C15 & M64
                    draw = mix64(seed)
                    i = draw % keys
                    if draw >> 40 & 1023 < 205:
                        p.delete(make_key(i))
                        continue
                    p.set(make_key(i), make_value(i, mine[i % 4096]))
                    written += 16 + mine[i % 4096]
                most = max(most, p.accounted())
            total, cut, last = total + written, cut + (written < size), max(last, keys)
        wall = time.perf_counter_ns() - begin
        p.settle()
        for i in range(last):
            v = p.get(make_key(i))
            if v is not None:
                held += 16 + len(v)
                bad += not verify(v, i, len(v))
        p.close()
        return '{"accounted_max":%d,"written":%d,"write_ns":%d,"cut":%d,"held":%d,"bad":%d}' % (
            most, total, wall, cut, held, bad)

    def pace(self, count, ms, rate):
        """95:5 on ids 0..count-1, `rate` a second; a get's time runs from when it was due, so that one
        which waited for another is not forgotten. rate 0: one after another."""
        p, now, hist = self.peer, time.perf_counter_ns, {}
        if p is None:
            raise Wrong("nothing is open")
        seed = ops = gets = bad = 0
        begin, end = now(), ms * 1000000
        while True:
            due = ops * 1000000000 // rate if rate else now() - begin
            if due >= end or now() - begin >= 3 * end:
                break
            while now() - begin < due:
                pass
            seed = seed + 0x9E3779B97F4A7C15 & M64
            draw = mix64(seed)
            i = draw % count
            key = make_key(i)
            if draw >> 56 < 13:
                p.set(key, make_value(i, 100))
            else:
                v = p.get(key)
                s = slot(now() - begin - due)
                hist[s] = hist.get(s, 0) + 1
                gets += 1
                bad += v is not None and not verify(v, i, 100)
            ops += 1
        return '{"ops":%d,"gets":%d,"bad":%d,"wall_ns":%d,"hist":[%s]}' % (
            ops, gets, bad, now() - begin, pairs(hist))

    def mem(self):
        if self.peer is None:
            raise Wrong("nothing is open")
        return '{"entries":%d,"accounted":%d}' % (self.peer.count(), self.peer.accounted())

    def refill(self, count, key_len, size, bound=0):
        if size < 8:
            raise Wrong("values have 8 bytes or more")
        if bound:
            self.needs("bytes")
        self.drop()
        self.peer = self.cls(Cfg(0, bound, min(count, bound // (key_len + size)) if bound else count))
        self.fill(self.peer, count, key_len, lambda _: size)
        return '{"entries":%d}' % self.peer.count()

    def settle(self):
        if self.peer is not None:
            self.peer.settle()
        gc.collect()
        return '{"ok":1}'

    def hello(self):
        return '{"peer":"%s","version":"%s","runtime":"CPython %s","caps":"%s"}' % (
            self.cls.name, self.cls.version, platform.python_version(), self.cls.caps)

    def needs(self, cap):
        if cap not in self.cls.caps.split():
            raise Wrong("%s has no %s" % (self.cls.name, cap))

    def answer(self, word):
        number = [int(x) if x.isdigit() else -1 for x in word]
        form = (word[0] if word else "", len(word))
        if form == ("hello", 1):
            return self.hello()
        if form == ("open", 3):
            return self.open(word[1], word[2])
        if form == ("warm", 2):
            return self.warm(number[1])
        if form in (("window", 5), ("lat", 5)) and min(number[2:]) >= 0:
            if number[2] != 1:
                raise Wrong("one thread")
            return self.window(word[1], number[3], number[4], word[0] == "lat")
        if form == ("settle", 1):
            return self.settle()
        if form == ("mem", 1):
            return self.mem()
        if form == ("digest", 2):
            return self.digest(number[1])
        if form in (("fill", 4), ("fill", 5)) and min(number[1:]) >= 0:
            return self.refill(*number[1:])
        if form == ("storm", 4) and number[2] > 0:
            self.needs("bytes")
            return self.storm(number[1], number[2])
        if form == ("replay", 5) and number[3] >= 8:
            self.needs("entries")
            return self.replay(word[1], *number[2:])
        if form == ("stampede", 4) and number[1] > 0:
            self.needs("load")
            return self.stampede(number[1], number[2], number[3])
        if form == ("expire", 4) and number[1] > 0:
            self.needs("ttl")
            return self.expire(number[1], number[2], number[3])
        if form == ("grow", 3) and number[1] > 0:
            return self.grow(number[1], number[2])
        if form == ("churn", 6) and number[2] > 0:
            self.needs("bytes")
            return self.churn(word[1], number[2], number[3], number[4])
        if form == ("pace", 4) and number[1] > 0 and number[3] >= 0:
            return self.pace(number[1], number[2], number[3])
        raise Wrong("not understood")


def serve(peer_class):
    d = Driver(peer_class)
    for line in sys.stdin:
        if line.strip() == "quit":
            break
        try:
            out = d.answer(line.split())
        except (Wrong, OSError, ValueError) as e:
            out = '{"error":"%s"}' % str(e).replace("\\", "/").replace('"', "'")
        print(out, flush=True)
    d.drop()
