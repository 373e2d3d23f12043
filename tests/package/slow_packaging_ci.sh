#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    The workflow of .github has one job for each command of .ci/run, in a Debian 12 container,
#         and no other check. The documents of .github name targets and commands that exist.
# Method: A parser of the YAML subset that the workflow uses turns it into lines PATH=VALUE. The
#         same checks must refuse copies with a planted fault.
. tests/support/t.sh
workflow=.github/workflows/ci.yml

# Maps and lists of scalars, two blanks a level, comments on their own lines. Anything else is an
# error. "- a: 1" is item N of a list: PATH.N.a=1.
cat >"$t_tmp/yaml.awk" <<'AWK'
function fail(why) { printf "%s:%d: %s\n", FILENAME, FNR, why | "cat 1>&2"; failed = 1; exit 1 }
function path_to(level,    i, text) {
    for (i = 0; i <= level; i++) if (i in name) text = text (text != "" ? "." : "") name[i]
    return text
}
function forget(level,    i) { for (i in name) if (i + 0 >= level) delete name[i] }
/\t/ { fail("a tab") }
/^ *(#|$)/ { next }
{
    match($0, /^ */)
    level = RLENGTH
    text = substr($0, RLENGTH + 1)
    if (level % 2) fail("an odd indentation")
    if (text ~ /^- /) {
        list = path_to(level - 1)
        # An item stands one level below its list; its keys one level further.
        forget(level)
        name[level] = items[list]++
        text = substr(text, 3)
        level += 2
    }
    forget(level)
    if (text !~ /^[a-z][a-z_-]*:( .+)?$/) fail("no KEY: VALUE: " text)
    key = text
    sub(/:.*/, "", key)
    value = substr(text, length(key) + 3)
    if (value ~ /^[[{&*!|>%@`"'\047]/) fail("a value of another kind: " value)
    name[level] = key
    at = path_to(level)
    if (at in seen) fail("key twice: " at)
    seen[at] = 1
    if (value != "") print at "=" value
}
END { if (failed) exit 1 }
AWK
flat() { awk -f "$t_tmp/yaml.awk" "$1" >"$t_tmp/flat"; }
is() { # PATH VALUE
    grep -Fqx "$1=$2" "$t_tmp/flat" || { cat "$t_tmp/flat"; return 1; }
}
commands=.ci/run
good_job() { # NAME: three steps: tools, sources, the command of .ci/run
    is "jobs.$1.container.image" debian:12 || return 1
    grep -E "^jobs\.$1\..*\.(run|uses)=" "$t_tmp/flat" >"$t_tmp/calls"
    cat "$t_tmp/calls"
    [ "$(wc -l <"$t_tmp/calls")" -eq 3 ] &&
        [ "$(sed -n 1p "$t_tmp/calls")" = "jobs.$1.steps.0.run=apt-get update && apt-get install -y \
--no-install-recommends ca-certificates git make" ] &&
        sed -n 2p "$t_tmp/calls" | grep -q "^jobs\.$1\.steps\.1\.uses=actions/checkout@v[0-9]*\$" &&
        [ "$(sed -n 3p "$t_tmp/calls")" = "jobs.$1.steps.2.run=make $1" ]
}
good() { # FILE: check all that the workflow must and must not do
    flat "$1" && is permissions.contents read && is jobs.test.timeout-minutes 10 &&
        grep -q '^jobs\.check\.timeout-minutes=[0-9]*$' "$t_tmp/flat" || return 1
    # Its jobs are the steps of .ci/run.
    sed -n 's/^step \([a-z]*\)$/\1/p' $commands | sort >"$t_tmp/steps"
    sed -n 's/^jobs\.\([^.]*\)\..*/\1/p' "$t_tmp/flat" | sort -u >"$t_tmp/jobs"
    [ "$(wc -l <"$t_tmp/steps")" -eq 2 ] && cmp "$t_tmp/steps" "$t_tmp/jobs" || return 1
    while read -r job; do good_job "$job" || return 1; done <"$t_tmp/steps"
    # Every step counts, nothing is masked, no job waits for another, no secret is read.
    ! grep -E '\.(continue-on-error|if|needs|env|shell|strategy)[.=]|secrets\.' "$t_tmp/flat"
}
t_case workflow_runs_commands_of_ci_run good $workflow
t_case ci_run_is_executable test -x .ci/run

refused() { # SED PROGRAM: a copy with this change
    sed "$1" $workflow >"$t_tmp/copy.yml"
    ! cmp -s $workflow "$t_tmp/copy.yml" || return 1
    ! good "$t_tmp/copy.yml"
}
t_case unlisted_command_is_refused refused 's|run: make check|run: make bench|'
t_case extended_command_is_refused refused 's|run: make test|run: make test \|\| true|'
t_case unlisted_step_is_refused refused '$a\      - run: make bench'
t_case unlisted_action_is_refused refused '$a\      - uses: actions/cache@v4'
t_case unlisted_job_is_refused refused '$a\  more:\
    runs-on: ubuntu-24.04'
t_case missing_job_is_refused refused '/^  check:/,$d'
t_case exchanged_jobs_are_refused refused 's|^  test:|  x:|; s|^  check:|  test:|; s|^  x:|  check:|'
t_case longer_test_job_is_refused refused 's|timeout-minutes: 10|timeout-minutes: 20|'
t_case waiting_job_is_refused refused 's|^  check:|&\
    needs: test|'
t_case unlisted_container_is_refused refused 's|debian:12|debian:13|'
t_case missing_container_is_refused refused '/image:/d'
t_case masked_failure_is_refused refused '$a\        continue-on-error: true'
t_case condition_is_refused refused '$a\        if: false'
t_case more_permissions_are_refused refused 's|contents: read|contents: write|'
t_case tab_is_refused refused 's|^    steps|\tsteps|'
t_case duplicate_key_is_refused refused 's|^permissions:|on:|'
t_case block_of_text_is_refused refused 's#run: make test#run: |#'

other_commands() { # SED PROGRAM: the workflow does not fit a .ci/run with this change
    sed "$1" .ci/run >"$t_tmp/run"
    ! cmp -s .ci/run "$t_tmp/run" || return 1
    commands=$t_tmp/run
    ! good $workflow
}
t_case step_without_a_job_is_refused other_commands '$a\step bench'
t_case job_without_a_step_is_refused other_commands '/^step check$/d'

# ---- the documents ----
names_targets() { # every `make TARGET` of a document exists
    grep -o '`make [a-z-]*' "$1" | sed 's/.*make //; /^$/d' | sort -u >"$t_tmp/targets"
    [ -s "$t_tmp/targets" ] || return 1
    while read -r target; do
        $MAKE -n DEPS=off "$target" >"$t_tmp/said" 2>&1 || ! grep -q 'No rule' "$t_tmp/said" ||
            { echo "$1: no target $target"; return 1; }
    done <"$t_tmp/targets"
}
t_case contributing_names_targets_that_exist names_targets .github/CONTRIBUTING.md
explains() { # FILE WORD...
    file=$1
    shift
    for word; do grep -q -- "$word" "$file" || { echo "$file: nothing about $word"; return 1; }; done
}
t_case contributing_says_how_to_add_things explains .github/CONTRIBUTING.md 'Add a call' 'Add a metric' \
    'Add a lock rank' symbols.txt SYNC_RANKS metrics.h examples .ci/run
# CHANGES.md begins with the version of the header. It says "Not released yet" as long as DEV is 1.
first_section_fits() {
    v=$(sed -n 's/^#define CELLAR_VERSION_[MP][A-Z]* *\([0-9]*\).*/\1/p' include/cellar.h | paste -sd .)
    dev=$(sed -n 's/^#define CELLAR_VERSION_DEV *\([01]\).*/\1/p' include/cellar.h)
    first=$(sed -n 's/^## \([0-9.]*\)$/\1/p' "$1" | head -n 1)
    open=$(sed -n '/^## /,$p' "$1" | head -n 4 | grep -c 'Not released yet')
    echo "header $v, dev $dev, first section $first, open $open"
    [ "$v" = "$first" ] && [ "$open" = "$dev" ]
}
wrong_sections_are_refused() { # another version; a section that is open when the header is not
    sed 's/^## [0-9.]*$/## 9.0.0/' .github/CHANGES.md >"$t_tmp/changes"
    ! first_section_fits "$t_tmp/changes" || return 1
    if grep -q 'Not released yet' .github/CHANGES.md; then
        sed 's/Not released yet/Released/' .github/CHANGES.md >"$t_tmp/changes"
    else
        sed '/^## /s/$/\n\nNot released yet./' .github/CHANGES.md >"$t_tmp/changes"
    fi
    ! first_section_fits "$t_tmp/changes"
}
t_case first_section_of_changes_fits_the_header first_section_fits .github/CHANGES.md
t_case wrong_sections_of_changes_are_refused wrong_sections_are_refused
t_case readme_of_headers_has_a_version_policy explains include/README.md '^## Stability' CELLAR_ABI \
    'Retired calls' 'CELLAR_VERSION_DEV'
t_case contributing_says_how_to_release explains .github/CONTRIBUTING.md '^## Release' 'annotated tag' \
    'Not released yet' CELLAR_VERSION_DEV
t_case security_says_what_holds_and_how_to_report explains .github/SECURITY.md 'Hostile keys' \
    'Hostile files' 'Callers' 'Not promised' 'Report' CELLAR_E_INVAL CELLAR_E_CORRUPT \
    cellar_l2_cipher
t_end packaging_ci
