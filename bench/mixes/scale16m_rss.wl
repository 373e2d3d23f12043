# SPDX-License-Identifier: MIT
# 16 MiB for ours, for the others the entries under which their process grows by as much
trace      = zipf 0.99 keys=1000000 ops=8388608 seed=3
key        = 16
value      = 100
ops        = readthrough | get 50 set 50
capacity   = bytes 16777216 same rss
threads    = 1 2 4 8 16 cores over
prefill    = none
subjects   = uthash64t quick_cache quick_cache_value moka moka_value cellar
