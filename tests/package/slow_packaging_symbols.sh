#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the exported names are those of src/tools/symbols.txt, in every form the library comes in.
# Method: declarations of the headers and nm of the shared library and the archive, compared both
#         ways; the same comparison must notice a planted stray name and a planted missing one. The
#         version script is tried with each compiler and linker that is there. The objects of the
#         drop-in: slow_packaging_pairs.sh.
. tests/support/t.sh
so=$CELLAR_SO a=$CELLAR_A

sed -n 's/^\(cellar_[a-z0-9_]*\) .*/\1/p' src/tools/symbols.txt | sort >"$t_tmp/want"

same() { # file of names
    sort "$1" | diff "$t_tmp/want" - | sed -n 's/^< /missing: /p; s/^> /stray: /p' >"$t_tmp/diff"
    cat "$t_tmp/diff"
    [ ! -s "$t_tmp/diff" ]
}
names() { nm "$@" | sed -n '/ A CELLAR_[0-9]*$/d; s/@.*//; s/^[0-9a-f]* [A-TV-Z] //p'; }
headers_match() { # the name before the first parenthesis of each declaration
    cat include/cellar*.h | awk '/^CELLAR_API / {
        text = $0
        while (text !~ /\(/ && (getline line) > 0) text = text " " line
        match(text, /cellar_[a-z0-9_]*[ ]*\(/)
        text = substr(text, RSTART, RLENGTH)
        sub(/[ ]*\(/, "", text)
        print text
    }' | sort >"$t_tmp/h" && diff "$t_tmp/want" "$t_tmp/h"
}
shared_matches() { names -D --defined-only "$so" >"$t_tmp/so" && same "$t_tmp/so"; }
archive_matches() { names -g --defined-only "$a" >"$t_tmp/a" && same "$t_tmp/a"; }
archive_is_one_object() { [ "$(ar t "$a" | wc -l)" -eq 1 ]; }
stray_is_noticed() {
    { cat "$t_tmp/want"; echo base_alloc; } >"$t_tmp/x"
    ! same "$t_tmp/x" && grep -q 'stray: base_alloc' "$t_tmp/diff"
}
missing_is_noticed() {
    grep -v '^cellar_version$' "$t_tmp/want" >"$t_tmp/x"
    ! same "$t_tmp/x" && grep -q 'missing: cellar_version' "$t_tmp/diff"
}
abi=$(sed -n 's/^#define CELLAR_ABI *\([0-9]*\).*/\1/p' include/cellar.h)
all_versioned() { # every name, and nothing else, has the version of the ABI
    nm -D --defined-only "$1" | sed -n 's/^[0-9a-f]* [A-TV-Z] //p' |
        sed -n "s/@@CELLAR_$abi\$//p" >"$t_tmp/v" && same "$t_tmp/v"
}
linked_by() { # compiler, linker: the object of the archive becomes a shared library once more
    $1 ${2:+-fuse-ld=$2} -shared -Wl,-soname,libcellar.so."$abi" \
        -Wl,--version-script="${CELLAR_BUILD:-build}/libcellar.map" -o "$t_tmp/libcellar.so" \
        "${CELLAR_BUILD:-build}/cellar.o" -pthread && all_versioned "$t_tmp/libcellar.so"
}
soname_is_the_abi() {
    readelf -d "$so" | grep -q "SONAME.*libcellar.so.$abi]"
}
stays_loaded() { readelf -d "$so" | grep -q NODELETE; }
links() { # FILE: the optional libraries that it calls
    for prefix in LZ4_ sqlite3_ SSL_ mi_; do
        { nm "$1"; nm -D "$1"; } 2>/dev/null | grep -q " U $prefix" && echo $prefix
    done
}
one_product() { # archive, shared library and program of one make have the same features
    links "$a" >"$t_tmp/of_a"
    for f in "$so" $([ ! -x "${CELLAR_BIN-}" ] || echo "$CELLAR_BIN"); do
        links "$f" | diff "$t_tmp/of_a" - || { echo "$f"; return 1; }
    done
    [ "$(grep -c . "$t_tmp/of_a")" = "$(echo "${CELLAR_LIBS-}" | tr ' ' '\n' | grep -vc -e crypto -e '^$')" ]
}
hardened_objects() { # canaries, checked calls of libc and, on x86, returns by a shadow stack
    nm "$a" | grep -q ' U __stack_chk_fail' && nm "$a" | grep -q ' U __[a-z]*_chk$' || return 1
    readelf -hW "$a" | grep -q 'Machine: .*X86-64' || return 0
    readelf -nW "$a" | grep -q 'SHSTK'
}
hardened_file() { # FILE: full RELRO, no stack that runs, a place drawn at each start
    readelf -lW "$1" >"$t_tmp/head" && grep -q GNU_RELRO "$t_tmp/head" &&
        ! grep 'GNU_STACK' "$t_tmp/head" | grep -q RWE && readelf -dW "$1" | grep -q BIND_NOW &&
        readelf -hW "$1" | grep -q 'Type: *DYN'
}

if ! t_have nm; then
    t_skip symbols_match_list "no nm"
    t_end packaging_symbols
fi
t_case shared_library_matches_list shared_matches
t_case archive_matches_list archive_matches
t_case archive_is_one_object archive_is_one_object
t_case stray_name_is_noticed stray_is_noticed
t_case missing_name_is_noticed missing_is_noticed
t_case headers_match_list headers_match
t_case soname_is_the_abi_number soname_is_the_abi
t_case every_name_has_the_version_of_the_abi all_versioned "$so"
for c in gcc clang; do
    for l in bfd gold lld; do
        if ! t_have $c || ! t_have ld.$l; then t_skip "version_script_${c}_$l" "no $c or no ld.$l"
        else t_case "version_script_${c}_$l" linked_by $c $l; fi
    done
done
t_case shared_library_stays_loaded stays_loaded
t_case archive_shared_library_and_program_have_the_same_features one_product
if [ "${CELLAR_HARDENED-}" = 1 ]; then
    t_case objects_are_hardened hardened_objects
    t_case shared_library_is_hardened hardened_file "$so"
    if [ -x "${CELLAR_BIN-}" ]; then t_case program_is_hardened hardened_file "$CELLAR_BIN"; fi
else
    t_skip objects_are_hardened "the caller gave CFLAGS"
fi
t_end packaging_symbols
