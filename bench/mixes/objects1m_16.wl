# SPDX-License-Identifier: MIT
# objects of 16 bytes held and released, in caches with a bound far above them
trace      = zipf 0.99 keys=1000000 ops=2097152 seed=3
key        = 16
value      = 16
ops        = get | hot
capacity   = bytes 1073741824
threads    = 1 2
prefill    = all
subjects   = rocks_hyper rocks_lru moka cellar cellar_object
