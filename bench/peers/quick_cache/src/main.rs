// SPDX-License-Identifier: MIT
//
// Driver for quick_cache's sync cache (a variant of CLOCK-Pro).
#[path = "../../lib/driver.rs"]
mod driver;
use driver::{Cfg, Key, Peer, Value};

#[derive(Clone)]
struct Weigh(bool);
impl quick_cache::Weighter<Key, Value> for Weigh {
    fn weight(&self, _: &Key, v: &Value) -> u64 { if self.0 { 16 + v.len() as u64 } else { 1 } }
}

struct Quick(quick_cache::sync::Cache<Key, Value, Weigh>, bool);

impl Peer for Quick {
    const NAME: &'static str = "quick_cache";
    const VERSION: &'static str = "0.7.0";
    const CAPS: &'static str = "entries bytes load";
    fn open(cfg: &Cfg) -> Self {
        let bytes = cfg.bytes != 0;
        let items = if bytes { cfg.hint } else { cfg.presize() };
        let weight = if bytes { cfg.bytes } else { cfg.room() };
        Quick(quick_cache::sync::Cache::with_weighter(items as usize, weight, Weigh(bytes)), bytes)
    }
    fn get(&self, key: &Key) -> Option<Value> { self.0.get(key) }
    fn set(&self, key: Key, value: Value) -> bool { self.0.insert(key, value); true }
    fn del(&self, key: &Key) { self.0.remove(key); }
    fn count(&self) -> u64 { self.0.len() as u64 }
    fn accounted(&self) -> u64 { if self.1 { self.0.weight() } else { 0 } }
    fn load<F: Fn() -> Value>(&self, key: Key, f: F) -> Value {
        self.0.get_or_insert_with(&key, || Ok::<Value, ()>(f())).unwrap()
    }
}

fn main() { driver::run::<Quick>() }
