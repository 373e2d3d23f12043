# SPDX-License-Identifier: MIT
# 64 KiB values: copied out against read in place
trace      = zipf 0.99 keys=8000 ops=2097152 seed=3
key        = 16
value      = 65536
ops        = copy | pin
capacity   = none
threads    = 1 2 cores
prefill    = all
subjects   = raw uthash64 cellar
