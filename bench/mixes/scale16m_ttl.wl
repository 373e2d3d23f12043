# SPDX-License-Identifier: MIT
# the same read-through with 1 h to live on every record
trace      = zipf 0.99 keys=1000000 ops=8388608 seed=3
key        = 16
value      = 100
ops        = readthrough
capacity   = bytes 16777216
ttl_ms     = 3600000
threads    = 1 2 4 cores over
prefill    = none
subjects   = cellar
