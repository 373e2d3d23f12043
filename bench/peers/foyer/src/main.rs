// SPDX-License-Identifier: MIT
//
// Driver for foyer's cache in memory.
#[path = "../../lib/driver.rs"]
mod driver;
use driver::{Cfg, Inline, Key, Peer, Value};
use foyer::{Cache, CacheBuilder};
use std::sync::Arc;

struct Foyer<V: Value>(Cache<Key, V>, bool);

impl<V: Value> Peer for Foyer<V> {
    const NAME: &'static str = "foyer";
    const VERSION: &'static str = "0.22.6";
    const CAPS: &'static str = "entries bytes";
    type V = V;
    fn open(cfg: &Cfg) -> Self {
        let bytes = cfg.bytes != 0;
        let room = if bytes { cfg.bytes } else { cfg.room() };
        Foyer(CacheBuilder::new(room as usize)
            .with_weighter(move |_: &Key, v: &V| if bytes { 16 + v.len() } else { 1 })
            .build(), bytes)
    }
    fn get(&self, key: &Key) -> Option<V> { self.0.get(key).map(|e| e.value().clone()) }
    fn copy(&self, key: &Key, buf: &mut [u8]) -> Option<usize> {
        self.0.get(key).map(|e| driver::copied(e.value(), buf))
    }
    fn set(&self, key: Key, value: V) -> bool { self.0.insert(key, value); true }
    fn del(&self, key: &Key) { self.0.remove(key); }
    fn count(&self) -> u64 { if self.1 { 0 } else { self.0.usage() as u64 } }
    fn accounted(&self) -> u64 { if self.1 { self.0.usage() as u64 } else { 0 } }
}

fn main() { driver::run_both::<Foyer<Arc<[u8]>>, Foyer<Inline>>() }
