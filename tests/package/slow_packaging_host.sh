#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    Linking cellar changes nothing in the host: neither its malloc nor its names.
# Method: A host linked to the shared library asks the loader for the owner of malloc and of its
#         blocks. An object that defines every hidden name of the library is linked with the
#         archive.
. tests/support/t.sh

host_malloc() {
    cat >"$t_tmp/host.c" <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cellar.h"
int main(void)
{
    void *(*volatile host_malloc)(size_t) = malloc;
    cellar_config cfg = cellar_config_default();
    cellar *c = NULL;
    Dl_info who;
    struct mallinfo2 before = mallinfo2();
    void *p = host_malloc(100000);
    struct mallinfo2 after = mallinfo2();
    if (cellar_open(&cfg, &c) != CELLAR_OK) return 2;
    cellar_close(c);
    if (!dladdr(dlsym(RTLD_DEFAULT, "malloc"), &who)) return 3;
    printf("malloc is of %s; glibc counted %zu bytes\n", who.dli_fname,
           (size_t)(after.uordblks - before.uordblks));
    free(p);
    return strstr(who.dli_fname, "libc.so") != NULL && after.uordblks - before.uordblks >= 100000
           ? 0 : 1;
}
END
    soname=$(readelf -d "$CELLAR_SO" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
    ln -sf "$t_root/$CELLAR_SO" "$t_tmp/$soname" &&
        $CC -Iinclude "$t_tmp/host.c" "$t_tmp/$soname" -o "$t_tmp/host" &&
        LD_LIBRARY_PATH=$t_tmp "$t_tmp/host"
}
no_foreign_names() { # every hidden name of the archive exists a second time in the host
    nm "$CELLAR_A" | sed -n 's/^[0-9a-f]* [tTdDbBrR] \([a-z][a-z0-9_]*\)$/\1/p' |
        grep -v '^cellar_' | sort -u | sed 's/.*/int & = 1;/' >"$t_tmp/clash.c"
    echo "$(wc -l <"$t_tmp/clash.c") names twice"
    [ -s "$t_tmp/clash.c" ] &&
        $CC -w -fno-builtin -c "$t_tmp/clash.c" -o "$t_tmp/clash.o" &&
        $CC -Iinclude tests/package/consumers/consumer.c "$t_tmp/clash.o" "$CELLAR_A" ${CELLAR_LIBS-} -pthread \
            -o "$t_tmp/clash" && "$t_tmp/clash"
}
hidden_copy() { # the drop-in inside a file of the host, all its names static: one name is exported
    printf '%s\n' '#include "cellar.c"' "int use_it(void);" \
        "__attribute__((visibility(\"default\"))) int use_it(void) {" \
        'cellar_config cfg = cellar_config_default(); cellar *c; size_t n = 0;' \
        'if (cellar_open(&cfg, &c) != CELLAR_OK) return 1;' \
        'int bad = cellar_set(c, "a", 1, "b", 1, NULL) != CELLAR_OK ||' \
        '    cellar_get(c, "a", 1, NULL, 0, &n) != CELLAR_E_BUFFER || n != 1;' \
        'cellar_close(c); return bad; }' >"$t_tmp/it.c"
    $CC -std=c11 -O0 -fPIC -fvisibility=hidden -Idist $t_warn \
        -DCELLAR_API='static __attribute__((unused))' -c "$t_tmp/it.c" -o "$t_tmp/it.o" &&
        [ "$(nm -g --defined-only "$t_tmp/it.o" | sed 's/.* //' | tr -d '\n')" = use_it ]
}
two_copies() { # two modules of one process, each with a copy of its own
    for m in one two; do
        ${OBJCOPY:-objcopy} --redefine-sym use_it=use_$m "$t_tmp/it.o" "$t_tmp/$m.o" &&
            $CC -shared "$t_tmp/$m.o" -pthread -o "$t_tmp/lib$m.so" || return 1
    done
    printf '%s\n' 'int use_one(void); int use_two(void);' \
        'int main(void) { return use_one() + use_two(); }' >"$t_tmp/main.c"
    $CC "$t_tmp/main.c" "$t_tmp/libone.so" "$t_tmp/libtwo.so" -o "$t_tmp/two" &&
        LD_LIBRARY_PATH=$t_tmp "$t_tmp/two"
}

t_case host_malloc_is_untouched host_malloc
t_case static_archive_has_no_foreign_names no_foreign_names
t_case hidden_api_leaves_no_name hidden_copy
t_case two_hidden_copies_work_side_by_side two_copies
t_end packaging_host
