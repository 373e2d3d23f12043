#!/bin/sh
# SPDX-License-Identifier: MIT
#
# compare.sh: builds two commits of the library as shared objects and compares them.
#
# USE        compare.sh FOLDER A B [OPTION OF compare]...     A, B: commits; . is this tree
# WALK       commit -> FOLDER/COMMIT/tree by git archive -> its dist/cellar.c -> one shared object
#            with compare/side.c of this tree. The objects of commits stay for the next call.
# EXIT       0 compared, 1 a commit does not build, 2 usage or no such commit
set -u
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES # A= and B= are not for the makes below
out=$1 a=$2 b=$3
shift 3
so_of() { # COMMIT PLACE: builds, and prints the path of an object that is of this place alone
    if [ "$1" = . ]; then
        name=tree from=.
    else
        name=$(git rev-parse --verify --quiet --short "$1^{commit}") || { echo "compare: no commit $1" >&2; return 2; }
        from=$out/$name/tree
    fi
    mkdir -p "$out/$name" || return 1
    if [ "$1" = . ] || [ ! -f "$out/$name/cellar.so" ]; then
        if [ "$1" != . ]; then
            mkdir -p "$from" && git archive "$name" | tar xf - -C "$from" || return 1
        fi
        { make -s --no-print-directory -C "$from" DEPS=off dist/cellar.c dist/cellar.h &&
            # shellcheck disable=SC2086
            $CC -std=c11 -D_GNU_SOURCE $CFLAGS -pthread -fPIC -shared -Wl,-Bsymbolic -I. -I"$from/dist" \
                -o "$out/$name/cellar.so" bench/compare/side.c "$from/dist/cellar.c"; } >"$out/$name/log" 2>&1 ||
            { tail -n 5 "$out/$name/log" >&2; echo "compare: $1 does not build: $out/$name/log" >&2; return 1; }
    fi
    cp "$out/$name/cellar.so" "$out/$2.so" && echo "$2 = $1 ($name)"
}
so_of "$a" A || exit $?
so_of "$b" B || exit $?
# shellcheck disable=SC2086
$CC -std=c11 -D_GNU_SOURCE -O2 -pthread -rdynamic -I. -o "$out/compare" bench/compare/compare.c -ldl -lm || exit 1
exec "$out/compare" "$@" "$out/A.so" "$out/B.so"
