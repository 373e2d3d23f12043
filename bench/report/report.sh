#!/bin/sh
# SPDX-License-Identifier: MIT
#
# report: the figures of the last runs against their floors, tables of bench/results.md and
#         bench/results_all.md, plots.
#
# USE      report.sh [--check] [--quick] FOLDER|FILE.jsonl
# WALK     the .jsonl lines of the last full run and of single suites after it, in order of time ->
#          table on stdout -> if they are no quick run, or with --quick: Markdown between the markers
#          of bench/results.md, ours among the peers between a second pair, what a sceptic asks for
#          between a third; all subjects into bench/results_all.md -> from that page: what users
#          ask, the table of README.md, and its picture bench/reads.svg -> plots into the folder,
#          where gnuplot is found. Without results the tables that come from the page are made
#          from it as it is.
# EXIT     with --check 1 when a figure is under its floor; 2 without results.
set -u
LC_ALL=C
export LC_ALL
check=
if [ "${1-}" = --check ]; then
    check='-v check=1'
    shift
fi
short=
if [ "${1-}" = --quick ]; then
    short=1
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
between() { # MARK FILE PAGE: the lines between the markers of a page
    ${AWK:-awk} -v mark="$1" -v text="$2" '
        $0 == "<!-- " mark ":begin -->" { print; while ((getline line < text) > 0) print line; inside = 1 }
        $0 == "<!-- " mark ":end -->" { inside = 0 }
        !inside { print }' "$3" >"$2.page" && cat "$2.page" >"$3" && rm "$2.page"
}
of_the_page() { # FILE: first into it: a table without its rows leaves the old texts
    $awk -f $here/answers.awk bench/results_all.md >"$1" && between answers "$1" bench/results.md &&
        $awk -v readme=1 -f $here/answers.awk bench/results_all.md >"$1" && between figures "$1" README.md &&
        ${AWK:-awk} -f $here/picture.awk bench/results_all.md >"$1" && cat "$1" >bench/reads.svg && rm "$1" &&
        echo "report: what users ask, table and picture of README.md from bench/results_all.md"
}
if [ -z "$files" ]; then
    of_the_page "${TMPDIR:-/tmp}/reads.$$"
    echo "report: no results in $from: run make bench" >&2
    exit 2
fi

# shellcheck disable=SC2086
$awk -f $here/table.awk $check $here/targets.tsv $files
status=$?

# shellcheck disable=SC2086
$awk -f $here/peers.awk -v causes=$here/causes.tsv $files && $awk -f $here/threads.awk $files

# shellcheck disable=SC2086
if [ -z "$short" ] && grep -q '"quick":1' $files; then
    echo "report: quick figures among them: bench/results.md is left as it is"
elif [ -f bench/results.md ]; then
    $awk -v md=1 -f $here/table.awk $here/targets.tsv $files >"$out/table.md"
    day=$(date -u -r "$(echo $files | sed 's/.* //')" +%Y-%m-%d)
    page() { # MARK PAGE FILE: a table without rows says so
        [ -s "$3" ] || echo 'Not measured yet: `make bench-all`.' >"$3"
        between "$1" "$3" "$2"
    }
    # shellcheck disable=SC2086
    { $awk -v md=1 -v day="$day" -v causes=$here/causes.tsv -f $here/peers.awk $files >"$out/all.md"
      $awk -v only='^scale' -f $here/threads.awk $files >>"$out/all.md"
      $awk -v md=2 -v day="$day" -v causes=$here/causes.tsv -f $here/peers.awk $files >"$out/peers.md"
      $awk -v only='^(scale16m_rss|zipf20k|sceptic|miss)' -f $here/threads.awk $files >"$out/sceptic.md"
      $awk -f $here/sceptic.awk $files >>"$out/sceptic.md"; }
    page peers bench/results_all.md "$out/all.md" && page places bench/results.md "$out/peers.md" &&
        page sceptic bench/results.md "$out/sceptic.md" && page bench bench/results.md "$out/table.md"
fi

if command -v gnuplot >/dev/null 2>&1; then
    # shellcheck disable=SC2086
    $awk -f $here/plot.awk -v out="$out" $files && gnuplot -e "out='$out'" $here/plot.gp &&
        echo "report: plots in $out"
else
    echo "report: gnuplot not found, no plots"
fi
[ -f bench/results.md ] && of_the_page "$out/page.new"
exit $status
