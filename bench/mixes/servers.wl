# SPDX-License-Identifier: MIT
# one request at a time, and 64 in one batch: with a server behind a socket
trace      = zipf 0.99 keys=100000 ops=2097152 seed=3
key        = 16
value      = 100
ops        = get | many 64
capacity   = none
threads    = 1 2 cores
prefill    = all
subjects   = raw uthash64 redis cellar
