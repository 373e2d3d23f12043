// SPDX-License-Identifier: MIT
//
// driver: the window protocol for peers in Rust; README.md here has the commands. A peer implements
// Peer, calls run() or run_both(). Keys are [u8; 16] inline (8-byte keys are padded). Values have two
// forms: Arc<[u8]>, of any length, and Inline, kept in the entry and copied out by a get.
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

pub type Key = [u8; 16];

pub trait Value: Clone + Send + Sync + std::ops::Deref<Target = [u8]> + 'static {
    const MOST: u64;
    fn of(bytes: &[u8]) -> Self;
}

impl Value for Arc<[u8]> {
    const MOST: u64 = u64::MAX;
    fn of(bytes: &[u8]) -> Self { Arc::from(bytes) }
}

const INLINE: usize = 103;
#[derive(Clone)]
pub struct Inline { len: u8, bytes: [u8; INLINE] }

impl std::ops::Deref for Inline {
    type Target = [u8];
    fn deref(&self) -> &[u8] { &self.bytes[..self.len as usize] }
}

impl Value for Inline {
    const MOST: u64 = INLINE as u64;
    fn of(bytes: &[u8]) -> Self {
        let mut v = Inline { len: bytes.len() as u8, bytes: [0; INLINE] };
        v.bytes[..bytes.len()].copy_from_slice(bytes);
        v
    }
}

/// Zero: no such bound. `hint`: entries to expect.
#[derive(Clone, Copy, Default)]
pub struct Cfg {
    pub entries: u64,
    pub bytes: u64,
    pub hint: u64,
    pub ttl_ms: u64,
}

impl Cfg {
    /// Room in entries: the bound, or a quarter more than everything that may come.
    pub fn room(&self) -> u64 {
        if self.entries != 0 { self.entries } else { self.hint + self.hint / 4 + 64 }
    }
    /// Room to make at once: for what will come, or none for a store that nobody told how much.
    pub fn presize(&self) -> u64 {
        if self.hint != 0 && self.entries != 0 { self.entries } else { self.hint }
    }
}

pub trait Peer: Send + Sync + Sized + 'static {
    const NAME: &'static str;
    const VERSION: &'static str;
    /// words of: entries bytes ttl load
    const CAPS: &'static str;
    type V: Value;
    fn open(cfg: &Cfg) -> Self;
    fn get(&self, key: &Key) -> Option<Self::V>;
    /// The value's length, and as much of it as fits into buf; where a store lets its values be read
    /// in place, without a count of references.
    fn copy(&self, key: &Key, buf: &mut [u8]) -> Option<usize> { self.get(key).map(|v| copied(&v, buf)) }
    /// false: refused
    fn set(&self, key: Key, value: Self::V) -> bool;
    /// only with "bytes" in CAPS
    fn del(&self, _key: &Key) {}
    fn count(&self) -> u64;
    fn accounted(&self) -> u64 { 0 }
    fn settle(&self) {}
    /// only with "load" in CAPS
    fn load<F: Fn() -> Self::V>(&self, _key: Key, f: F) -> Self::V { f() }
}

pub fn copied(v: &[u8], buf: &mut [u8]) -> usize {
    let n = v.len().min(buf.len());
    buf[..n].copy_from_slice(&v[..n]);
    v.len()
}

pub fn mix64(x: u64) -> u64 {
    let x = (x ^ x >> 30).wrapping_mul(0xbf58476d1ce4e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d049bb133111eb);
    x ^ x >> 31
}

pub fn make_key(id: u64, key_len: usize) -> Key {
    let mut k = [0u8; 16];
    if key_len == 16 {
        k[..8].copy_from_slice(&mix64(id + 1).to_le_bytes());
        k[8..].copy_from_slice(&id.to_le_bytes());
    } else {
        k[..8].copy_from_slice(&id.to_le_bytes());
    }
    k
}

fn stamp(buf: &mut [u8], id: u64) {
    let n = buf.len();
    buf[..8].copy_from_slice(&id.to_le_bytes());
    buf[n - 1] = id as u8;
}

fn make_value<V: Value>(buf: &mut [u8], id: u64) -> V {
    stamp(buf, id);
    let v = V::of(buf);
    let n = buf.len();
    if n > 8 { buf[n - 1] = 0x5a; }
    v
}

pub fn verify(v: &[u8], id: u64, len: usize) -> bool {
    let want = if len == 8 { id & !(0xff << 56) | (id & 0xff) << 56 } else { id };
    v.len() == len && v[..8] == want.to_le_bytes() && v[len - 1] == id as u8
}

pub fn slot(v: u64) -> usize {
    if v < 128 { return v as usize; }
    let octave = 57 - v.leading_zeros() as usize;
    (octave * 64 + (v >> octave) as usize).min(64 * 40 - 1)
}

/// The value that `per_million` of all do not exceed: the low end of its slot.
pub fn percentile(hist: &[u64], per_million: u64) -> u64 {
    let total: u64 = hist.iter().sum();
    let (mut seen, mut at) = (0, 0);
    for (i, n) in hist.iter().enumerate() {
        seen += n;
        at = i;
        if seen * 1_000_000 >= total * per_million { break; }
    }
    if at < 128 { at as u64 } else { ((at % 64 + 64) as u64) << (at / 64 - 1) }
}

fn pairs(hist: &[u64]) -> String {
    let mut out = String::new();
    for (k, n) in hist.iter().enumerate().filter(|(_, n)| **n > 0) {
        let _ = write!(out, "{}{},{}", if out.is_empty() { "" } else { "," }, k, n);
    }
    out
}

fn cpu_ns() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

fn pin(cpu: usize) {
    unsafe {
        let mut have: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, std::mem::size_of::<libc::cpu_set_t>(), &mut have);
        let usable: Vec<usize> = (0..1024).filter(|&i| libc::CPU_ISSET(i, &have)).collect();
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(usable[cpu % usable.len()], &mut set);
        libc::sched_setaffinity(0, std::mem::size_of::<libc::cpu_set_t>(), &set);
    }
}

#[derive(Default)]
struct Mix { metric: String, hot: bool, masks: Vec<Vec<u32>> }

#[derive(Default)]
struct Workload {
    cfg: Cfg,
    key_len: usize,
    prefill: u64,
    keys: u64,
    hot_id: u32,
    ids: Vec<Vec<u32>>,
    lengths: Vec<u32>,
    mask: u32,
    mixes: Vec<Mix>,
}

const KNOWN: [&str; 12] = ["trace", "key", "value", "ops", "capacity", "ttl_ms", "threads", "prefill",
    "window_ms", "rounds", "min_memory", "subjects"];

impl Workload {
    fn read(wl: &str, bin: &str) -> Result<Workload, String> {
        let text = std::fs::read_to_string(wl).map_err(|e| format!("{}: {}", wl, e))?;
        let mut word = HashMap::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or("").trim();
            if line.is_empty() { continue; }
            match line.split_once('=') {
                Some((k, v)) if KNOWN.contains(&k.trim()) => { word.insert(k.trim(), v.trim()); }
                Some(_) => return Err(format!("{}:{}: unknown key", wl, i + 1)),
                None => return Err(format!("{}:{}: no key = value", wl, i + 1)),
            }
        }
        let mut w = Workload::default();
        let b = std::fs::read(bin).map_err(|e| format!("{}: {}", bin, e))?;
        w.take(&b).ok_or(format!("{}: torn", bin))?;
        let number = |t: &str| t.parse::<u64>().unwrap_or(0);
        w.key_len = number(word.get("key").unwrap_or(&"16")) as usize;
        w.cfg.hint = w.keys;
        w.cfg.ttl_ms = number(word.get("ttl_ms").unwrap_or(&"0"));
        w.prefill = match *word.get("prefill").unwrap_or(&"all") {
            "all" => w.keys, "none" => 0, n => number(n).min(w.keys) };
        if let Some((kind, n)) = word.get("capacity").and_then(|c| c.split_once(' ')) {
            if kind == "entries" { w.cfg.entries = number(n); } else {
                w.cfg.bytes = number(n);
                let value = w.lengths.iter().copied().max().unwrap_or(0) as u64;
                w.cfg.hint = w.keys.min(w.cfg.bytes / (w.key_len as u64 + value).max(1));
            }
        }
        Ok(w)
    }

    fn take(&mut self, b: &[u8]) -> Option<()> {
        let u64_at = |at: usize| Some(u64::from_le_bytes(b.get(at..at + 8)?.try_into().ok()?));
        let words = |at: usize, n: usize| -> Option<Vec<u32>> {
            Some(b.get(at..at + 4 * n)?.chunks_exact(4)
                .map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect())
        };
        if b.get(..8)? != b"CELLBTR1" { return None; }
        let (threads, count) = (u64_at(8)? as usize, u64_at(16)? as usize);
        let (mixes, lengths) = (u64_at(24)? as usize, u64_at(32)? as usize);
        self.mask = u64_at(40)? as u32;
        self.keys = u64_at(48)?;
        self.hot_id = u64_at(56)? as u32;
        let mut at = 64;
        for _ in 0..mixes {
            let name: Vec<u8> = b.get(at..at + 16)?.iter().copied().take_while(|&c| c != 0).collect();
            self.mixes.push(Mix { metric: String::from_utf8(name).ok()?, hot: u64_at(at + 16)? == 1,
                masks: vec![] });
            at += 24;
        }
        for _ in 0..threads { self.ids.push(words(at, count)?); at += 4 * count; }
        self.lengths = words(at, lengths)?;
        at += 4 * lengths;
        for m in self.mixes.iter_mut() {
            for _ in 0..threads { m.masks.push(words(at, count / 32)?); at += count / 32 * 4; }
        }
        Some(())
    }

    fn len(&self, id: u64) -> usize { self.lengths[(id as u32 & self.mask) as usize] as usize }
}

#[derive(Default, Clone)]
struct Counts { ops: u64, gets: u64, hits: u64, bad: u64, errors: u64, cpu: u64, start: u64, end: u64,
    hist: Vec<u64> }

fn work<P: Peer>(p: &P, w: &Workload, m: &Mix, i: usize, threads: usize, pos: usize, ms: u64,
                 latency: bool, line: &Barrier, base: Instant) -> Counts {
    let (ids, masks) = (&w.ids[i % w.ids.len()], &m.masks[i % w.ids.len()]);
    let through = m.metric == "readthrough";
    let mut c = Counts { hist: if latency { vec![0; 2560] } else { vec![] }, ..Default::default() };
    let mut wbuf = vec![0x5au8; *w.lengths.iter().max().unwrap() as usize];
    let mut rbuf = wbuf.clone();
    let put = |c: &mut Counts, wbuf: &mut Vec<u8>, key: Key, id: u64| {
        let n = w.len(id);
        c.errors += !p.set(key, make_value(&mut wbuf[..n], id)) as u64;
        if n > 8 { wbuf[n - 1] = 0x5a; }
    };
    pin(i);
    line.wait();
    let cpu = cpu_ns();
    let begin = Instant::now();
    let until = begin + Duration::from_millis(ms);
    let mut at = (pos + (ids.len() / threads & !31) * i) % ids.len() & !31;
    loop {
        let mut mask = masks[at / 32];
        for k in 0..32 {
            let id = if m.hot { w.hot_id } else { ids[at + k] } as u64;
            let key = make_key(id, w.key_len);
            let is_set = mask & 1 == 1;
            mask >>= 1;
            if is_set { put(&mut c, &mut wbuf, key, id); continue; }
            c.gets += 1;
            let from = if latency { Some(Instant::now()) } else { None };
            let got = p.copy(&key, &mut rbuf);
            if let Some(f) = from { c.hist[slot(f.elapsed().as_nanos() as u64)] += 1; }
            if let Some(n) = got {
                c.hits += 1;
                c.bad += !(n <= rbuf.len() && verify(&rbuf[..n], id, w.len(id))) as u64;
            } else if through {
                put(&mut c, &mut wbuf, key, id);
            }
        }
        c.ops += 32;
        at += 32;
        if at + 32 > ids.len() { at = 0; }
        if Instant::now() >= until { break; }
    }
    c.cpu = cpu_ns() - cpu;
    c.start = begin.duration_since(base).as_nanos() as u64;
    c.end = base.elapsed().as_nanos() as u64;
    c
}

fn window<P: Peer>(p: &P, w: &Workload, metric: &str, threads: usize, ms: u64, pos: usize,
                   latency: bool) -> Result<String, String> {
    let m = w.mixes.iter().find(|m| m.metric == metric).ok_or("no such metric in the workload")?;
    if threads == 0 { return Err("too many threads".into()); }
    let (line, base) = (Barrier::new(threads), Instant::now());
    let all: Vec<Counts> = std::thread::scope(|s| {
        let h: Vec<_> = (0..threads).map(|i| { let line = &line;
            s.spawn(move || work(p, w, m, i, threads, pos, ms, latency, line, base)) }).collect();
        h.into_iter().map(|h| h.join().unwrap()).collect()
    });
    let sum = |f: fn(&Counts) -> u64| all.iter().map(f).sum::<u64>();
    let wall = all.iter().map(|c| c.end).max().unwrap() - all.iter().map(|c| c.start).min().unwrap();
    let mut out = format!("{{\"ops\":{},\"gets\":{},\"hits\":{},\"bad\":{},\"errors\":{},\"wall_ns\":{},\
        \"cpu_ns\":{}", sum(|c| c.ops), sum(|c| c.gets), sum(|c| c.hits), sum(|c| c.bad),
        sum(|c| c.errors), wall, sum(|c| c.cpu));
    if latency {
        let sum: Vec<u64> = (0..2560).map(|k| all.iter().map(|c| c.hist[k]).sum()).collect();
        let _ = write!(out, ",\"hist\":[{}]", pairs(&sum));
    }
    Ok(out + "}")
}

fn fill<P: Peer>(p: &P, n: u64, key_len: usize, len: impl Fn(u64) -> usize) {
    let mut buf = vec![];
    for id in 0..n {
        buf.clear();
        buf.resize(len(id), 0x5au8);
        p.set(make_key(id, key_len), make_value(&mut buf, id));
    }
    p.settle();
}

fn digest(w: &Workload, n: usize) -> String {
    let mut h = 0xcbf29ce484222325u64;
    for i in 0..n {
        let at = i % w.ids[0].len();
        let m = &w.mixes[0];
        let id = if m.hot { w.hot_id } else { w.ids[0][at] } as u64;
        let bit = (m.masks[0][at / 32] >> (at % 32) & 1) as u8;
        for b in make_key(id, 16).iter().chain(std::iter::once(&bit)) {
            h = (h ^ *b as u64).wrapping_mul(0x100000001b3);
        }
    }
    format!("{{\"digest\":\"{:016x}\"}}", h)
}

/// Sizes of the budget storm: log-uniform 8 B .. 1 MiB, then only small ones, then only 1 MiB.
fn storm_len(draw: u64, phase: u64) -> usize {
    match phase {
        0 => { let octave = 3 + draw % 17; (1 << octave) + (draw >> 8) as usize % (1 << octave) }
        1 => 64 + (draw >> 8) as usize % 64,
        _ => 1 << 20,
    }
}

fn storm<P: Peer>(bytes: u64, ms: u64, threads: u64) -> String {
    let p = P::open(&Cfg { bytes, hint: bytes / 4096, ..Default::default() });
    let (ops, refused, most) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let begin = Instant::now();
    std::thread::scope(|s| for t in 0..threads {
        let (p, ops, refused, most) = (&p, &ops, &refused, &most);
        s.spawn(move || {
            let mut seed = mix64(t + 1);
            let mut buf = vec![0x5au8; 1 << 20];
            loop {
                let now = begin.elapsed().as_millis() as u64;
                if now >= ms { break; }
                for _ in 0..16 {
                    seed = seed.wrapping_add(0x9e3779b97f4a7c15);
                    let draw = mix64(seed);
                    let id = draw >> 40;
                    let n = storm_len(draw, now * 3 / ms);
                    let ok = p.set(make_key(id, 16), make_value(&mut buf[..n], id));
                    refused.fetch_add(!ok as u64, Ordering::Relaxed);
                }
                ops.fetch_add(16, Ordering::Relaxed);
                most.fetch_max(p.accounted(), Ordering::Relaxed);
            }
        });
    });
    format!("{{\"ops\":{},\"refused\":{},\"accounted_max\":{}}}", ops.into_inner(),
        refused.into_inner(), most.into_inner())
}

fn replay<P: Peer>(path: &str, capacity: u64, len: usize, bytes: u64) -> Result<String, String> {
    let b = std::fs::read(path).map_err(|e| format!("{}: {}", path, e))?;
    let (entries, bytes) = if bytes == 0 { (capacity, 0) } else { (0, capacity * (16 + len as u64)) };
    let p = P::open(&Cfg { entries, bytes, hint: capacity, ..Default::default() });
    let (mut misses, mut bad, mut buf) = (0u64, 0u64, vec![0x5au8; len]);
    let begin = Instant::now();
    for (i, rec) in b.chunks_exact(16).enumerate() {
        let id = u64::from_le_bytes(rec[..8].try_into().unwrap());
        let key = make_key(id, 16);
        match p.get(&key) {
            Some(v) => bad += !verify(&v, id, len) as u64,
            None => { misses += 1; p.set(key, make_value(&mut buf, id)); }
        }
        if i % 64 == 63 { p.settle(); }
    }
    Ok(format!("{{\"requests\":{},\"misses\":{},\"bad\":{},\"wall_ns\":{}}}", b.len() / 16, misses, bad,
        begin.elapsed().as_nanos()))
}

fn stampede<P: Peer>(threads: usize, rounds: u64, ms: u64) -> Result<String, String> {
    let p = P::open(&Cfg { entries: 10000, hint: 10000, ..Default::default() });
    let (mut calls_out, mut last_out, bad) = (vec![], vec![], AtomicU64::new(0));
    for r in 0..rounds {
        let (calls, loaded) = (AtomicU64::new(0), AtomicU64::new(0));
        let (line, base, key) = (Barrier::new(threads), Instant::now(), make_key(r, 16));
        let done = Mutex::new(vec![]);
        std::thread::scope(|s| for _ in 0..threads {
            let (p, calls, loaded, line, done, bad) = (&p, &calls, &loaded, &line, &done, &bad);
            s.spawn(move || {
                line.wait();
                let v = p.load(key, || {
                    calls.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(ms));
                    loaded.store(base.elapsed().as_nanos() as u64, Ordering::Relaxed);
                    P::V::of(&r.to_le_bytes())
                });
                done.lock().unwrap().push(base.elapsed().as_nanos() as u64);
                bad.fetch_add((v[..] != r.to_le_bytes()) as u64, Ordering::Relaxed);
            });
        });
        let last = *done.into_inner().unwrap().iter().max().unwrap();
        calls_out.push(calls.into_inner().to_string());
        last_out.push(format!("{:.1}", last.saturating_sub(loaded.into_inner()) as f64 / 1e3));
    }
    Ok(format!("{{\"calls\":[{}],\"last_us\":[{}],\"bad\":{}}}", calls_out.join(","), last_out.join(","),
        bad.into_inner()))
}

fn expire<P: Peer>(count: u64, ttl_ms: u64, ms: u64) -> String {
    let p = P::open(&Cfg { hint: count, ttl_ms, ..Default::default() });
    let first = Instant::now();
    fill(&p, count, 16, |_| 100);
    let mut buf = vec![0x5au8; 100];
    let (mut seed, mut ops, mut bad, mut max, mut hist) = (1u64, 0u64, 0u64, 0u64, vec![0u64; 2560]);
    let mut anew = vec![0u8; count as usize];
    while first.elapsed() < Duration::from_millis(ttl_ms) { std::thread::sleep(Duration::from_millis(1)); }
    let last_due = Instant::now() + Duration::from_millis(ms);
    while Instant::now() < last_due {
        seed = seed.wrapping_add(0x9e3779b97f4a7c15);
        let draw = mix64(seed);
        let id = draw % count;
        let key = make_key(id, 16);
        let cpu = cpu_ns();
        let from = Instant::now();
        if draw >> 56 < 13 {
            p.set(key, make_value(&mut buf, id));
        } else if let Some(v) = p.get(&key) {
            bad += !verify(&v, id, 100) as u64;
        }
        hist[slot(from.elapsed().as_nanos() as u64)] += 1;
        max = max.max(cpu_ns() - cpu);
        anew[id as usize] |= (draw >> 56 < 13) as u8;
        ops += 1;
    }
    let again = anew.iter().map(|&set| set as u64).sum::<u64>();
    format!("{{\"ops\":{},\"bad\":{},\"p999_ns\":{},\"max_us\":{:.1},\"left\":{},\"anew\":{}}}", ops, bad,
        percentile(&hist, 999_000), max as f64 / 1e3, p.count(), again)
}

/// Inserts into an empty store that was given no hint: thread CPU of each of `count`; then `more`
/// into another one, by the wall clock.
fn grow<P: Peer>(count: u64, more: u64) -> String {
    let open = |n: u64| P::open(&Cfg { entries: n + n / 4 + 64, ..Default::default() });
    let mut buf = vec![0x5au8; 100];
    let (mut max, mut over, mut refused, mut hist) = (0u64, 0u64, 0u64, vec![0u64; 2560]);
    let p = open(count);
    for id in 0..count {
        let (key, value) = (make_key(id, 16), make_value(&mut buf, id));
        let cpu = cpu_ns();
        refused += !p.set(key, value) as u64;
        let ns = cpu_ns() - cpu;
        hist[slot(ns)] += 1;
        max = max.max(ns);
        over += (ns > 1_000_000) as u64;
    }
    drop(p);
    let p = open(more);
    let begin = Instant::now();
    for id in 0..more { refused += !p.set(make_key(id, 16), make_value(&mut buf, id)) as u64; }
    format!("{{\"max_ns\":{},\"p9999_ns\":{},\"over_1ms\":{},\"wall_ns\":{},\"refused\":{}}}", max,
        percentile(&hist, 999_900), over, begin.elapsed().as_nanos(), refused)
}

/// Value lengths of the five phases of a churn, 4096 each, drawn by the bench.
const CHURN_PHASES: usize = 5;
const CHURN_LENGTHS: usize = 4096;

struct Churn { lengths: Vec<u32>, keys: Vec<u64> }

fn churn_plan(path: &str, bytes: u64) -> Result<Churn, String> {
    let b = std::fs::read(path).map_err(|e| format!("{}: {}", path, e))?;
    if b.len() != CHURN_PHASES * CHURN_LENGTHS * 4 { return Err(format!("{}: torn", path)); }
    let lengths: Vec<u32> = b.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect();
    let keys = lengths.chunks_exact(CHURN_LENGTHS).map(|l| {
        let sum: u64 = l.iter().map(|&n| n as u64).sum();
        4 * bytes / (sum / CHURN_LENGTHS as u64 + 16)
    }).collect();
    Ok(Churn { lengths, keys })
}

/// Phase after phase writes `phase` bytes (or stops after `ms`) with sizes of its own, one operation
/// in five deletes; then all keys are read once.
fn churn<P: Peer>(c: &Churn, bytes: u64, phase: u64, ms: u64, threads: usize) -> String {
    let p = P::open(&Cfg { bytes, hint: bytes / 4096, ..Default::default() });
    let zero = || AtomicU64::new(0);
    let (most, total, cut, line) = (zero(), zero(), zero(), Barrier::new(threads));
    let written: Vec<AtomicU64> = (0..CHURN_PHASES).map(|_| zero()).collect();
    let len = |at: usize, id: u64| c.lengths[at * CHURN_LENGTHS + id as usize % CHURN_LENGTHS] as usize;
    let begin = Instant::now();
    std::thread::scope(|s| for t in 0..threads {
        let (p, most, total, cut, line, written) = (&p, &most, &total, &cut, &line, &written);
        s.spawn(move || {
            let mut seed = mix64(t as u64 + 1);
            let mut buf = vec![0x5au8; 65536];
            for at in 0..CHURN_PHASES {
                line.wait();
                let begin = Instant::now();
                while written[at].load(Ordering::Relaxed) < phase {
                    let mut sum = 0;
                    for _ in 0..64 {
                        seed = seed.wrapping_add(0x9e3779b97f4a7c15);
                        let draw = mix64(seed);
                        let id = draw % c.keys[at];
                        let key = make_key(id, 16);
                        if (draw >> 40 & 1023) < 205 { p.del(&key); continue; }
                        let n = len(at, id);
                        let took = p.set(key, make_value(&mut buf[..n], id));
                        sum += if took { 16 + n as u64 } else { 0 };
                    }
                    written[at].fetch_add(sum, Ordering::Relaxed);
                    total.fetch_add(sum, Ordering::Relaxed);
                    most.fetch_max(p.accounted(), Ordering::Relaxed);
                    if begin.elapsed() > Duration::from_millis(ms) {
                        cut.fetch_or(1 << at, Ordering::Relaxed);
                        break;
                    }
                }
            }
        });
    });
    let wall = begin.elapsed().as_nanos();
    p.settle();
    let (mut held, mut bad) = (0u64, 0u64);
    for id in 0..*c.keys.iter().max().unwrap() {
        if let Some(v) = p.get(&make_key(id, 16)) {
            held += 16 + v.len() as u64;
            bad += !verify(&v, id, v.len()) as u64;
        }
    }
    format!("{{\"accounted_max\":{},\"written\":{},\"write_ns\":{},\"cut\":{},\"held\":{},\"bad\":{}}}",
        most.into_inner(), total.into_inner(), wall, cut.into_inner().count_ones(), held, bad)
}

/// 95:5 on ids 0..count-1, `rate` a second; a get's time runs from when it was due, so that one which
/// waited for another is not forgotten. rate 0: one after another.
fn pace<P: Peer>(p: &P, count: u64, ms: u64, rate: u64) -> String {
    let mut buf = vec![0x5au8; 100];
    let (mut seed, mut ops, mut gets, mut bad, mut hist) = (1u64, 0u64, 0u64, 0u64, vec![0u64; 2560]);
    let begin = Instant::now();
    let now = || begin.elapsed().as_nanos() as u64;
    let (end, given_up) = (ms * 1_000_000, 3 * ms * 1_000_000);
    loop {
        let due = if rate == 0 { now() } else { ops * 1_000_000_000 / rate };
        if due >= end || now() >= given_up { break; }
        while now() < due { std::hint::spin_loop(); }
        seed = seed.wrapping_add(0x9e3779b97f4a7c15);
        let draw = mix64(seed);
        let id = draw % count;
        let key = make_key(id, 16);
        if draw >> 56 < 13 {
            p.set(key, make_value(&mut buf, id));
        } else {
            let got = p.get(&key);
            hist[slot(now() - due)] += 1;
            gets += 1;
            bad += got.is_some_and(|v| !verify(&v, id, 100)) as u64;
        }
        ops += 1;
    }
    format!("{{\"ops\":{},\"gets\":{},\"bad\":{},\"wall_ns\":{},\"hist\":[{}]}}", ops, gets, bad, now(),
        pairs(&hist))
}

fn answer<P: Peer>(word: &[&str], w: &mut Workload, p: &mut Option<P>) -> Result<String, String> {
    let number = |i: usize| word.get(i).and_then(|t| t.parse::<u64>().ok());
    let ok = || Ok("{\"ok\":1}".to_string());
    let needs = |cap: &str| match P::CAPS.split(' ').any(|c| c == cap) {
        true => Ok(()), false => Err(format!("{} has no {}", P::NAME, cap)) };
    let fits = |len: u64| match len <= P::V::MOST {
        true => Ok(()), false => Err(format!("by value: at most {} bytes", P::V::MOST)) };
    match (word.first().copied().unwrap_or(""), word.len()) {
        ("hello", 1) => Ok(format!("{{\"peer\":\"{}\",\"version\":\"{}\",\"runtime\":\"rust\",\"caps\":\"{}\"}}",
            P::NAME, P::VERSION, P::CAPS)),
        ("open", 3) => {
            *p = None;
            *w = Workload::read(word[1], word[2])?;
            fits(w.lengths.iter().copied().max().unwrap_or(0) as u64)?;
            if w.cfg.entries != 0 { needs("entries")?; }
            if w.cfg.bytes != 0 { needs("bytes")?; }
            if w.cfg.ttl_ms != 0 { needs("ttl")?; }
            let store = P::open(&w.cfg);
            fill(&store, w.prefill, w.key_len, |id| w.len(id));
            let n = store.count();
            *p = Some(store);
            Ok(format!("{{\"entries\":{}}}", n))
        }
        ("warm", 2) => {
            let ms = number(1).unwrap_or(0) / w.mixes.len().max(1) as u64;
            for i in 0..w.mixes.len() {
                let metric = w.mixes[i].metric.clone();
                window(p.as_ref().ok_or("nothing is open")?, w, &metric, 1, ms, 0, false)?;
            }
            ok()
        }
        ("window" | "lat", 5) => {
            let n = (number(2).ok_or("threads?")?, number(3).ok_or("ms?")?, number(4).ok_or("position?")?);
            window(p.as_ref().ok_or("nothing is open")?, w, word[1], n.0 as usize, n.1, n.2 as usize,
                word[0] == "lat")
        }
        ("settle", 1) => { if let Some(s) = p { s.settle(); } ok() }
        ("mem", 1) => {
            let s = p.as_ref().ok_or("nothing is open")?;
            Ok(format!("{{\"entries\":{},\"accounted\":{}}}", s.count(), s.accounted()))
        }
        ("digest", 2) if !w.ids.is_empty() => Ok(digest(w, number(1).unwrap_or(0) as usize)),
        ("fill", 4 | 5) => {
            let (n, k, v) = (number(1).ok_or("count?")?, number(2).ok_or("key?")?, number(3).ok_or("value?")?);
            if v < 8 { return Err("values have 8 bytes or more".into()); }
            fits(v)?;
            let bytes = number(4).unwrap_or(0);
            if bytes != 0 { needs("bytes")?; }
            *p = None;
            let hint = if bytes != 0 { n.min(bytes / (k + v)) } else { n };
            let store = P::open(&Cfg { hint, bytes, ..Default::default() });
            fill(&store, n, k as usize, |_| v as usize);
            let n = store.count();
            *p = Some(store);
            Ok(format!("{{\"entries\":{}}}", n))
        }
        ("storm" | "churn", _) if P::V::MOST < 1 << 20 => fits(1 << 20).map(|_| String::new()),
        ("storm", 4) => match needs("bytes").and(Ok((number(1), number(2), number(3))))? {
            (Some(b), Some(ms), Some(t)) if ms > 0 => Ok(storm::<P>(b, ms, t)),
            _ => Err("not understood".into()),
        },
        ("replay", 5) => match needs("entries").and(Ok((number(2), number(3), number(4))))? {
            (Some(c), Some(v), Some(b)) if v >= 8 => fits(v).and_then(|_| replay::<P>(word[1], c, v as usize, b)),
            _ => Err("not understood".into()),
        },
        ("stampede", 4) => match needs("load").and(Ok((number(1), number(2), number(3))))? {
            (Some(t), Some(r), Some(ms)) if t > 0 => stampede::<P>(t as usize, r, ms),
            _ => Err("not understood".into()),
        },
        ("expire", 4) => match needs("ttl").and(Ok((number(1), number(2), number(3))))? {
            (Some(n), Some(t), Some(ms)) if n > 0 => Ok(expire::<P>(n, t, ms)),
            _ => Err("not understood".into()),
        },
        ("grow", 3) => match (number(1), number(2)) {
            (Some(n), Some(more)) if n > 0 => Ok(grow::<P>(n, more)),
            _ => Err("not understood".into()),
        },
        ("churn", 6) => match needs("bytes").and(Ok((number(2), number(3), number(4), number(5))))? {
            (Some(b), Some(phase), Some(ms), Some(t)) if b > 0 && t > 0 =>
                Ok(churn::<P>(&churn_plan(word[1], b)?, b, phase, ms, t as usize)),
            _ => Err("not understood".into()),
        },
        ("pace", 4) => match (number(1), number(2), number(3)) {
            (Some(n), Some(ms), Some(rate)) if n > 0 =>
                Ok(pace(p.as_ref().ok_or("nothing is open")?, n, ms, rate)),
            _ => Err("not understood".into()),
        },
        _ => Err("not understood".into()),
    }
}

/// Answers line by line until `quit` or the end of input.
pub fn serve(mut answer: impl FnMut(&[&str]) -> Result<String, String>) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        if line.trim() == "quit" { break; }
        let word: Vec<&str> = line.split_whitespace().collect();
        let text = answer(&word).unwrap_or_else(|e| {
            format!("{{\"error\":\"{}\"}}", e.replace(['"', '\\'], "'"))
        });
        println!("{}", text);
        let _ = std::io::stdout().flush();
    }
}

pub fn run<P: Peer>() {
    let mut w = Workload::default();
    let mut p: Option<P> = None;
    serve(|word| answer(word, &mut w, &mut p));
}

/// The form by reference, or with BY_VALUE=1 in the environment the one by value.
pub fn run_both<R: Peer, V: Peer>() {
    if std::env::var_os("BY_VALUE").is_some() { run::<V>() } else { run::<R>() }
}
