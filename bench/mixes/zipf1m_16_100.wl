# SPDX-License-Identifier: MIT
# the reference workload of all L1 ratios
trace      = zipf 0.99 keys=1000000 ops=2097152 seed=3
key        = 16
value      = 100
ops        = get | get 95 set 5 | get 50 set 50 | set | lat get 95 set 5
capacity   = none
threads    = 1 2 cores
prefill    = all
