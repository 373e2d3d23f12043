#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    The workflow of .github has one job for each command of .ci/run, in a Debian 12 container,
#         and no other check. The documents of .github name targets and commands that exist.
# Method: The workflow is compared with the one that the commands of .ci/run give, without comments.
. tests/support/t.sh
workflow=.github/workflows/ci.yml

lines() { sed '/^ *#/d; /^$/d' "$1"; }
wanted() { # .ci/run: its jobs are those steps; nothing is masked, no job waits, no secret is read
    printf '%s\n' 'name: ci' 'on:' '  push:' '  pull_request:' 'permissions:' '  contents: read' 'jobs:'
    for job in $(sed -n 's/^step \([a-z]*\)$/\1/p' "$1"); do
        [ "$job" = test ] && minutes=10 || minutes='[0-9]*'
        cat <<END
  $job:
    runs-on: ubuntu-24.04
    timeout-minutes: $minutes
    container:
      image: debian:12
      options: --security-opt seccomp=unconfined
    steps:
      - name: install git and make
        run: apt-get update && apt-get install -y --no-install-recommends ca-certificates git make
      - name: check out
        uses: actions/checkout@v[0-9]*
        with:
          persist-credentials: false
      - name: $job
        run: make $job
END
    done
}
good() { # WORKFLOW COMMANDS
    [ "$(grep -c '^step [a-z]*$' "$2")" -eq 2 ] && wanted "$2" >"$t_tmp/wanted" || return 1
    lines "$1" | awk -v wanted="$t_tmp/wanted" '
        { if ((getline want <wanted) <= 0 || $0 !~ "^" want "$" && $0 != want) { print NR ": " $0; exit bad = 1 } }
        END { exit bad || (getline want <wanted) > 0 }'
}
refused() { # FILE SED PROGRAM: a copy of it with this change does not fit the other one
    sed "$2" "$1" >"$t_tmp/copy"
    ! cmp -s "$1" "$t_tmp/copy" || return 1
    case $1 in
    .ci/run) ! good $workflow "$t_tmp/copy" ;;
    *) ! good "$t_tmp/copy" .ci/run ;;
    esac
}
t_case workflow_runs_commands_of_ci_run good $workflow .ci/run
t_case ci_run_is_executable test -x .ci/run
t_case extended_command_is_refused refused $workflow 's/run: make test/run: make test || true/'
t_case longer_test_job_is_refused refused $workflow 's/timeout-minutes: 10/timeout-minutes: 20/'
t_case unlisted_step_is_refused refused $workflow '$a\      - run: make bench'
t_case missing_job_is_refused refused $workflow '/^  check:/,$d'
t_case missing_line_is_refused refused $workflow '/image:/d'
t_case other_step_of_ci_run_is_refused refused .ci/run 's/^step check$/step bench/'
t_case missing_step_of_ci_run_is_refused refused .ci/run '/^step check$/d'

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
