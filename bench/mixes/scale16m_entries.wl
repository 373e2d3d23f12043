# SPDX-License-Identifier: MIT
# 16 MiB for ours, for the others as many entries as ours then counts
trace      = zipf 0.99 keys=1000000 ops=8388608 seed=3
key        = 16
value      = 100
ops        = readthrough | get 50 set 50
capacity   = bytes 16777216 same entries
threads    = 1 2 4 cores over
prefill    = none
subjects   = uthash64t quick_cache quick_cache_value moka moka_value cellar
