# SPDX-License-Identifier: MIT
# entries that fit into the second cache of a processor
trace      = zipf 0.99 keys=20000 ops=1048576 seed=3
key        = 16
value      = 100
ops        = get | get 95 set 5
threads    = 1 2 8 16 cores over
subjects   = raw uthash64t quick_cache quick_cache_value moka moka_value cellar
