#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the `cellar` program explains itself: version, one help text in three places, a suggestion
#         for a mistyped word, and errors of one form.
# Method: the built program, called with right and wrong words; the man page of `make man` without
#         its markup, compared with the help line by line.
. tests/support/t.sh
bin=${CELLAR_BIN:-build/cellar}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
commands='tour replay inspect check serve remote bench load version help'

refused() { # STDERR ARGUMENT...: exit code 2, this one line on stderr, nothing on stdout
    want=$1
    shift
    "$bin" "$@" >"$t_tmp/out" 2>"$t_tmp/err" </dev/null
    got=$?
    cat "$t_tmp/out" "$t_tmp/err"
    [ $got -eq 2 ] && [ ! -s "$t_tmp/out" ] && [ "$(cat "$t_tmp/err")" = "$want" ]
}

# ---- version ----
version_lines() {
    "$bin" --version >"$t_tmp/version" && "$bin" version | cmp - "$t_tmp/version" || return 1
    cat "$t_tmp/version"
    grep -q '^cellar [0-9]*\.[0-9]*\.[0-9]*\(-dev\)* (source ..*)$' "$t_tmp/version" &&
        grep -Eq '^compiler +.*[0-9]+\.[0-9]+.*, C standard 2[0-9]{5}, (32|64) bits$' \
            "$t_tmp/version" &&
        grep -Eq '^allocator +(malloc|mimalloc)$' "$t_tmp/version" &&
        grep -Eq '^lz4 +(yes|no)$' "$t_tmp/version" &&
        grep -Eq '^TLS +(yes|no)$' "$t_tmp/version"
}
t_case version_names_source_compiler_and_libraries version_lines
version_of_header() {
    want=$(sed -n 's/^#define CELLAR_VERSION_M[AI][JN]OR *\([0-9]*\).*/\1/p
        s/^#define CELLAR_VERSION_PATCH *\([0-9]*\).*/\1/p' include/cellar.h | paste -sd. -)
    ! grep -q '^#define CELLAR_VERSION_DEV *1' include/cellar.h || want=$want-dev
    "$bin" --version | grep -q "^cellar $want "
}
t_case version_is_that_of_the_header version_of_header

# ---- help ----
overview_lists() {
    "$bin" --help >"$t_tmp/help" && "$bin" help | cmp - "$t_tmp/help" &&
        "$bin" -h | cmp - "$t_tmp/help" || return 1
    [ "$("$bin" --help | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p' | paste -sd' ' -)" = "$commands" ]
}
t_case help_lists_all_commands overview_lists
one_text() { # COMMAND
    "$bin" help "$1" >"$t_tmp/help" && "$bin" "$1" --help | cmp - "$t_tmp/help" &&
        grep -q "^Usage: cellar $1" "$t_tmp/help" && grep -q '^Exit codes: 0 ' "$t_tmp/help" &&
        [ "$(awk 'length($0) > 95' "$t_tmp/help" | wc -l)" -eq 0 ]
}
for c in $commands; do t_case "help_of_${c}_is_one_text" one_text "$c"; done
# Each option of the help is accepted. The value of an option that needs one is the first --help.
options_are_documented() { # COMMAND
    "$bin" help "$1" | sed -n 's/^  \(--[a-z-]*\).*/\1/p' >"$t_tmp/options"
    [ -s "$t_tmp/options" ] || return 1
    while read -r option; do
        "$bin" "$1" "$option" --help --help >/dev/null 2>"$t_tmp/err" </dev/null
        echo "$option: $(cat "$t_tmp/err")"
        ! grep -q 'unknown option' "$t_tmp/err" || return 1
    done <"$t_tmp/options"
}
for c in tour replay inspect check serve remote bench; do t_case "options_of_${c}_exist" options_are_documented $c; done

# ---- the man page ----
section() { # TITLE of cellar(1): its text without markup
    awk -v title="$1" '/^\.S[hs] / { on = substr($0, 5) == title; next }
        on && !/^\.[A-Z]/ { sub(/^\\&/, ""); gsub(/\\e/, "\\"); print }' dist/doc/man1/cellar.1
}
man_is_help() { # COMMAND
    section "cellar $1" | sed '/^$/d' >"$t_tmp/man"
    "$bin" help "$1" | sed '/^$/d' >"$t_tmp/help"
    [ -s "$t_tmp/man" ] && diff "$t_tmp/help" "$t_tmp/man"
}
man_is_overview() {
    "$bin" --help | sed '/^Examples:/,$d; /^$/d' >"$t_tmp/help"
    section DESCRIPTION | sed '/^$/d' | diff "$t_tmp/help" - || return 1
    "$bin" --help | sed -n '/^Examples:/,/^$/s/^  //p' >"$t_tmp/help"
    section EXAMPLES | diff "$t_tmp/help" -
}
$MAKE -s man || exit 1
t_case man_page_is_the_overview man_is_overview
for c in $commands; do t_case "man_page_is_the_help_of_$c" man_is_help "$c"; done
man_names_neighbours() { # in the order of mdoc: by section, then by name
    "$bin" --help | sed -n 's/^See also: //p' | tr -d ' ' | tr ',' '\n' |
        sed 's/\(.*\)(\([0-9]\))/\1 \2/' >"$t_tmp/help"
    sed -n 's/^\.Xr \([a-z_]* [0-9]\).*/\1/p' dist/doc/man1/cellar.1 | diff "$t_tmp/help" - &&
        [ "$(wc -l <"$t_tmp/help")" -ge 2 ] || return 1
    while read -r name number; do
        [ -f "dist/doc/man$number/$name.$number" ] || { echo "no page $name($number)"; return 1; }
    done <"$t_tmp/help"
}
t_case man_page_names_its_neighbours man_names_neighbours
functions_name_neighbours() { # each page of a call or callback names cellar(7), another call or type, and only pages
    awk 'function check() { if (call && !(n[3] >= 1 && main)) { print "few names: " page; bad++ } }
        FNR == 1 { check(); split("", n); call = main = on = 0; page = FILENAME; self = FILENAME; gsub(/.*\/|\.3$/, "", self) }
        /^\.Fo / { call = 1 }
        /^\.Sh / { on = /SEE ALSO|FUNCTIONS/ }
        on && sub(/^\.(It )?Xr /, ".Xr ") { n[$3]++; main += $2 $3 == "cellar7"; print "dist/doc/man" $3 "/" $2 "." $3; if ($2 == self && $3 == 3) bad++ }
        END { check(); exit bad > 0 }' dist/doc/man3/*.3 >"$t_tmp/names" || { tail -n 3 "$t_tmp/names"; return 1; }
    for page in $(sort -u "$t_tmp/names"); do [ -f "$page" ] || { echo "no page: $page"; return 1; }; done
    [ "$(grep -c . "$t_tmp/names")" -gt 1000 ]
}
t_case man_pages_of_calls_name_their_neighbours functions_name_neighbours

# ---- mistyped words ----
while IFS='|' read -r fact words message; do
    # shellcheck disable=SC2086 # words are meant to be split
    t_case "$fact" refused "cellar: $message" $words
done <<'END'
mistyped_command_is_suggested|inspct|unknown command "inspct"; did you mean "inspect"?
swapped_letters_are_suggested|tuor|unknown command "tuor"; did you mean "tour"?
mistyped_help_topic_is_suggested|help repaly|unknown command "repaly"; did you mean "replay"?
alias_is_suggested|dmo|unknown command "dmo"; did you mean "demo"?
far_command_gets_the_list|nonsense|unknown command "nonsense"; `cellar help` prints the list of commands
mistyped_global_option_is_suggested|--versoin|unknown option "--versoin"; did you mean "--version"?
far_global_option_gets_the_usage|-x|unknown option "-x"; `cellar help` prints the usage
mistyped_option_is_suggested|replay --capcity=5 x|replay: unknown option "--capcity=5"; did you mean "--capacity"?
far_option_gets_the_list|tour --wrong|tour: unknown option "--wrong"; `cellar tour --help` lists the options
unknown_letter_gets_the_list|replay -p|replay: unknown option "-p"; `cellar replay --help` lists the options
start_of_several_options_is_refused|replay --p x|replay: option "--p" is the start of 2 options; write its whole name
option_without_its_value_is_refused|serve --memory|serve: option --memory needs a value; write --memory=VALUE
value_of_a_switch_is_refused|inspect --json=3 x|inspect: option --json takes no value; write --json alone
END
t_case empty_command_gets_the_list refused \
    'cellar: unknown command ""; `cellar help` prints the list of commands' ''
no_command() {
    "$bin" >"$t_tmp/out" 2>"$t_tmp/err" </dev/null
    [ $? -eq 2 ] && [ ! -s "$t_tmp/out" ] && grep -q '^Usage:' "$t_tmp/err"
}
t_case no_command_is_wrong_usage no_command
t_case names_cannot_control_the_terminal refused \
    'cellar: unknown command "x?[31m"; `cellar help` prints the list of commands' "$(printf 'x\033[31m')"

# ---- the form of errors ----
form() { # exit code, then ARGUMENT...: one line "cellar: COMMAND: sentence; remedy"
    want=$1
    shift
    "$bin" "$@" >"$t_tmp/out" 2>"$t_tmp/err" </dev/null
    got=$?
    cat "$t_tmp/err"
    [ $got -eq "$want" ] && [ ! -s "$t_tmp/out" ] && [ "$(wc -l <"$t_tmp/err")" -eq 1 ] &&
        grep -Eq "^cellar: $1: [^ ].*(; | must be )" "$t_tmp/err" && ! grep -q '\.$' "$t_tmp/err"
}
while IFS='|' read -r fact code words; do
    # shellcheck disable=SC2086
    t_case "$fact" form "$code" $words
done <<END
errors_of_tour_about_arguments|2|tour a b
errors_of_replay_have_the_form|2|replay /nowhere/at/all
errors_of_replay_about_a_trace|1|replay README.md
errors_of_replay_about_options|2|replay --policy=best x
errors_of_replay_without_a_trace|2|replay
errors_of_inspect_have_the_form|2|inspect $t_tmp
errors_of_inspect_without_a_directory|2|inspect
errors_of_version|2|version extra
errors_of_help|2|help tour replay
END
settings_are_refused() { # each wrong line; a missing file; a wrong variable
    printf 'memory = 1k\nstale = 5\n' >"$t_tmp/wrong.conf"
    "$bin" serve --settings="$t_tmp/wrong.conf" >"$t_tmp/out" 2>&1
    [ $? -eq 2 ] && grep -q 'wrong.conf:1:10: error: memory: ' "$t_tmp/out" &&
        grep -q 'wrong.conf:2:10: error: stale: ' "$t_tmp/out" || { cat "$t_tmp/out"; return 1; }
    "$bin" serve --settings="$t_tmp/none.conf" >"$t_tmp/out" 2>&1
    [ $? -eq 2 ] && grep -q 'none.conf: error: cannot be read' "$t_tmp/out" || return 1
    CELLAR_EVICTION=random "$bin" serve >"$t_tmp/out" 2>&1
    [ $? -eq 2 ] && grep -q 'CELLAR_EVICTION:1: error: must be one of: adaptive' "$t_tmp/out"
}
t_case errors_of_settings_name_line_file_and_variable settings_are_refused
long_words() {
    long=$(printf '%05000d' 0)
    "$bin" tour "$long" "$long" 2>"$t_tmp/err"
    [ $? -eq 2 ] && [ "$(wc -l <"$t_tmp/err")" -eq 1 ] && [ "$(wc -c <"$t_tmp/err")" -lt 4700 ]
}
t_case long_words_are_cut long_words
t_end cli_program
