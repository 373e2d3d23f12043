// SPDX-License-Identifier: MIT
//
// Driver for foyer's hybrid cache: a store on disk for suite l2, with two commands of its own:
//   put DIR KEYS VALUE              ids 0..KEYS-1 into a new store, until all is synced:
//                                   ns, p50 p99 p999 of one put in ns, written: bytes of the process
//   get DIR KEYS VALUE MS ROUNDS    of the store that lies there: open_ns until it answers, gets a
//                                   second of each of ROUNDS windows of MS, misses in a thousand, bad
#[path = "../../lib/driver.rs"]
#[allow(dead_code)]
mod driver;
use driver::{make_key, mix64, percentile, slot, verify};
use foyer::{BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, PsyncIoEngineConfig};
use std::time::Instant;

type Store = HybridCache<u128, Vec<u8>>;

fn key(id: u64) -> u128 { u128::from_le_bytes(make_key(id, 16)) }

fn said<T, E: std::fmt::Display>(r: Result<T, E>) -> Result<T, String> { r.map_err(|e| e.to_string()) }

fn pages(len: usize) -> usize { (len + 128).div_ceil(PAGE) * PAGE }

async fn open(dir: &str, payload: usize) -> Result<Store, String> {
    // Nothing is reclaimed: room for all, and spare blocks.
    let device = said(FsDeviceBuilder::new(dir).with_capacity(payload + payload / 4 + (256 << 20)).build())?;
    said(HybridCacheBuilder::new()
        .with_policy(HybridCachePolicy::WriteOnInsertion)
        .memory(1 << 20)
        .with_weighter(|_: &u128, v: &Vec<u8>| 16 + v.len())
        .storage()
        .with_io_engine_config(PsyncIoEngineConfig::new())
        .with_engine_config(BlockEngineConfig::new(device))
        .build()
        .await)
}

/// As for the others: without pages that were taken back before the kernel wrote them.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let of = |name: &str| io.lines().find_map(|l| l.strip_prefix(name)?.trim().parse::<u64>().ok()).unwrap_or(0);
    of("write_bytes:").wrapping_sub(of("cancelled_write_bytes:"))
}

/// What the close left in the page cache is on the disk, too.
fn sync(dir: &str) -> Result<(), String> {
    for e in said(std::fs::read_dir(dir))? {
        let path = said(e)?.path();
        if path.is_file() { said(said(std::fs::File::open(path))?.sync_data())?; }
    }
    Ok(())
}

/// What may wait to be written. Its buffers have 16 MiB, half of them taken while they are flushed, and
/// what does not fit is dropped: so a put waits here, as ours is tried until it is taken.
const QUEUE: usize = 4 << 20;
const PAGE: usize = 4096; // each entry begins on one

async fn put(dir: &str, keys: u64, len: usize) -> Result<String, String> {
    let before = written();
    let store = open(dir, keys as usize * pages(len)).await?;
    let mut waiting = 0;
    let (mut hist, begin) = (vec![0u64; 2560], Instant::now());
    for id in 0..keys {
        let mut v = vec![0x5au8; len];
        v[..8].copy_from_slice(&id.to_le_bytes());
        v[len - 1] = id as u8;
        let from = Instant::now();
        if waiting + pages(len) > QUEUE {
            store.storage().wait().await;
            waiting = 0;
        }
        store.insert(key(id), v);
        waiting += pages(len);
        hist[slot(from.elapsed().as_nanos() as u64)] += 1;
    }
    said(store.close().await)?;
    sync(dir)?;
    Ok(format!("{{\"ns\":{},\"p50\":{},\"p99\":{},\"p999\":{},\"written\":{}}}", begin.elapsed().as_nanos(),
        percentile(&hist, 500_000), percentile(&hist, 990_000), percentile(&hist, 999_000), written().wrapping_sub(before)))
}

async fn get(dir: &str, keys: u64, len: usize, ms: u64, rounds: u64) -> Result<String, String> {
    let begin = Instant::now();
    let store = open(dir, keys as usize * pages(len)).await?;
    let open_ns = begin.elapsed().as_nanos();
    let (mut seed, mut gets, mut misses, mut bad, mut rates) = (1u64, 0u64, 0u64, 0u64, vec![]);
    for _ in 0..rounds {
        let (from, before) = (Instant::now(), gets);
        while from.elapsed().as_millis() < ms as u128 {
            seed = mix64(seed.wrapping_add(0x9e3779b97f4a7c15));
            let id = (seed >> 32) * keys >> 32;
            gets += 1;
            match said(store.get(&key(id)).await)? {
                Some(e) => bad += !verify(e.value(), id, len) as u64,
                None => misses += 1,
            }
        }
        rates.push(format!("{:.0}", (gets - before) as f64 / from.elapsed().as_secs_f64()));
    }
    said(store.close().await)?;
    Ok(format!("{{\"open_ns\":{},\"gets\":[{}],\"misses\":{:.3},\"bad\":{}}}", open_ns, rates.join(","),
        misses as f64 * 1e3 / gets.max(1) as f64, bad))
}

fn main() {
    let run = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    driver::serve(|word| {
        let number = |i: usize| word.get(i).and_then(|t| t.parse::<u64>().ok()).filter(|n| *n > 0);
        match (word.first().copied().unwrap_or(""), number(2), number(3).filter(|n| *n >= 16)) {
            ("hello", _, _) => Ok("{\"peer\":\"foyer_hybrid\",\"version\":\"0.22.6\",\"runtime\":\"rust\",\
                \"caps\":\"\"}".into()),
            ("put", Some(n), Some(len)) => run.block_on(put(word[1], n, len as usize)),
            ("get", Some(n), Some(len)) => match (number(4), number(5)) {
                (Some(ms), Some(rounds)) => run.block_on(get(word[1], n, len as usize, ms, rounds)),
                _ => Err("not understood".into()),
            },
            _ => Err("not understood".into()),
        }
    })
}
