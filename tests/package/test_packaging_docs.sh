#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    The documents are true as far as a machine can check.
# Method: Man pages through mandoc -Tlint, one page for each public function with all sections and for
#         each type, identical bytes with every awk. The examples of all contracts are compiled. The C blocks of README.md and the guide are built and run. `make help`
#         names every documented target.
. tests/support/t.sh

pages() { $MAKE -s man; }
every_function_has_a_page() {
    for f in $(sed -n 's/^\(cellar_[a-z0-9_]*\) .*/\1/p' src/tools/symbols.txt); do
        [ -s "dist/doc/man3/$f.3" ] || { echo "no page: $f"; return 1; }
    done
}
every_header_has_a_page() {
    for h in include/cellar*.h; do
        h=${h##*/}
        grep -q "^\.In $h\$" "dist/doc/man7/${h%.h}.7" || { echo "no page: $h"; return 1; }
    done
    grep -q '^\.Sh cellar_config$' dist/doc/man7/cellar.7 && grep -q '^\.Sh STALE VALUES$' dist/doc/man7/cellar_load.7 &&
        grep -q '^\.Sh FAILURE$' dist/doc/man7/cellar_batch.7 && ! grep -n '^guest: ' dist/doc/man7/*.7
}
sections_are_complete() { # of calls; an ownership is said where there is one
    awk 'function close_page() {
            if (!call) return
            calls++
            for (i = 1; i <= n; i++) if (!(want[i] in has)) { print name ": no " want[i]; lost++ }
        }
        BEGIN { n = split("LIBRARY,SYNOPSIS,DESCRIPTION,RETURN VALUES,THREADS,COST,EXAMPLES,SEE ALSO", want, ",") }
        FNR == 1 { close_page(); split("", has); call = 0; name = FILENAME }
        /^\.Fo cellar/ && FILENAME !~ /_fn\.3$/ { call = 1 }
        /^\.Sh / { has[substr($0, 5)] = 1 }
        END { close_page(); exit lost > 0 || calls < 250 }' dist/doc/man3/*.3
}
pages_lead_on() { # a call to the page of its header; essays, codes and headers to theirs; what is kept is said
    man3=dist/doc/man3
    awk 'function check() { if (header != "" && !has) { print "not to its header: " page; bad++ } }
        FNR == 1 { check(); has = 0; header = ""; page = FILENAME }
        /^\.In cellar/ { header = substr($2, 1, length($2) - 2) }
        /^\.Xr / && $2 == header && $3 == 7 { has = 1; led++ }
        END { check(); exit bad > 0 || led < 300 }' $man3/*.3 || return 1
    grep -q '^\.It Dv "\\&CELLAR_E_BUFFER"$' $man3/cellar_get.3 && grep -q '^\.It Va "\\&buf_cap"$' $man3/cellar_get.3 &&
        grep -A 1 'codes that each call may return: REFUSALS in' $man3/cellar_get.3 | grep -q '^\.Xr cellar 7' &&
        ! grep -q 'codes that each call may return' $man3/cellar_version.3 &&
        ! grep -h 'Nothing changes hands' $man3/*.3 && ! grep -n '[Ss]ee [A-Z][A-Z]*\( [A-Z]*\)*[.,)]*$' $man3/cellar_get_or_load.3 &&
        grep -q '^\.It Va "\\&int64_t ttl_ms"$' $man3/cellar_set_opts.3 &&
        grep -q '^\.so man3/cellar_err.3$' $man3/CELLAR_E_SPACE.3 && grep -q '^\.so man3/cellar_option.3$' $man3/CELLAR_OPT_IDLE_MS.3 &&
        grep -q '^\.so man3/cellar_set_opts.3$' $man3/cellar_set_opts_default.3
}
reads_on() { # PAGE NAME: SEE ALSO of the page names it
    sed -n '/^\.Sh SEE ALSO$/,$p' "dist/doc/man3/$1.3" | grep -q "^\.Xr $2 3" || { echo "$1: not to $2"; return 1; }
}
pages_name_their_kin() { # what undoes a call, its family, the calls of a type, at most eight; the guide that teaches it
    man3=dist/doc/man3
    reads_on cellar_lock_acquire cellar_lock_release && reads_on cellar_bus_group_add cellar_bus_group_remove && reads_on cellar_get cellar_get_str &&
        reads_on cellar_set cellar_delete && reads_on cellar_pin cellar_unpin && reads_on cellar_rule cellar_algorithm &&
        reads_on cellar_get_or_load cellar_load_opts && reads_on cellar_load_opts CELLAR_LOAD_BYPASS || return 1
    for pair in cellar_rule:cellar_rule_token_bucket cellar_bus_publish_opts:cellar_bus_publish cellar_verdict:cellar_task_settle \
        cellar_loader_fn:cellar_get_or_load cellar_lock_opts:cellar_lock_acquire_many; do
        grep -q "^\.It Xr ${pair#*:} 3$" "$man3/${pair%:*}.3" || { echo "no call: $pair"; return 1; }
    done
    grep -A 2 '^On the site' $man3/cellar_rule.3 | grep -q 'Limiters and locks' &&
        awk 'FNR == 1 { n = 0 } /^\.Sh/ { on = /SEE ALSO/ } on && /^\.Xr .* 3/ && ++n > 8 { print FILENAME; bad = 1 } END { exit bad }' $man3/*.3 &&
        ! grep -ni 'functions below' $man3/*.3
}
examples_are_as_written() { # each line of an example and of a call pattern stands in a header or in README, whatever its width
    set --
    [ ! -f README.md ] || set README.md
    awk 'function plain(line) {
            sub(/^ \* ?/, "", line)
            sub(/^ *example: */, "", line)
            sub(/ *\*\/ *$/, "", line)
            gsub(/^[ \t]+|[ \t]+$|`/, "", line)
            return line
        }
        FILENAME ~ /\.(h|md)$/ { have[plain($0)] = 1; next }
        /^\.Sh / { on = /EXAMPLES|CALL PATTERN/; next }
        !on || /^\.B?d?/ && /^\./ { next }
        { line = $0; gsub(/\\e/, "\\", line); gsub(/^\\&|\\f[IP]/, "", line); seen++ }
        !(plain(line) in have) { print FILENAME ": " line; bad++ }
        END { exit bad > 0 || seen < 900 }' include/cellar*.h "$@" dist/doc/man3/*.3 dist/doc/man7/*.7
}
topics_are_groups() { # PAGE: a topic that comes twice in the struct has one heading, with the fields of both
    awk '/^\.Ss / { topic = $2; if (topic in has) exit bad = 1; has[topic] = 1; n++ }
        /uint64_t gets"|double hit_ratio"/ && topic != "Lookups" { bad = 1 }
        END { exit bad || n < 5 }' "$1"
}
texts_are_sentences() { # no bare name of an option or a flag beside a code, no "as X" without the text of X, topics
    awk '/^\.Sh / { on = /RETURN/ }
        on && last ~ /^\.It Dv/ && /^([A-Z]+(_[A-Z]+)+|[a-z]+(_[a-z]+)+)\.?$/ { print FILENAME ": " last ": " $0; bad++ }
        /^As cellar_[a-z_]*\.$/ && !/cellar_(limiter_open|get_or_load|llm_key)/ { print FILENAME ": " $0; bad++ }
        on && last ~ /^\.It/ && /^[a-z]+ / { n++ }
        { last = $0 }
        END { exit bad > 0 || n > 40 }' dist/doc/man3/*.3 && grep -q '^In bytes, 0 asks' dist/doc/man3/cellar_get.3 &&
        topics_are_groups dist/doc/man3/cellar_stats.3
}
codes_are_items() { # of RETURN VALUES; each parameter and code has a text, and a title is named where it leads on
    awk 'FNR == 1 { name = FILENAME; on = last = "" }
        /^\.Sh / { on = $2 == "PARAMETERS" || $2 == "RETURN"; if ($2 == "RETURN") pages++ }
        on && /(^|[^A-Za-z_])(OK|MISS|E_[A-Z]+) \([a-z]/ && !/^\.It/ { print "no item: " name ": " $0; bad++ }
        on && last ~ /^\.It/ && /^\.(It|El)/ { print "no text: " name ": " last; bad++ }
        /without TLS in$/ { print "no reference: " name; bad++ }
        { last = $0 }
        END { exit bad > 0 || pages < 250 }' dist/doc/man3/*.3 && [ "$(grep -c '^\.It Dv' dist/doc/man3/cellar_task_submit.3)" -ge 10 ] &&
        grep -q '^Optional; (out) behind the value' dist/doc/man3/cellar_get_or_load.3
}
every_type_has_a_page() { # and each constant
    sed -n 's/^} \(cellar_[a-z0-9_]*\);.*/\1/p; s/^typedef struct \(cellar[a-z0-9_]*\) .*;.*/\1/p
        s/^#define \(CELLAR_[A-Z0-9_]*[A-Z0-9]\)[ (].*/\1/p; s/^ *\(CELLAR_[A-Z0-9_]*\) =.*/\1/p
        /^#define CELLAR_CODES/,/^$/s/^    X(\([A-Z0-9_]*\),.*/CELLAR_\1/p' include/cellar*.h |
        grep -vE '^CELLAR_(API|ZERO|SIZEOF_FIELD|PACKED|STRUCT|[A-Z]*_ENUM)$' | sort -u >"$t_tmp/names"
    [ "$(grep -c . "$t_tmp/names")" -gt 500 ] || return 1
    while read -r name; do
        [ -f "dist/doc/man3/$name.3" ] || { echo "no page: $name"; lost=1; }
    done <"$t_tmp/names"
    [ -z "${lost-}" ]
}
pages_are_narrow() { # in a terminal of 80 columns; code is as written
    for page in dist/doc/man7/*.7; do mandoc -Tascii -Owidth=78 "$page" | col -b; done >"$t_tmp/wide"
    awk 'length($0) > 110 || length($0) > 80 && !/[;{}()=#\/]/ { n++; print } /`/ { quotes++; print } $0 == "" && last == "" && NR > 1 { gaps++ } { last = $0 }
        END { exit n > 4 || quotes > 0 || gaps > 0 || NR < 1000 }' "$t_tmp/wide"
}
examples_compile() { # of all contracts, in one file; a function of the program needs no declaration
    {
        for h in include/cellar*.h; do echo "#include \"${h#include/}\""; done
        cat tests/package/examples.h
        awk -f src/tools/apidoc.awk -f src/tools/mdoc.awk -v mode=examples include/cellar*.h
    } >"$t_tmp/examples.c"
    grep -q '^static int example_cellar_get(' "$t_tmp/examples.c" || return 1
    $CC -std=c11 -D_GNU_SOURCE -Iinclude -fsyntax-only -Wall -Wno-unused -Werror -Wno-error=implicit-function-declaration \
        "$t_tmp/examples.c" 2>"$t_tmp/said" || { cat "$t_tmp/said"; return 1; }
    ! grep -i '\(implicit declaration of\|undeclared\) function [^a-z]*cellar_' "$t_tmp/said"
}
whole_pages_have_examples() {
    for page in dist/doc/man1/*.1 dist/doc/man7/cellar.7; do
        awk '/^\.Sh EXAMPLES$/ { on = 1; next } /^\.Sh/ { on = 0 } on && !/^\./ { n++ }
            END { exit n < 3 }' "$page" || { echo "$page: no example"; return 1; }
    done
}
lint_is_clean() { # `.so` has no text. Style of copies without links: mandoc looks up each one on the machine
    grep -L '^\.so ' dist/doc/man?/*.? >"$t_tmp/pages"
    mkdir -p "$t_tmp/style"
    # shellcheck disable=SC2046
    {
        mandoc -Tlint -Wwarning $(cat "$t_tmp/pages")
        awk -v out="$t_tmp/style/" 'FNR == 1 { if (to != "") close(to); to = FILENAME; sub(/^.*\//, out, to) }
            { gsub(/Xr /, "Sy "); print > to }' $(cat "$t_tmp/pages")
        mandoc -Tlint "$t_tmp/style"/*
    } 2>&1 | grep -vE 'referenced manual not found|possible typo in section name|operating system explicitly' >"$t_tmp/lint"
    cat "$t_tmp/lint"
    [ ! -s "$t_tmp/lint" ] && [ "$(grep -c . "$t_tmp/pages")" -gt 450 ]
}
links_lead_to_pages() { # several functions share one page
    sed -n 's/^\.so //p' dist/doc/man3/*.3 | sort -u | while read -r page; do
        [ -f "dist/doc/$page" ] && ! grep -q '^\.so ' "dist/doc/$page" || { echo "no page $page"; exit 1; }
    done
}
same_with() { # awk; all pages in one file. The first form is made once; test_packaging_site.sh compares the calls of the site
    if [ "$(readlink -f "$(command -v "$1")")" = "$(readlink -f "$(command -v awk)")" ]; then echo 'the same program'; return 0; fi
    for m in first second; do
        [ "$m" = second ] || [ ! -f "$t_tmp/first" ] || continue
        [ $m = first ] && awk=awk || awk=$1
        $awk -v one="$t_tmp/$m" -v mode=man -v symbols=src/tools/symbols.txt -v version=0 -v guides='include/guide.md include/life.md' \
            -v date='May 1, 2026' -f src/tools/apidoc.awk -f src/tools/mdoc.awk include/cellar*.h || return 1
    done
    cmp "$t_tmp/first" "$t_tmp/second" && [ "$(grep -c '^\.Dt \|^\.so ' "$t_tmp/first")" -gt 1000 ]
}
link_blocks() { # BLOCK..: the programs of all blocks in one file, each run by its number
    objects=
    {
        echo '#include <stdlib.h>'
        for n; do echo "int block_$n(int count, char **list);"; done
        echo 'int main(int count, char **list) { switch (count > 1 ? atoi(list[1]) : 0) {'
        for n; do echo "case $n: return block_$n(1, list); /* main may take arguments */"; done
        echo 'default: return 99; } }'
    } >"$t_tmp/main.c"
    for n; do
        $CC -std=c11 -D_GNU_SOURCE -Wall -Iinclude ${CELLAR_LIBS-} -c "$t_tmp/readme$n.c" -o "$t_tmp/readme$n.o" &&
            objcopy --redefine-sym main="block_$n" --keep-global-symbol="block_$n" "$t_tmp/readme$n.o" || { echo "block $n"; return 1; }
        objects="$objects $t_tmp/readme$n.o"
    done
    # shellcheck disable=SC2086
    $CC -std=c11 "$t_tmp/main.c" $objects "$CELLAR_A" -pthread ${CELLAR_LIBS-} -o "$t_tmp/readme" || return 1
    for n; do
        (cd "$t_tmp" && timeout 300 ./readme "$n" </dev/null >said) || { cat "$t_tmp/said" "$t_tmp/readme$n.c"; return 1; }
        sed -n 's|.*/\* prints "\([^"]*\)".*|\1|p' "$t_tmp/readme$n.c" >"$t_tmp/promised"
        [ ! -s "$t_tmp/promised" ] || diff "$t_tmp/promised" "$t_tmp/said" || { echo "block $n"; return 1; }
    done
}
readme_blocks() { # each ```c block with a main is a program, and says what its comments `prints ".."` say; the others are compiled
    awk -v out="$t_tmp/readme" '/^```c(pp)?$/ { n++; on = 1; end = /pp/ ? ".cc" : ".c"; next } /^```/ { on = 0 }
        on { print > (out n end) }' README.md include/*.md
    if t_have "${CXX:=g++}"; then
        for block in "$t_tmp"/readme*.cc; do
            # shellcheck disable=SC2086
            $CXX -std=c++17 -Wall -Wextra -Iinclude "$block" "$CELLAR_A" -pthread ${CELLAR_LIBS-} -o "$t_tmp/readme" &&
                timeout 300 "$t_tmp/readme" || { echo "$block"; return 1; }
        done
    fi
    programs=''
    for block in "$t_tmp"/readme*.c; do
        [ -f "$block" ] || return 1
        n=${block##*readme}
        if ! grep -q 'main(' "$block"; then $CC -std=c11 -D_GNU_SOURCE -Iinclude -fsyntax-only "$block" || { cat "$block"; return 1; }
        else programs="$programs ${n%.c}"
        fi
    done
    # shellcheck disable=SC2086
    link_blocks $programs
}
names_of_the_guide() { # each name in backquotes stands in a header
    grep -oh '`[^`]*`' README.md include/*.md | grep -oE '(cellar|CELLAR)_[A-Za-z0-9_]*[a-z0-9A-Z]' | grep -v OMIT | sort -u >"$t_tmp/names"
    grep -ohE '[A-Za-z0-9_]+|X\([A-Z0-9_]+' include/*.h src/core/base/borrow.h src/core/base/pack.c src/guests/work/journal.c src/core/stats/metrics.h |
        sed 's/^X(\(.*\)/CELLAR_\1\nCELLAR_CAUSE_\1/' | sort -u | comm -13 - "$t_tmp/names" >"$t_tmp/lost"
    sed 's/^/no /' "$t_tmp/lost"
    [ -s "$t_tmp/names" ] && [ ! -s "$t_tmp/lost" ]
}
settings_made() { # header|page FILE LINE: the list gives the table of the file, also without this line
    sed "/$3/d" "$2" >"$t_tmp/less" && ! cmp -s "$2" "$t_tmp/less" || return 1
    for text in "$2" "$t_tmp/less"; do
        awk -v "$1=$text" -f src/tools/settings.awk src/guests/kit/settings_list.h >"$t_tmp/made" &&
            diff "$2" "$t_tmp/made" || return 1
    done
}
settings_page() { # the same table, with the fields
    settings_made page include/settings.md '^| `jitter' && grep -q '^| `memory` | `config.memory_bytes` |' include/settings.md
}
# At most 60 lines behind the includes. The guide and the README of the folder have a link to each.
recipes_are_short() {
    for f in tests/examples/*.txt tests/examples/*.sh; do
        for program in "${f%.*}".c*; do
            awk '/^#include/ { n = -1 } { n++ } END { exit n > 60 }' "$program" &&
                grep -q "(../$program)" include/guide.md && grep -q "](${program##*/})" tests/examples/README.md ||
                { echo "$program"; return 1; }
        done
    done
}
source_is_named() { # README says where the source comes from; a release names its tag and its archive
    v=$(sed -n 's/^#define CELLAR_VERSION_[MP][A-Z]* *\([0-9]*\).*/\1/p' include/cellar.h | paste -sd .)
    grep '^Source: ' README.md >"$t_tmp/said" &&
        if grep -q '^#define CELLAR_VERSION_DEV *0' include/cellar.h; then
            grep "\`v$v\`.*\`cellar-$v.tar.gz\`" "$t_tmp/said"
        fi
}
list_of_metrics_is_named() { # the file that the author of a metric changes
    list=$(sed -n 's/^1. One line in a list of `\([^`]*\)`.*/\1/p' .github/CONTRIBUTING.md)
    grep -q '^#define STATS_.*(X)' "$list"
}
help_names_targets() {
    $MAKE -s help >"$t_tmp/help"
    for t in all core run test test-core check check-matrix bench dist install uninstall floors deps guard \
        symbols figures man clean help; do
        grep -q "^make $t " "$t_tmp/help" || { echo "not in help: $t"; return 1; }
    done
}

map_names_each_file() { # the README of a module has each of its files, by its name or without the ending
    for f in src/*/*.[ch] src/*/*/*.[ch]; do echo "$f"; done | awk '
        function read_map(map,    line, name) {
            map_read[map] = 1
            while ((getline line < map) > 0) {
                while (match(line, /[`\/][A-Za-z0-9_.-]+`/)) {
                    name = substr(line, RSTART + 1, RLENGTH - 2)
                    sub(/\.[ch]$/, "", name)
                    named[map, name] = 1
                    line = substr(line, RSTART + RLENGTH - 1)
                }
            }
        }
        {
            map = name = $0
            sub(/[^\/]*$/, "README.md", map)
            gsub(/^.*\/|\.[^.]*$/, "", name)
            if (!(map in map_read)) read_map(map)
            if (!((map, name) in named)) { print map ": no " $0; lost++ }
        }
        END { exit lost > 0 || NR < 500 }'
}
map_names_each_module() { # the map of the core has at most 200 lines, and names its modules
    [ "$(grep -c '' src/README.md)" -le 200 ] || return 1
    for d in src/*/ src/*/*/; do
        grep -qw "$(basename "$d")" src/README.md src/guests.md || { echo "no map names $d"; return 1; }
    done
}

t_case pages_are_written pages
t_case every_function_has_a_page every_function_has_a_page
t_case every_header_has_a_page every_header_has_a_page
t_case mandatory_sections_are_there sections_are_complete
t_case pages_lead_to_headers_essays_and_codes pages_lead_on
t_case codes_and_parameters_are_items codes_are_items
t_case pages_name_their_kin_and_the_guide pages_name_their_kin
t_case examples_are_as_written examples_are_as_written
t_case texts_are_sentences texts_are_sentences
t_case every_type_and_constant_has_a_page every_type_has_a_page
t_case examples_of_the_contracts_compile examples_compile
t_case whole_pages_have_examples whole_pages_have_examples
if t_have mandoc; then
    t_case lint_is_clean lint_is_clean
    t_case pages_of_headers_are_prose_in_80_columns pages_are_narrow
else
    t_skip lint_is_clean "no mandoc"
    t_skip pages_of_headers_are_prose_in_80_columns "no mandoc"
fi
t_case links_lead_to_pages links_lead_to_pages
for a in mawk gawk 'busybox awk'; do
    if t_have "${a%% *}"; then t_case "same_pages_with_$a" same_with "$a"
    else t_skip "same_pages_with_$a" "no ${a%% *}"; fi
done
t_case settings_table_is_made_from_the_list settings_made header include/cellar_kit.h '^ \*     load_queue'
if [ -f README.md ]; then
    t_case readme_code_compiles readme_blocks
    t_case names_of_the_guide_exist names_of_the_guide
    t_case recipes_are_short_and_named_in_the_guide recipes_are_short
    t_case readme_names_the_source source_is_named
    t_case list_of_metrics_is_named list_of_metrics_is_named
    t_case settings_page_is_made_from_the_list settings_page
fi
t_case map_names_each_file map_names_each_file
t_case map_of_the_core_is_short_and_names_each_module map_names_each_module
t_case help_names_targets help_names_targets
t_end packaging_docs
