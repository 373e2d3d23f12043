// SPDX-License-Identifier: MIT
//
// driver: the window protocol for peers on Node; ../README.md has the commands.
// Keys are strings of 8 or 16 Latin-1 characters, one object an id, made before timing (V8 keeps
// their hash); values are Buffers, read by reference. One thread: Node has no shared heap.
'use strict';
const fs = require('fs');

const KNOWN = new Set('trace key value ops capacity ttl_ms threads prefill window_ms rounds min_memory subjects'
  .split(' '));
const SLOTS = 64 * 40;
const M64 = (1n << 64n) - 1n;

// 64-bit arithmetic as two halves: BigInt would be most of the time that is measured.
function mul(ah, al, bh, bl) {
  const a0 = al & 0xffff, a1 = al >>> 16, b0 = bl & 0xffff, b1 = bl >>> 16;
  const low = a0 * b0, mid1 = a1 * b0, mid2 = a0 * b1;
  const mid = (low >>> 16) + (mid1 & 0xffff) + (mid2 & 0xffff);
  const l = ((mid & 0xffff) << 16 | low & 0xffff) >>> 0;
  const carry = a1 * b1 + (mid1 >>> 16) + (mid2 >>> 16) + (mid >>> 16);
  return [(carry + Math.imul(ah, bl) + Math.imul(al, bh)) >>> 0, l];
}
function shiftXor(h, l, n) {
  return [(h ^ h >>> n) >>> 0, (l ^ (l >>> n | h << 32 - n)) >>> 0];
}
function mix64(h, l) {
  [h, l] = shiftXor(h, l, 30);
  [h, l] = mul(h, l, 0xbf58476d, 0x1ce4e5b9);
  [h, l] = shiftXor(h, l, 27);
  [h, l] = mul(h, l, 0x94d049bb, 0x133111eb);
  return shiftXor(h, l, 31);
}

const scratch = Buffer.alloc(16);
function keyBytes(id, keyLen) {
  const at = keyLen - 8;
  if (keyLen === 16) {
    const [h, l] = mix64(Math.floor((id + 1) / 2 ** 32), (id + 1) >>> 0);
    scratch.writeUInt32LE(l, 0);
    scratch.writeUInt32LE(h, 4);
  }
  scratch.writeUInt32LE(id >>> 0, at);
  scratch.writeUInt32LE(Math.floor(id / 2 ** 32), at + 4);
  return scratch;
}
function makeKey(id, keyLen = 16) { return keyBytes(id, keyLen).latin1Slice(0, keyLen); }
function makeValue(id, n) {
  const v = Buffer.allocUnsafe(n);
  v.fill(0x5a);
  v.writeUInt32LE(id >>> 0, 0);
  v.writeUInt32LE(Math.floor(id / 2 ** 32), 4);
  v[n - 1] = id & 255;
  return v;
}
function verify(v, id, n) {
  return v.length === n && v.readUInt32LE(0) === id >>> 0 && v[n - 1] === (id & 255);
}
function slot(v) {
  if (v < 128) return v;
  const octave = Math.floor(Math.log2(v)) - 6;
  return Math.min(octave * 64 + Math.floor(v / 2 ** octave), SLOTS - 1);
}
// The value that perMillion of all do not exceed.
function percentile(times, perMillion) {
  times.sort((a, b) => a - b);
  return times[Math.min(times.length - 1, Math.floor(times.length * perMillion / 1e6))];
}
function pairs(hist) {
  const out = [];
  hist.forEach((n, k) => { if (n) out.push(k, n); });
  return out;
}
function cpuNs() { const u = process.cpuUsage(); return (u.user + u.system) * 1000; }

class Wrong extends Error {}

// entries, bytes, ttlMs: zero means no such bound; hint: entries to expect.
class Cfg {
  constructor(c) { Object.assign(this, { entries: 0, bytes: 0, hint: 0, ttlMs: 0 }, c); }
  room() { return this.entries || this.hint + Math.floor(this.hint / 4) + 64; }
}

function readWorkload(wl, bin) {
  const word = { key: '16', prefill: 'all', ttl_ms: '0', capacity: 'none' };
  fs.readFileSync(wl, 'latin1').split('\n').forEach((text, i) => {
    const line = text.split('#')[0].trim();
    if (!line) return;
    const eq = line.indexOf('=');
    const key = line.slice(0, eq < 0 ? 0 : eq).trim();
    if (!KNOWN.has(key)) throw new Wrong(`${wl}:${i + 1}: unknown key`);
    word[key] = line.slice(eq + 1).trim();
  });
  const b = fs.readFileSync(bin);
  const head = (i) => Number(b.readBigUInt64LE(8 * i));
  if (b.length < 64 || b.latin1Slice(0, 8) !== 'CELLBTR1') throw new Wrong(`${bin}: no trace`);
  const [threads, count, mixes, lengths] = [head(1), head(2), head(3), head(4)];
  let at = 64;
  const words = (n) => {
    if (at + 4 * n > b.length) throw new Wrong(`${bin}: torn`);
    const out = new Uint32Array(n);
    for (let i = 0; i < n; i++) out[i] = b.readUInt32LE(at + 4 * i);
    at += 4 * n;
    return out;
  };
  const w = { mask: head(5), keys: head(6), hot: head(7), mixes: [], ids: [] };
  for (let i = 0; i < mixes; i++, at += 24) {
    w.mixes.push({ metric: b.latin1Slice(at, at + 16).replace(/\0/g, ''),
      hot: b.readUInt32LE(at + 16) === 1, masks: [] });
  }
  for (let i = 0; i < threads; i++) w.ids.push(words(count));
  w.lengths = words(lengths);
  for (const m of w.mixes) for (let i = 0; i < threads; i++) m.masks.push(words(count / 32));
  w.keyLen = Number(word.key);
  w.prefill = word.prefill === 'all' ? w.keys : word.prefill === 'none' ? 0
    : Math.min(Number(word.prefill), w.keys);
  const [kind, n] = word.capacity.split(' ');
  w.cfg = new Cfg({ [kind === 'none' ? 'unbounded' : kind]: Number(n || 0), hint: w.keys,
    ttlMs: Number(word.ttl_ms) });
  w.names = Array.from({ length: w.keys }, (_, id) => makeKey(id, w.keyLen));
  w.len = (id) => w.lengths[(id & w.mask) >>> 0];
  return w;
}

function fill(p, count, keyLen, len) {
  for (let id = 0; id < count; id++) p.set(makeKey(id, keyLen), makeValue(id, len(id)));
}

function window(w, p, metric, ms, position, timed) {
  const m = w && w.mixes.find((x) => x.metric === metric);
  if (!p || !m) throw new Wrong('nothing is open, or no such metric in the workload');
  const ids = w.ids[0], masks = m.masks[0], { hot, keys } = { hot: m.hot, keys: w.names };
  const through = metric === 'readthrough', hist = timed ? new Float64Array(SLOTS) : null;
  let at = (position % ids.length >>> 5) * 32, ops = 0, gets = 0, hits = 0, bad = 0;
  const cpu = cpuNs(), begin = process.hrtime.bigint();
  const from = performance.now(), until = from + ms;
  do {
    let bits = masks[at >>> 5];
    for (let k = 0; k < 32; k++, bits >>>= 1) {
      const id = hot ? w.hot : ids[at + k];
      if (bits & 1) {
        p.set(keys[id], makeValue(id, w.len(id)));
        continue;
      }
      gets++;
      const start = timed ? process.hrtime.bigint() : 0n;
      const v = p.get(keys[id]);
      if (timed) hist[slot(Number(process.hrtime.bigint() - start))]++;
      if (v !== undefined) {
        hits++;
        if (!verify(v, id, w.len(id))) bad++;
      } else if (through) {
        p.set(keys[id], makeValue(id, w.len(id)));
      }
    }
    ops += 32;
    at += 32;
    if (at + 32 > ids.length) at = 0;
  } while (performance.now() < until);
  const out = { ops, gets, hits, bad, errors: 0, wall_ns: Number(process.hrtime.bigint() - begin),
    cpu_ns: cpuNs() - cpu };
  if (timed) out.hist = pairs(hist);
  return out;
}

function digest(w, n) {
  let h = 0xcbf29ce484222325n;
  for (let i = 0; i < n; i++) {
    const at = i % w.ids[0].length, m = w.mixes[0];
    const b = [...keyBytes(m.hot ? w.hot : w.ids[0][at], 16), m.masks[0][at >>> 5] >>> at % 32 & 1];
    for (const x of b) h = (h ^ BigInt(x)) * 0x100000001b3n & M64;
  }
  return { digest: h.toString(16).padStart(16, '0') };
}

// Draws of 48 bits: the storm and the expiry need a law, not the same sequence as in C.
function random(seed) {
  let s = seed >>> 0;
  return () => {
    s = s + 0x6d2b79f5 >>> 0;
    let t = Math.imul(s ^ s >>> 15, 1 | s);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return (t ^ t >>> 14) >>> 0;
  };
}

function storm(open, bytes, ms) {
  const p = open(new Cfg({ bytes, hint: bytes / 4096 })), next = random(1), begin = performance.now();
  let ops = 0, most = 0;
  for (;;) {
    const now = performance.now() - begin;
    if (now >= ms) break;
    const phase = Math.floor(now * 3 / ms);
    for (let i = 0; i < 16; i++) {
      const draw = next(), id = next() & 0xffffff, octave = 3 + draw % 17;
      const n = phase === 0 ? 2 ** octave + next() % 2 ** octave : phase === 1 ? 64 + (draw & 63) : 1 << 20;
      p.set(makeKey(id), makeValue(id, n));
    }
    ops += 16;
    most = Math.max(most, p.accounted());
  }
  return { ops, refused: 0, accounted_max: most };
}

function replay(open, path, capacity, len, inBytes) {
  const b = fs.readFileSync(path), bytes = inBytes ? capacity * (16 + len) : 0;
  const p = open(new Cfg({ entries: inBytes ? 0 : capacity, bytes, hint: capacity }));
  const n = Math.floor(b.length / 16), begin = process.hrtime.bigint();
  let misses = 0, bad = 0;
  for (let i = 0; i < n; i++) {
    const id = Number(b.readBigUInt64LE(16 * i)), key = makeKey(id), v = p.get(key);
    if (v === undefined) {
      misses++;
      p.set(key, makeValue(id, len));
    } else if (!verify(v, id, len)) {
      bad++;
    }
  }
  return { requests: n, misses, bad, wall_ns: Number(process.hrtime.bigint() - begin) };
}

async function stampede(open, waiters, rounds, ms) {
  const p = open(new Cfg({ entries: 10000, hint: 10000 })), calls = [], last = [];
  let bad = 0;
  for (let r = 0; r < rounds; r++) {
    let n = 0, loaded = 0, end = 0;
    const loader = async () => {
      n++;
      await new Promise((done) => setTimeout(done, ms));
      loaded = performance.now();
      return makeValue(r, 100);
    };
    await Promise.all(Array.from({ length: waiters }, async () => {
      const v = await p.load(makeKey(r), loader);
      end = performance.now();
      bad += verify(v, r, 100) ? 0 : 1;
    }));
    calls.push(n);
    last.push(Math.max(0, Math.round((end - loaded) * 1e4) / 10));
  }
  return { calls, last_us: last, bad };
}

async function expire(open, count, ttlMs, ms) {
  const p = open(new Cfg({ hint: count, ttlMs })), first = performance.now(), next = random(1), times = [];
  const anew = new Set();
  fill(p, count, 16, () => 100);
  await new Promise((done) => setTimeout(done, Math.max(0, ttlMs - (performance.now() - first))));
  let ops = 0, bad = 0, most = 0;
  const end = performance.now() + ms;
  while (performance.now() < end) {
    const id = next() % count, key = makeKey(id), set = next() % 256 < 13;
    const start = process.hrtime.bigint();
    const v = set ? p.set(key, makeValue(id, 100)) : p.get(key);
    const ns = Number(process.hrtime.bigint() - start);
    times.push(ns);
    most = Math.max(most, ns);
    if (set) anew.add(id);
    else if (v !== undefined && !verify(v, id, 100)) bad++;
    ops++;
  }
  return { ops, bad, p999_ns: percentile(times, 999000), max_us: Math.round(most / 100) / 10, left: p.count(),
    anew: anew.size };
}

// Inserts into an empty store without a hint: wall time of each of `count` (Node has no clock of a
// thread); then `more` into another one. A small one before that for the compiler.
function grow(open, count, more) {
  fill(open(new Cfg({ entries: 125064 })), 100000, 16, () => 100);
  let p = open(new Cfg({ entries: count + Math.floor(count / 4) + 64 }));
  const times = new Float64Array(count);
  let most = 0, over = 0;
  for (let id = 0; id < count; id++) {
    const key = makeKey(id), value = makeValue(id, 100), start = process.hrtime.bigint();
    p.set(key, value);
    times[id] = Number(process.hrtime.bigint() - start);
    most = Math.max(most, times[id]);
    over += times[id] > 1e6;
  }
  p = open(new Cfg({ entries: more + Math.floor(more / 4) + 64 }));
  const begin = process.hrtime.bigint();
  for (let id = 0; id < more; id++) p.set(makeKey(id), makeValue(id, 100));
  return { max_ns: most, p9999_ns: percentile(times, 999900), over_1ms: over,
    wall_ns: Number(process.hrtime.bigint() - begin), refused: 0 };
}

// Phase after phase writes `size` bytes (or stops after ms) with sizes of its own, one operation in
// five deletes; then all keys are read once.
function churn(open, path, budget, size, ms) {
  const b = fs.readFileSync(path), next = random(1);
  if (b.length !== 4 * 5 * 4096) throw new Wrong(`${path}: torn`);
  const p = open(new Cfg({ bytes: budget, hint: Math.floor(budget / 4096) }));
  const out = { accounted_max: 0, written: 0, cut: 0, held: 0, bad: 0 };
  let last = 0;
  const begin = performance.now();
  for (let at = 0; at < 5; at++) {
    const len = (id) => b.readUInt32LE(4 * (4096 * at + id % 4096));
    let sum = 0, written = 0;
    for (let i = 0; i < 4096; i++) sum += len(i);
    const keys = Math.floor(4 * budget / (Math.floor(sum / 4096) + 16)), until = performance.now() + ms;
    while (written < size && performance.now() <= until) {
      for (let i = 0; i < 64; i++) {
        const id = next() % keys;
        if (next() % 1024 < 205) {
          p.del(makeKey(id));
          continue;
        }
        p.set(makeKey(id), makeValue(id, len(id)));
        written += 16 + len(id);
      }
      out.accounted_max = Math.max(out.accounted_max, p.accounted());
    }
    out.written += written;
    out.cut += written < size ? 1 : 0;
    last = Math.max(last, keys);
  }
  out.write_ns = Math.round((performance.now() - begin) * 1e6);
  for (let id = 0; id < last; id++) {
    const v = p.get(makeKey(id));
    if (v !== undefined) {
      out.held += 16 + v.length;
      out.bad += verify(v, id, v.length) ? 0 : 1;
    }
  }
  return out;
}

// 95:5 on ids 0..count-1, `rate` a second; a get's time runs from when it was due, so that one which
// waited for another is not forgotten. rate 0: one after another.
function pace(p, count, ms, rate) {
  if (!p) throw new Wrong('nothing is open');
  const next = random(1), hist = new Float64Array(SLOTS), begin = performance.now();
  const now = () => Math.round((performance.now() - begin) * 1e6);
  const out = { ops: 0, gets: 0, bad: 0 };
  for (;; out.ops++) {
    const due = rate ? Math.floor(out.ops * 1e9 / rate) : now();
    if (due >= ms * 1e6 || now() >= 3 * ms * 1e6) break;
    while (now() < due);
    const id = next() % count, key = makeKey(id);
    if (next() % 256 < 13) {
      p.set(key, makeValue(id, 100));
      continue;
    }
    const v = p.get(key);
    hist[slot(Math.max(0, now() - due))]++;
    out.gets++;
    if (v !== undefined && !verify(v, id, 100)) out.bad++;
  }
  return { ...out, wall_ns: now(), hist: pairs(hist) };
}

async function answer(info, s, word) {
  const n = word.map(Number), form = word[0] + '/' + word.length;
  const needs = (cap) => { if (!info.caps.split(' ').includes(cap)) throw new Wrong(`${info.name} has no ${cap}`); };
  switch (form) {
    case 'hello/1':
      return { peer: info.name, version: info.version, runtime: 'Node ' + process.version, caps: info.caps };
    case 'open/3':
      s.p = s.w = null;
      s.w = readWorkload(word[1], word[2]);
      if (s.w.cfg.entries) needs('entries');
      if (s.w.cfg.bytes) needs('bytes');
      if (s.w.cfg.ttlMs) needs('ttl');
      s.p = info.open(s.w.cfg);
      fill(s.p, s.w.prefill, s.w.keyLen, s.w.len);
      return { entries: s.p.count() };
    case 'warm/2':
      for (let pass = 0; pass < 3; pass++) {
        for (const m of s.w ? s.w.mixes : []) window(s.w, s.p, m.metric, n[1] / 3 / s.w.mixes.length, 0, false);
      }
      return { ok: 1 };
    case 'window/5':
    case 'lat/5':
      if (n[2] !== 1) throw new Wrong('one thread');
      if (!(n[3] >= 0 && n[4] >= 0)) break;
      return window(s.w, s.p, word[1], n[3], n[4], word[0] === 'lat');
    case 'settle/1':
      if (globalThis.gc) globalThis.gc();
      return { ok: 1 };
    case 'mem/1':
      if (!s.p) throw new Wrong('nothing is open');
      return { entries: s.p.count(), accounted: s.p.accounted(),
        used: process.memoryUsage().heapUsed + process.memoryUsage().external };
    case 'digest/2':
      if (!s.w) throw new Wrong('nothing is open');
      return digest(s.w, n[1]);
    case 'fill/4':
    case 'fill/5':
      if (!(n[1] >= 0 && n[3] >= 8)) break;
      if (n[4]) needs('bytes');
      s.p = null;
      s.p = info.open(new Cfg({ hint: n[4] ? Math.min(n[1], Math.floor(n[4] / (n[2] + n[3]))) : n[1], bytes: n[4] || 0 }));
      fill(s.p, n[1], n[2], () => n[3]);
      return { entries: s.p.count() };
    case 'storm/4':
      needs('bytes');
      return storm(info.open, n[1], n[2]);
    case 'replay/5':
      needs('entries');
      return replay(info.open, word[1], n[2], n[3], n[4]);
    case 'stampede/4':
      needs('load');
      return stampede(info.open, n[1], n[2], n[3]);
    case 'expire/4':
      needs('ttl');
      return expire(info.open, n[1], n[2], n[3]);
    case 'grow/3':
      if (!(n[1] > 0 && n[2] >= 0)) break;
      return grow(info.open, n[1], n[2]);
    case 'churn/6':
      needs('bytes');
      if (!(n[2] > 0 && n[3] >= 0 && n[4] >= 0)) break;
      return churn(info.open, word[1], n[2], n[3], n[4]);
    case 'pace/4':
      if (!(n[1] > 0 && n[2] >= 0 && n[3] >= 0)) break;
      return pace(s.p, n[1], n[2], n[3]);
  }
  throw new Wrong('not understood');
}

// info: name, version, caps (words of entries bytes ttl load), open(cfg) -> get set count accounted.
async function serve(info) {
  const s = { w: null, p: null };
  for await (const line of require('readline').createInterface({ input: process.stdin })) {
    if (line.trim() === 'quit') break;
    let out;
    try {
      out = await answer(info, s, line.trim().split(/\s+/));
    } catch (e) {
      out = { error: String(e.message).replace(/["\\]/g, "'") };
    }
    process.stdout.write(JSON.stringify(out) + '\n');
  }
  process.exit(0);
}

module.exports = { serve };
