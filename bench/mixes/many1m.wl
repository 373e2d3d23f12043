# SPDX-License-Identifier: MIT
# batches and single gets of the same round
trace      = zipf 0.99 keys=1000000 ops=2097152 seed=3
key        = 16
value      = 100
ops        = get | many 1 | many 8 | many 32 | many 128
capacity   = none
threads    = 1 2 cores
prefill    = all
subjects   = raw uthash64 cellar
