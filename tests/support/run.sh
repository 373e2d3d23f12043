#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run: runs test programs, two at a time, and adds up what they say.
#
# PICTURE    items -> [worker: timeout, log, verdict file] x JOBS -> one line each -> the sum
#            those that wait -> [one worker more, as long as there are any] -> /
# ITEMS      a path                    a program or script that ends with a closing line
#            t|LABEL|COMMAND           the same, as a shell command
#            x|LABEL|COMMAND           exit status only: 0 is one passed, anything else one failed
#            s|LABEL|REASON            not run: one skipped, with its reason
#            j|JOBS                    what follows waits for all before; JOBS at once from here on
#            w|                        what stands before it (and after the last j|) waits for clocks
#                                      and disks more than it works: one after the other, beside
#                                      JOBS of what follows
# VERDICT    closing line "NAME: N passed, N failed, N skipped", the last line of stdout. No such
#            line, a signal, a timeout, or an exit status that contradicts it is one failure
#            more; a program in which nothing ran is one failure. All that, summed, is the last
#            line of this script, "cellar: ..."; a sum with nothing passed fails. Above it each
#            failure is listed once more: "failed: LABEL: FACT".
# LIMIT      is that of a machine of one's own; where more is ready to run than there are CPUs when
#            an item starts, it gets as many times longer, up to four times.
# TIMES      wall clock and CPU (user and system, children included) of each item, in whole seconds.
# OPTIONS    -l SECONDS wall limit of one item (120)     -j JOBS at once (number of CPUs)
#            -o DIR logs and verdicts (build/log)        -n NAME in the closing line (cellar)
#            T_WRAP words before each path (valgrind ...)
# FOR TESTS  they start in the project's root with what the Makefile exports: CC, CXX, MAKE,
#            CELLAR_BUILD (folder of this variant), CELLAR_BIN, CELLAR_SO, CELLAR_A, SEED, AUDIT.
set -u
LC_ALL=C
export LC_ALL

limit_under_load() { # SECONDS -> seconds
    awk -v limit="$1" -v cpus="$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)" '{
        times = $1 / cpus
        if (times < 1) times = 1
        if (times > 4) times = 4
        printf "%d\n", limit * times
    }' /proc/loadavg 2>/dev/null || echo "$1"
}

run_limited() { # SECONDS COMMAND: as its own process group, so that its children die with it
    if command -v timeout >/dev/null 2>&1; then
        timeout -k 5 "$1" sh -c "$2"
    else
        sh -c "$2"
    fi
}

why_died() { # exit status -> words
    case $1 in
    124) echo "timed out after $limit s" ;;
    137) echo "killed (KILL, or timed out after $limit s)" ;;
    129 | 1[3-9][0-9]) echo "died of signal $(kill -l "$1" 2>/dev/null || echo "$1")" ;;
    *) echo "exit status $1" ;;
    esac
}

cpu_spent() { # what `times` said -> seconds of the children that ended, user and system
    awk 'NR == 2 {
        for (i = 1; i <= 2; i++) { split($i, part, /[ms]/); sum += part[1] * 60 + part[2] }
        printf "%.0f\n", sum
    }' "$1"
}

run_one() { # line number in $dir/items -> $dir/N.res: "passed failed skipped label"
    item=$(sed -n "${1}p" "$dir/items")
    case $item in
    ?\|*) kind=${item%%|*} rest=${item#*|} label=${rest%%|*} command=${rest#*|} ;;
    *.sh) kind=t label=${item##*/} command="${T_WRAP-} sh $item" ;;
    *) kind=t label=$item command="${T_WRAP-} ./$item"
        label=$(echo "$item" | sed 's,^build/[0-9]*/,,; s,^t/,,') ;;
    esac
    log=$dir/$(echo "$label" | tr '/ |' '___')
    start=$(date +%s)
    limit=$(limit_under_load "$limit")
    note=
    if [ "$kind" = s ]; then
        echo "0 0 1 $label" >"$dir/$1.res"
        printf 'skip %-40s %s\n' "$label" "$command"
        return
    fi
    run_limited "$limit" "$command" >"$log.out" 2>"$log.err" </dev/null
    status=$?
    times >"$log.cpu" # not in a pipe: that would be another shell, with no children
    spent="$(($(date +%s) - start)) s, $(cpu_spent "$log.cpu") s of CPU"
    if [ "$kind" = x ]; then
        p=1 f=0 s=0
        [ $status -eq 0 ] || { p=0 f=1 note=$(why_died $status); }
    else
        set -- "$1" $(tail -n 1 "$log.out" | sed -n \
            's/^[^ ]*: \([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p')
        p=${2:-0} f=${3:-0} s=${4:-0}
        if [ $# -ne 4 ]; then
            f=$((f + 1)) note="no closing line, $(why_died $status)"
        elif [ $status -ne 0 ] && [ "$f" -eq 0 ]; then
            f=1 note=$(why_died $status)
            [ "$p$s" != 00 ] || note="nothing ran"
        elif [ $((p + f + s)) -eq 0 ]; then
            f=1 note="nothing ran"
        fi
    fi
    echo "$p $f $s $label" >"$dir/$1.res"
    if [ "$f" -eq 0 ]; then
        printf 'ok   %-40s %s passed, %s skipped, %s\n' "$label" "$p" "$s" "$spent"
        grep -h '# SKIP' "$log.out" | sed 's/^ok [0-9]* - /     skipped: /'
    else
        printf 'FAIL %-40s %s passed, %s failed, %s skipped, %s%s\n' "$label" "$p" "$f" "$s" \
            "$spent" "${note:+ ($note)}"
        grep -Ev '^(ok|skip|     skipped:) ' "$log.out" | tail -n 40 | sed 's/^/     | /'
        tail -n 40 "$log.err" | sed 's/^/     ! /'
        echo "     logs: $log.out $log.err"
        list_failures >"$dir/$1.failed"
    fi
}

list_failures() { # of the item that $label, $log and $note tell of
    awk -v label="$label" -v note="$note" '
        sub(/^not ok [0-9]* - /, "") || sub(/^failed: /, "") { print "failed: " label ": " $0; n++ }
        END { if (note != "" || !n) print "failed: " label (note != "" ? ": " note : "") }' "$log.out"
}

if [ "${1-}" = --one ]; then
    dir=$2 limit=$3
    run_one "$4"
    exit 0
fi

limit=120 dir=build/log name=cellar
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
while getopts l:j:o:n: o; do
    case $o in
    l) limit=$OPTARG ;;
    j) jobs=$OPTARG ;;
    o) dir=$OPTARG ;;
    n) name=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))

rm -rf "$dir"
mkdir -p "$dir" || exit 2
: >"$dir/items"
for item; do printf '%s\n' "$item" >>"$dir/items"; done
from_to() { # numbers of the items, how many at once
    [ "$1" -le "$2" ] || return 0
    awk -v i="$1" -v last="$2" 'BEGIN { while (i <= last) print i++ }' |
        xargs -P "$3" -n 1 sh "$0" --one "$dir" "$limit"
}
# A pipe, because a job in the background ignores Ctrl-C. A process that a test leaves running must
# not hold our output open: a reader would wait for its end.
phase() { # first to last, with what waits before $beside
    {
        from_to "$first" $((beside - 1)) 1 >&3 3>&- |
            from_to $((beside + 1)) "$last" "$jobs" 3>&-
    } 3>&1
}
first=1 beside=0 last=0 number=0
for item; do
    number=$((number + 1))
    case $item in
    w\|*)
        echo "0 0 0 $item" >"$dir/$number.res"
        beside=$number
        ;;
    j\|*)
        phase
        echo "0 0 0 $item" >"$dir/$number.res"
        jobs=${item#j|} first=$((number + 1)) beside=$number
        ;;
    esac
    last=$number
done
phase

# A worker that left no verdict (out of memory, killed from outside) is one failure as well.
count=$#
awk -v count="$count" -v dir="$dir" 'BEGIN {
    for (i = 1; i <= count; i++) {
        file = dir "/" i ".failed"
        while ((getline line < file) > 0) print line
        close(file)
        file = dir "/" i ".res"
        if ((getline line < file) <= 0) print "failed: item " i ": no verdict"
        close(file)
    }
}'
awk -v count="$count" -v dir="$dir" -v name="$name" 'BEGIN {
    for (i = 1; i <= count; i++) {
        file = dir "/" i ".res"
        if ((getline line < file) > 0) {
            split(line, v, " "); p += v[1]; f += v[2]; s += v[3]
        } else f++
        close(file)
    }
    if (p == 0 && f == 0) f = 1
    printf "%s: %d passed, %d failed, %d skipped\n", name, p, f, s
    exit f > 0
}'
