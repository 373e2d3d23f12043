# SPDX-License-Identifier: MIT
# counters: the smallest record
trace      = zipf 0.99 keys=1000000 ops=2097152 seed=3
key        = 8
value      = 8
ops        = get | get 95 set 5 | get 50 set 50
capacity   = none
threads    = 1 2 cores
prefill    = all
