# SPDX-License-Identifier: MIT
# read-through and sets with a disk tier (written on eviction), and with a listener
trace      = zipf 0.99 keys=1000000 ops=8388608 seed=3
key        = 16
value      = 100
ops        = readthrough | set
capacity   = bytes 16777216
threads    = 1 2 4 cores over
prefill    = none
subjects   = cellar cellar_disk cellar_listener
