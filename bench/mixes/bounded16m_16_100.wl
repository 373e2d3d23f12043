# SPDX-License-Identifier: MIT
# get, and on a miss set: 1 M keys, a bound of bytes that holds about a tenth of them; what a store
# counts as a byte is its own affair (ours: everything; most others: keys and values alone)
trace      = zipf 0.99 keys=1000000 ops=8388608 seed=3
key        = 16
value      = 100
ops        = readthrough
capacity   = bytes 16777216
threads    = 1 2 cores
prefill    = none
