#!/bin/sh
# SPDX-License-Identifier: MIT
#
# figures: prints how large the engine, the drop-in, the interface and the README are.
#
# USE        make figures      SQLITE3_C=path of a sqlite3.c: compiles it and the drop-in, for the time
#            sh src/tools/figures.sh --text      only what needs no compiler
#            Both run in the root of the project.
# COUNTED    engine lines   lines of src/core/*/*.[ch] and include/*.h with code after comments are taken
#                           out, without src/core/extras and the parts that come later (their
#                           folders and headers)
#            core, guests   the same of src/core and src/guests. What base/ has for guests alone is in neither
#            python         lines of C and of Python in src/python, which is in none of these
#            tests          all lines of all files below tests/
#            public calls   lines that begin with CELLAR_API in include/, and `;` inside its structs
#            files          of src/ and include/ in which instructions run (callgrind, -O2): a get that
#                           hits, a set that replaces a value, a load of a missing key (figures.c)
#            loaded bytes   text + data of `size` over dist/cellar.c (the cache) or dist/cellar_all.c
#                           (with its guests); k: 1,000. "All OMIT" sets every CELLAR_OMIT_ switch
#                           that the drop-in knows.
#            circle, prototypes   as `make floors` says
#            calls, lines   lines that begin with CELLAR_API in include/cellar.h; all its lines
#            README         the line on which the first program with cellar_get_or_load ends; all
#            facts          cases of the tests: T_CASE and T_CASE_ON, without the few T_ALONE
#            seconds        median of 5 compilations at -O2, one after the other
set -u
LC_ALL=C
export LC_ALL
: "${CC:=cc}" "${AWK:=awk}" "${MAKE:=make}" "${SQLITE3_C:=}"

say() { printf '%-52s %s\n' "$1" "$2"; }

count() { $AWK -f src/tools/code.awk -f src/tools/figures.awk "$@"; }
engine_lines() {
    set --
    for f in src/core/*/*.[ch] include/*.h; do
        case ${f#*/} in
        core/extras/* | cellar_work.h | cellar_schedule.h | cellar_task.h | cellar_bus.h) ;;
        cellar_batch.h | cellar_refresh.h | cellar_kit.h | cellar_resp.h | cellar_tier.h) ;;
        cellar_remote.h) ;;
        *) set -- "$@" "$f" ;;
        esac
    done
    count "$@"
}
of_makefile() { sed -n "s/^$1  *:*= *//p" Makefile; }
wing_lines() { # core | guests
    base=" $(of_makefile GUEST_BASE) environment "
    wing=$1
    set --
    for f in src/"$wing"/*/*.[ch]; do
        unit=${f##*/}
        case $f$base in
        src/core/base/*" ${unit%.*} "*) ;;
        *) set -- "$@" "$f" ;;
        esac
    done
    count "$@"
}
python_lines() { # C, without comments; Python and stubs, without empty lines and comments
    printf '%s, %s\n' "$(count src/python/*.[ch])" \
        "$(cat src/python/*.py src/python/cellar/*.py* | grep -cEv '^ *(#|$)')"
}
readme_until() {
    $AWK '/cellar_get_or_load *\(/ { seen = 1 }
        seen && /^```/ { print FNR - 1; said = 1; exit }
        END { if (!said) print "never" }' README.md
}
facts() { find tests -name '*.c' -exec cat {} + | grep -oE 'T_CASE(_ON)?\([a-z]' | grep -c .; }

loaded() { # PAIR, flags... -> text + data
    pair=$1
    shift
    $CC -std=c11 "$@" -c "dist/$pair.c" -o "$tmp/o.o" && size "$tmp/o.o" |
        $AWK 'NR == 2 { printf "%.1f k\n", ($1 + $2) / 1000 }'
}
omit_all() {
    grep -o 'defined(CELLAR_OMIT_[A-Z0-9]*)' dist/cellar.c | sed 's/defined(\(.*\))/-D\1/' | sort -u
}
files() { # function of figures.c -> files that it runs through
    valgrind --tool=callgrind --toggle-collect="$1" --callgrind-out-file="$tmp/calls" "$tmp/figures" \
        >"$tmp/said" 2>&1 || { cat "$tmp/said" >&2; return 1; }
    grep -oE '^f[lie]=.*' "$tmp/calls" | grep -oE '(src/[a-z]+/[a-z0-9]+|include)/[a-z0-9_]+\.[ch]$' |
        grep -v mmintrin | sort -u | grep -c .
}
seconds() { # source, flags... -> median of 5
    for _ in 1 2 3 4 5; do
        begin=$(date +%s%N)
        $CC -O2 -w -c "$@" -o "$tmp/o.o" || return 1
        echo $((($(date +%s%N) - begin) / 1000000))
    done | sort -n | $AWK 'NR == 3 { printf "%.1f\n", $1 / 1000 }'
}

say "engine, lines of code" "$(engine_lines)"
said=$($MAKE -s floors) || { echo "$said"; exit 1; }
say "core, lines of code" "$(wing_lines core)"
say "guests, lines of code" "$(wing_lines guests)"
say "python, lines of C and of Python" "$(python_lines)"
say "largest circle of files in a module" \
    "$(echo "$said" | sed 's/.*largest circle: \([^;]*\).*/\1/')"
say "most prototypes in one header" "$(echo "$said" | sed 's/.*most prototypes: //')"
say "calls in include/cellar.h" "$(grep -c '^CELLAR_API ' include/cellar.h)"
say "public calls" "$(cat include/*.h | grep -c '^CELLAR_API ')"
say "fields of public structs" "$(count -v fields=.* include/*.h)"
say "lines of include/cellar.h" "$(grep -c '' include/cellar.h)"
say "fields of cellar_config" "$(count -v fields=cellar_config include/cellar.h)"
say "README.md, lines until cellar_get_or_load" "$(readme_until)"
say "README.md, lines" "$(grep -c '' README.md)"
say "facts that tests check (T_CASE)" "$(facts)"
say "tests, lines" "$(find tests -type f -exec cat {} + | grep -c '')"
if [ "${1-}" = --text ]; then exit 0; fi

tmp=$(mktemp -d "${TMPDIR:-/tmp}/cellar-figures.XXXXXX") || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 2' HUP INT TERM
say "compiler" "$($CC --version | head -n 1)"
say "cellar.c, loaded bytes at -O2" "$(loaded cellar -O2)"
say "cellar_all.c, loaded bytes at -O2" "$(loaded cellar_all -O2)"
# shellcheck disable=SC2046 # words are meant to be split
say "cellar.c, loaded bytes at -O2, all OMIT" "$(loaded cellar -O2 $(omit_all))"
say "cellar.c, loaded bytes at -Os" "$(loaded cellar -Os)"
if command -v valgrind >/dev/null; then
    $CC -O1 -g -Iinclude -o "$tmp/figures" bench/figures.c "${CELLAR_A:-build/libcellar.a}" ${CELLAR_LIBS-} -pthread -lm || exit 1
    say "files that a get hit runs through" "$(files path_get)"
    say "files that a set runs through" "$(files path_set)"
    say "files that a load miss runs through" "$(files path_load)"
fi
if [ -n "$SQLITE3_C" ]; then
    ours=$(seconds dist/cellar.c -std=c11) theirs=$(seconds "$SQLITE3_C") || exit 1
    say "cellar.c, seconds to compile at -O2" "$ours"
    say "sqlite3.c, seconds to compile at -O2" "$theirs"
    say "cellar.c / sqlite3.c" "$(echo "$ours $theirs" | $AWK '{ printf "%.2f\n", $1 / $2 }')"
fi
