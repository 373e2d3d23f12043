#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    -DCELLAR_OMIT_KIT, _WORK and _RESP leave their part out of the drop-in: it compiles
#         without a warning, no function of the part is in the object, and cellar.h declares none of
#         them. The rest works.
# Method: Names from src/tools/symbols.txt that the headers of the part declare, and names with the
#         prefixes of its modules, in nm of both objects. The whole object has to have them.
. tests/support/t.sh

sed -n 's/^\(cellar_[a-z0-9_]*\) .*/\1/p' src/tools/symbols.txt >"$t_tmp/all"
declared_by() { # HEADER.. -> public functions
    grep -h '^CELLAR_API' "$@" | grep -o 'cellar_[a-z0-9_]*(' | tr -d '(' | sort -u |
        grep -xFf - "$t_tmp/all"
}
headers_of() { # PART
    case $1 in
    kit) echo include/cellar_kit.h ;;
    resp) echo include/cellar_resp.h ;;
    work) sed -n 's|^#include "\(cellar_[a-z]*\.h\)"|include/\1|p' include/cellar_work.h ;;
    esac
}
modules_of() { # PART -> pattern of the names of its functions
    case $1 in
    kit) echo 'kit_.*' ;;
    resp) echo 'resp_.*' ;;
    work) echo '\(wheel\|cron\|sched\|batch\|bus\|task\|refresh\)_.*' ;;
    esac
}
functions_of() { # PART OBJECT -> functions of the part in it; those of libc are not defined there
    nm "$2" | sed -n 's/.* [Tt] //p' | grep -x -e "$(modules_of "$1")" -f "$t_tmp/$1.names"
}
compiles() { # OBJECT FLAG..
    object=$1
    shift
    $CC -std=c11 -O0 $t_warn "$@" -c -o "$t_tmp/$object.o" dist/cellar.c
}
whole_object_has_every_function() { # PART LEAST
    [ "$(wc -l <"$t_tmp/$1.names")" -ge "$2" ] &&
        functions_of "$1" "$t_tmp/whole.o" | grep -c '^cellar_' >"$t_tmp/count" &&
        [ "$(cat "$t_tmp/count")" -eq "$(wc -l <"$t_tmp/$1.names")" ] &&
        functions_of "$1" "$t_tmp/whole.o" | grep -qx "$(modules_of "$1")"
}
omitted_object_has_no_function() { # PART SWITCH
    compiles "$1" "$2" && ! functions_of "$1" "$t_tmp/$1.o"
}
header_declares_none() { # PART SWITCH
    echo '#include "cellar.h"' | $CC -std=c11 -Idist "$2" -E - >"$t_tmp/declared" &&
        grep -q 'cellar_get_or_load(' "$t_tmp/declared" &&
        ! sed 's/$/(/' "$t_tmp/$1.names" | grep -Ff - "$t_tmp/declared"
}
program_without_it_works() { # PART SWITCH
    sed '/^#include "cellar_/d' tests/examples/read_through.c >"$t_tmp/read_through.c" &&
        $CC -std=c11 -O0 -D_GNU_SOURCE "$2" -Idist -o "$t_tmp/read_through" \
            "$t_tmp/read_through.c" "$t_tmp/$1.o" -pthread -lm && "$t_tmp/read_through"
}
part() { # PART SWITCH LEAST: fewest public functions
    declared_by $(headers_of "$1") >"$t_tmp/$1.names"
    t_case "whole_object_has_every_function_of_$1" whole_object_has_every_function "$1" "$3"
    t_case "object_without_$1_has_no_function_of_it" omitted_object_has_no_function "$1" "$2"
    t_case "header_without_$1_declares_none" header_declares_none "$1" "$2"
    t_case "program_without_$1_works" program_without_it_works "$1" "$2"
}

compiles whole >"$t_tmp/said" 2>&1
part kit -DCELLAR_OMIT_KIT 40
part work -DCELLAR_OMIT_WORK 24
part resp -DCELLAR_OMIT_RESP 6
t_end packaging_omit
