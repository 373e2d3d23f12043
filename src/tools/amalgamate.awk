# SPDX-License-Identifier: MIT
#
# amalgamate: folds the library into one header and one source file, the drop-in.
#
# USE        awk -f src/tools/amalgamate.awk -v what=h|c -v version=V -v source_id=ID
#                -v uthash=PATH|external -v headers="include/cellar.h ..."
#                -v src="src/base/err.c ..." [-v lines=1 for #line directives]
#                [-v pair=cellar_remote: the pair of the remote tier, beside that of the library]
# PICTURE    what=h: licence, then the public headers in order, without their includes of one
#                    another; those of a part that can be left out stand between
#                    `#ifndef CELLAR_OMIT_...` lines
#            what=c: banner, feature macros, CELLAR_PRIVATE, then every file of `src` in order;
#                    a quoted include is put in where it is first met and is a comment afterwards
# OMIT       the module of a file is its folder; a module that can be left out stands between
#            `#ifndef CELLAR_OMIT_X` lines, its headers as well: a static declaration without a
#            definition would be a warning in the host's build.
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
# how many of the n open conditionals are neither an include guard nor a CELLAR_OMIT_ line.
function fold(file, inside,    line, number, target, level, unclean, sim, omit, status) {
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
            } else if (("src/" target) in folded) {
                printf "/* %s: above */\n", target
            } else {
                if (unclean[level] > 0) {
                    fail(file ":" number ": \"" target "\" is included inside a conditional")
                }
                fold("src/" target, inside)
                mark_line(number + 1, file)
            }
        } else if (line ~ /amalgamate: external/ && line ~ /#[ ]*include[ ]*</) {
            external(line)
            mark_line(number + 1, file)
        } else {
            print line
        }
    }
    if (status < 0) fail("cannot read " file)
    close(file)
    if (omit != "") printf "#endif /* %s */\n", omit
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
    if (uthash == "") fail("uthash.h not found; install uthash-dev or give UTHASH_DIR=")
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

function opening(name, other, where) {
    print "/* SPDX-License-Identifier: MIT"
    print " *"
    print " * " name ", version " version ", source " source_id
    print " * One half of the drop-in; the other is " other "."
    print " * Generated by `make dist`: change the files in " where ", not this one."
    print " *"
}

function write_header(    n, i, list, line, name, part, omit, above, status) {
    opening(pair ".h", pair ".c", "include/")
    licence()
    print " */"
    if (pair != "cellar") print "#include \"cellar.h\""
    n = split(headers, list, " ")
    for (i = 1; i <= n; i++) {
        name = list[i]
        sub(/^.*\//, "", name)
        omit = ""
        part = name
        sub(/^cellar_?/, "", part)
        sub(/\.h$/, "", part)
        omit = part == "l2" ? "" : omit_of(part) # options of the disk tier are always declared
        above[name] = 1
        print ""
        printf "/* ---- %s ---- */\n", list[i]
        if (omit != "") printf "#ifndef %s\n", omit
        mark_line(1, list[i])
        while ((status = (getline line < list[i])) > 0) {
            if (line ~ /^[ ]*#[ ]*include[ ]*"/) {
                if (pair == "cellar" && !(include_target(line) in above)) fail(list[i] ": " line)
                printf "/* %s: above */\n", include_target(line)
            } else {
                print line
            }
        }
        if (status < 0) fail("cannot read " list[i])
        close(list[i])
        if (omit != "") printf "#endif /* %s */\n", omit
    }
}

function switches() {
    print " * COMPILE    cc -O2 -c cellar.c       C11 or later; link with -pthread; nothing else"
    print " *            #include \"cellar.c\"     as the first line of a unit of yours, before any"
    print " *                                    system header; with"
    print " *                                    -DCELLAR_API='static __attribute__((unused))'"
    print " *                                    no exported name is left"
    print " * SWITCHES   -DCELLAR_OMIT_L2         no disk tier: a directory is E_UNSUPPORTED"
    print " *            -DCELLAR_OMIT_LIMIT      no rate limiters and keyed locks"
    print " *            -DCELLAR_OMIT_WORK       no tasks, schedules, bus, batcher, refreshes"
    print " *            -DCELLAR_OMIT_KIT        no ready-made caches"
    print " *            -DCELLAR_OMIT_RESP       no inspection port"
    print " *            -DCELLAR_OMIT_TEXT       no error texts, no metrics text; codes stay"
    print " *            -DCELLAR_WITH_MIMALLOC   call mi_malloc directly"
    print " *            -DCELLAR_WITH_LZ4       values on disk may be packed; link with -llz4"
    print " *            -DCELLAR_WITH_SQLITE    pools of tasks may have a journal; link with -lsqlite3"
    print " *            -DCELLAR_WITH_SDT"
    print " *            Give the same switches where cellar.h is included."
    print " *"
}

# Stops a build that cannot work, with the sentence that helps.
function write_guards() {
    print "#ifdef __cplusplus"
    print "#error \"cellar.c is C11: compile it with a C compiler, then link it from C++\""
    print "#endif"
    print "#if !defined(__STDC_VERSION__) || __STDC_VERSION__ < 201112L || \\"
    print "    defined(__STDC_NO_ATOMICS__)"
    print "#error \"cellar.c needs C11 with atomics: compile with -std=c11 or later\""
    print "#endif"
    if (uthash != "external") {
        print "#ifdef UTHASH_H"
        print "#error \"uthash.h came before cellar.c: keep your uthash and cellar.c in two files\""
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
    print "#error \"cellar.c came too late: put #define _GNU_SOURCE 1 into this file's first line\""
    print "#endif"
}

# The remote tier: all of it static, a part of the program that links hiredis.
function write_remote_banner() {
    opening("cellar_remote.c", "cellar_remote.h", "src/remote/")
    print " * COMPILE    cc -O2 -c cellar_remote.c     beside cellar.c and cellar.h of the same version;"
    print " *                                          link with -lhiredis -pthread"
    print " *"
    licence()
    print " */"
    print "#ifndef _GNU_SOURCE"
    print "#define _GNU_SOURCE 1"
    print "#endif"
    print "#define CELLAR_PRIVATE static"
    print "#include \"cellar_remote.h\""
}

function write_banner(    n, i, list, any) {
    opening("cellar.c", "cellar.h", "src/")
    switches()
    licence()
    print " */"
    write_guards()
    print "#ifndef CELLAR_SOURCE_ID"
    printf "#define CELLAR_SOURCE_ID \"%s\"\n", source_id
    print "#endif"
    n = split("L2 LIMIT WORK KIT RESP TEXT", list, " ")
    for (i = 1; i <= n; i++) {
        any = any (i > 1 ? " || \\\n    " : "") "defined(CELLAR_OMIT_" list[i] ")"
    }
    print "/* A test that reaches inside says -DCELLAR_PRIVATE=... and gets hidden names. */"
    print "#ifndef CELLAR_PRIVATE"
    print "#define CELLAR_AMALGAMATION 1"
    print "#if " any
    print "#define CELLAR_PRIVATE static __attribute__((unused))"
    print "#else"
    print "#define CELLAR_PRIVATE static"
    print "#endif"
    print "#endif"
    print "#include \"cellar.h\""
}

BEGIN {
    omit_name["l2"] = "L2"
    omit_name["limit"] = "LIMIT"
    omit_name["lock"] = "LIMIT"
    omit_name["work"] = "WORK"
    omit_name["wheel"] = "WORK"
    omit_name["schedule"] = "WORK"
    omit_name["task"] = "WORK"
    omit_name["bus"] = "WORK"
    omit_name["batch"] = "WORK"
    omit_name["refresh"] = "WORK"
    omit_name["kit"] = "KIT"
    omit_name["resp"] = "RESP"
    if (pair == "") pair = "cellar"
    if (what == "h") {
        write_header()
    } else {
        if (pair == "cellar") write_banner()
        else write_remote_banner()
        n_src = split(src, file, /[ \n]+/)
        for (i_src = 1; i_src <= n_src; i_src++) {
            if (file[i_src] != "") fold(file[i_src], "")
        }
        if (!uthash_done && uthash != "external" && pair == "cellar") print "/* uthash: no file included it */"
    }
    exit failed
}
