# SPDX-License-Identifier: MIT
# new keys in a full store: each set makes an object and evicts one, which is freed
trace      = uniform keys=268435456 ops=8388608 seed=3
key        = 16
value      = 16
ops        = set
capacity   = bytes 16777216
threads    = 1 2
prefill    = none
subjects   = rocks_lru cellar cellar_object
