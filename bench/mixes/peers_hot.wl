# SPDX-License-Identifier: MIT
# all threads on one key of the reference population, every subject
trace      = zipf 0.99 keys=1000000 ops=2097152 seed=3
key        = 16
value      = 100
ops        = hot | hot 95 set 5
capacity   = none
threads    = 1 2 cores
rounds     = 15
prefill    = all
