#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    A program that was built with 0.3 runs on this library: no call and no field that it uses
#         has gone or has moved.
# Method: src/tools/abi.sh compares the library with the description in tests/data/0.3. The rules of
#         that script must find planted breaks and pass additions: a library of two calls is built
#         with changed copies of the headers.
. tests/support/t.sh
reference=tests/data/0.3/$($CC -dumpmachine | cut -d- -f1).abi.xz

abi() { # write|check FILE LIBRARY HEADERS
    sh src/tools/abi.sh "$@"
}
build() { # FOLDER of headers -> its library.so; CALLS: definitions
    printf '#include "cellar_kit.h"\n%s\n' "$calls" >"$1/calls.c" &&
        $CC -g -shared -fPIC -I"$1" -o "$1/library.so" "$1/calls.c"
}
both='cellar_err cellar_open(const cellar_config *c, cellar **out) { return c == NULL || out == NULL; }
cellar_err cellar_close(cellar *c) { return c == NULL; }
cellar_err cellar_settings_open(const cellar_settings *s, cellar_settings_note_fn fn, void *ctx, cellar **out)
{ return s == NULL || fn == NULL || ctx == NULL || out == NULL; }'
plant() { # NAME [SED-SCRIPT for cellar.h] -> is the ABI compatible?
    mkdir "$t_tmp/$1" && cp include/* "$t_tmp/$1" || return 2
    sed "${2-}" include/cellar.h >"$t_tmp/$1/cellar.h" && build "$t_tmp/$1" || return 2
    abi check "$t_tmp/old.abi.xz" "$t_tmp/$1/library.so" "$t_tmp/$1"
}
stored() {
    mkdir "$t_tmp/old" && cp include/* "$t_tmp/old" && calls=$both && build "$t_tmp/old" &&
        abi write "$t_tmp/old.abi.xz" "$t_tmp/old/library.so" "$t_tmp/old"
}
found() { # TEXT of the report, NAME, SED-SCRIPT
    plant "$2" "$3" >"$t_tmp/said"
    status=$?
    cat "$t_tmp/said"
    [ $status -eq 1 ] && grep -q "$1" "$t_tmp/said"
}
in_config='/^typedef struct cellar_config {/,/^}/'
end='s/CELLAR_PACKED(cellar_config, rule_count)/CELLAR_PACKED(cellar_config, last)/'
removed_call() { calls=$(echo "$both" | grep -v cellar_close) && found 'cellar_close' call_gone ''; }
new_call() { calls="$both int cellar_new(void); CELLAR_API int cellar_new(void) { return 1; }" && plant call_new; }

if ! t_have abidw || ! t_have xz; then
    t_skip library_keeps_the_abi_of_0_3 "no abidw (abigail-tools) or no xz"
elif [ ! -f "$reference" ]; then
    t_skip library_keeps_the_abi_of_0_3 "no $reference"
elif ! readelf -SW "$CELLAR_SO" | grep -q '\.debug_info'; then
    t_skip library_keeps_the_abi_of_0_3 "no debug information"
else
    t_case library_keeps_the_abi_of_0_3 abi check "$reference" "$CELLAR_SO" include
    t_case description_is_written stored
    calls=$both
    t_case same_headers_pass plant same
    t_case removed_field_is_found found 'stale_ms' removed "$in_config{/ stale_ms;/d}"
    t_case swapped_fields_are_found found 'idle_ms' swapped \
        "$in_config{/ idle_ms;/{h;d};/ max_age_ms;/{G}}"
    t_case field_in_the_middle_is_found found 'offset changed' middle \
        "$in_config{s/^    int64_t  stale_ms;/    int64_t first; &/}"
    t_case field_of_another_type_is_found found 'stale_ms' retyped "$in_config{s/int64_t  stale_ms;/double stale_ms;/}"
    t_case removed_call_is_found removed_call
    t_case field_behind_the_last_one_passes plant longer "$in_config{s/^}/    uint64_t last;\n}/};$end"
    t_case new_value_of_an_enum_passes plant value 's/CELLAR_EVICT_FIFO = 4 /CELLAR_EVICT_NEW = 9, &/'
    t_case new_call_passes new_call
fi
t_end packaging_abi
