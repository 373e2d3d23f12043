#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    open_files.c sends files below its folder alone, and opens each once. A client that leaves
#         does not end it by SIGPIPE.
# Method: sh tests/examples/open_files.sh PROGRAM: paths of a folder that has links and a pipe.
#         Paths without a file, more than max_entries, evict no open file.
. tests/support/t.sh

www=$t_tmp/www
mkdir -p "$www/sub" && echo hello >"$www/index.html" && echo deep >"$www/sub/page" && mkfifo "$www/pipe" &&
    ln -s /etc/passwd "$www/link" && ln -s /etc "$www/out" || exit 2
answers() { # PATH CODE-AND-BODY..: the answer to each path
    program=$1 want=
    shift
    for path; do want="$want$path: 404
"; done
    "$program" "$www" index.html sub/page index.html "$@" >"$t_tmp/answers" || return 1
    printf '%s: 200\n%s\n' index.html hello sub/page deep index.html hello |
        { cat; printf '%sopened: 2\n' "$want"; } | diff - "$t_tmp/answers"
}
made_up_paths() { # 600 names
    "$1" "$www" index.html $(seq 600) index.html | tail -n 1 | grep -x 'opened: 1'
}
client_leaves() { # a pipe has less room than this file
    head -c 3000000 /dev/zero >"$www/long"
    { "$1" "$www" long long; echo $? >"$t_tmp/status"; } | head -c 1 >"$t_tmp/begin"
    grep -qx 0 "$t_tmp/status"
}
t_case client_that_leaves_ends_no_server client_leaves "$1"
t_case made_up_paths_evict_no_file made_up_paths "$1"
t_case paths_stay_in_the_folder answers "$1" none '' sub index.html/x pipe link out/passwd ../www/index.html \
    sub/../../../../etc/passwd /etc/passwd //etc/passwd
t_case other_names_of_a_file_have_no_key answers "$1" ./index.html sub/../index.html sub//page sub/./page \
    ./sub/page sub/.. . .. sub/
t_end open_files
