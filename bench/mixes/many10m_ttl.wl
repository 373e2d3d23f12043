# SPDX-License-Identifier: MIT
# batches over ten million entries, 1 h to live on every record
trace      = zipf 0.99 keys=10000000 ops=2097152 seed=3
key        = 16
value      = 100
ops        = get | many 32
capacity   = none
ttl_ms     = 3600000
threads    = 2
prefill    = all
min_memory = 12884901888
subjects   = raw uthash64 cellar
