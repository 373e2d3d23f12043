# SPDX-License-Identifier: MIT
# pages: the copy is what costs; every subject
trace      = zipf 0.99 keys=50000 ops=2097152 seed=3
key        = 16
value      = 4096
ops        = get | get 95 set 5
capacity   = none
threads    = 1 2 cores
rounds     = 15
prefill    = all
