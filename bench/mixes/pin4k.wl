# SPDX-License-Identifier: MIT
# 4 KiB values: copied out against read in place (first and last 8 bytes)
trace      = zipf 0.99 keys=100000 ops=2097152 seed=3
key        = 16
value      = 4096
ops        = copy | pin
capacity   = none
threads    = 1 2 cores
prefill    = all
subjects   = raw uthash64 cellar
