#!/bin/sh
# SPDX-License-Identifier: MIT
#
# report: the figures of the last runs against their floors, bench/results.json, the tables of
#         bench/results.md.
#
# USE      report.sh [--check] [--quick] FOLDER|FILE.jsonl
# WALK     the .jsonl lines of the last full run and of single suites after it, in order of time ->
#          table on stdout -> if they are no quick run, or with --quick: all subjects of each figure
#          into bench/results.json; Markdown between the markers of bench/results.md: ours among the
#          peers, what a sceptic asks for, the floors -> from results.json: what users ask, the table
#          of README.md, and its picture bench/reads.svg. Without results the tables that come from
#          results.json are made from it as it is.
# COMMIT   The page has lines of the newest commit alone.
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
of_the_file() { # FILE: first into it: a table without its rows leaves the old texts
    $awk -f $here/tables.awk -v table=peers -v md=1 -v causes=$here/causes.tsv bench/results.json >"$1" &&
        between places "$1" bench/results.md &&
        $awk -f $here/answers.awk bench/results.json >"$1" && between answers "$1" bench/results.md &&
        $awk -v readme=1 -f $here/answers.awk bench/results.json >"$1" && between figures "$1" README.md &&
        $awk -f $here/picture.awk bench/results.json >"$1" && cat "$1" >bench/reads.svg && rm "$1" &&
        echo "report: places, what users ask, table and picture of README.md from bench/results.json"
}
if [ -z "$files" ]; then
    of_the_file "${TMPDIR:-/tmp}/reads.$$"
    echo "report: no results in $from: run make bench" >&2
    exit 2
fi
# shellcheck disable=SC2086
commit=$(cat $files | sed -n 's/.*"commit":"\([^"]*\)".*/\1/p' | tail -n 1)
tables="$awk -f $here/tables.awk -v commit=$commit"

# shellcheck disable=SC2086
$tables -v table=floors $check $here/targets.tsv $files
status=$?

# shellcheck disable=SC2086
$tables -v table=peers -v causes=$here/causes.tsv $files && $tables -v table=threads $files

# shellcheck disable=SC2086
if [ -z "$short" ] && grep -q '"quick":1' $files; then
    echo "report: quick figures among them: bench/results.md is left as it is"
elif [ -f bench/results.md ]; then
    $tables -v table=floors -v md=1 $here/targets.tsv $files >"$out/floors.md"
    $tables -v table=json -v day="$(date -u -r "$(echo $files | sed 's/.* //')" +%Y-%m-%d)" $files >"$out/results.new"
    { $tables -v table=threads -v md=1 $files; $tables -v table=sceptic $files; } >"$out/sceptic.md"
    cat "$out/results.new" >bench/results.json && rm "$out/results.new"
    for mark in sceptic floors; do # a table without rows says so
        [ -s "$out/$mark.md" ] || echo 'Not measured yet: `make bench-all`.' >"$out/$mark.md"
        between $mark "$out/$mark.md" bench/results.md
    done
fi
[ -f bench/results.md ] && of_the_file "$out/page.new"
exit $status
