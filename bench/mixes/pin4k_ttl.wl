# SPDX-License-Identifier: MIT
# 4 KiB values in place, 1 h to live on every record
trace      = zipf 0.99 keys=100000 ops=2097152 seed=3
key        = 16
value      = 4096
ops        = copy | pin
capacity   = none
ttl_ms     = 3600000
threads    = 1 2 cores
prefill    = all
subjects   = raw uthash64 cellar
