// SPDX-License-Identifier: MIT
//
// A driver of mokabench (a0d61f6): bounded by entries, values of 128 bytes copied in and out.
use super::{make_value, sleep_thread_for_insertion, CacheDriver, Counters};
use crate::{config::Config, parser::TraceEntry, report::Report};
use std::{ffi::c_void, ptr, sync::Arc};

#[link(name = "cellar")]
extern "C" {
    fn cellar_open_sized(memory_bytes: u64, max_entries: u64, out: *mut *mut c_void) -> i32;
    fn cellar_close(c: *mut c_void) -> i32;
    fn cellar_get(c: *mut c_void, key: *const c_void, key_len: usize, buf: *mut c_void, cap: usize,
                  len: *mut usize) -> i32;
    fn cellar_set(c: *mut c_void, key: *const c_void, key_len: usize, value: *const c_void,
                  len: usize, opts: *const c_void) -> i32;
}

struct Store(*mut c_void);
unsafe impl Send for Store {} // any thread may call a store
unsafe impl Sync for Store {}
impl Drop for Store {
    fn drop(&mut self) { unsafe { cellar_close(self.0); } }
}

#[derive(Clone)]
pub struct Cellar {
    config: Arc<Config>,
    store: Arc<Store>,
}

impl Cellar {
    pub fn new(config: &Config, entries: usize) -> Self {
        assert!(config.ttl.is_none() && config.tti.is_none() && !config.size_aware);
        let mut store = ptr::null_mut();
        let bytes = entries as u64 * 256 + (16 << 20); // never the bound
        let err = unsafe { cellar_open_sized(bytes, entries as u64, &mut store) };
        assert_eq!(err, 0, "cellar_open_sized");
        Self { config: Arc::new(config.clone()), store: Arc::new(Store(store)) }
    }

    fn get(&self, key: &usize) -> bool {
        let (mut value, mut len) = ([0u8; 128], 0);
        unsafe {
            cellar_get(self.store.0, key as *const usize as *const c_void, 8,
                       value.as_mut_ptr() as *mut c_void, value.len(), &mut len) == 0
        }
    }

    fn insert(&self, key: usize, req_id: usize) {
        let (_, value) = make_value(&self.config, key, req_id);
        sleep_thread_for_insertion(&self.config);
        let err = unsafe {
            cellar_set(self.store.0, &key as *const usize as *const c_void, 8,
                       value.as_ptr() as *const c_void, value.len(), ptr::null())
        };
        assert_eq!(err, 0, "cellar_set");
    }
}

impl CacheDriver<TraceEntry> for Cellar {
    fn get_or_insert(&mut self, entry: &TraceEntry, report: &mut Report) {
        let mut counters = Counters::default();
        for (i, block) in entry.range().enumerate() {
            if self.get(&block) {
                counters.read_hit();
            } else {
                self.insert(block, entry.line_number() + i);
                counters.inserted();
                counters.read_missed();
            }
        }
        counters.add_to_report(report);
    }

    fn get_or_insert_once(&mut self, entry: &TraceEntry, report: &mut Report) {
        self.get_or_insert(entry, report)
    }

    fn update(&mut self, entry: &TraceEntry, report: &mut Report) {
        let mut counters = Counters::default();
        for (i, block) in entry.range().enumerate() {
            self.insert(block, entry.line_number() + i);
            counters.inserted();
        }
        counters.add_to_report(report);
    }
}
