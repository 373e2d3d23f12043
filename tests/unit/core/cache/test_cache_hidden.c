/* SPDX-License-Identifier: MIT
 *
 * Aim:    Values of hidden namespaces are overwritten when their memory is given up, and their
 *         memory is left out of core dumps.
 * Method: A pattern that this program holds only masked. After each way to end a value the program
 *         searches all its writable memory (/proc/self/maps). /proc/self/smaps tells which regions
 *         a core dump leaves out. */
#include "tests/support/load_kit.h"
#include "tests/support/scan.h"
#include "tests/support/t.h"

#include <stdint.h>

#define MASK 0x5au
#define MARK 8u

/* The pattern; `ordinary` is written in a first run, which resolves every library call. */
static const unsigned char masked[2][MARK] = {
    { 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x08 },
    { 0xe3, 0x9c, 0x81, 0xf7, 0xb2, 0xd5, 0xa9, 0xce },
};
static unsigned which;

static void fill(void *to, size_t len)
{
    volatile unsigned char *p = to;
    for (size_t i = 0; i < len; i++) { p[i] = (unsigned char)(masked[which][i % MARK] ^ MASK); }
}

static void forget(void *at, size_t len)
{
    volatile unsigned char *p = at;
    for (size_t i = 0; i < len; i++) { p[i] = 0; }
}

static unsigned found_in(const unsigned char *from, const unsigned char *to)
{
    unsigned n = 0;
    const int first = masked[1][0] ^ MASK;
    while (to - from >= (ptrdiff_t)MARK &&
           (from = memchr(from, first, (size_t)(to - from) - (MARK - 1))) != NULL) {
        size_t i = 0;
        while (i < MARK && (unsigned)(from[i] ^ MASK) == masked[1][i]) { i++; }
        n += i == MARK;
        from++;
    }
    return n;
}

/* Return how often the pattern is in the writable memory of this process. */
static unsigned found(void)
{
    unsigned n = 0;
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    T_REQUIRE(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long long from, to;
        char mode[8], name[256] = "";
        if (sscanf(line, "%llx-%llx %7s %*s %*s %*s %255s", &from, &to, mode, name) < 3) { continue; }
        if (mode[0] != 'r' || mode[1] != 'w' || strcmp(name, "[vvar]") == 0) { continue; }
        n += found_in((const unsigned char *)(uintptr_t)from, (const unsigned char *)(uintptr_t)to);
    }
    fclose(maps);
    return n;
}

/* Return whether a core dump leaves out the region of an address. */
static bool left_out(const void *address)
{
    char line[512];
    bool here = false, out = false;
    FILE *maps = fopen("/proc/self/smaps", "r");
    T_REQUIRE(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long long from, to;
        char mode[8];
        if (sscanf(line, "%llx-%llx %7s", &from, &to, mode) == 3) {
            here = (uintptr_t)address >= from && (uintptr_t)address < to;
        } else if (here && strncmp(line, "VmFlags:", 8) == 0) {
            out = strstr(line, " dd") != NULL;
        }
    }
    fclose(maps);
    return out;
}

/* ---- the store ---- */

static unsigned char room[300000];

static cellar *open_hidden(cellar **c)
{
    cellar *v = NULL;
    *c = kit_open(8u << 20);
    T_EQ_I64(cellar_option_set(*c, CELLAR_OPT_EVICTION, CELLAR_EVICT_FIFO), CELLAR_OK);
    cellar_namespace_config o = { .struct_size = sizeof o, .hidden = 1 };
    T_REQUIRE(cellar_namespace_open(*c, "hidden", &o, &v) == CELLAR_OK);
    return v;
}

static void put(cellar *v, const char *key, size_t len)
{
    fill(room, len);
    T_EQ_I64(cellar_set(v, key, strlen(key), room, len, NULL), CELLAR_OK);
    forget(room, len);
    T_CHECK(which == 0 || found() != 0);
}

static void put_blank(cellar *v, const char *key, size_t len)
{
    memset(room, 'x', len);
    T_EQ_I64(cellar_set(v, key, strlen(key), room, len, NULL), CELLAR_OK);
}

static void gone(const char *how)
{
    const unsigned n = found();
    if (!T_EQ_U64(n, 0)) { printf("# after: %s\n", how); }
}

static void end_each_way(cellar *c, cellar *v, size_t len)
{
    put(v, "k", len);
    T_EQ_I64(cellar_delete(v, "k", 1), CELLAR_OK);
    gone("delete");
    put(v, "k", len);
    put_blank(v, "k", len);
    gone("set of the same length");
    put(v, "k", len);
    put_blank(v, "k", len > 1000 ? len - 777 : len - 3);
    gone("set of a shorter value");
    put(v, "k", len);
    put_blank(v, "k", len + 900);
    gone("set of a longer value");
    put(v, "k", len);
    T_EQ_I64(cellar_touch(v, "k", 1, 1000), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 3000);
    kit_tick(c);
    gone("expiry");
    put(v, "k", len);
    T_EQ_I64(cellar_clear(v), CELLAR_OK);
    kit_tick(c);
    gone("clear");
    put(v, "k", len);
    T_EQ_I64(cellar_touch(v, "k", 1, 5000), CELLAR_OK); /* may move the record */
    T_EQ_I64(cellar_delete(v, "k", 1), CELLAR_OK);
    gone("touch and delete");
}

static void end_pinned(cellar *c, cellar *v, size_t len)
{
    cellar_pinned pin;
    put(v, "k", len);
    T_EQ_I64(cellar_pin(v, "k", 1, &pin), CELLAR_OK);
    T_EQ_I64(cellar_delete(v, "k", 1), CELLAR_OK);
    T_EQ_U64(((const unsigned char *)pin.value)[len - 1], masked[which][(len - 1) % MARK] ^ MASK);
    cellar_unpin(&pin);
    put_blank(v, "k", 50);
    T_EQ_I64(cellar_clear(c), CELLAR_OK);
    T_EQ_I64(cellar_clear(v), CELLAR_OK);
    kit_tick(c); /* a second one would give its pages back */
    gone("delete of a pinned value, and reclaim of its segment");
}

static void evict_all(cellar *c, cellar *v, size_t len)
{
    for (int i = 0; i < 20; i++) {
        char key[16];
        snprintf(key, sizeof key, "e%d", i);
        put(v, key, len);
    }
    for (unsigned i = 0; i < 30000; i++) {
        memset(room, 'y', 1000);
        T_EQ_I64(cellar_set(c, &i, sizeof i, room, 1000, NULL), CELLAR_OK);
        (void)cellar_get(c, &i, sizeof i, room, 1000, NULL);
    }
    for (int i = 0; i < 20; i++) {
        char key[16];
        snprintf(key, sizeof key, "e%d", i);
        T_EQ_I64(cellar_contains(v, key, strlen(key)), CELLAR_MISS);
    }
    kit_tick(c);
    gone("eviction");
}

/* ---- copies ---- */

static size_t copy_len;

static cellar_err load_pattern(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    void *p;
    (void)key, (void)key_len, (void)ctx;
    T_EQ_I64(cellar_buf_resize(cellar_load_buf(ld), copy_len, &p), CELLAR_OK);
    fill(p, copy_len);
    return CELLAR_OK;
}

static cellar_err append_pattern(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    void *p;
    (void)ctx, (void)old;
    T_EQ_U64(old_len, old != NULL ? copy_len : 0);
    T_EQ_I64(cellar_buf_resize(out, copy_len, &p), CELLAR_OK);
    fill(p, copy_len);
    return CELLAR_OK;
}

static bool see(const cellar_scan_entry *e, void *ctx) { (void)ctx, (void)e; return true; }

static void copy_each_way(cellar *c, cellar *v, size_t len)
{
    cellar_result r = cellar_result_default();
    void *copy;
    size_t n;
    uint64_t cursor = 0;
    copy_len = len;
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .stale_ms = 600000,
                           .jitter_pct = CELLAR_OFF, .flags = CELLAR_LOAD_CTX_STATIC };
    for (int i = 0; i < 3; i++) { /* a miss, a hit, a stale hit with a refresh */
        const cellar_err err = cellar_get_or_load(v, "l", 1, &o, load_pattern, NULL, &r);
        T_EQ_I64(err, i < 2 ? CELLAR_OK : CELLAR_STALE);
        cellar_result_free(&r);
        if (i == 1) { atomic_fetch_add(&kit_now_ms, 1500); }
    }
    T_CHECK(which == 0 || found() != 0);
    kit_tick(c);
    T_EQ_I64(cellar_delete(v, "l", 1), CELLAR_OK);
    gone("a load, a hit and a refresh");
    put(v, "l", len);
    T_EQ_I64(cellar_get_alloc(v, "l", 1, &copy, &n), CELLAR_OK);
    cellar_free(copy);
    T_EQ_I64(cellar_delete(v, "l", 1), CELLAR_OK);
    gone("a copy");
    for (int i = 0; i < 2; i++) {
        T_EQ_I64(cellar_update(v, "u", 1, NULL, append_pattern, NULL), CELLAR_OK);
    }
    do {
        T_EQ_I64(cellar_scan(v, &cursor, SCAN(NULL, 0, 64), see, NULL), CELLAR_OK);
    } while (cursor != 0);
    T_CHECK(which == 0 || found() != 0);
    T_EQ_I64(cellar_delete(v, "u", 1), CELLAR_OK);
    gone("updates and a scan");
}

/* ---- threads ---- */

#define THREADS 4
#define KEYS 8

typedef struct crowd {
    cellar *v;
    _Atomic unsigned wrong, hits;
} crowd;

/* Return whether all bytes are the same, and not those of an overwritten value. */
static bool is_whole(const unsigned char *value, size_t len)
{
    return len != 0 && value[0] != 0 && memcmp(value, value + 1, len - 1) == 0;
}

static void *crowd_main(void *arg)
{
    static const size_t lengths[] = { 40, 36, 700, 3000, 20000 };
    crowd *w = arg;
    unsigned char *buf = malloc(20000);
    uint64_t seed = t_seed() ^ (uintptr_t)buf;
    T_REQUIRE(buf != NULL);
    for (int i = 0; i < 20000 / KIT_SLOW; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        const unsigned r = (unsigned)(seed >> 33);
        const uint32_t key = r % KEYS;
        size_t len = lengths[r / KEYS % 5];
        cellar_pinned pin;
        switch (r >> 16 & 7u) {
        case 0: (void)cellar_delete(w->v, &key, sizeof key); break;
        case 1:
        case 2:
        case 3:
            memset(buf, (int)(1 + r % 250), len);
            T_EQ_I64(cellar_set(w->v, &key, sizeof key, buf, len, NULL), CELLAR_OK);
            break;
        case 4:
            if (cellar_pin(w->v, &key, sizeof key, &pin) != CELLAR_OK) { break; }
            if (!is_whole(pin.value, pin.value_len)) { atomic_fetch_add(&w->wrong, 1); }
            cellar_unpin(&pin);
            break;
        default:
            if (cellar_get(w->v, &key, sizeof key, buf, 20000, &len) != CELLAR_OK) { break; }
            if (!is_whole(buf, len)) { atomic_fetch_add(&w->wrong, 1); }
            atomic_fetch_add(&w->hits, 1);
        }
    }
    free(buf);
    return NULL;
}

T_CASE(readers_never_see_overwritten_values)
{
    cellar *c;
    crowd w = { .v = open_hidden(&c) };
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++) {
        T_REQUIRE(pthread_create(&t[i], NULL, crowd_main, &w) == 0);
    }
    for (int i = 0; i < THREADS; i++) { T_REQUIRE(pthread_join(t[i], NULL) == 0); }
    T_EQ_U64(atomic_load(&w.wrong), 0);
    T_CHECK(atomic_load(&w.hits) > 100);
    T_EQ_I64(cellar_namespace_close(w.v), CELLAR_OK);
    kit_close(c);
}

/* ---- tests ---- */

static bool shadowed(void)
{
    if (T_TSAN || T_ASAN || T_MSAN) { T_SKIP("a sanitizer keeps copies of memory"); }
    return T_TSAN || T_ASAN || T_MSAN;
}

static const size_t sizes[] = { 40, 700, 3000, 30000, 250000 };

T_CASE(ended_values_are_in_no_writable_memory)
{
    if (shadowed()) { return; }
    for (which = 0; which < 2; which++) {
        cellar *c, *v = open_hidden(&c);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            end_each_way(c, v, sizes[i]);
            end_pinned(c, v, sizes[i]);
        }
        evict_all(c, v, 600);
        evict_all(c, v, 60000);
        put(v, "last", 500);
        put(v, "last of all", 100000);
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
        kit_close(c);
        gone("close");
    }
}

/* The pin keeps the segment, but of its records only the pinned one. */
T_CASE(values_beside_a_pinned_one_are_overwritten)
{
    if (shadowed()) { return; }
    for (which = 0; which < 2; which++) {
        cellar *c, *v = open_hidden(&c);
        cellar_pinned pin[3];
        for (size_t i = 0; i < 3; i++) {
            const char key[2] = { (char)('a' + (int)i), '\0' };
            put_blank(v, key, sizes[i]);
            T_EQ_I64(cellar_pin(v, key, 1, &pin[i]), CELLAR_OK);
            end_each_way(c, v, sizes[i]);
        }
        evict_all(c, v, 600);
        for (size_t i = 0; i < 3; i++) { cellar_unpin(&pin[i]); }
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
        kit_close(c);
    }
}

T_CASE(copies_inside_calls_are_in_no_writable_memory)
{
    if (shadowed()) { return; }
    for (which = 0; which < 2; which++) {
        cellar *c, *v = open_hidden(&c);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            copy_each_way(c, v, sizes[i]);
        }
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
        kit_close(c);
    }
}

T_CASE(core_dump_leaves_out_values)
{
    cellar *c = kit_open(8u << 20);
    cellar_pinned pin;
    for (int hidden = 0; hidden < 2; hidden++) {
        cellar *v = NULL;
        cellar_namespace_config o = { .struct_size = sizeof o, .hidden = (uint32_t)hidden };
        T_EQ_I64(cellar_namespace_open(c, hidden ? "hidden" : "plain", &o, &v), CELLAR_OK);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            put_blank(v, "k", sizes[i]);
            T_EQ_I64(cellar_pin(v, "k", 1, &pin), CELLAR_OK);
            T_CHECK(left_out(pin.value) == (hidden != 0));
            cellar_unpin(&pin);
        }
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    }
    kit_close(c);
}

T_CASE(hidden_root_is_left_out_from_the_open_on)
{
    cellar *c = NULL;
    cellar_pinned pin;
    cellar_namespace_config o = { .struct_size = sizeof o, .hidden = 1 };
    settings cfg = { SETTINGS_SIZES, .config.root = &o, .config.memory_bytes = 8u << 20,
                     .host.no_threads = 1 };
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    put_blank(c, "k", 100);
    T_EQ_I64(cellar_pin(c, "k", 1, &pin), CELLAR_OK);
    T_CHECK(left_out(pin.value));
    cellar_unpin(&pin);
    kit_close(c);
}

T_MAIN("cache_hidden")
