# SPDX-License-Identifier: MIT
# objects of 16 bytes held and released, in caches without a bound
trace      = zipf 0.99 keys=1000000 ops=2097152 seed=3
key        = 16
value      = 16
ops        = get | hot
capacity   = none
threads    = 1 2
prefill    = all
subjects   = rocks_hyper moka cellar cellar_object
