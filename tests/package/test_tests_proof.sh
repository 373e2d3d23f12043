#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    `make coverage`, `make torture` and `make mutation` find what is planted.
# Method: each tool runs in a small tree: a function that no program calls, a program that fails, a
#         mistake that a test finds and one that none can find.
. tests/support/t.sh

tree=$t_tmp/tree
mkdir -p "$tree/src/core/one" "$tree/build"
cp -R src/tools "$tree/src"

# A macro makes two functions on one line, and one of them is called.
cat >"$tree/src/core/one/one.h" <<'EOF'
#define ONE_MAKE(name) static inline int one_##name(int a) { return a; }
ONE_MAKE(made)
ONE_MAKE(unused)
EOF
cat >"$tree/src/core/one/one.c" <<'EOF'
#include "one.h"
#define BASE_ASSERT(x) ((x) ? (void)0 : __builtin_trap())
int one_called(int a, int b);
int one_forgotten(int a);
int one_called(int a, int b)
{
    BASE_ASSERT(a != 7 || b != 7);
    if (a > 1 && b > 1) { return one_made(a); }
    return b;
}
int one_forgotten(int a) { return a + 1; }
EOF
cat >"$tree/killed.c" <<'EOF'
#include <signal.h>
#include <stddef.h>
int one_called(int a, int b);
int main(int argc, char **argv)
{
    if (one_called(1, 2) != 2 || one_called(2, 2) != 2) { return 1; }
    if (argc == 1 || one_called(2, 1) != 1) { return 0; }
    return argv[1] != NULL ? raise(SIGKILL) : 0;
}
EOF
measured() { # without an argument the program ends by itself
    cd "$tree" || return 1
    words="-w -O1 -fPIC -fprofile-instr-generate -fcoverage-mapping"
    export CELLAR_BUILD=build/x
    for COVERAGE in ends killed; do
        export COVERAGE
        more=-fcoverage-mcdc
        [ $COVERAGE = ends ] || more="-mllvm -runtime-counter-relocation"
        rm -rf $CELLAR_BUILD && mkdir -p $CELLAR_BUILD/profiles
        # shellcheck disable=SC2086 # words are meant to be split
        clang-19 $words $more -c -o one.o src/core/one/one.c && clang-19 -shared -nostdlib -o one.so one.o &&
            clang-19 -fprofile-instr-generate -o killed killed.c one.o || return 1
        case $COVERAGE in
        ends) sh src/tools/coverage.sh run ./killed ;;
        killed) sh src/tools/coverage.sh run ./killed 2 && return 1 ;;
        esac
        sh src/tools/coverage.sh export $COVERAGE one.so || return 1
    done
    sh src/tools/coverage.sh report >page
    cat page
    # Only the killed process takes the fourth branch; MC/DC is that of the other: a, not b.
    grep -q '^| one | 87.5 | 1 | 100.0 | 0 | 50.0 |$' page
}
never_called() { grep -A 2 'never called: 1$' "$tree/page" | grep -qx -- '- src/core/one/one.c: `one_forgotten`'; }
if t_have clang-19 && t_have llvm-cov-19 && t_have llvm-profdata-19; then
    t_case coverage_counts_killed_programs_and_no_asserts measured
    t_case coverage_names_a_function_never_called never_called
else
    t_skip coverage_counts_killed_programs_and_no_asserts "no clang-19 with its tools"
    t_skip coverage_names_a_function_never_called "no clang-19 with its tools"
fi

# Each run appends its seed; the second row fails and its line repeats it.
cat >"$tree/rows" <<'EOF'
good|SIZE=3|sh row.sh good
bad|SIZE=4|sh row.sh bad
EOF
echo 'echo $1 $SEED $SIZE >>ran; [ $1 = good ]' >"$tree/row.sh"
torture() { # runs, checksum of the tree
    (cd "$tree" && TORTURE_ROWS=rows TORTURE_RUNS=$1 TORTURE_TREE=$2 sh src/tools/torture.sh && cat build/torture.md)
}
told() {
    torture 3 5 || return 1
    repeat=$(sed -n 's/^- bad, commit [^`]*`\(.*\)`$/\1/p' "$tree/build/torture.md")
    (cd "$tree" && sh -c "$repeat") && return 1
    cat "$tree/ran"
    [ "$(sed -n 4p "$tree/ran")" = "$(sed -n 2p "$tree/ran")" ] &&
        grep -q '^| good | 2 x SIZE=3 | 0 |' "$tree/build/torture.md" &&
        grep -q '^| bad | 0 x SIZE=4 | 1 |' "$tree/build/torture.md"
}
goes_on() { # with the next row and other seeds; a changed tree begins to count, and failures stay
    sed -i 4d "$tree/ran"
    torture 1 5 && torture 1 6 || return 1
    cat "$tree/ran"
    [ "$(cut -d' ' -f1 "$tree/ran" | tr '\n' ' ')" = "good bad good bad good " ] &&
        [ -z "$(cut -d' ' -f2 "$tree/ran" | sort | uniq -d)" ] &&
        grep -q '^| good | 1 x SIZE=3 | 0 |' "$tree/build/torture.md" &&
        [ "$(grep -c '^- bad' "$tree/build/torture.md")" -eq 2 ]
}
t_case torture_names_the_line_that_repeats_a_failure told
t_case torture_goes_on_where_it_stopped goes_on

# A test checks the sum and not the note; nothing calls the last function.
cat >"$tree/src/core/one/one.c" <<'EOF'
#define BASE_ASSERT(x) ((x) ? (void)0 : __builtin_trap())
int one_noted;
int one_sum(int a, int b);
int one_never(int a);
int one_sum(int a, int b)
{
    BASE_ASSERT(a < 100 && b < 100);
    one_noted = a;
    for (int i = 0; i < b; i++) { a += 2; }
    return a +
           b;
}
int one_never(int a) { return a ? 3 : 4; }
EOF
mkdir -p "$tree/tests/unit/core/one"
cat >"$tree/tests/unit/core/one/test_one.c" <<'EOF'
int one_sum(int a, int b);
int main(void) { return one_sum(5, 3) != 14; }
EOF
cat >"$tree/Makefile" <<'EOF'
mutation-programs: build/x/t/test_one
mutation-list:
	@echo build/x/t/test_one
build/x/t/test_one: src/core/one/one.c tests/unit/core/one/test_one.c
	mkdir -p build/x/t && $(CC) $(CPPFLAGS) -o $@ $^
EOF
mutate() { (cd "$tree" && N=100 SEED=4 IN='src/core/one/*.c' sh src/tools/mutation.sh && cat build/mutation.md); }
lives() { grep "^- src/core/one/one.c:$1 " "$tree/build/mutation.md"; }
judged() { # the places of each line; those of one expression overlap, and one of them is planted
    mutate || return 1
    cat "$tree/build/mutation/all"
    lives 8 | grep -q 'dropped: `one_noted = a ; -> (nothing)`; MUTATION=[0-9]*, 1 programs' &&
        lives 13 | grep -q 'no program runs it' && ! lives 9 && ! lives 10 &&
        grep -q '^| one | 8 | 4 | 0 | 1 | 3 | 0 | 50.0 |' "$tree/build/mutation.md"
}
left_out() { ! grep -E ':(1|7)	' "$tree/build/mutation/all" && grep -q ':10	.*a + b -> a - b' "$tree/build/mutation/all"; }
again() { # a verdict that is missing is found again, and the others stay
    cp "$tree/build/mutation.md" "$t_tmp/page" && rm "$tree/build/mutation/verdict/2" && mutate >"$t_tmp/said" &&
        cmp "$t_tmp/page" "$tree/build/mutation.md" && cat "$t_tmp/said" &&
        [ "$(grep -c '^[0-9][0-9]*  *[fl]' "$t_tmp/said")" -eq 1 ]
}
found_later() { # by a test of today
    sed -i 's/^int main.*/int one_never(int a);\nint main(void) { return one_sum(5, 3) != 14 || one_never(0) != 4; }/' \
        "$tree/tests/unit/core/one/test_one.c" && mutate && grep -q '^| one | 8 | [56] | 0 |' "$tree/build/mutation.md"
}
t_case mutation_names_the_mistakes_that_live judged
t_case mutation_plants_nothing_in_asserts left_out
t_case mutation_goes_on_where_it_stopped again
t_case mutation_tries_what_lives_after_a_change_of_tests found_later
t_end tests_proof
