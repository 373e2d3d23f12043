# SPDX-License-Identifier: MIT
# 16 MiB for each, and a miss that costs 1 ms: hits decide
trace      = zipf 0.99 keys=1000000 ops=8388608 seed=3
key        = 16
value      = 100
ops        = readthrough
capacity   = bytes 16777216
miss_us    = 1000
threads    = 1 2 8 16 cores over
prefill    = 1000000
window_ms  = 200
subjects   = uthash64t rocks_hyper rocks_lru cellar
