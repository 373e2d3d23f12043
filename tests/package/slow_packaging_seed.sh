#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    A tree has one seed; each change of the library gives another. The simulation runs the
#         same schedules on a slower machine.
# Method: The Makefile on a scratch copy; build/sim twice, once with a busy processor.
. tests/support/t.sh

copy=$t_tmp/copy
mkdir -p "$copy" && cp -R Makefile src include "$copy"
seed() { (unset SEED && cd "$copy" && $MAKE -s seed "$@"); }

same_tree_gives_same_seed() {
    first=$(seed) && again=$(seed) || return 1
    echo "$first, $again"
    [ "$first" = "$again" ] && [ "$first" -gt 0 ]
}
changed_library_gives_another_seed() {
    before=$(seed) && echo '/* */' >>"$copy/src/core/base/err.c" && source=$(seed) &&
        echo '/* */' >>"$copy/include/cellar.h" && header=$(seed) || return 1
    echo "$before, $source, $header"
    [ "$before" != "$source" ] && [ "$source" != "$header" ]
}
given_seed_is_used() {
    [ "$(seed SEED=77)" = 77 ] && [ "$(cd "$copy" && SEED=78 $MAKE -s seed)" = 78 ]
}
seed_random_draws_a_seed() {
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

t_case same_tree_gives_same_seed same_tree_gives_same_seed
t_case changed_library_gives_another_seed changed_library_gives_another_seed
t_case given_seed_is_used given_seed_is_used
t_case seed_random_draws_a_seed seed_random_draws_a_seed
sim=build/sim
if [ -x $sim ]; then
    export SEED="${SEED:-1}"
    t_case same_schedules_on_a_slower_machine same_schedules_on_a_slower_machine
else
    t_skip same_schedules_on_a_slower_machine "no build/sim"
fi
t_end packaging_seed
