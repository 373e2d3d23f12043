// SPDX-License-Identifier: MIT
//
// Driver for quick_cache's sync cache (a variant of CLOCK-Pro).
#[path = "../../lib/driver.rs"]
mod driver;
use driver::{Cfg, Inline, Key, Peer, Value};
use std::sync::Arc;

#[derive(Clone)]
struct Weigh(bool);
impl<V: Value> quick_cache::Weighter<Key, V> for Weigh {
    fn weight(&self, _: &Key, v: &V) -> u64 { if self.0 { 16 + v.len() as u64 } else { 1 } }
}

struct Quick<V: Value>(quick_cache::sync::Cache<Key, V, Weigh>, bool);

impl<V: Value> Peer for Quick<V> {
    const NAME: &'static str = "quick_cache";
    const VERSION: &'static str = "0.7.0";
    const CAPS: &'static str = "entries bytes load";
    type V = V;
    fn open(cfg: &Cfg) -> Self {
        let bytes = cfg.bytes != 0;
        let items = if bytes { cfg.hint } else { cfg.presize() };
        let weight = if bytes { cfg.bytes } else { cfg.room() };
        Quick(quick_cache::sync::Cache::with_weighter(items as usize, weight, Weigh(bytes)), bytes)
    }
    fn get(&self, key: &Key) -> Option<V> { self.0.get(key) }
    fn set(&self, key: Key, value: V) -> bool { self.0.insert(key, value); true }
    fn del(&self, key: &Key) { self.0.remove(key); }
    fn count(&self) -> u64 { self.0.len() as u64 }
    fn accounted(&self) -> u64 { if self.1 { self.0.weight() } else { 0 } }
    fn load<F: Fn() -> V>(&self, key: Key, f: F) -> V {
        self.0.get_or_insert_with(&key, || Ok::<V, ()>(f())).unwrap()
    }
}

fn main() { driver::run_both::<Quick<Arc<[u8]>>, Quick<Inline>>() }
