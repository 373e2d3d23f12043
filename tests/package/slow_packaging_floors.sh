#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    The promises of the tree hold, and each way to break one is refused with its message.
# Method: `make floors` and the contract check run here, then on scratch copies. One copy has all
#         faults planted, each in a line of its own, and the check runs once: it has to name every
#         fault, with file and line, and nothing else, so that none hides another. One copy has all
#         texts that look like a fault and are none.
. tests/support/t.sh
export ALL_LIBS= # nothing is compiled here, so no make needs to look for libraries

fresh() { # a scratch copy of what the checks read
    rm -rf "$t_tmp/tree"
    mkdir -p "$t_tmp/tree"
    cp -R src include Makefile LICENSE "$t_tmp/tree"
}
planted=0
plant() { # FILE LINE -> where: at its end
    planted=$((planted + 1))
    printf '%s\n' "$2" >>"$t_tmp/tree/$1"
    where="$1:$(wc -l <"$t_tmp/tree/$1"): "
}
case_of() { # FACT MESSAGE: of the last planted fault, for tell_cases
    printf '%s|%s%s\n' "$1" "$where" "$2" >>"$t_tmp/cases"
}
ask() { # TARGET: has to refuse; its output stays
    if $MAKE -s -C "$t_tmp/tree" "$1" >"$t_tmp/said" 2>&1; then
        echo "was not refused"
        return 1
    fi
    cat "$t_tmp/said"
}
told() { grep -F -e "$1" "$t_tmp/said" || { cat "$t_tmp/said"; return 1; }; }
tell_cases() {
    while IFS='|' read -r fact message; do t_case "$fact" told "$message"; done <"$t_tmp/cases"
    : >"$t_tmp/cases"
}
some_l1=$(ls src/core/l1/*.c 2>/dev/null | head -n 1)
some_cache=$(ls src/core/cache/*.c 2>/dev/null | head -n 1)
: "${some_l1:=src/core/base/err.c}" "${some_cache:=$some_l1}"

t_case floors_hold $MAKE -s floors
t_case contracts_complete $MAKE -s contracts

# ---- each single fault ----
fresh
plant "$some_l1" '#include "cache/cache.h"'
case_of upward_include_is_refused "include: \`l1\` may not include \`cache\`"
one_fault_alone() { ask floors && told 'floors: 1 failures'; }
t_case each_single_fault_is_refused one_fault_alone
tell_cases

# ---- all faults together ----
fresh
planted=0
echo '/* SPDX-License-Identifier: MIT */' >"$t_tmp/tree/src/core/base/forgotten.c"
where=src/core/base/forgotten.c:1: planted=$((planted + 1))
case_of every_source_is_listed " listed: this file is missing in SRC"
order="src/tools/floors.txt: order: "
where=$order planted=$((planted + 1))
case_of every_source_has_a_group "base/forgotten stands in no group"
rm "$t_tmp/tree/src/core/base/err.c"
where="Makefile: listed: src/core/base/err.c " planted=$((planted + 1))
case_of listed_source_must_exist "is in SRC but not in src"
where=$order planted=$((planted + 1))
case_of grouped_source_must_exist "base/err is no file"
plant "$some_l1" '#include "l2/l2.h"'
case_of sideways_include_is_refused "include: \`l1\` may not include \`l2\`"
plant "$some_cache" '#include "resp/types.h"'
case_of guest_in_the_core_is_refused "wings: the core includes \"resp/types.h\" of a guest"
planted=$((planted + 1)) # floors.txt allows no such include either
plant "$some_cache" '#include "cellar_kit.h"'
case_of public_header_of_a_guest_in_the_core_is_refused 'wings: the core includes "cellar_kit.h" of a guest'
plant include/cellar_load.h '#include "cellar_task.h"'
case_of guest_in_a_public_header_of_the_core_is_refused 'wings: the core includes "cellar_task.h" of a guest'
plant "$some_cache" '#include "base/net.h"'
case_of base_of_guests_in_the_core_is_refused 'wings: the core includes "base/net.h" of a guest'
plant src/core/base/text.c '#include "base/environment.h"'
case_of base_of_guests_in_base_is_refused 'wings: the core includes "base/environment.h" of a guest'
sed -i 's/^resp: base/resp: cache base/' "$t_tmp/tree/src/tools/floors.txt"
where="src/tools/floors.txt:" planted=$((planted + 1))
case_of edge_from_a_guest_into_the_core_is_refused "$(sed -n '/^resp: /=' src/tools/floors.txt): wings: the guest \`resp\` may not include \`cache\` of the core"
plant "$some_cache" '#include "l1/l1_int.h"'
case_of private_header_stays_at_home 'include: "l1/l1_int.h" stays in its own module'
plant "$some_l1" '#include "index.h"'
case_of include_without_folder_is_refused 'include: "index.h" has no folder and is no public header'
plant "$some_l1" '#ifdef __linux__'
case_of conditional_outside_base_is_refused "ifdef: a conditional outside base"
plant src/core/base/text.c 'void base_x(char *a) { strcpy(a, "x"); }'
case_of banned_function_is_refused "banned: strcpy"
plant "$some_l1" 'void *l1_x(void) { return malloc(1); }'
case_of naked_malloc_is_refused "seam: malloc"
plant "$some_l1" 'int l1_x(void) { return pthread_create(0, 0, 0, 0); }'
case_of naked_thread_is_refused "seam: pthread_create"
plant "$some_l1" '#include <time.h>'
case_of naked_time_is_refused "seam: <time.h>"
plant src/core/base/timezone.c 'int base_above(void) { return 1; }'
plant src/core/base/text.c 'int base_below(void) { return base_above(); }'
where=$order planted=$((planted - 1))
case_of use_of_a_higher_file_is_refused "base/text.c uses base/timezone.c (base_above), above it"
plant src/core/base/glob.h 'BASE_INLINE int base_between(void) { return base_above(); }'
plant src/core/base/hash.c 'int base_far(void) { return base_between(); }'
where=$order planted=$((planted - 1))
case_of use_through_an_inline_function_is_refused \
    "base/hash.c uses base/timezone.c (base_above), above it"
sed -i 's/^in cli: error/circle cli: error/' "$t_tmp/tree/src/tools/floors.txt"
where=$order planted=$((planted + 1))
case_of circle_that_became_smaller_is_refused "a listed circle is smaller: cli/"
t_case all_faults_together_are_refused ask floors
tell_cases
t_case each_fault_is_reported_once told "floors: $planted failures"

# ---- no faults ----
fresh
plant "$some_cache" '#ifndef CELLAR_OMIT_L2'
plant "$some_l1" '/* not strcpy(a, b) */ /* "malloc(1)" */'
plant "$some_l1" 'static void l1_x(struct h *h) { h->free(h->p); }'
t_case omit_line_comment_and_member_call_are_accepted $MAKE -s -C "$t_tmp/tree" floors

# ---- contracts ----
fresh
plant include/cellar.h 'CELLAR_API void cellar_new_thing(void);'
case_of missing_contract_is_refused "cellar_new_thing: no contract"
for line in '/* Do.' ' * thread: any' ' * cost: none' ' */' 'CELLAR_API void cellar_x(void);'; do
    plant include/cellar.h "$line"
done
case_of missing_example_is_refused "cellar_x: no \`example:\` line"
plant include/cellar.h ''
plant include/cellar.h 'typedef struct cellar_y cellar_y;'
case_of type_without_a_sentence_is_refused "cellar_y: no sentence before it"
plant include/cellar.h '/* Called. */'
plant include/cellar.h 'typedef void (*cellar_z_fn)(void *ctx);'
case_of callback_without_a_contract_is_refused "cellar_z_fn: no \`thread:\` line"
plant include/cellar.h ''
plant include/cellar.h '#define CELLAR_Y_ONE 1u /* one */'
case_of constants_without_a_sentence_are_refused "CELLAR_Y_ONE: no sentence before it"
plant include/cellar.h '#define CELLAR_Y_TWO 2u /* two */'
sed '/^cellar_get /d' src/tools/symbols.txt >"$t_tmp/tree/src/tools/symbols.txt"
t_case contracts_are_refused ask contracts
tell_cases
t_case name_outside_the_list_is_refused told "cellar_get: not in src/tools/symbols.txt"
t_end packaging_floors
