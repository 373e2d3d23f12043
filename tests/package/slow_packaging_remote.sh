#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the remote tier is optional to the last byte: libcellar and both pairs do not change with it,
#         and its own pair compiles without a warning.
# Method: the drop-in of a copy of the tree without the remote tier, byte by byte; the commands that
#         make libcellar in both trees; nm of what was built; a compiler that does not find hiredis.
. tests/support/t.sh
words="-std=c11 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes
    -Wmissing-prototypes -Wvla -Wundef -Werror"
make="${MAKE:-make} --no-print-directory -s NOLINK=1"

bare=$t_tmp/bare # the tree without the remote tier; its source id is that of this tree
mkdir "$bare" && cp -r Makefile LICENSE README.md include src bench "$bare" &&
    rm -rf "$bare/src/guests/remote" "$bare/include/cellar_remote.h" &&
    sed -i '/^SRC_REMOTE *=/,/[^\\]$/s/.*//; s/^REMOTE_SRC .*/REMOTE_SRC :=/' "$bare/Makefile"
id=$(cat build/source-id)
same_dropin() {
    $make -C "$bare" dropin "SOURCE_ID=$id" >/dev/null && $make dropin >/dev/null || return 1
    for f in cellar.h cellar.c cellar_all.h cellar_all.c; do cmp "dist/$f" "$bare/dist/$f" || return 1; done
}
plan() { # folder, words: the commands that make libcellar from nothing
    (cd "$1" && shift && $make -n V=1 B=build/none "SOURCE_ID=$id" "$@" build/none/libcellar.a \
        build/none/libcellar.so."$version" | grep -v 'source-id')
}
version=$(sed -n 's/^#define CELLAR_VERSION_[MP][A-Z]* *\([0-9]*\).*/\1/p' include/cellar.h |
    tr '\n' '.' | sed 's/\.$//')
same_commands() {
    plan . REMOTE=1 >"$t_tmp/with" && plan "$bare" >"$t_tmp/without" && [ -s "$t_tmp/with" ] &&
        diff "$t_tmp/with" "$t_tmp/without" >/dev/null
}
no_hiredis() { ! nm "$@" 2>/dev/null | grep -i 'hiredis\| redis\|cellar_remote'; }
core_has_no_hiredis() {
    no_hiredis "$CELLAR_A" && no_hiredis -D "$CELLAR_SO" && ! grep -qi 'hiredis' dist/cellar.c dist/cellar_all.c &&
        ! readelf -d "$CELLAR_SO" | grep -q hiredis
}
pair_compiles() { $1 $words -O2 -c dist/cellar_remote.c -o "$t_tmp/remote.o"; }
wanted() { sed -n 's/^\(cellar_remote_[a-z0-9_]*\) .*/\1/p' src/tools/symbols.txt | sort; }
pair_exports_its_names() {
    pair_compiles "$CC" && nm -g --defined-only "$t_tmp/remote.o" |
        sed -n 's/^[0-9a-f]* [A-TV-Z] //p' | sort >"$t_tmp/names" && wanted | diff - "$t_tmp/names"
}
library_has_all_names() {
    $make REMOTE=1 remote >/dev/null && sed -n 's/^\(cellar_[a-z0-9_]*\) .*/\1/p' \
        src/tools/symbols.txt | sort >"$t_tmp/all" &&
        nm -D --defined-only "$CELLAR_BUILD/libcellar-remote.so.$version" |
        sed -n 's/@@CELLAR.*//; s/^[0-9a-f]* [A-TV-Z] //p' | grep '^cellar_' | sort |
        diff "$t_tmp/all" -
}
absent() { # a build by a compiler that does not find hiredis
    printf '#!/bin/sh\ncase "$*" in *hiredis*) exit 1 ;; esac\nexec %s "$@"\n' "$CC" >"$t_tmp/cc"
    chmod +x "$t_tmp/cc"
    $make -n REMOTE=1 CC="$t_tmp/cc" all >"$t_tmp/absent" &&
        grep -q 'the remote tier needs libhiredis-dev' "$t_tmp/absent" &&
        ! grep -q 'lhiredis\|src/guests/remote' "$t_tmp/absent"
}

$make dropin dropin-remote >/dev/null
t_case dropin_is_the_same_without_the_remote_tier same_dropin
t_case library_is_made_by_the_same_commands same_commands
t_case library_and_dropin_know_no_hiredis core_has_no_hiredis
t_case missing_hiredis_is_one_sentence absent
if ! echo '#include <hiredis/hiredis.h>' | $CC -E - >/dev/null 2>&1; then
    t_skip pair_of_the_remote_tier_compiles "no libhiredis-dev"
    t_end packaging_remote
fi
t_case pair_of_the_remote_tier_exports_its_names pair_exports_its_names
t_case shared_library_exports_all_names library_has_all_names
for c in gcc clang; do
    if t_have $c; then t_case "pair_compiles_without_warning_$c" pair_compiles $c
    else t_skip "pair_compiles_without_warning_$c" "no $c"; fi
done
m32="gcc -m32 -idirafter /usr/include/x86_64-linux-gnu -Wno-psabi"
if echo '#include <errno.h>' | $m32 -E - >/dev/null 2>&1; then
    t_case pair_compiles_in_32_bits pair_compiles "$m32"
else
    t_skip pair_compiles_in_32_bits "no 32-bit headers"
fi
t_end packaging_remote
