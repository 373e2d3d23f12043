# SPDX-License-Identifier: MIT
# objects held and released, beside a get that copies 100 bytes
trace      = zipf 0.99 keys=1000000 ops=2097152 seed=3
key        = 16
value      = 100
ops        = get | hot
capacity   = none
threads    = 1 2
prefill    = all
subjects   = uthash64 cellar cellar_object cellar_object_load
