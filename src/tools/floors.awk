# SPDX-License-Identifier: MIT
#
# floors: checks what the folder tree promises, line by line, without a compiler.
#
# USE        awk -f src/tools/floors.awk -v listed="SRC of the Makefile" src/tools/floors.txt FILE...
#            FILE: all of src/*/*.[ch] and include/*.h
#            with -v form=1 the lines longer than 100 are reported as well (make form)
# RULES      include   `"mod/x.h"` only of the own module or of one floors.txt allows; `x_int.h`
#                      stays at home; a quoted include without a folder must exist in include/;
#                      cli/ includes public headers and what floors.txt allows
#            listed    every .c of the library stands in SRC, once, in floor order; none is missing
#            ifdef     no conditional outside base/ except an include guard and CELLAR_OMIT_ lines
#            banned    sprintf strcpy strcat atoi strtok rand localtime setenv signal and their kin,
#                      everywhere
#            seam      memory, time, threads, files and waiting only in base/ (and in cli/, which
#                      is a program of its own)
#            form      SPDX in the first line, no tab, no blank at the end of a line
# LIMITS     comments and strings are cut away by a small scanner; macros are not expanded.
# NOT HERE   what needs a compiler: exported names (make symbols), types, unused code.

function bad(message) { printf "%s:%d: %s\n", FILENAME, FNR, message; errors++ }

function words(text, set,    n, i, list) {
    n = split(text, list, " ")
    for (i = 1; i <= n; i++) set[list[i]] = 1
}

BEGIN {
    words("sprintf vsprintf strcpy strcat strncat gets atoi atol atoll atof strtok rand srand " \
          "random localtime gmtime ctime asctime setenv putenv signal alloca strerror system " \
          "popen", banned)
    words("malloc calloc realloc free reallocarray posix_memalign aligned_alloc strdup strndup " \
          "mmap munmap mremap madvise mprotect brk sbrk " \
          "time clock clock_gettime gettimeofday nanosleep clock_nanosleep usleep sleep " \
          "sched_yield poll select epoll_wait getrandom getentropy syscall fork " \
          "open openat creat close read write pread pwrite readv writev lseek fsync fdatasync " \
          "ftruncate fallocate rename unlink mkdir stat fstat fopen fclose fread fwrite fprintf " \
          "vfprintf printf vprintf puts putchar fputs fputc perror exit _exit abort atexit " \
          "getenv sigaction sigprocmask raise kill", seam)
    n_listed = split(listed, listed_file, /[ \n]+/)
    for (i = 1; i <= n_listed; i++) {
        if (listed_file[i] != "") in_src[listed_file[i]]++
    }
}

FILENAME ~ /floors\.txt$/ {
    if ($0 ~ /^#/ || $0 == "") next
    name = $1
    sub(/:$/, "", name)
    floor_order[name] = ++modules
    for (i = 2; i <= NF; i++) {
        if ($i == "-") continue
        if (!($i in floor_order)) bad("floors.txt: `" name "` names `" $i "`, not below it")
        may[name, $i] = 1
    }
    next
}

FNR == 1 {
    parts = split(FILENAME, path, "/")
    module = path[parts - 1]
    is_public = module == "include"
    in_comment = 0
    depth = 0
    guard = ""
    file_seen[FILENAME] = 1
    if ($0 !~ /SPDX-License-Identifier: MIT/) bad("form: the first line carries no SPDX line")
    if (!is_public && !(module in floor_order)) {
        bad("include: module `" module "` is not in floors.txt")
    }
    if (FILENAME ~ /\.c$/ && module != "cli" && !(FILENAME in in_src)) {
        bad("listed: this file is missing in SRC of the Makefile")
    }
}

{
    if (form && length($0) > 100) bad("form: line is longer than 100 (" length($0) ")")
    if ($0 ~ /\t/) bad("form: tab")
    if ($0 ~ /[ ]$/) bad("form: blank at the end of the line")
    raw = $0
    code = strip_comments($0)
}

code ~ /^[ ]*#[ ]*include[ ]*"/ {
    target = raw
    sub(/^[^"]*"/, "", target)
    sub(/".*$/, "", target)
    check_include(target)
}
code ~ /^[ ]*#[ ]*(if|ifdef|ifndef)([ (!]|$)/ { check_conditional(code) }
code ~ /^[ ]*#[ ]*include[ ]*</ {
    target = code
    sub(/^[^<]*</, "", target)
    sub(/>.*$/, "", target)
    if (module != "base" && module != "cli" && is_system_seam(target)) {
        bad("seam: <" target "> belongs to base/")
    }
    if (target == "uthash.h" && FILENAME !~ /base\/table\.h$/) {
        bad("seam: uthash only through base/table.h")
    }
}
code !~ /^[ ]*#[ ]*include/ { check_calls(code) }

function is_system_seam(target) {
    if (target ~ /^(sys|linux)\//) return 1
    sub(/\.h$/, "", target)
    return target ~ /^(pthread|threads|time|unistd|fcntl|signal|malloc|mimalloc|poll|sched)$/ || \
           target ~ /^(dirent|uthash|locale)$/
}

# Cuts comments, strings and character constants; keeps the rest. `in_comment` lives across lines.
# Most lines are one thing or the other and need no look at each character.
function strip_comments(line,    out, i, c, two, quote) {
    if (in_comment) { if (index(line, "*/") == 0) return "" }
    else if (line !~ /["'\/]/) return line
    out = ""
    for (i = 1; i <= length(line); i++) {
        c = substr(line, i, 1)
        two = substr(line, i, 2)
        if (in_comment) {
            if (two == "*/") { in_comment = 0; i++ }
        } else if (two == "/*") {
            in_comment = 1
            i++
            out = out " "
        } else if (two == "//") {
            break
        } else if (c == "\"" || c == "'") {
            quote = c
            out = out c
            for (i++; i <= length(line); i++) {
                c = substr(line, i, 1)
                if (c == "\\") i++
                else if (c == quote) break
            }
            out = out quote
        } else {
            out = out c
        }
    }
    return out
}

function check_include(target,    slash, other, file) {
    slash = index(target, "/")
    if (slash == 0) {
        if ((getline line < ("include/" target)) < 0) {
            bad("include: \"" target "\" has no folder and is no public header")
        }
        close("include/" target)
        return
    }
    if (is_public) { bad("include: a public header includes \"" target "\""); return }
    other = substr(target, 1, slash - 1)
    if (other == module) return
    if (!(other in floor_order)) bad("include: \"" target "\": `" other "` is not in floors.txt")
    else if (!((module, other) in may)) {
        bad("include: `" module "` may not include `" other "` (\"" target "\", see floors.txt)")
    }
    if (target ~ /_int\.h$/) bad("include: \"" target "\" stays in its own module")
}

function check_conditional(code,    text) {
    text = code
    sub(/^[ ]*#[ ]*/, "", text)
    if (module == "base" || is_public || module == "cli") return
    if (text ~ /^(ifdef|ifndef)[ ]+CELLAR_OMIT_[A-Z0-9]+[ ]*$/) return
    if (FILENAME ~ /\.h$/ && guard == "" && text ~ /^ifndef[ ]+[A-Z0-9_]+_H[ ]*$/) {
        guard = text
        return
    }
    bad("ifdef: a conditional outside base/: `" text "`")
}

function check_calls(code,    rest, name, before, start) {
    rest = code
    before = ""
    while (match(rest, /[A-Za-z_][A-Za-z0-9_]*[ ]*\(/)) {
        start = RSTART
        name = substr(rest, RSTART, RLENGTH - 1)
        sub(/[ ]+$/, "", name)
        before = substr(rest, 1, start - 1)
        rest = substr(rest, start + RLENGTH)
        if (before ~ /(\.|->)[ ]*$/ || before ~ /[0-9]$/) continue
        if (name in banned) bad("banned: " name "()")
        else if (module == "base" || module == "cli") continue
        else if (name in seam || name ~ /^(pthread|sem|mtx|thrd|cnd|mi)_/) {
            bad("seam: " name "() belongs to base/")
        }
    }
}

function src_bad(message) { print "Makefile: listed: " message; errors++ }

END {
    last = 0
    for (i = 1; i <= n_listed; i++) {
        file = listed_file[i]
        if (file == "") continue
        if (in_src[file] > 1) src_bad(file " stands twice in SRC")
        if (!(file in file_seen)) src_bad(file " is in SRC but not in src/")
        split(file, path, "/")
        if (floor_order[path[2]] < last) src_bad(file " stands after a module of a higher floor")
        last = floor_order[path[2]]
    }
    if (errors) { printf "floors: %d failures\n", errors; exit 1 }
    print "floors: ok"
}
