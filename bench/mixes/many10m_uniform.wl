# SPDX-License-Identifier: MIT
# batches over ten million entries, uniform keys
trace      = uniform keys=10000000 ops=2097152 seed=3
key        = 16
value      = 100
ops        = get | many 32
capacity   = none
threads    = 2
prefill    = all
min_memory = 12884901888
subjects   = raw uthash64 cellar
