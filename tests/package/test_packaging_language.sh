#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    each rule of src/tools/language.awk reports a planted fault with its file and line, and
#         accepts the correct form of the same text.
# Method: one file per case in a scratch folder; the report is compared with the expected lines.
. tests/support/t.sh

tree="$t_tmp/tree"
file=
begin() { # FILE LINE...: write the scratch file of the next case
    file=$1
    shift
    rm -rf "$tree"
    mkdir -p "$tree/$(dirname "$file")"
    printf '%s\n' "$@" >"$tree/$file"
}
report() { (cd "$tree" && awk -f "$t_root/src/tools/language.awk" "$file"); }
accepted() { [ "$(report)" = "language: 0 findings" ] || { report; return 1; }; }
reported() { # LINE WHAT: exactly this finding, and exit status 1
    if report >"$t_tmp/report"; then return 1; fi
    cat "$t_tmp/report"
    [ "$(head -n 1 "$t_tmp/report")" = "$file:$1: $2" ] &&
        [ "$(tail -n 1 "$t_tmp/report")" = "language: 1 findings" ]
}
lines() { # COUNT TEXT: that many comment lines
    seq "$1" | sed "s|.*| * $2|"
}
essay() { # COUNT: a file with a first comment of so many lines
    begin src/m/a.c '/* SPDX-License-Identifier: MIT' ' *' "$(lines "$1" "$2")" ' */'
}

# ---- words ----
begin src/m/a.c 'int a; /* for readers' ' * whose lock is held */'
t_case word_in_comment_is_reported reported 2 'word: `whose`'
begin src/m/a.c 'const char *a = "held by nobody here";'
t_case word_in_string_literal_is_reported reported 1 'word: `nobody`'
begin src/m/a.c '/* The mark stays for' ' * ever. */'
t_case phrase_over_two_lines_is_reported reported 1 'word: `for ever`'
begin src/m/a.c '/* Stay for, ever. */' '/* The words "who" and `nobody` are' ' * "for' ' * ever" quoted. */'
t_case quoted_word_is_accepted accepted
begin src/m/a.c 'int who = whoever(lest, '"'\"'"'); /* The holder of `lock`. */'
t_case word_in_identifier_is_accepted accepted
begin src/m/a.c 'f("who", "\"who\" is quoted"); /* a whole view is swept at once, beside another */'
t_case key_literal_and_technical_word_are_accepted accepted
begin a.md 'Text' '```' 'who' '```' '' '| the owner | anew |'
t_case word_in_markdown_is_reported reported 6 'word: `anew`'
begin a.sh 'echo "# who"' 'true # shall run'
t_case word_in_shell_comment_is_reported reported 2 'word: `shall`'
begin Makefile 'who:' '	@echo anew' '# Build the program.'
t_case word_in_make_recipe_is_accepted accepted

# ---- function comments ----
begin src/m/a.c 'static int b;' '/* The size of `x`. */' 'static int m_size(int x)' '{' '}'
t_case article_above_function_is_reported reported 2 \
    'function: begin with an imperative verb (not `the`)'
begin src/m/a.h '/* Returns the size. */' '__attribute__((format(printf, 1, 2)))' 'int m_size(' \
    '    int x);'
t_case third_person_above_prototype_is_reported reported 1 \
    'function: begin with an imperative verb (not `returns`)'
begin include/m.h '/* m_size: its size */' 'CELLAR_API int m_size(int x);'
t_case pronoun_after_function_name_is_reported reported 1 \
    'function: begin with an imperative verb (not `its`)'
begin include/m.h '/* m_size: count the bytes */' 'CELLAR_API int m_size(int x);' \
    '/* Pass it on. */' 'void m_pass(void);' '/* Size the table. */' 'void m_fit(void);' \
    '/* Embed one block' ' * in another. */' \
    'void *m_embed(void);'
t_case imperative_verb_is_accepted accepted
begin src/m/a.h '/* The size. */' 'extern int m_size;' '/* A callback. */' \
    'typedef int (*m_fn)(int);' '/* Its fields. */' 'struct m {' '    int a;' '};' \
    '/* ---- Sizes ---- */' 'int m_size(int x);' '/* A macro. */' '#define M(x) (x)' \
    '/* The table. */' 'static const int m_table[] = { M(1) };' '/* The next part. */' '' \
    'int m_other(int x);'
t_case comment_of_other_declaration_is_accepted accepted
begin tests/a.c '/* The size. */' 'static int m_size(int x)'
t_case function_of_a_test_is_accepted accepted

# ---- paragraphs ----
begin include/m.h '/*' "$(lines 9 'A fact.')" ' */'
t_case nine_lines_in_public_header_are_reported reported 10 'paragraph: more than 8 lines'
begin include/m.h 'int a;' '/*' "$(lines 8 'A fact.')" ' *' "$(lines 8 'A fact.')" ' * returns: OK' \
    "$(lines 7 '         or not')" ' * NULL      none' "$(lines 7 '          at all')" ' */'
t_case section_word_and_empty_line_begin_a_paragraph accepted
begin src/m/m.h 'int a;' '/*' "$(lines 9 'A fact.')" ' */'
t_case nine_lines_in_private_header_are_accepted accepted

# ---- essays ----
essay 25 'A fact.'
t_case essay_of_25_lines_is_accepted accepted
essay 26 'A fact.'
t_case essay_of_26_lines_is_reported reported 3 'essay: 26 lines, at most 25'
essay 39 'A fact.'
sed '3s/.*/ * FORMAT   bytes/' "$tree/$file" >"$t_tmp/format"
cp "$t_tmp/format" "$tree/$file"
t_case format_essay_of_39_lines_is_accepted accepted
begin src/m/a.c '/* SPDX-License-Identifier: MIT */' 'int a;' '/*' "$(lines 26 'A fact.')" ' */'
t_case later_comment_of_26_lines_is_accepted accepted
begin a.sh '#!/bin/sh' '# SPDX-License-Identifier: MIT' '#' "$(seq 26 | sed 's/.*/# A fact./')"
t_case shell_essay_of_26_lines_is_reported reported 4 'essay: 26 lines, at most 25'
t_end packaging_language
