# SPDX-License-Identifier: MIT
#
# floors: checks what the folder tree promises, line by line, without a compiler.
#
# USE        awk -f src/tools/code.awk -f src/tools/floors.awk -v listed="SRC of the Makefile"
#                -v guests="GUESTS remote" -v guest_headers="cellar_kit.h ..."
#                -v guest_base="sha256 ..." src/tools/floors.txt FILE...
#            FILE: all of src/*/*.[ch], src/*/*/*.[ch] and include/*.h
#            with -v form=1 the lines longer than 100 are reported as well (make form)
#            with -v arrows=1 each arrow inside a module is printed, with a name that makes it
# RULES      include   `"mod/x.h"` only of the own module or of one floors.txt allows; `x_int.h`
#                      stays at home; a quoted include without a folder must exist in include/;
#                      cli/ includes public headers and what floors.txt allows; python/ public ones
#            wings     the core includes no header of a guest, nor what base/ has for guests alone;
#                      a guest: base, stats, wheel, tls, itself, and what an `also` line names
#            order     inside a module, an arrow points from a .c to another of which it names a function,
#                      also through a header, or includes the header. The groups of floors.txt stand
#                      bottom to top, arrows point down. Files of a `circle` line reach each other;
#                      a circle that has become smaller is an error.
#            listed    every .c of the library stands in SRC, once, in floor order; none is missing
#            ifdef     outside base/: include guards, CELLAR_OMIT_, CELLAR_WITH_
#            banned    sprintf strcpy atoi rand signal and their kin, everywhere
#            seam      memory, time, threads, files and waiting only in base/ (and in cli/,
#                      remote/ and tls/, which do not use base/)
#            form      SPDX in the first line, no tab, no blank at the end of a line
# RESULT     `floors: ok`, the largest circle and the header with the most prototypes
# LIMITS     macros are not expanded. `#if BASE_SIM`, mod.h and x_int.h make no arrow.

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
    words(guests, is_guest)
    words(guest_headers, of_guests)
    words(guest_base, base_of_guests)
    words("base stats wheel tls", open_to_guests)
    n_listed = split(listed, listed_file, /[ \n]+/)
    for (i = 1; i <= n_listed; i++) {
        if (listed_file[i] != "") in_src[listed_file[i]]++
    }
}

FILENAME ~ /floors(_log)?\.txt$/ {
    if ($0 ~ /^#/ || $0 == "") next
    if ($1 == "in" || $1 == "circle" || /^ /) { read_group(); next }
    if ($1 == "also") {
        for (i = 3; i <= NF; i++) also[$2 $i]
        next
    }
    name = $1
    sub(/:$/, "", name)
    floor_order[name] = ++modules
    for (i = 2; i <= NF; i++) {
        if ($i == "-") continue
        if (!($i in floor_order)) bad("floors.txt: `" name "` names `" $i "`, not below it")
        may[name, $i] = 1
        if ((name in is_guest) && !($i in open_to_guests) && !(($1 $i) in also)) {
            bad("wings: the guest `" name "` may not include `" $i "` of the core")
        }
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
    unit = path[parts]
    sub(/\.[ch]$/, "", unit)
    is_header = FILENAME ~ /\.h$/
    is_core = is_public ? !((unit ".h") in of_guests) : !of_a_wing(module) && !(module in is_guest)
    inside = pending = macro = ""
    sim_depth = 0
    if (!is_public && !is_header) unit_module[module "/" unit] = module
    if ($0 !~ /SPDX-License-Identifier: MIT/) bad("form: the first line carries no SPDX line")
    if (!is_public && !(module in floor_order)) {
        bad("include: module `" module "` is not in floors.txt")
    }
    if (FILENAME ~ /\.c$/ && !of_a_wing(module) && !(FILENAME in in_src)) {
        bad("listed: this file is missing in SRC of the Makefile")
    }
}

{
    if (form && length($0) > 100) bad("form: line is longer than 100 (" length($0) ")")
    if ($0 ~ /\t/) bad("form: tab")
    if ($0 ~ /[ ]$/) bad("form: blank at the end of the line")
    # The pair is one file: what is left open would be built for size to its end.
    if ($0 == "BASE_SIZE_BEGIN" && for_size[FILENAME]++ != 0) bad("size: begins twice")
    if ($0 == "BASE_SIZE_END" && --for_size[FILENAME] != 0) bad("size: ends without a begin")
    raw = $0
    code = strip_comments($0)
    if (!is_public) note_names(code)
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
    if (!has_seam(module) && is_system_seam(target)) {
        bad("seam: <" target "> belongs to base/")
    }
    if (target == "uthash.h" && FILENAME !~ /base\/table\.h$|src\/guests\/remote\//) {
        bad("seam: uthash only through base/table.h or in remote/")
    }
}
code !~ /^[ ]*#[ ]*include/ { check_calls(code) }

# What is in no library: the program, the extension for Python.
function of_a_wing(module) { return module ~ /^(cli|python)$/ }

# The program, the remote tier and TLS do not stand on base, so they make their own system calls.
function has_seam(module) { return module ~ /^(base|cli|remote|tls)$/ }

function is_system_seam(target) {
    if (target ~ /^(sys|linux)\//) return 1
    sub(/\.h$/, "", target)
    return target ~ /^(pthread|threads|time|unistd|fcntl|signal|malloc|mimalloc|poll|sched)$/ || \
           target ~ /^(dirent|uthash|locale)$/
}

function check_include(target,    slash, other, file) {
    slash = index(target, "/")
    if (slash == 0) {
        if ((getline line < ("include/" target)) < 0) {
            bad("include: \"" target "\" has no folder and is no public header")
        }
        close("include/" target)
        if (is_core && (target in of_guests)) bad("wings: the core includes \"" target "\" of a guest")
        return
    }
    if (is_public) { bad("include: a public header includes \"" target "\""); return }
    other = substr(target, 1, slash - 1)
    if (is_core && ((other in is_guest) || is_base_of_guests(target))) {
        bad("wings: the core includes \"" target "\" of a guest")
    }
    if (other == module) { note_include(target); return }
    if (!(other in floor_order)) bad("include: \"" target "\": `" other "` is not in floors.txt")
    else if (!((module, other) in may)) {
        bad("include: `" module "` may not include `" other "` (\"" target "\", see floors.txt)")
    }
    if (target ~ /_int\.h$/) bad("include: \"" target "\" stays in its own module")
}

# A header of base that only guests use; its own .c and others of guests may include it.
function is_base_of_guests(target) {
    return target ~ /^base\// && (substr(target, 6, length(target) - 7) in base_of_guests) && \
           !(module == "base" && (unit in base_of_guests))
}

function check_conditional(code,    text) {
    text = code
    sub(/^[ ]*#[ ]*/, "", text)
    if (module == "base" || is_public || module == "cli") return
    if (text ~ /^(ifdef|ifndef)[ ]+CELLAR_(OMIT|WITH)_[A-Z0-9]+[ ]*$/) return
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
        else if (has_seam(module)) continue
        else if (name in seam || name ~ /^(pthread|sem|mtx|thrd|cnd|mi)_/) {
            bad("seam: " name "() belongs to base/")
        }
    }
}

# ---- the order inside a module ----

# `in MODULE: a b c` or `circle MODULE: a b c`: the next group, above those before it. A line that
# begins with a blank continues the group.
function read_group(    i) {
    i = 1
    if ($0 !~ /^ /) {
        group_module = $2
        sub(/:$/, "", group_module)
        if (!(group_module in floor_order)) bad("floors.txt: no module `" group_module "`")
        group_is_circle[++groups] = $1 == "circle"
        i = 3
    }
    for (; i <= NF; i++) {
        name = group_module "/" $i
        if (name in group_of) bad("floors.txt: " name " stands in two groups")
        group_of[name] = groups
    }
}

# The name that a declaration at the start of a line declares: the first one before a parenthesis
# that is no macro. "" for none.
function declared(code,    rest, name) {
    rest = code
    while (match(rest, /[A-Za-z_][A-Za-z0-9_]*\(/)) {
        name = substr(rest, RSTART, RLENGTH - 1)
        if (name !~ /^__/ && name ~ /[a-z]/) return name
        rest = substr(rest, RSTART + RLENGTH)
    }
    return ""
}

# Reads one line: which function it defines or declares, and which names it uses. A name that an
# inline function or a macro of a header uses belongs to that function or macro.
function note_names(code,    n, i, list, name, by) {
    if (code ~ /^#if BASE_SIM$/ || sim_depth > 0) {
        if (code ~ /^[ ]*#[ ]*if/) sim_depth++
        else if (code ~ /^[ ]*#[ ]*endif/) sim_depth--
        else if (sim_depth == 1 && code ~ /^[ ]*#[ ]*else/) sim_depth = 0
        return
    }
    if (macro != "") {
        by = macro
        if (code !~ /\\$/) macro = ""
    } else if (match(code, /^[ ]*#[ ]*define[ ]+[A-Za-z_][A-Za-z0-9_]*/)) {
        by = substr(code, RSTART, RLENGTH)
        sub(/^.*[ ]/, "", by)
        by = "=" by
        if (code ~ /\\$/) macro = by
    } else if (code ~ /^[ ]*#/) {
        return
    } else if (code ~ /^[A-Za-z_]/ && (name = declared(code)) != "") {
        pending = name
        is_local = code ~ /^static / && !is_header
        inside = ""
    }
    if (by == "") {
        if (pending != "" && (code ~ /^\{/ || code ~ /\{.*\}[ ]*$/ || code ~ /\)[^;]*\{[ ]*$/)) {
            if (is_header) through["=" pending] = 1
            else if (!is_local && !(pending in owner)) owner[pending] = module "/" unit
            inside = pending
            pending = ""
        } else if (pending != "" && code ~ /;[ ]*$/) {
            if (is_header && ++prototypes[FILENAME] > most_prototypes) {
                most_prototypes = prototypes[FILENAME]
                most_header = FILENAME
            }
            pending = ""
            return
        }
        if (is_header && inside == "") return
        by = is_header ? "=" inside : module "/" unit
    } else if (!is_header) {
        by = module "/" unit
    } else {
        through[by] = 1
    }
    n = split(code, list, /[^A-Za-z0-9_]+/)
    for (i = 1; i <= n; i++) {
        if (list[i] ~ /[A-Za-z]/ && !((by, list[i]) in uses)) {
            uses[by, list[i]] = 1
            used[by] = used[by] " " list[i]
        }
    }
    if (code ~ /\}[ ]*$/ && (code ~ /^\}/ || code ~ /^[A-Za-z_]/)) inside = ""
}

function note_include(target,    name) {
    if (sim_depth > 0) return
    name = target
    sub(/\.h$/, "", name)
    if (name == module "/" module || name ~ /_int$/ || name == module "/" unit) return
    included[++includes] = module "/" unit SUBSEP name
}

function point(from, to, why) {
    if (from == to || unit_module[from] != unit_module[to] || ((from, to) in arrow)) return
    arrow[from, to] = why
    if (arrows) print "arrow: " from " -> " to " (" why ")"
}

# All functions that `from` reaches by the names of `by`.
function follow(from, by,    n, i, list) {
    n = split(used[by], list, " ")
    for (i = 1; i <= n; i++) {
        if (list[i] in owner) point(from, owner[list[i]], list[i])
        else if (("=" list[i]) in through && !((from, list[i]) in followed)) {
            followed[from, list[i]] = 1
            follow(from, "=" list[i])
        }
    }
}

function order_bad(message) { print "src/tools/floors.txt: order: " message; errors++ }

function check_order(    u, i, pair) {
    for (u in unit_module) {
        follow(u, u)
        if (!(u in group_of)) order_bad(u " stands in no group")
    }
    for (i = 1; i <= includes; i++) {
        split(included[i], pair, SUBSEP)
        if ((pair[1] in unit_module) && (pair[2] in unit_module)) {
            point(pair[1], pair[2], "its header")
        }
    }
    for (u in group_of) if (!(u in unit_module)) order_bad(u " is no file")
    for (i in arrow) {
        split(i, pair, SUBSEP)
        check_arrow(pair[1], pair[2], arrow[i])
        next_of[pair[1]] = next_of[pair[1]] " " pair[2]
    }
    for (i = 1; i <= groups; i++) if (group_is_circle[i]) check_circle(i)
}

function check_arrow(from, to, why,    low, high) {
    if (!(from in group_of) || !(to in group_of)) return
    high = group_of[from]
    low = group_of[to]
    if (low < high || (low == high && group_is_circle[low])) return
    order_bad(from ".c uses " to ".c (" why "), " (low > high ? "above it" : "in its own group"))
}

# Marks in `seen` all files that `from` reaches inside group `g`.
function reach(from, g, seen,    stack, depth, u, n, i, list) {
    stack[depth = 1] = from
    while (depth > 0) {
        u = stack[depth--]
        n = split(next_of[u], list, " ")
        for (i = 1; i <= n; i++) {
            if (group_of[list[i]] == g && !(list[i] in seen)) {
                seen[list[i]] = 1
                stack[++depth] = list[i]
            }
        }
    }
}

# Every file of the group has to reach the first one and to be reached by it.
function check_circle(g,    u, first, n, seen, back, size) {
    for (u in group_of) if (group_of[u] == g && (u in unit_module)) { if (first == "") first = u }
    if (first == "") return
    reach(first, g, seen)
    for (u in group_of) {
        if (group_of[u] != g) continue
        split("", back)
        reach(u, g, back)
        if (!(u in seen) || !(first in back)) {
            order_bad("a listed circle is smaller: " first " and " u " do not reach each other")
            return
        }
        size++
    }
    if (size > most_circle) { most_circle = size; most_module = unit_module[first] }
}

function src_bad(message) { print "Makefile: listed: " message; errors++ }

END {
    for (file in for_size) if (for_size[file] != 0) { print file ": size: has no end"; errors++ }
    last = 0
    for (i = 1; i <= n_listed; i++) {
        file = listed_file[i]
        if (file == "") continue
        if (in_src[file] > 1) src_bad(file " stands twice in SRC")
        if (!(file in file_seen)) src_bad(file " is in SRC but not in src/")
        split(file, path, "/")
        module = path[3] == "log" ? "l2" : path[3]
        if (floor_order[module] < last) src_bad(file " stands after a module of a higher floor")
        last = floor_order[module]
    }
    check_order()
    if (errors) { printf "floors: %d failures\n", errors; exit 1 }
    sub(/^.*src\/(core\/|guests\/)?/, "", most_header)
    circle = most_circle ? most_circle " files (" most_module ")" : "none"
    printf "floors: ok; largest circle: %s; most prototypes: %d (%s)\n", circle,
        most_prototypes, most_header
}
