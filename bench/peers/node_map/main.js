// SPDX-License-Identifier: MIT
//
// Driver for Node's Map: no bound, no deadlines; the runtime's limit.
'use strict';
const { serve } = require(process.env.BENCH_LIB + '/driver.js');

class Store {
  constructor() { this.m = new Map(); }
  get(key) { return this.m.get(key); }
  set(key, value) { this.m.set(key, value); }
  count() { return this.m.size; }
  accounted() { return 0; }
}

serve({ name: 'node_map', version: process.version, caps: '', open: () => new Store() });
