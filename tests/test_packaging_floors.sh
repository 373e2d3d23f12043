#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    what the tree promises holds, and each way to break it is refused with its message.
# Method: `make floors` and the contract check here, then on scratch copies with one planted fault.
. tests/t.sh
export MIMALLOC=off LZ4=off # nothing is compiled here, so no make needs to look for them

fresh() { # a scratch copy of what the checks read
    rm -rf "$t_tmp/tree"
    mkdir -p "$t_tmp/tree/tests"
    cp -R src include Makefile LICENSE "$t_tmp/tree"
    cp tests/symbols.txt "$t_tmp/tree/tests"
}
refused() { # target, message, then a command that plants the fault in the copy
    target=$1 message=$2
    shift 2
    fresh
    (cd "$t_tmp/tree" && sh -c "$*") || return 1
    if $MAKE -s -C "$t_tmp/tree" "$target" >"$t_tmp/said" 2>&1; then
        echo "was not refused"
        return 1
    fi
    cat "$t_tmp/said"
    grep -q "$message" "$t_tmp/said"
}
accepted() {
    fresh
    (cd "$t_tmp/tree" && sh -c "$*") && $MAKE -s -C "$t_tmp/tree" floors
}
end_of() { echo "printf '%s\n' '$2' >>$1"; }
some_l1=$(ls src/l1/*.c 2>/dev/null | head -n 1)
some_cache=$(ls src/cache/*.c 2>/dev/null | head -n 1)
: "${some_l1:=src/base/err.c}" "${some_cache:=$some_l1}"

t_case floors_hold $MAKE -s floors
t_case contracts_complete $MAKE -s contracts
t_case every_source_is_listed refused floors "missing in SRC" \
    "echo '/* SPDX-License-Identifier: MIT */' >src/base/forgotten.c"
t_case listed_source_must_exist refused floors "is in SRC but not in src" "rm src/base/err.c"
t_case upward_include_is_refused refused floors "may not include .cache" \
    "$(end_of "$some_l1" '#include "cache/cache.h"')"
t_case sideways_include_is_refused refused floors "may not include .l2" \
    "$(end_of "$some_l1" '#include "l2/l2.h"')"
t_case private_header_stays_at_home refused floors "stays in its own module" \
    "$(end_of "$some_cache" '#include "l1/l1_int.h"')"
t_case include_without_folder_is_refused refused floors "no public header" \
    "$(end_of "$some_l1" '#include "index.h"')"
t_case conditional_outside_base_is_refused refused floors "conditional outside base" \
    "$(end_of "$some_l1" '#ifdef __linux__')"
t_case omit_line_is_accepted accepted "$(end_of "$some_cache" '#ifndef CELLAR_OMIT_L2')"
t_case banned_function_is_refused refused floors "banned: strcpy" \
    "$(end_of src/base/err.c 'void base_x(char *a) { strcpy(a, "x"); }')"
t_case banned_word_in_comment_is_accepted accepted \
    "$(end_of "$some_l1" '/* not strcpy(a, b) */ /* "malloc(1)" */')"
t_case naked_malloc_is_refused refused floors "seam: malloc" \
    "$(end_of "$some_l1" 'void *l1_x(void) { return malloc(1); }')"
t_case naked_thread_is_refused refused floors "seam: pthread_create" \
    "$(end_of "$some_l1" 'int l1_x(void) { return pthread_create(0, 0, 0, 0); }')"
t_case naked_time_is_refused refused floors "seam: <time.h>" \
    "$(end_of "$some_l1" '#include <time.h>')"
t_case member_call_is_accepted accepted \
    "$(end_of "$some_l1" 'static void l1_x(struct h *h) { h->free(h->p); }')"
t_case missing_contract_is_refused refused contracts "no contract" \
    "$(end_of include/cellar.h 'CELLAR_API void cellar_new_thing(void);')"
t_case missing_example_is_refused refused contracts "no .example" \
    "printf '%s\n' '/* Do.' ' * thread: any' ' * cost: none' ' */' \
        'CELLAR_API void cellar_x(void);' >>include/cellar.h"
t_case name_outside_the_list_is_refused refused contracts "not in tests/symbols.txt" \
    "sed '/^cellar_get /d' tests/symbols.txt >s && mv s tests/symbols.txt"
t_end packaging_floors
