# SPDX-License-Identifier: MIT
# get, and on a miss set: 1 M keys, room for a tenth of them
trace      = zipf 0.99 keys=1000000 ops=8388608 seed=3
key        = 16
value      = 100
ops        = readthrough
capacity   = entries 100000
threads    = 1 2 cores
prefill    = none
