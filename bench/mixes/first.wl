# SPDX-License-Identifier: MIT
# an example to edit: half of the keys fit, one value in ten is long, entries live 10 minutes on average
trace      = zipf 0.9 keys=200000 ops=1048576 seed=1
key        = 16 # bytes, or 8; values and TTLs: N, uniform, exponential, lognormal, choice
value      = choice 100:9 2000:1
ops        = get 90 set 8 delete 2 | readthrough | lat get 90 set 10
capacity   = bytes 33554432
ttl_ms     = exponential 600000 6000000
threads    = 1 2
prefill    = none
