#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    a tree has one seed, each change of the library another; the simulation runs the same
#         schedules however slow the machine is.
# Method: the Makefile on a scratch copy; build/sim twice, once beside a busy processor.
. tests/support/t.sh

copy=$t_tmp/copy
mkdir -p "$copy" && cp -R Makefile src include "$copy"
seed() { (unset SEED && cd "$copy" && $MAKE -s seed "$@"); }

one_tree_one_seed() {
    first=$(seed) && again=$(seed) || return 1
    echo "$first, $again"
    [ "$first" = "$again" ] && [ "$first" -gt 0 ]
}
a_change_of_the_library_is_another_seed() {
    before=$(seed) && echo '/* */' >>"$copy/src/base/err.c" && source=$(seed) &&
        echo '/* */' >>"$copy/include/cellar.h" && header=$(seed) || return 1
    echo "$before, $source, $header"
    [ "$before" != "$source" ] && [ "$source" != "$header" ]
}
a_given_seed_is_taken() {
    [ "$(seed SEED=77)" = 77 ] && [ "$(cd "$copy" && SEED=78 $MAKE -s seed)" = 78 ]
}
random_draws() {
    first=$(seed SEED=random) && again=$(seed SEED=random) || return 1
    echo "$first, $again"
    [ "$first" != "$again" ]
}
schedules() { "$sim" --work 0.5 | sed 's/, [0-9]* a second$//'; }
same_schedules_on_a_slower_machine() {
    schedules >"$t_tmp/idle"
    sh -c 'while :; do :; done' &
    busy=$!
    schedules >"$t_tmp/busy"
    kill $busy
    grep -q '^sim: [1-9][0-9]* passed, 0 failed' "$t_tmp/idle" && diff "$t_tmp/idle" "$t_tmp/busy"
}

t_case one_tree_one_seed one_tree_one_seed
t_case a_change_of_the_library_is_another_seed a_change_of_the_library_is_another_seed
t_case a_given_seed_is_taken a_given_seed_is_taken
t_case random_draws random_draws
sim=build/sim
if [ -x $sim ]; then
    export SEED="${SEED:-1}"
    t_case same_schedules_on_a_slower_machine same_schedules_on_a_slower_machine
else
    t_skip same_schedules_on_a_slower_machine "no build/sim"
fi
t_end packaging_seed
