#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    The page in the library is the dashboard in the source.
# Method: `make page` writes what src/tools/page.sh says; the file must have these bytes.
. tests/support/t.sh

same() {
    sh src/tools/page.sh src/guests/resp/dashboard.html >"$t_tmp/page.h" || return 1
    cmp "$t_tmp/page.h" src/guests/resp/page.h && return
    echo "src/guests/resp/page.h is not made of dashboard.html: run \`make page\`"
    return 1
}

t_case page_is_made_of_the_dashboard same
t_end resp_page
