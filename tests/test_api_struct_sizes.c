/* SPDX-License-Identifier: MIT
 *
 * Aim:    a caller and a library of different age understand each other: what an older caller did
 *         not have counts as zero, what a newer one has and we do not know is refused, and nothing
 *         is written behind a caller's struct.
 * Method: every struct with every struct_size from 8 to its size + 64, laid into memory full of
 *         0xAA: what lies behind struct_size would be noticed at once if it was read. */
#include "cellar.h"
#include "tests/t.h"

enum { BEHIND = 64, ROOM = 2048, FIRST = sizeof(size_t) };

static union room {
    max_align_t align;
    unsigned char bytes[ROOM];
} room;

static cellar *store;

/* The first `size` bytes as the caller's header made them, zero up to the size if the caller's
 * struct is larger than ours, 0xAA behind. */
static void *lay_out(const void *init, size_t init_size, size_t size)
{
    memset(room.bytes, 0xAA, ROOM);
    memset(room.bytes, 0, size);
    memcpy(room.bytes, init, init_size < size ? init_size : size);
    memcpy(room.bytes, &size, sizeof size);
    return room.bytes;
}

static bool untouched_from(size_t offset)
{
    for (size_t i = offset; i < ROOM; i++) {
        if (room.bytes[i] != 0xAA) return false;
    }
    return true;
}

static void open_store(void)
{
    cellar_config cfg = CELLAR_CONFIG_INIT;
    cfg.memory_bytes = 4u << 20;
    cfg.no_threads = 1;
    T_REQUIRE(cellar_open(&cfg, &store) == CELLAR_OK);
    T_REQUIRE(cellar_set(store, "k", 1, "value", 5, NULL) == CELLAR_OK);
}

static void close_store(void)
{
    cellar_close(store);
    store = NULL;
}

/* Each kind of struct that goes in: its initial value, and a call that must return OK with it. */
static cellar_err use_config(void *p)
{
    cellar *c = NULL;
    cellar_err err = cellar_open((const cellar_config *)p, &c);
    if (err == CELLAR_OK) cellar_close(c);
    return err;
}

static cellar_err use_view_opts(void *p)
{
    cellar *v = NULL;
    cellar_err err = cellar_view(store, "v", (const cellar_view_opts *)p, &v);
    if (err == CELLAR_OK) cellar_close(v);
    return err;
}

static cellar_err use_set_opts(void *p)
{
    return cellar_set(store, "s", 1, "x", 1, (const cellar_set_opts *)p);
}

static cellar_err use_get_opts(void *p)
{
    char buf[16];
    size_t len = 0;
    return cellar_get_with(store, "k", 1, (const cellar_get_opts *)p, buf, sizeof buf, &len);
}

static void check_in(const char *name, const void *init, size_t size, size_t least,
                     cellar_err (*use)(void *))
{
    for (size_t n = least; n <= size + BEHIND; n++) {
        cellar_err err = use(lay_out(init, size, n));
        if (!T_EQ_I64(err, CELLAR_OK)) printf("# %s with struct_size %zu\n", name, n);
    }
    for (size_t n = size + 1; n <= size + BEHIND; n++) {
        unsigned char *p = lay_out(init, size, n);
        p[n - 1] = 1;
        if (!T_EQ_I64(use(p), CELLAR_E_UNSUPPORTED)) printf("# %s, byte %zu set\n", name, n - 1);
    }
    for (size_t n = 0; n < FIRST; n++) {
        if (!T_CHECK(use(lay_out(init, size, n)) < 0)) printf("# %s, struct_size %zu\n", name, n);
    }
}

static void config_of_every_size(void)
{
    cellar_config cfg = CELLAR_CONFIG_INIT;
    cfg.memory_bytes = CELLAR_MEMORY_MIN;
    cfg.no_threads = 1;
    check_in("cellar_config", &cfg, sizeof cfg, offsetof(cellar_config, abi) + sizeof cfg.abi,
             use_config);
}

static void view_opts_of_every_size(void)
{
    cellar_view_opts o = CELLAR_VIEW_OPTS_INIT;
    open_store();
    check_in("cellar_view_opts", &o, sizeof o, FIRST, use_view_opts);
    close_store();
}

static void set_opts_of_every_size(void)
{
    cellar_set_opts o = CELLAR_SET_OPTS_INIT;
    open_store();
    check_in("cellar_set_opts", &o, sizeof o, FIRST, use_set_opts);
    close_store();
}

static void get_opts_of_every_size(void)
{
    cellar_get_opts o = CELLAR_GET_OPTS_INIT;
    open_store();
    check_in("cellar_get_opts", &o, sizeof o, FIRST, use_get_opts);
    close_store();
}

/* A field of an older, shorter struct reaches the library; the same bytes behind it do not. */
static void last_field_within_size_counts(void)
{
    cellar_set_opts o = CELLAR_SET_OPTS_INIT;
    cellar_info info = CELLAR_INFO_INIT;
    open_store();
    o.ttl_ms = 5000;
    T_EQ_I64(use_set_opts(lay_out(&o, sizeof o, offsetof(cellar_set_opts, idle_ms))), CELLAR_OK);
    T_EQ_I64(cellar_meta(store, "s", 1, 0, &info), CELLAR_OK);
    T_CHECK(info.ttl_left_ms > 0 && info.ttl_left_ms <= 5000);
    T_EQ_I64(use_set_opts(lay_out(&o, sizeof o, offsetof(cellar_set_opts, ttl_ms))), CELLAR_OK);
    T_EQ_I64(cellar_meta(store, "s", 1, 0, &info), CELLAR_OK);
    T_EQ_I64(info.ttl_left_ms, CELLAR_TTL_NONE);
    close_store();
}

/* Structs that are handed out. */
static cellar_err fill_info(void *p) { return cellar_meta(store, "k", 1, 0, (cellar_info *)p); }
static cellar_err fill_stats(void *p)
{
    return cellar_stats_get(store, CELLAR_SCOPE_STORE, (cellar_stats *)p);
}
static cellar_err fill_latency(void *p)
{
    return cellar_latency_get(store, CELLAR_OP_SET, (cellar_latency *)p);
}
static cellar_err fill_error(void *p) { return cellar_last_error(store, (cellar_error *)p); }

static void check_out(const char *name, size_t size, cellar_err (*fill)(void *))
{
    for (size_t n = FIRST; n <= size + BEHIND; n++) {
        size_t said = 0;
        memset(room.bytes, 0xAA, ROOM);
        memcpy(room.bytes, &n, sizeof n);
        bool ok = T_EQ_I64(fill(room.bytes), CELLAR_OK);
        memcpy(&said, room.bytes, sizeof said);
        ok = T_CHECK(untouched_from(n)) && ok;
        ok = T_EQ_U64(said, n) && ok;
        if (!ok) printf("# %s with struct_size %zu\n", name, n);
    }
    for (size_t n = 0; n < FIRST; n++) {
        memset(room.bytes, 0xAA, ROOM);
        memcpy(room.bytes, &n, sizeof n);
        if (!T_CHECK(fill(room.bytes) < 0)) printf("# %s with struct_size %zu\n", name, n);
        T_CHECK(untouched_from(sizeof n));
    }
}

static void structs_handed_out_end_where_the_caller_says(void)
{
    open_store();
    check_out("cellar_info", sizeof(cellar_info), fill_info);
    check_out("cellar_stats", sizeof(cellar_stats), fill_stats);
    check_out("cellar_latency", sizeof(cellar_latency), fill_latency);
    check_out("cellar_error", sizeof(cellar_error), fill_error);
    close_store();
}

static void foreign_abi_is_refused(void)
{
    cellar_config cfg = CELLAR_CONFIG_INIT;
    cellar *c = NULL;
    cfg.abi = CELLAR_ABI + 1;
    T_EQ_I64(cellar_open(&cfg, &c), CELLAR_E_ABI);
    T_CHECK(c == NULL);
    cfg.abi = 0;
    T_EQ_I64(cellar_open(&cfg, &c), CELLAR_E_ABI);
}

T_MAIN("api_struct_sizes", T_CASE(config_of_every_size), T_CASE(view_opts_of_every_size),
       T_CASE(set_opts_of_every_size), T_CASE(get_opts_of_every_size),
       T_CASE(last_field_within_size_counts),
       T_CASE(structs_handed_out_end_where_the_caller_says), T_CASE(foreign_abi_is_refused))
