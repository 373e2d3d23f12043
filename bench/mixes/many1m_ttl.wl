# SPDX-License-Identifier: MIT
# batches with 1 h to live on every record
trace      = zipf 0.99 keys=1000000 ops=2097152 seed=3
key        = 16
value      = 100
ops        = get | many 1 | many 8 | many 32 | many 128
capacity   = none
ttl_ms     = 3600000
threads    = 1 2 cores
prefill    = all
subjects   = raw uthash64 cellar
