# SPDX-License-Identifier: MIT
# a full store with room for a tenth of the keys
trace      = zipf 0.99 keys=250000 ops=8388608 seed=3
key        = 16
value      = 100
ops        = readthrough | get 50 set 50 | set | lat readthrough
capacity   = bytes 4194304
threads    = 1 2 4 cores over
prefill    = none
subjects   = uthash64t rocks_hyper rocks_lru quick_cache quick_cache_value moka moka_value cellar
