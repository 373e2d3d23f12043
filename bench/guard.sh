#!/bin/sh
# SPDX-License-Identifier: MIT
#
# guard: instructions per operation against the baseline; ends with a closing line like a test.
#
# USE      guard.sh [--write] [--counts FILE] [--library PROGRAM] PROGRAM BASELINE
#          guard.sh --headless CC      valgrind's header is not there: skipped, or a failure
#          --write   puts the counts into the baseline (a new entry, or in place of the old one)
#          --counts  takes "operation count" lines instead of running callgrind; -: prints them only
#          --library counts one row more: get_hit of a program that links libcellar.a of `make`
#          A hit under the adaptive policy may take 4 instructions more than one under s3fifo.
# VERDICT  more than 1 % above the baseline: failed. More than 1 % below: passed, but asks for a new
#          baseline. A new baseline stands in the commit that changes the counts, with the reason.
#          No entry for this compiler, libc and machine: values are printed and counted as skipped,
#          except where an entry must be (gcc 12 with glibc 2.36 on x86_64: Debian 12), there it is
#          a failure. No valgrind: the same.
# FORMAT   BASELINE is a JSON array, one object a line:
#          {"key":"gcc 12.2.0, glibc 2.36, x86_64","get_hit":201.3,...}
set -u
LC_ALL=C
export LC_ALL
write=0 counts= library=
nothing() { # WORDS, and whether figures are required
    echo "# SKIP $1"
    [ "$2" = 0 ] || { echo "guard: FAILED: here it may not be skipped"; echo "guard: 0 passed, 1 failed, 0 skipped"; exit 1; }
    echo "guard: 0 passed, 0 failed, 1 skipped"
    exit 0
}
if [ "${1-}" = --headless ] && [ $# -eq 2 ]; then
    here=$(printf '#include <features.h>\n__clang__ __GNUC__ __GLIBC__ __GLIBC_MINOR__ __x86_64__\n' |
        $2 -E -P - 2>/dev/null | tail -n 1)
    [ "$here" = "__clang__ 12 2 36 1" ] && must=1 || must=0
    nothing "valgrind/callgrind.h not found" $must
fi
while [ $# -gt 2 ]; do
    case $1 in
    --write) write=1 ;;
    --counts) counts=$2; shift ;;
    --library) library=$PWD/$2; shift ;;
    *) echo "guard.sh: $1 is not an option" >&2; exit 2 ;;
    esac
    shift
done
[ $# -eq 2 ] || { echo "usage: guard.sh [--write] [--counts FILE] [--library PROGRAM] PROGRAM BASELINE" >&2; exit 2; }
program=$1 baseline=$2
dir=$(mktemp -d "${TMPDIR:-/tmp}/guard.XXXXXX") || exit 2
trap 'rm -rf "$dir"' EXIT INT TERM

case $program in /*) ;; *) program=$PWD/$program ;; esac
key=$(env -i "$program" --key) || { echo "guard: 0 passed, 1 failed, 0 skipped"; exit 1; }

count_all() { # PROGRAM [ROW] -> lines "operation instructions-per-operation"
    # Without environment and with a fixed path: both are copied onto the stack and shift addresses.
    rm -f "$dir"/out.*
    (cd "$dir" && env -i valgrind --tool=callgrind --collect-atstart=no \
        --callgrind-out-file=out "$@" >ops 2>log) || { cat "$dir/ops" "$dir/log" >&2; return 1; }
    for file in "$dir"/out.*; do
        sed -n 's/^desc: Trigger: Client Request: \([a-z_0-9]*\)$/name \1/p; s/^totals: /totals /p' \
            "$file"
    done | awk -v ops="$dir/ops" '
        BEGIN { while ((getline line < ops) > 0) { split(line, f, " "); n[f[1]] = f[2] } }
        $1 == "name" { name = $2 }
        $1 == "totals" && name in n { printf "%s %.2f\n", name, $2 / n[name]; name = "" }' | sort
}

if [ "$counts" = - ] || [ -z "$counts" ]; then
    if ! command -v valgrind >/dev/null 2>&1; then
        case $key in "gcc 12."*"glibc 2.36, x86_64") must=1 ;; *) must=0 ;; esac
        nothing "valgrind not found" $must
    fi
    { count_all "$program" && { [ -z "$library" ] || count_all "$library" get_hit | sed 's/^/library_/'; }
    } >"$dir/counts" || { echo "guard: 0 passed, 1 failed, 0 skipped"; exit 1; }
    if [ "$counts" = - ]; then
        cat "$dir/counts"
        exit 0
    fi
else
    cp "$counts" "$dir/counts" || exit 2
fi

if [ "$write" = 1 ]; then
    entry=$(awk -v key="$key" '{ s = s sprintf(",\"%s\":%s", $1, $2) }
        END { printf "{\"key\":\"%s\"%s}", key, s }' "$dir/counts")
    { [ ! -f "$baseline" ] || grep -F '"key"' "$baseline" | grep -vF "\"key\":\"$key\""; echo "$entry"; } |
        sed 's/,$//' | awk 'BEGIN { printf "[" } NF { printf "%s\n%s", (n++ ? "," : ""), $0 }
        END { print "\n]" }' >"$dir/new" && cp "$dir/new" "$baseline"
    echo "guard: wrote $baseline for $key"
    exit 0
fi

awk -v key="$key" -v entry="$(grep -F "\"key\":\"$key\"" "$baseline" 2>/dev/null)" '
    function base(name,    at, s) {
        at = index(entry, "\"" name "\":")
        if (!at) return ""
        s = substr(entry, at + length(name) + 3)
        return match(s, /^[0-9.]+/) ? substr(s, 1, RLENGTH) + 0 : ""
    }
    { count[$1] = $2 }
    {
        was = base($1)
        if (was == "") {
            must = key ~ /^gcc 12\./ && key ~ /glibc 2\.36, x86_64$/
            printf "%-16s %9.2f instructions an operation, no baseline%s\n", $1, $2, must ? ": FAILED" : ""
            if (must) failed++; else skipped++
            next
        }
        change = 100 * ($2 - was) / was
        word = change > 1 ? "FAILED: more than 1 % above" : \
               change < -1 ? "better: put the new baseline into the same commit, with the reason" : "ok"
        printf "%-16s %9.2f instructions an operation, baseline %9.2f, %+6.2f %%  %s\n", $1, $2, was, change, word
        if (change > 1) failed++; else passed++
    }
    END {
        if (NR == 0) failed++
        if ("get_hit_adaptive" in count && "get_hit_s3fifo" in count) {
            more = count["get_hit_adaptive"] - count["get_hit_s3fifo"]
            printf "adaptive         %+9.2f instructions a hit over s3fifo, 4 allowed: %s\n", more,
                more <= 4 ? "ok" : "FAILED"
            if (more <= 4) passed++; else failed++
        }
        if (skipped) print "# SKIP no baseline for " key
        printf "guard: %d passed, %d failed, %d skipped\n", passed, failed, skipped
        exit failed > 0
    }' "$dir/counts"
