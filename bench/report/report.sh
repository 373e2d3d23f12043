#!/bin/sh
# SPDX-License-Identifier: MIT
#
# report: the figures of the last runs against their floors, tables of bench/results.md, plots.
#
# USE      report.sh [--check] FOLDER|FILE.jsonl
# WALK     the .jsonl lines of the last full run and of single suites after it, in order of time ->
#          table on stdout -> if they are no quick run: Markdown between the markers of
#          bench/results.md, ours among the peers between a second pair -> plots into the folder,
#          where gnuplot is found -> bench/reads.svg, the picture of README.md, from the table of
#          bench/results.md. Without results only the picture is drawn, from the table as it is.
# EXIT     with --check 1 when a figure is under its floor; 2 without results.
set -u
LC_ALL=C
export LC_ALL
check=
if [ "${1-}" = --check ]; then
    check='-v check=1'
    shift
fi
from=${1:-build/bench}
here=bench/report
awk="${AWK:-awk} -f $here/lines.awk"
if [ -d "$from" ]; then
    files=$(ls -tr "$from"/*.jsonl 2>/dev/null) out=$from
else
    files=$from out=$(dirname "$from")
    [ -f "$from" ] || files=
fi
picture() { # into another file first: a table without the row leaves the old picture
    ${AWK:-awk} -f $here/picture.awk bench/results.md >"$1" && cat "$1" >bench/reads.svg && rm "$1" &&
        echo "report: picture in bench/reads.svg"
}
if [ -z "$files" ]; then
    picture "${TMPDIR:-/tmp}/reads.$$"
    echo "report: no results in $from: run make bench" >&2
    exit 2
fi

# shellcheck disable=SC2086
$awk -f $here/table.awk $check $here/targets.tsv $files
status=$?

# shellcheck disable=SC2086
$awk -f $here/peers.awk -v causes=$here/causes.tsv $files && $awk -f $here/threads.awk $files

# shellcheck disable=SC2086
if grep -q '"quick":1' $files; then
    echo "report: quick figures among them: bench/results.md is left as it is"
elif [ -f bench/results.md ]; then
    $awk -v md=1 -f $here/table.awk $here/targets.tsv $files >"$out/table.md"
    $awk -v md=1 -v causes=$here/causes.tsv -f $here/peers.awk $files >"$out/peers.md"
    # shellcheck disable=SC2086
    $awk -f $here/threads.awk $files >>"$out/peers.md"
    [ -s "$out/peers.md" ] || echo 'Not measured yet: `make bench-peers`.' >"$out/peers.md"
    ${AWK:-awk} -v table="$out/table.md" -v peers="$out/peers.md" '
        /<!-- bench:begin -->/ { print; while ((getline line < table) > 0) print line; inside = 1 }
        /<!-- bench:end -->/ { inside = 0 }
        /<!-- peers:begin -->/ { print; while ((getline line < peers) > 0) print line; inside = 1 }
        /<!-- peers:end -->/ { inside = 0 }
        !inside { print }
        ' bench/results.md >"$out/results.new" && cp "$out/results.new" bench/results.md
fi

if command -v gnuplot >/dev/null 2>&1; then
    # shellcheck disable=SC2086
    $awk -f $here/plot.awk -v out="$out" $files && gnuplot -e "out='$out'" $here/plot.gp &&
        echo "report: plots in $out"
else
    echo "report: gnuplot not found, no plots"
fi
[ -f bench/results.md ] && picture "$out/reads.svg"
exit $status
