# SPDX-License-Identifier: MIT
# pages: the copy is what costs
trace      = zipf 0.99 keys=100000 ops=2097152 seed=3
key        = 16
value      = 4096
ops        = get | get 95 set 5 | get 50 set 50
capacity   = none
threads    = 1 2 cores
prefill    = all
subjects   = raw uthash1 uthash16 uthash64 cellar
