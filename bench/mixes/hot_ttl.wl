# SPDX-License-Identifier: MIT
# one hot key, 1 h to live on every record
trace      = zipf 0.99 keys=1000000 ops=2097152 seed=3
key        = 16
value      = 100
ops        = hot | hot 95 set 5
capacity   = none
ttl_ms     = 3600000
threads    = 1 2 cores
prefill    = all
subjects   = raw uthash1 uthash64 cellar
