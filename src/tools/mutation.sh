#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mutation: plants small mistakes in the library and counts how many the tests find.
#
# USE        make mutation N=200 SEED=n      -> build/mutation.md
#            IN="src/core/lock/*" takes the mistakes from these files only; T="lock_*" takes these
#            programs only; MUTATION_LIMIT=60 seconds for the programs of one mistake
# WALK       mutate.awk lists all places -> N of them are drawn -> a copy of src/ holds all of them,
#            and the environment chooses one -> the copy is compiled; what does not compile is
#            replaced by the next of the draw -> each program runs once without a mistake and notes
#            the places that it runs -> each mistake: the programs that run its place, those of its
#            module first, each group by its time, until one fails -> those that live: the
#            simulation -> page
# FOUND      A program ends with another status than 0, or takes four times as long and ten seconds
#            more. Programs that fail without a mistake are left out and named.
# AGAIN      build/mutation keeps each step and each verdict: the next call with the same N, SEED,
#            IN, T and sources goes on. Other words begin from nothing. After a change of tests/ what
#            lives is tried again, and what was found stays.
# LIMITS     A mistake that no program runs lives. Programs that
#            do not fit into the rest of the 60 seconds are not run; the page has their number. The
#            models hold no code of src/: a person asks them (tests/concurrency/model/README.md).
# REPEAT     MUTATION=id build/mutation/tree/PROGRAM, as the page says
# CALLS      sh src/tools/mutation.sh reach PROGRAM | try ID (by this script)
set -u
LC_ALL=C
export LC_ALL
: "${N:=200}" "${SEED:=1}" "${IN:=src/core/*/*.[ch] src/guests/*/*.[ch]}" "${T:=*}" "${SHARE:=4}"
: "${MUTATION_LIMIT:=60}" "${AWK:=awk}" "${MAKE:=make}"
T_SHARE=$SHARE
export N SEED IN T SHARE T_SHARE MUTATION_LIMIT AWK
root=$PWD
dir=$root/build/mutation
tree=$dir/tree
tools=$root/src/tools
jobs=$(getconf _NPROCESSORS_ONLN)
unset MAKEFLAGS MFLAGS MAKELEVEL CELLAR_BUILD CELLAR_BIN CELLAR_SO CELLAR_A CELLAR_DIST

# Run a command with a folder for temporary files of its own. Nothing of it stays: neither files nor
# processes, which are the group that `timeout` leads.
alone() { # seconds, command
    TMPDIR=$(mktemp -d /tmp/cellar-mutation.XXXXXX) || exit 2
    export TMPDIR
    timeout -k 2 "$@" >/dev/null 2>&1 </dev/null &
    group=$!
    wait $group
    status=$?
    kill -9 -- -$group 2>/dev/null
    chmod -R u+rwx "$TMPDIR" 2>/dev/null
    rm -rf "$TMPDIR"
    return $status
}
milliseconds() { echo $(($(date +%s%N) / 1000000)); }

reach() { # program: dir/reach/NAME has its time and the places that it runs, nothing if it failed
    name=${1##*/}
    [ ! "$dir/reach/$name" -nt "$1" ] || return 0
    rm -f "$dir/seen-$name"
    from=$(milliseconds)
    if MUTATION_SEEN=$dir/seen-$name alone 120 $1 ${2-} ${3-}; then
        {
            echo "$(($(milliseconds) - from)) $*"
            od -An -v -tu1 -w1 "$dir/seen-$name" 2>/dev/null | $AWK '$1 { print NR - 1 }'
        } >"$dir/reach/.$name"
        mv "$dir/reach/.$name" "$dir/reach/$name"
    else
        : >"$dir/reach/$name"
    fi
    rm -f "$dir/seen-$name"
}

# Run the programs of a list, "milliseconds program" a line, with mistake $id until one fails.
# Prints the verdict: found|lives, the program, how many ran, how many did not fit, seconds.
ask() { # list, limit in ms
    left=$2 ran=0 unfit=0
    while read -r usual program; do
        if [ "$usual" -gt $left ]; then unfit=$((unfit + 1)); continue; fi
        most=$((usual * 4 + 10000)) cut=0
        if [ $most -gt $left ]; then most=$left cut=1; fi
        from=$(milliseconds)
        # shellcheck disable=SC2086 # words are meant to be split
        MUTATION=$id alone $(((most + 999) / 1000)) $program
        status=$?
        left=$((left - $(milliseconds) + from)) ran=$((ran + 1))
        if [ $status -eq 124 ] || [ $status -eq 137 ]; then
            [ $cut -eq 0 ] || { unfit=$((unfit + 1)); break; }
        fi
        if [ $status -ne 0 ]; then
            program=${program%% *}
            printf 'found\t%s\t%s\t%s\t%s\n' "${program##*/}" $ran $unfit $((($2 - left) / 1000))
            return
        fi
    done <"$1"
    printf 'lives\t-\t%s\t%s\t%s\n' $ran $unfit $((($2 - left) / 1000))
}

try() { # id: dir/verdict/ID
    id=$1
    [ ! -e "$dir/verdict/$id" ] || return 0
    module=$(sed -n "${id}p" "$dir/chosen" | cut -d/ -f3)
    ls "$root"/tests/unit/*/"$module"/ 2>/dev/null | sed 's/\.[a-z]*$//' >"$dir/own-$id"
    $AWK -v id="$id" -v own="$dir/own-$id" '
        BEGIN { while ((getline name <own) > 0) first[name] = 1 }
        FNR == 1 { head = $0; name = FILENAME; sub(/.*\//, "", name) }
        FNR > 1 && $0 == id { print name in first ? 0 : 1, head }' "$dir"/reach/test_* |
        sort -k1,1n -k2,2n | cut -d' ' -f2- >"$dir/list-$id"
    ask "$dir/list-$id" $((MUTATION_LIMIT * 1000)) >"$dir/verdict/.$id"
    # The simulation is asked for what the programs let live.
    if grep -q '^lives' "$dir/verdict/.$id" && grep -qsx "$id" "$dir/reach/simdrv"; then
        head -n 1 "$dir/reach/simdrv" >"$dir/list-$id"
        ask "$dir/list-$id" 600000 >"$dir/verdict/.sim$id"
        if grep -q '^found' "$dir/verdict/.sim$id"; then cp "$dir/verdict/.sim$id" "$dir/verdict/.$id"
        else sed -i 's/\t-\t/\tsimdrv\t/' "$dir/verdict/.$id"; fi
        rm -f "$dir/verdict/.sim$id"
    fi
    rm -f "$dir/own-$id" "$dir/list-$id"
    mv "$dir/verdict/.$id" "$dir/verdict/$id"
    printf '%-4s %s\t%s\n' "$id" "$(cut -f1-3 "$dir/verdict/$id" | tr '\t' ' ')" \
        "$(sed -n "${id}p" "$dir/chosen" | cut -f1)"
}

draw() { # all places, in an order that the seed decides; the first N are chosen
    # shellcheck disable=SC2086 # patterns are meant to be expanded
    $AWK -f "$tools/mutate.awk" $IN | grep -v -e '/\(err\|text\)\.[ch]:' >"$dir/all"
    $AWK -v seed="$SEED" '
        BEGIN { x = seed % 2147483646 + 1; for (i = 0; i < 9; i++) x = x * 16807 % 2147483647 }
        { x = x * 16807 % 2147483647; print x "\t" $0 }' "$dir/all" | sort -n | cut -f2- >"$dir/drawn"
    head -n "$N" "$dir/drawn" >"$dir/chosen"
    tail -n "+$((N + 1))" "$dir/drawn" >"$dir/rest"
}
# The lines of `chosen` that the file `bad` numbers become the next ones of the draw.
replace() {
    $AWK -v bad="$dir/bad" -v rest="$dir/rest" '
        BEGIN { while ((getline line <bad) > 0) gone[line] = 1 }
        FNR in gone { if ((getline line <rest) > 0) print line; else print "-"; used++; next }
        { print }
        END { print used + 0 >(rest ".used") }' "$dir/chosen" >"$dir/chosen.new"
    mv "$dir/chosen.new" "$dir/chosen"
    tail -n "+$(($(cat "$dir/rest.used") + 1))" "$dir/rest" >"$dir/rest.new"
    mv "$dir/rest.new" "$dir/rest"
}
plant() { # a file of the copy keeps its time if its text is the same
    $AWK -F '\t' '$1 != "-" { file = $1; sub(/:.*/, "", file); print NR "\t" file "\t" $2 }' \
        "$dir/chosen" >"$dir/places"
    rm -rf "$dir/planted"
    files=$(cut -f2 "$dir/places" | sort -u)
    for f in $files; do mkdir -p "$dir/planted/${f%/*}"; done
    # shellcheck disable=SC2086
    $AWK -v chosen="$dir/places" -v to="$dir/planted" -f "$tools/mutate.awk" $files >"$dir/bad"
    for f in $(cd "$root" && find src -name '*.[ch]'); do
        new=$dir/planted/$f
        [ -e "$new" ] || new=$root/$f
        cmp -s "$new" "$tree/$f" || cp "$new" "$tree/$f"
    done
}
in_tree() {
    $MAKE -C "$tree" -k -j"$jobs" --no-print-directory PLAIN=1 NOLINK=1 SHARE="$SHARE" T="$T" \
        CPPFLAGS="${CPPFLAGS-} -w -Werror=vla -include src/tools/mutation.inc" "$@"
}
build() {
    for round in 1 2 3 4 5 6 7 8; do
        plant
        if [ ! -s "$dir/bad" ]; then
            in_tree mutation-programs >"$dir/build.log" 2>&1 && return 0
            # The line of an error names the mistakes on it; an error elsewhere, all of that object.
            $AWK -F '\t' -v log_of="$dir/build.log" '
                BEGIN {
                    while ((getline line <log_of) > 0) {
                        if (match(line, /src\/[^: ]*:[0-9]+:([0-9]+:)? (fatal )?error/)) {
                            split(substr(line, RSTART, RLENGTH), part, ":")
                            wrong[part[1]] = wrong[part[1]] " " part[2]
                        }
                        if (match(line, /(dbg|sim)\/[^]:]*\.o\] Error/)) {
                            whole["src/" substr(line, RSTART + 4, RLENGTH - 13) ".c"] = 1
                        }
                    }
                }
                {
                    split($1, part, ":")
                    n = split(wrong[part[1]], at, " ")
                    hit = n == 0 && part[1] in whole
                    for (i = 1; i <= n; i++) if (at[i] >= part[2] && at[i] <= part[2] + 6) hit = 1
                    if (hit) print NR
                }' "$dir/chosen" >"$dir/bad"
        fi
        echo "mutation: round $round: $(grep -c . "$dir/bad") mistakes do not compile or overlap"
        [ -s "$dir/bad" ] || break
        replace
    done
    tail -n 20 "$dir/build.log" # a test that does not compile is left out
    [ -n "$(find "$tree/build" -path '*/t/test_*' -type f -perm -u+x)" ]
}
write_page() {
    for id in $($AWK '$1 != "-" { print NR }' "$dir/chosen"); do
        printf '%s\t' "$id"
        cat "$dir/verdict/$id" 2>/dev/null || printf 'open\t-\t0\t0\t0\n'
    done >"$dir/verdicts"
    $AWK -F '\t' -v chosen="$dir/chosen" -v words="N=$N SEED=$SEED" -v where="$IN" -v all="$(grep -c . "$dir/all")" \
        -v lame="$(find "$dir/reach" -type f -size 0 | sed 's,.*/,,' | sort | tr '\n' ' ')" \
        -v commit="$(git rev-parse --short=12 HEAD 2>/dev/null)" '
        BEGIN { while ((getline line <chosen) > 0) place[++places] = line }
        {
            split(place[$1], p, "\t")
            split(p[1], path, "/")
            m = path[3]
            if (!(m in drawn)) modules[++n] = m
            drawn[m]++; drawn["all"]++
            kind = $2
            if ($2 == "found" && $3 == "simdrv") kind = "sim"
            if ($2 == "lives" && $4 + $5 == 0 && $3 == "-") kind = "unrun"
            got[m, kind]++; got["all", kind]++
            kinds[p[4], "drawn"]++; kinds[p[4], "found"] += $2 == "found"
            if ($2 == "lives")
                lives[++living] = sprintf("- %s `%s` %s: `%s`; MUTATION=%s, %s", p[1], p[3], p[4], \
                    p[5], $1, kind == "unrun" ? "no program runs it" : \
                    $4 " programs" ($3 == "-" ? "" : " and the simulation") ", " $6 " s" \
                    ($5 ? ", " $5 " did not fit" : ""))
        }
        function row(m) {
            tried = drawn[m] - got[m, "open"]
            printf "| %s | %d | %d | %d | %d | %d | %d | %.1f |\n", m, drawn[m], got[m, "found"], \
                got[m, "sim"], got[m, "lives"], got[m, "unrun"], got[m, "open"], \
                tried ? 100 * (got[m, "found"] + got[m, "sim"]) / tried : 0
        }
        END {
            print "# Mutation\n"
            printf "Commit %s, %s: %d of %d places in %s.\n", commit, words, drawn["all"], all, where
            print "Written by `make mutation`; src/tools/mutation.sh states what is planted."
            print "Repeat one: `cd build/mutation/tree && MUTATION=id build/*/t/test_NAME`.\n"
            print "| module | drawn | found by programs | by the simulation | live |" \
                " no program runs it | not tried yet | found % |"
            print "|---|--:|--:|--:|--:|--:|--:|--:|"
            for (i = 1; i <= n; i++) row(modules[i])
            row("all")
            print ""
            for (k = split("operator constant dropped swapped", kind_of, " "); k > 0; k--)
                print "- " kind_of[k] ": " kinds[kind_of[k], "found"] + 0 " of " kinds[kind_of[k], "drawn"] + 0 " found"
            if (lame != "") print "- left out, because they fail without a mistake: " lame
            print "\n## Survivors: " living + 0 "\n"
            for (i = 1; i <= living; i++) print lives[i]
        }' "$dir/verdicts" >"$dir.md.new" && mv "$dir.md.new" "$dir.md"
}

case ${1-} in
reach) cd "$tree" && ulimit -c 0 && ulimit -d 8388608 && reach "$2" ${3-} ${4-}; exit ;;
try) cd "$tree" && ulimit -c 0 && ulimit -d 8388608 && try "$2"; exit ;;
esac

key="$N $SEED $IN $T $SHARE $(cat src/*/*/*.[ch] include/*.h "$tools"/mut* | cksum)"
if [ "$(cat "$dir/key" 2>/dev/null)" != "$key" ]; then
    rm -rf "$dir"
    mkdir -p "$tree" "$dir/reach" "$dir/verdict"
    cp -R src "$tree" && for f in *; do [ "$f" = src ] || [ "$f" = build ] || ln -s "$root/$f" "$tree/$f"; done
    draw
    echo "$key" >"$dir/key"
fi
tests=$(find -L tests -name '*.[ch]' | sort | xargs cat | cksum)
if [ "$(cat "$dir/tests" 2>/dev/null)" != "$tests" ]; then
    grep -l '^lives' "$dir"/verdict/* 2>/dev/null | xargs rm -f "$dir/built"
    echo "$tests" >"$dir/tests"
fi
if [ ! -e "$dir/built" ]; then
    build || { echo "mutation: the copy of the tree does not build" >&2; exit 2; }
    touch "$dir/built"
fi
programs=$(in_tree -s mutation-list)
echo "mutation: $(echo $programs | wc -w) programs run without a mistake"
printf '%s\n' $programs | sed 's/.*simdrv$/& --work 1/' | xargs -P "$jobs" -L 1 sh "$tools/mutation.sh" reach
$AWK '$1 != "-" { print NR }' "$dir/chosen" | xargs -P "$jobs" -n 1 sh "$tools/mutation.sh" try
write_page
echo "mutation: build/mutation.md"
