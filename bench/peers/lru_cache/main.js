// SPDX-License-Identifier: MIT
//
// Driver for lru-cache, as its README shows it: max or maxSize with sizeCalculation, ttl; fetch is
// its single flight.
'use strict';
const { LRUCache } = require('lru-cache');
const { serve } = require(process.env.BENCH_LIB + '/driver.js');

class Store {
  constructor(cfg) {
    const o = { max: cfg.room(), fetchMethod: (key, stale, { context }) => context() };
    if (cfg.bytes) {
      delete o.max;
      o.maxSize = cfg.bytes;
      o.sizeCalculation = (v, k) => k.length + v.length;
    }
    if (cfg.ttlMs) o.ttl = cfg.ttlMs;
    this.c = new LRUCache(o);
    this.bytes = cfg.bytes;
  }
  get(key) { return this.c.get(key); }
  set(key, value) { this.c.set(key, value); }
  del(key) { this.c.delete(key); }
  load(key, loader) { return this.c.fetch(key, { context: loader }); }
  count() { this.c.purgeStale(); return this.c.size; }
  accounted() { return this.bytes ? this.c.calculatedSize : 0; }
}

serve({ name: 'lru_cache', version: require('./package.json').dependencies['lru-cache'], caps: 'entries bytes ttl load',
  open: (cfg) => new Store(cfg) });
