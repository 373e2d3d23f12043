# SPDX-License-Identifier: MIT
# ten million entries: every access a memory access; steadiest rows
trace      = zipf 0.99 keys=10000000 ops=2097152 seed=3
key        = 16
value      = 100
ops        = get | get 95 set 5 | get 50 set 50
capacity   = none
threads    = 1 2 cores
prefill    = all
min_memory = 12884901888
subjects   = raw uthash64 cellar
