# SPDX-License-Identifier: MIT
# new keys alone: almost no key of 2^28 comes twice while its entry is in the store
trace      = uniform keys=268435456 ops=8388608 seed=3
key        = 16
value      = 100
ops        = set
capacity   = bytes 1073741824
threads    = 1 2 4 cores over
prefill    = 9000000
subjects   = uthash64t rocks_hyper rocks_lru quick_cache quick_cache_value moka moka_value cellar
