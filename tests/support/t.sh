# SPDX-License-Identifier: MIT
#
# t.sh: t.h for shell tests; read with `. tests/support/t.sh`, from the project's root.
#
#   t_case FACT COMMAND...   run it; 0 is passed; a failed command's output is shown
#   t_skip FACT WHY          counted, the reason printed
#   t_have TOOL              whether it is in PATH
#   t_terminal               whether a command can run on a terminal here
#   t_end NAME               the closing line and the exit status
#   $t_tmp                   a folder of its own, removed at the end
t_passed=0 t_failed=0 t_skipped=0
t_tmp=$(mktemp -d "${TMPDIR:-/tmp}/cellar-test.XXXXXX") || exit 2
trap 'rm -rf "$t_tmp"' EXIT
trap 'exit 2' HUP INT TERM
t_root=$PWD
: "${CC:=cc}" "${MAKE:=make}"
export CC MAKE
# The make variables of the outer make are not for the makes that tests start.
unset MAKEFLAGS MFLAGS MAKELEVEL T SAN DROPIN DEPS 2>/dev/null

t_warn="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
-Wvla -Wundef -Werror"

t_have() { command -v "$1" >/dev/null 2>&1; }
# script(1) is installed and finds a pseudo-terminal: there may be no /dev/pts.
t_terminal() { t_have script && script -qec true /dev/null >/dev/null 2>&1 </dev/null; }

t_case() {
    t_fact=$1
    shift
    if ("$@") >"$t_tmp/t_out" 2>&1; then
        t_passed=$((t_passed + 1))
        echo "ok $((t_passed + t_failed + t_skipped)) - $t_fact"
    else
        t_failed=$((t_failed + 1))
        echo "not ok $((t_passed + t_failed + t_skipped)) - $t_fact"
        tail -n 30 "$t_tmp/t_out" | sed 's/^/# /'
    fi
}

t_skip() {
    t_skipped=$((t_skipped + 1))
    echo "ok $((t_passed + t_failed + t_skipped)) - $1 # SKIP $2"
}

t_end() {
    echo "$1: $t_passed passed, $t_failed failed, $t_skipped skipped"
    [ $t_failed -eq 0 ] && [ $((t_passed + t_skipped)) -gt 0 ]
    exit
}
