#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    `make figures` counts what it says.
# Method: the part without a compiler in a small tree with known figures; then here, where each
#         line must have a figure.
. tests/support/t.sh

tree=$t_tmp/tree
mkdir -p "$tree/src/core/base" "$tree/src/cli" "$tree/src/core/extras" "$tree/src/guests/kit" "$tree/src/python/cellar" "$tree/include" \
    "$tree/tests/unit/core/base"
cp -R src/tools "$tree/src"
# Three lines with code, one of them with a comment sign in a string.
printf '%s\n' '/* int a; */' 'int b; /* more' 'int c; */' '' '// int d;' 'char e[] = "/*";' \
    'int f;' >"$tree/src/core/base/a.c"
echo 'int x;' >"$tree/src/core/base/net.c"
printf '%s\n' 'GUESTS     = wheel kit' 'GUEST_BASE = sha256 net' >"$tree/Makefile"
printf '%s\n' 'import os' '' '# no code' 'print(os)  # code' >"$tree/src/python/cellar/f.py"
cp "$tree/src/python/cellar/f.py" "$tree/src/python/build.py"
for f in cli/b.c python/e.c core/extras/c.c guests/kit/d.c; do echo 'int x;' >"$tree/src/$f"; done
printf '%s\n' 'typedef struct cellar_config {' '    int a; /* b; */' '    int (*c)(int d);' \
    '} cellar_config;' 'CELLAR_API int cellar_x(int a,' '                        int b);' \
    'CELLAR_API int cellar_y(void);' >"$tree/include/cellar.h"
printf '%s\n' 'Hello.' '```c' 'cellar_get_or_load(c, k)' '}' '```' 'End.' \
    >"$tree/README.md"
printf '%s\n' 'T_CASE(a_is_b) {} T_CASE(b_is_c) {}' 'T_ALONE(c_is_d) {}' \
    >"$tree/tests/unit/core/base/test_x.c"
printf '%s\n' '#!/bin/sh' \
    'echo "floors: ok; largest circle: 3 files (l1); most prototypes: 7 (l1/a.h)"' >"$t_tmp/make"
chmod +x "$t_tmp/make"
(cd "$tree" && MAKE=$t_tmp/make sh src/tools/figures.sh --text) >"$t_tmp/said"

figure() { # label, value
    grep -qx "$1  *$2" "$t_tmp/said" || { cat "$t_tmp/said"; return 1; }
}
here() { # every line has its figure
    sh src/tools/figures.sh --text >"$t_tmp/here" || return 1
    cat "$t_tmp/here"
    [ "$(grep -Ec '  ([1-9][0-9]*|none)' "$t_tmp/here")" -eq "$(grep -c '' "$t_tmp/said")" ]
}
t_case code_lines_are_those_of_the_engine figure 'engine, lines of code' 11
t_case core_is_without_guests_and_their_base figure 'core, lines of code' 4
t_case guests_are_those_of_the_makefile figure 'guests, lines of code' 1
t_case python_is_counted_apart figure 'python, lines of C and of Python' '1, 4'
t_case calls_of_all_headers figure 'public calls' 2
t_case fields_of_all_structs figure 'fields of public structs' 2
t_case lines_of_tests figure 'tests, lines' 2
t_case circle_comes_from_floors figure 'largest circle of files in a module' '3 files (l1)'
t_case prototypes_come_from_floors figure 'most prototypes in one header' '7 (l1/a.h)'
t_case calls_are_counted_once figure 'calls in include/cellar.h' 2
t_case lines_of_the_core_header figure 'lines of include/cellar.h' 7
t_case fields_of_the_config figure 'fields of cellar_config' 2
t_case readme_until_a_load figure 'README.md, lines until cellar_get_or_load' 4
t_case readme_lines figure 'README.md, lines' 6
t_case facts_are_cases figure 'facts that tests check (T_CASE)' 2
t_case every_figure_is_there_in_this_tree here
t_end packaging_figures
