// SPDX-License-Identifier: MIT
//
// Driver for governor's keyed limiter: one command a line on stdin, one JSON line as answer.
// hello | open KEYS | window check|check_hot THREADS MS | quit
// Keys are Strings of 16 bytes in governor's default store (DashMap), its default clock (quanta);
// the quota is never reached, as in all subjects.
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::io::{BufRead, Write};
use std::num::NonZeroU32;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

const BATCH: u64 = 256;

fn cpu_ns(clock: libc::clockid_t) -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(clock, &mut t) };
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

fn window(l: &Arc<DefaultKeyedRateLimiter<String>>, keys: &Arc<Vec<String>>, count: u64,
          threads: usize, ms: u64, seed: u64) -> String {
    let barrier = Arc::new(Barrier::new(threads));
    let begin = Instant::now();
    let workers: Vec<_> = (0..threads).map(|i| {
        let (l, keys, barrier) = (l.clone(), keys.clone(), barrier.clone());
        std::thread::spawn(move || {
            pin(i);
            let (mut s, mut ops, mut bad) = (seed + i as u64 * 77777, 0u64, 0u64);
            barrier.wait();
            let cpu = cpu_ns(libc::CLOCK_THREAD_CPUTIME_ID);
            let start = Instant::now();
            let until = start + Duration::from_millis(ms);
            loop {
                for _ in 0..BATCH {
                    s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let k = (((s >> 32) * count) >> 32) as usize;
                    bad += l.check_key(&keys[k]).is_err() as u64;
                }
                ops += BATCH;
                if Instant::now() >= until { break; }
            }
            (ops, bad, cpu_ns(libc::CLOCK_THREAD_CPUTIME_ID) - cpu, start.elapsed().as_nanos() as u64)
        })
    }).collect();
    let (mut ops, mut bad, mut cpu, mut wall) = (0, 0, 0, 0);
    for w in workers {
        let (o, b, c, t) = w.join().unwrap();
        ops += o; bad += b; cpu += c; wall = wall.max(t);
    }
    let _ = begin;
    format!("{{\"ops\":{},\"bad\":{},\"wall_ns\":{},\"cpu_ns\":{}}}", ops, bad, wall, cpu)
}

fn main() {
    let quota = Quota::per_second(NonZeroU32::new(500_000_000).unwrap());
    let limiter: Arc<DefaultKeyedRateLimiter<String>> = Arc::new(RateLimiter::keyed(quota));
    let mut keys = Arc::new(Vec::new());
    let mut seed = 1u64;
    for line in std::io::stdin().lock().lines() {
        let line = match line { Ok(l) => l, Err(_) => break };
        let word: Vec<&str> = line.split_whitespace().collect();
        let number = |i: usize| word.get(i).and_then(|w| w.parse::<u64>().ok()).unwrap_or(0);
        let answer = match word.first().copied() {
            Some("hello") => "{\"peer\":\"governor\",\"version\":\"0.10.4\",\"runtime\":\"rust\"}".to_string(),
            Some("open") if number(1) > 0 => {
                keys = Arc::new((0..number(1)).map(|k| format!("user:{:011}", k)).collect());
                for k in keys.iter() { let _ = limiter.check_key(k); }
                format!("{{\"entries\":{}}}", limiter.len())
            }
            Some("window") if !keys.is_empty() && number(2) > 0 => {
                let count = if word[1] == "check_hot" { 1 } else { keys.len() as u64 };
                seed += 1_000_003;
                window(&limiter, &keys, count, number(2) as usize, number(3), seed)
            }
            Some("quit") => break,
            _ => "{\"error\":\"not understood\"}".to_string(),
        };
        println!("{}", answer);
        let _ = std::io::stdout().flush();
    }
}
