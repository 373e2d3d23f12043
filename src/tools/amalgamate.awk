# SPDX-License-Identifier: MIT
#
# amalgamate: folds the library into one header and one source file, a pair of the drop-in.
#
# USE        awk -f src/tools/amalgamate.awk -v what=h|c -v version=V -v source_id=ID
#                -v uthash=PATH|external -v headers="include/cellar.h ..."
#                -v src="src/core/base/err.c ..." [-v lines=1 for #line directives]
#                -v pair=cellar (the cache) | cellar_all (the cache and its guests)
#            `headers` and `src` decide what a pair holds: the Makefile has the lists.
# PICTURE    what=h: the public headers in order, each with its guard and without its includes;
#                    those of a part that can be left out stand between
#                    `#ifndef CELLAR_OMIT_...` lines
#            what=c: banner, licence, feature macros, CELLAR_PRIVATE, then every file of `src` in order;
#                    a quoted include is put in where it is first met and is a comment afterwards
# OMIT       the module of a file is its folder; limiters and locks stand between `#ifndef
#            CELLAR_OMIT_LIMIT` lines, their headers as well: a static declaration without a
#            definition would be a warning in the host's build. The other switches make code
#            unreachable, and the compiler removes that code.
# ONE PAIR   The pairs `cellar` and `cellar_all` define cellar_take_one_pair_only: a link of both stops.
# INVARIANTS the output depends on the arguments and the files alone: two runs, any folder, any
#            locale, mawk, gawk and busybox awk give the same bytes.
# SIMULATION an include inside `#if BASE_SIM` is not followed: the drop-in is never built that way.
# LIMITS     an internal header may not be included inside a conditional: it would be put in where
#            the condition may be false and be missing everywhere else. That is an error here.
# NOT HERE   rewriting of C: CELLAR_PRIVATE before each shared name makes that unnecessary.

function fail(message) {
    print "amalgamate: " message | "cat 1>&2"
    failed = 1
    exit 1
}

function module_of(file,    path, n) {
    n = split(file, path, "/")
    return n < 2 ? "" : path[n - 1]
}

# "" for a module that is always there.
function omit_of(module) { return module in omit_name ? "CELLAR_OMIT_" omit_name[module] : "" }

function mark_line(number, file) {
    if (lines) printf "#line %d \"%s\"\n", number, file
}

function include_target(line) {
    sub(/^[^"]*"/, "", line)
    sub(/".*$/, "", line)
    return line
}

# Prints `file`. Every variable is a parameter, because the function calls itself; unclean[n] says
# how many of the n open conditionals are neither an include guard nor a CELLAR_OMIT_ line. Macros of
# a .c file end with it: one took the place of another file's constant of that name.
function fold(file, inside,    line, number, target, level, unclean, sim, omit, status, ends, name) {
    if (file in folded) return
    folded[file] = 1
    omit = omit_of(module_of(file))
    if (omit == inside) omit = ""
    if (omit != "") { printf "#ifndef %s\n", omit; inside = omit }
    printf "/* ---- %s ---- */\n", file
    mark_line(1, file)
    level = 0
    number = 0
    unclean[0] = 0
    while ((status = (getline line < file)) > 0) {
        number++
        if (line ~ /^[ ]*#[ ]*if/) {
            level++
            unclean[level] = unclean[level - 1] + !is_clean(line, file, level)
            sim[level] = line ~ /^#if BASE_SIM$/
        } else if (line ~ /^[ ]*#[ ]*el(se|if)/) {
            sim[level] = 0
        } else if (line ~ /^[ ]*#[ ]*endif/) {
            level--
        }
        if (line ~ /^[ ]*#[ ]*include[ ]*"/) {
            target = include_target(line)
            if (level > 0 && sim[level]) {
                printf "/* %s: for the simulation only */\n", target
            } else if (index(target, "/") == 0) {
                printf "/* %s: in the drop-in's %s.h */\n", target, pair
            } else if (place(target) in folded) {
                printf "/* %s: above */\n", target
            } else {
                if (unclean[level] > 0) {
                    fail(file ":" number ": \"" target "\" is included inside a conditional")
                }
                fold(place(target), inside)
                mark_line(number + 1, file)
            }
        } else if (line ~ /amalgamate: external/ && line ~ /#[ ]*include[ ]*</) {
            external(line)
            mark_line(number + 1, file)
        } else {
            print line
            name = line
            if (file ~ /\.c$/ && sub(/^[ ]*#[ ]*define[ ]+/, "", name)) {
                sub(/[^A-Za-z0-9_].*/, "", name)
                if (index(ends, "#undef " name "\n") == 0) ends = ends "#undef " name "\n"
            }
        }
    }
    if (status < 0) fail("cannot read " file)
    close(file)
    printf "%s", ends
    if (omit != "") printf "#endif /* %s */\n", omit
}

# The path of the file that an include names.
function place(target,    line) {
    if (!(target in place_of)) {
        place_of[target] = "src/core/" target
        if ((getline line < place_of[target]) < 0) place_of[target] = "src/guests/" target
        close(place_of[target])
        if ((getline line < place_of[target]) < 0) place_of[target] = "build/made/" target
        close(place_of[target])
    }
    return place_of[target]
}

function is_clean(line, file, level) {
    if (line ~ /CELLAR_OMIT_[A-Z0-9]+[ ]*$/) return 1
    return level == 1 && file ~ /\.h$/ && line ~ /^[ ]*#[ ]*ifndef[ ]+[A-Z0-9_]+_H[ ]*$/
}

# uthash: put in with its licence, once.
function external(line,    text, status) {
    if (uthash == "external") { print line; return }
    if (uthash_done) { print "/* uthash.h: above */"; return }
    uthash_done = 1
    print "/* ---- uthash.h, with its own licence (BSD-1-Clause) ---- */"
    mark_line(1, "uthash.h")
    while ((status = (getline text < uthash)) > 0) print text
    if (status < 0) fail("cannot read " uthash)
    close(uthash)
    print "/* ---- end of uthash.h ---- */"
}

function licence(    line) {
    while ((getline line < "LICENSE") > 0) print line == "" ? " *" : " * " line
    close("LICENSE")
}

function copyright(    line) {
    while ((getline line < "LICENSE") > 0 && line !~ /^Copyright/) continue
    close("LICENSE")
    return line
}

function opening(name, other, where) {
    print "/* SPDX-License-Identifier: MIT AND BSD-1-Clause"
    print " *"
    print " * " name ", version " version ", source " source_id
    print " * One half of the drop-in; the other is " other "."
    print " * Generated by `make dist`: change the files in " where ", not this one."
    print " *"
}

# Begins and ends the part that a switch leaves out; parts side by side share the lines.
function omit_part(omit) {
    if (omit == open_omit) return
    if (open_omit != "") printf "#endif /* %s */\n", open_omit
    if (omit != "") printf "#ifndef %s\n", omit
    open_omit = omit
}

# Prints one public header between its OMIT lines. Leaves out what the pair's header has once for
# all parts: SPDX line, includes, `extern "C"`; and blank lines beside them, above a conditional and below a banner.
function fold_header(file, name,    line, number, status, part, omit, gap, cxx) {
    part = name
    sub(/^cellar_?/, "", part)
    sub(/\.h$/, "", part)
    omit = omit_of(part)
    omit_part(omit)
    printf "/* ---- %s ----\n", file
    gap = 1
    while ((status = (getline line < file)) > 0) {
        number++
        if (number <= 2) {
            if (line !~ /^( \*|\/\* SPDX-License-Identifier: MIT)$/) fail(file ": the head has another form")
            continue
        }
        if (line == "#ifdef __cplusplus") { cxx = 1; continue }
        if (cxx && (line == "extern \"C\" {" || line == "}")) { cxx = 2; continue }
        if (cxx == 2) { # the line that ends it
            if (line != "#endif") fail(file ":" number ": " line)
            cxx = 0
            gap = 2
            continue
        }
        if (cxx == 1) { gap = line_after(gap, number - 1, file, "#ifdef __cplusplus"); cxx = 0 }
        if (line ~ /^[ ]*#[ ]*include[ ]*["<]/) {
            if (line ~ /"/ && !(include_target(line) in above)) {
                fail(file ": " line)
            }
            gap = 2
            continue
        }
        gap = line_after(gap, number, file, line)
    }
    if (status < 0) fail("cannot read " file)
    close(file)
    above[name] = 1
}

# Prints a line of a header. `gap` says what went before: 1 a banner or a guard (a blank line behind
# it is left out), 2 lines that were left out, 3 a blank line that waits for the next line. Returns
# the new gap.
function line_after(gap, number, file, line) {
    if (line == "") return gap == 1 || gap == 2 ? 2 : 3
    if (gap == 3 && line !~ /^#(if|endif)/) print ""
    if (gap > 0) mark_line(number, file)
    print line
    return line ~ /^\/\* ---- .*\*\/$/ || line ~ /^#define CELLAR_([A-Z0-9]+_)?H$/
}

function write_header(    n, i, list, name) {
    opening(pair ".h", pair ".c", "include/")
    print " * MIT License, " copyright() ": the text stands in " pair ".c. */"
    print "#include <stdbool.h>"
    print "#include <stddef.h>"
    print "#include <stdint.h>"
    print "#ifdef __cplusplus"
    print "extern \"C\" {"
    print "#endif"
    n = split(headers, list, " ")
    for (i = 1; i <= n; i++) {
        name = list[i]
        sub(/^.*\//, "", name)
        fold_header(list[i], name)
    }
    omit_part("")
    print "#ifdef __cplusplus"
    print "}"
    print "#endif"
}

function switches() {
    print " * COMPILE    cc -O2 -c " pair ".c"
    print " *                                    C11 or later; link with -pthread; nothing else"
    print " *            #include \"" pair ".c\""
    print " *                                    as the first line of a unit of yours, before any"
    print " *                                    system header; with"
    print " *                                    -DCELLAR_API='static __attribute__((unused))'"
    print " *                                    no exported name is left"
    if (pair == "cellar") {
        print " * PAIRS      This pair is the cache: memory, loads, filter, breaker, disk tier, limiters,"
        print " *            locks, memoize, warm-up. cellar_all.h and .c have tasks, schedules, messages,"
        print " *            ready-made caches and the port for Redis clients as well: take one pair."
    } else {
        print " * PAIRS      This pair is the cache with its guests: tasks, schedules, messages, ready-made"
        print " *            caches, the port for Redis clients, the tier over Redis or a port. cellar.h and"
        print " *            .c are the cache alone: take one pair."
    }
    print " * SWITCHES   -DCELLAR_OMIT_L2         no disk tier: a directory is E_UNSUPPORTED"
    print " *            -DCELLAR_OMIT_LIMIT      no rate limiters and keyed locks"
    print " *            -DCELLAR_OMIT_TEXT       no error texts, no metrics text; codes stay"
    print " *            -DCELLAR_OMIT_POLICY     no rules of keys: E_UNSUPPORTED"
    print " *            -DCELLAR_OMIT_SHARED     no tiers that processes share: E_UNSUPPORTED"
    print " *            -DCELLAR_WITH_MIMALLOC   call mi_malloc directly"
    print " *            -DCELLAR_WITH_LZ4       values on disk may be packed; link with -llz4"
    if (pair == "cellar_all") {
        print " *            -DCELLAR_WITH_SQLITE    pools of tasks may have a journal; link with -lsqlite3"
        print " *            -DCELLAR_WITH_TLS       port and tier may speak TLS; link with -lssl -lcrypto"
    }
    print " *            -DCELLAR_WITH_SDT"
    print " *            Give the same switches where " pair ".h is included."
    print " *"
}

# Stops a build that cannot work, with the sentence that helps.
function write_guards() {
    print "#ifdef __cplusplus"
    print "#error \"" pair ".c is C11: compile it with a C compiler, then link it from C++\""
    print "#endif"
    print "#if !defined(__STDC_VERSION__) || __STDC_VERSION__ < 201112L || \\"
    print "    defined(__STDC_NO_ATOMICS__)"
    print "#error \"" pair ".c needs C11 with atomics: compile with -std=c11 or later\""
    print "#endif"
    if (uthash != "external") {
        print "#ifdef UTHASH_H"
        print "#error \"uthash.h came before " pair ".c: keep your uthash and " pair ".c in two files\""
        print "#endif"
    }
    print "#ifdef __linux__"
    print "#ifndef _GNU_SOURCE"
    print "#define _GNU_SOURCE 1"
    print "#endif"
    print "#else"
    print "#ifndef _POSIX_C_SOURCE"
    print "#define _POSIX_C_SOURCE 200809L"
    print "#endif"
    print "#endif"
    print "#include <fcntl.h>"
    print "#include <time.h>"
    print "#if !defined(CLOCK_MONOTONIC) || (defined(__linux__) && !defined(O_PATH))"
    print "#error \"" pair ".c came too late: put #define _GNU_SOURCE 1 into this file's first line\""
    print "#endif"
}

function write_banner(    n, i, list, any) {
    opening(pair ".c", pair ".h", "src/")
    switches()
    licence()
    print " */"
    write_guards()
    print "#ifndef CELLAR_SOURCE_ID"
    printf "#define CELLAR_SOURCE_ID \"%s\"\n", source_id
    print "#endif"
    n = split("L2 LIMIT TEXT POLICY SHARED", list, " ")
    for (i = 1; i <= n; i++) {
        any = any (i > 1 ? " || \\\n    " : "") "defined(CELLAR_OMIT_" list[i] ")"
    }
    if (pair == "cellar") print "#define CELLAR_OMIT_BEHIND 1 /* no batcher: no queue of writes */"
    print "/* A test that reaches inside says -DCELLAR_PRIVATE=... and gets hidden names. */"
    print "#ifndef CELLAR_PRIVATE"
    print "#define CELLAR_AMALGAMATION 1"
    print "#if " (pair == "cellar" ? "1 /* the guests would use the rest */ || " : "") any
    print "#define CELLAR_PRIVATE static __attribute__((unused))"
    print "#else"
    print "#define CELLAR_PRIVATE static"
    print "#endif"
    print "#endif"
    print "#include \"" pair ".h\""
    print "/* Duplicate? The program has both pairs: take cellar.c or cellar_all.c. */"
    print "CELLAR_API const char cellar_take_one_pair_only = 1;"
}

BEGIN {
    omit_name["limit"] = "LIMIT"
    omit_name["lock"] = "LIMIT"
    if (pair == "") pair = "cellar"
    if (what == "h") {
        write_header()
    } else {
        write_banner()
        n_src = split(src, file, /[ \n]+/)
        for (i_src = 1; i_src <= n_src; i_src++) {
            if (file[i_src] != "") fold(file[i_src], "")
        }
        if (!uthash_done && uthash != "external") print "/* uthash: no file included it */"
    }
    exit failed
}
