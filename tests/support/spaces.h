/* SPDX-License-Identifier: MIT
 *
 * spaces: stores, namespaces and a folder of a case, closed after it, the newest first; options of a
 * call.
 *
 * USE  cellar *c = closed_later(api_open(4 << 20)), *v = space_of(c, "v"); the case closes neither.
 *      close_now(v) closes one earlier. Listeners and allocators of such a store outlive the case.
 *      Behind load_kit.h, stores are closed with its checks. */
#ifndef CELLAR_TESTS_SPACES_H
#define CELLAR_TESTS_SPACES_H

#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_load.h"
#include "tests/support/folder.h"
#include "tests/support/left.h"
#include "tests/support/t.h"
#include "tests/support/told.h"

T_INLINE void spaces_shut(void *c)
{
#ifdef CELLAR_TESTS_LOAD_KIT_H
    kit_close(c);
#else
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
#endif
}

T_INLINE void spaces_leave(void *v) { T_EQ_I64(cellar_namespace_close(v), CELLAR_OK); }

T_INLINE cellar *closed_later(cellar *c)
{
    left_add(c, spaces_shut);
    return c;
}

/* Open a namespace, which is closed after the case. o: NULL for no options. */
T_INLINE cellar *space_with(cellar *c, const char *name, const cellar_namespace_config *o)
{
    cellar *v = NULL;
    T_REQUIRE(cellar_namespace_open(c, name, o, &v) == CELLAR_OK);
    left_add(v, spaces_leave);
    return v;
}

T_INLINE cellar *space_of(cellar *c, const char *name) { return space_with(c, name, NULL); }

/* Close a store or a namespace of the case before its end. */
T_INLINE void close_now(cellar *c)
{
    const struct left l = left_take(c);
    T_REQUIRE(l.close != NULL);
    l.close(c);
}

T_INLINE void spaces_wipe(void *path) { t_wipe(path); }

/* Return a new folder, which is removed after the stores of the case: one in a case. */
T_INLINE const char *folder_of_case(void)
{
    static char path[T_FOLDER_MAX];
    t_folder(path);
    left_add(path, spaces_wipe);
    return path;
}

/* Options of one call. */
#define SET_OPTS(...) \
    (&(const cellar_set_opts){ .struct_size = sizeof(cellar_set_opts), __VA_ARGS__ })
#define LOAD_OPTS(...) \
    (&(const cellar_load_opts){ .struct_size = sizeof(cellar_load_opts), __VA_ARGS__ })
#define SPACE_OPTS(...) \
    (&(const cellar_namespace_config){ .struct_size = sizeof(cellar_namespace_config), __VA_ARGS__ })

#ifdef CELLAR_TESTS_LOAD_KIT_H
/* Of a case on LOADS: its source, the text and the result of its last load. */
static source src __attribute__((unused));
static char answer[64] __attribute__((unused));
static cellar_result res __attribute__((unused));

T_INLINE cellar *store_of_loads(uint64_t bytes)
{
    memset(&src, 0, sizeof src);
    return kit_open(bytes);
}
#define LOADS(fn) T_WITH(fn, cellar *c, c, store_of_loads(4 << 20), kit_close(c))
#endif

/* Run a function in `n` threads, each with one of the arguments, to their ends. */
T_INLINE void together(unsigned n, void *(*fn)(void *arg), void *args, size_t arg_bytes)
{
    pthread_t t[64];
    T_REQUIRE(n <= 64);
    for (unsigned i = 0; i < n; i++) {
        T_REQUIRE(pthread_create(&t[i], NULL, fn, (char *)args + i * arg_bytes) == 0);
    }
    for (unsigned i = 0; i < n; i++) { T_EQ_I64(pthread_join(t[i], NULL), 0); }
}

#endif
