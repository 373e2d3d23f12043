# SPDX-License-Identifier: MIT
# a million entries: by value, by reference, more threads than processors
trace      = zipf 0.99 keys=1000000 ops=2097152 seed=3
key        = 16
value      = 100
ops        = get | get 95 set 5
threads    = 1 2 8 16 cores over
subjects   = raw uthash64t quick_cache quick_cache_value moka moka_value cellar
