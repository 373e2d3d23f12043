// SPDX-License-Identifier: MIT
//
// Driver for dashmap: a concurrent map, no bound and no deadlines.
#[path = "../../lib/driver.rs"]
mod driver;
use driver::{Cfg, Key, Peer};
use std::sync::Arc;

struct Dash(dashmap::DashMap<Key, Arc<[u8]>>);

impl Peer for Dash {
    const NAME: &'static str = "dashmap";
    const VERSION: &'static str = "6.2.1";
    const CAPS: &'static str = "";
    type V = Arc<[u8]>;
    fn open(cfg: &Cfg) -> Self { Dash(dashmap::DashMap::with_capacity(cfg.presize() as usize)) }
    fn get(&self, key: &Key) -> Option<Arc<[u8]>> { self.0.get(key).map(|v| v.value().clone()) }
    fn copy(&self, key: &Key, buf: &mut [u8]) -> Option<usize> {
        self.0.get(key).map(|v| driver::copied(v.value(), buf))
    }
    fn set(&self, key: Key, value: Arc<[u8]>) -> bool { self.0.insert(key, value); true }
    fn count(&self) -> u64 { self.0.len() as u64 }
}

fn main() { driver::run::<Dash>() }
