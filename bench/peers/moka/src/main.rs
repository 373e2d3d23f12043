// SPDX-License-Identifier: MIT
//
// Driver for moka's sync cache (W-TinyLFU).
#[path = "../../lib/driver.rs"]
mod driver;
use driver::{Cfg, Inline, Key, Peer, Value};
use std::sync::Arc;
use std::time::Duration;

struct Moka<V: Value>(moka::sync::Cache<Key, V>, bool);

impl<V: Value> Peer for Moka<V> {
    const NAME: &'static str = "moka";
    const VERSION: &'static str = "0.12.16";
    const CAPS: &'static str = "entries bytes ttl load";
    type V = V;
    fn open(cfg: &Cfg) -> Self {
        let mut b = moka::sync::Cache::builder();
        b = if cfg.bytes != 0 {
            b.max_capacity(cfg.bytes).weigher(|_, v: &V| 16 + v.len() as u32)
        } else {
            b.max_capacity(cfg.room()).initial_capacity(cfg.presize() as usize)
        };
        if cfg.ttl_ms != 0 { b = b.time_to_live(Duration::from_millis(cfg.ttl_ms)); }
        Moka(b.build(), cfg.bytes != 0)
    }
    fn get(&self, key: &Key) -> Option<V> { self.0.get(key) }
    fn set(&self, key: Key, value: V) -> bool { self.0.insert(key, value); true }
    fn del(&self, key: &Key) { self.0.invalidate(key) }
    fn count(&self) -> u64 { self.0.run_pending_tasks(); self.0.entry_count() }
    fn accounted(&self) -> u64 { if self.1 { self.0.weighted_size() } else { 0 } }
    fn settle(&self) { self.0.run_pending_tasks(); }
    fn load<F: Fn() -> V>(&self, key: Key, f: F) -> V { self.0.get_with(key, f) }
}

fn main() { driver::run_both::<Moka<Arc<[u8]>>, Moka<Inline>>() }
