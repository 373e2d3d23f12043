#!/bin/sh
# SPDX-License-Identifier: MIT
#
# plant: copy src/ into a folder and apply every patch of tests/concurrency/mutants there.
#
# USE        sh tests/concurrency/mutants/plant.sh FOLDER     from the project's root; FOLDER/src is
#            replaced. build/sim-mutants is made of the copy.
# PATCHES    applied in the order of their names (LC_ALL=C). A file is named after the mutants that
#            it plants: NAME.diff, or NAME+NAME.diff where two change the same lines.
# REFUSES    a patch that does not apply; a file that plants other mutants than its name says; a
#            mutant without a line in mutants.txt; a line there without a mutant. Prints all
#            complaints and ends with 1.
set -u
LC_ALL=C
export LC_ALL
copy=$1
here=tests/concurrency/mutants scenarios=tests/concurrency/sim
bad=0
complain() {
    echo "mutants: $1"
    bad=1
}
names() { grep -ho 'BASE_MUTANT("[^"]*")' | cut -d'"' -f2 | sort -u; }

rm -rf "$copy/src"
mkdir -p "$copy" && cp -R src "$copy" || exit 2
for diff in "$here"/*.diff; do
    [ -e "$diff" ] || continue
    patch -s -f -N -F 0 -p1 --no-backup-if-mismatch -r - -d "$copy" <"$diff" ||
        complain "$diff does not apply: plant the mistake again (tests/README.md, Mutants)"
    said=$(basename "$diff" .diff | tr + '\n')
    found=$(sed -n 's/^+//p' "$diff" | names)
    [ "$said" = "$found" ] || complain "$diff plants: $(echo $found)"
done

sed 's/#.*//' $scenarios/mutants.txt | awk 'NF == 3 { print $1 }' | sort -u >"$copy/listed"
cat "$copy"/src/*/*/*.[ch] $scenarios/*.c | names >"$copy/planted"
for m in $(comm -13 "$copy/listed" "$copy/planted"); do
    complain "$m has no line in $scenarios/mutants.txt"
done
for m in $(comm -23 "$copy/listed" "$copy/planted"); do
    complain "$m of $scenarios/mutants.txt is planted by no patch and in no scenario"
done
exit $bad
