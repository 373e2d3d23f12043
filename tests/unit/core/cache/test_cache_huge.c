/* SPDX-License-Identifier: MIT
 *
 * Aim:    Every public call checks a length or a count before it reads the bytes of that length.
 * Method: Lengths that no memory holds, and one that is short after truncation to 32 bits, with a
 *         pointer to an unreadable page: a call that reads it ends the program. Namespaces with and
 *         without `exact_age`, a filter, tags. Buffers of any capacity are accepted. */
#include <sys/mman.h>

#include "cellar.h"
#include "cellar_entry.h"
#include "cellar_load.h"
#include "cellar_invalidate.h"
#include "cellar_observe.h"
#include "cellar_bloom.h"
#include "cellar_admin.h"
#include "cellar_memo.h"
#include "cellar_warm.h"
#include "cellar_limit.h"
#include "cellar_lock.h"
#include "tests/support/bloom_kit.h"
#include "tests/support/loader.h"
#include "tests/support/scan.h"
#include "tests/support/t.h"
#include "tests/support/settings.h"

#define SHORT_WHEN_CUT (((size_t)1 << sizeof(size_t) * 4) + 5)

static const size_t lengths[] = { SIZE_MAX, SIZE_MAX - 7, SIZE_MAX / 2 + 1, SHORT_WHEN_CUT };
static void *no; /* an unreadable page */
static cellar *root;

static int64_t still(void *ctx) { (void)ctx; return 1000; }

static void set_up(uint32_t exact_age)
{
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 4u << 20,
                     .tuning.max_value_bytes = 4096, .host.no_threads = 1, .host.clock = still };
    cellar_namespace_config namespace = { .struct_size = sizeof namespace, .exact_age = exact_age };
    cfg.config.root = &namespace;
    if (no == NULL) {
        no = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        T_REQUIRE(no != MAP_FAILED);
    }
    T_REQUIRE(settings_open(&cfg, &root) == CELLAR_OK);
    T_REQUIRE(cellar_set(root, "k", 1, "value", 5, NULL) == CELLAR_OK);
    T_REQUIRE(bloom_size(root, 100) == CELLAR_OK);
}

static void tear_down(void)
{
    T_EQ_I64(cellar_integrity_check(root), CELLAR_OK);
    T_EQ_I64(cellar_close(root), CELLAR_OK);
}

#define STORE(fn) T_WITHIN(fn, set_up(0), tear_down())

#define ANSWERS(call, code) t_eq_str(cellar_code_name(call), #code, __FILE__, __LINE__, #call)

/* ---- keys ---- */

static cellar_err never_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    (void)ld, (void)key, (void)key_len, (void)ctx;
    T_CHECK(false && "a refused call must not call back");
    return CELLAR_E_INVAL;
}
static cellar_err never_update(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx, (void)old, (void)old_len, (void)out;
    T_CHECK(false && "a refused call must not call back");
    return CELLAR_E_INVAL;
}
/* The source may have values that are too long for the cache. */
static cellar_err write_row(const void *key, size_t key_len, const void *value, size_t value_len,
                            void *ctx)
{
    (void)key, (void)key_len, (void)value, (void)value_len;
    ++*(int *)ctx;
    return CELLAR_OK;
}
static bool never_scan(const cellar_scan_entry *e, void *ctx)
{
    (void)ctx, (void)e;
    T_CHECK(false && "a refused call must not call back");
    return true;
}

static void keys(size_t n)
{
    char buf[8];
    size_t len;
    void *copy;
    cellar_pinned pin;
    cellar_lease lease;
    cellar_entry_info info = cellar_entry_info_default();
    cellar_result r = cellar_result_default();
    cellar_reason why = cellar_reason_default();
    ANSWERS(cellar_get(root, no, n, buf, sizeof buf, &len), E_INVAL);
    ANSWERS(cellar_get_with(root, no, n, NULL, buf, sizeof buf, &len), E_INVAL);
    ANSWERS(peek(root, no, n, buf, sizeof buf, &len), E_INVAL);
    ANSWERS(cellar_get_alloc(root, no, n, &copy, &len), E_INVAL);
    ANSWERS(cellar_pin(root, no, n, &pin), E_INVAL);
    ANSWERS(cellar_contains(root, no, n), E_INVAL);
    ANSWERS(cellar_entry_info_get(root, no, n, 0, &info), E_INVAL);
    ANSWERS(cellar_set(root, no, n, "x", 1, NULL), E_INVAL);
    ANSWERS(cellar_delete(root, no, n), E_INVAL);
    ANSWERS(cellar_touch(root, no, n, 5), E_INVAL);
    ANSWERS(cellar_update(root, no, n, NULL, never_update, NULL), E_INVAL);
    ANSWERS(cellar_increment(root, no, n, 1, 0, NULL, NULL), E_INVAL);
    ANSWERS(cellar_get_or_load(root, no, n, NULL, never_load, NULL, &r), E_INVAL);
    ANSWERS(cellar_lease_acquire(root, no, n, NULL, NULL, &lease, &r), E_INVAL);
    ANSWERS(cellar_write_through(root, no, n, "x", 1, NULL, write_row, NULL), E_INVAL);
    ANSWERS(cellar_why(root, no, n, &why), E_INVAL);
    ANSWERS(cellar_bloom_add(root, no, n), E_INVAL);
    ANSWERS(cellar_bloom_check(root, no, n), E_INVAL);
    ANSWERS(cellar_delete_by_tag(root, no, n, 0), E_INVAL);
    ANSWERS(cellar_delete_by_pattern(root, no, n, NULL), E_INVAL);
}

static cellar_err huge_key(cellar_bytes *key, void *ctx)
{
    key->data = no;
    key->len = *(size_t *)ctx;
    return CELLAR_OK;
}

/* Keys in items, options, arguments. */
static void keys_apart(size_t n)
{
    char buf[8];
    uint64_t cursor = 0;
    cellar_get_item get = { no, n, buf, sizeof buf, 0, CELLAR_OK, 0 };
    cellar_set_item set = { no, n, "x", 1, CELLAR_OK, 0 };
    cellar_delete_item del = { no, n, CELLAR_OK, 0 };
    cellar_load_item load = { no, n, fresh_result(), CELLAR_OK, 0 };
    const cellar_bytes key = { no, n };
    cellar_warm_report report = cellar_warm_report_default();
    cellar_arg arg = { CELLAR_ARG_BYTES, 0, { 0 } };
    arg.as.bytes = key;
    ANSWERS(cellar_get_many(root, &get, 1, NULL), OK);
    ANSWERS(get.status, E_INVAL);
    ANSWERS(cellar_set_many(root, &set, 1, NULL, NULL), OK);
    ANSWERS(set.status, E_INVAL);
    ANSWERS(cellar_delete_many(root, &del, 1, NULL), OK);
    ANSWERS(del.status, E_INVAL);
    const cellar_err err = cellar_get_or_load_many(root, &load, 1, NULL, NULL, NULL);
    T_CHECK(err == CELLAR_E_INVAL || (err == CELLAR_OK && load.status == CELLAR_E_INVAL));
    cellar_warm_opts o = { .struct_size = sizeof o, .keys = &key, .key_count = 1,
                           .loader = never_load };
    ANSWERS(cellar_warm(root, &o, &report), E_INVAL);
    ANSWERS(cellar_bloom_feed(root, huge_key, &n, NULL), E_INVAL);
    ANSWERS(cellar_memo_key("f", 1, &arg, 1, buf, sizeof buf, NULL), E_INVAL);
    ANSWERS(cellar_memo_key("f", 1, no, n, buf, sizeof buf, NULL), E_INVAL);
    ANSWERS(cellar_memo_parse(no, n, NULL, NULL, NULL, 0, NULL), E_INVAL);
    ANSWERS(cellar_scan(root, &cursor, SCAN(no, n, 0), never_scan, NULL), E_INVAL);
}

/* ---- values ---- */

static void set_as(size_t n, uint32_t flags, uint32_t tag_count)
{
    static const cellar_bytes tag = { "t", 1 };
    cellar_set_opts o = { .struct_size = sizeof o, .flags = flags, .tags = &tag,
                          .tag_count = tag_count, .ttl_ms = 50 };
    ANSWERS(cellar_set(root, "v", 1, no, n, &o), E_TOOBIG);
    cellar_set_item item = { "v", 1, no, n, CELLAR_OK, 0 };
    const bool present = (flags & CELLAR_ONLY_IF_PRESENT) != 0;
    if (present) { T_EQ_I64(cellar_set(root, "v", 1, "x", 1, NULL), CELLAR_OK); }
    ANSWERS(cellar_set_many(root, &item, 1, &o, NULL), OK);
    ANSWERS(item.status, E_TOOBIG);
}

static void set_with_bad_tags(size_t n)
{
    const cellar_bytes tag = { no, n };
    cellar_set_opts o = { .struct_size = sizeof o, .tags = &tag, .tag_count = 1 };
    ANSWERS(cellar_set(root, "v", 1, "x", 1, &o), E_INVAL);
    o.tags = no;
    o.tag_count = UINT32_MAX;
    ANSWERS(cellar_set(root, "v", 1, "x", 1, &o), E_INVAL);
}

static cellar_err grow(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    void *p;
    const size_t n = *(size_t *)ctx;
    (void)old, (void)old_len;
    ANSWERS(cellar_buf_append(out, "abc", 3), OK);
    ANSWERS(cellar_buf_append(out, no, n), E_TOOBIG);
    ANSWERS(cellar_buf_resize(out, n, &p), E_TOOBIG);
    return CELLAR_OK;
}
static cellar_err resize(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    void *p;
    (void)old, (void)old_len;
    ANSWERS(cellar_buf_resize(out, *(size_t *)ctx, &p), E_TOOBIG);
    return CELLAR_OK;
}

static void values(size_t n)
{
    const uint32_t flags[] = { 0, CELLAR_ONLY_IF_ABSENT, CELLAR_KEEP_OLD_VALUE, CELLAR_KEEP_TTL };
    ANSWERS(cellar_set(root, "v", 1, no, n, NULL), E_TOOBIG);
    ANSWERS(cellar_set(root, "v", 1, NULL, n, NULL), E_INVAL);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        set_as(n, flags[i], 0);
        set_as(n, flags[i], 1);
    }
    T_EQ_I64(cellar_set(root, "v", 1, "x", 1, NULL), CELLAR_OK);
    ANSWERS(cellar_set(root, "v", 1, no, n, NULL), E_TOOBIG); /* over an existing value */
    T_EQ_I64(cellar_set(root, "v", 1, "x", 1, NULL), CELLAR_OK);
    set_as(n, CELLAR_ONLY_IF_PRESENT, 0);
    set_with_bad_tags(n);
    ANSWERS(cellar_update(root, "v", 1, NULL, grow, &n), E_TOOBIG);
    ANSWERS(cellar_update(root, "v", 1, NULL, resize, &n), E_TOOBIG);
    int written = 0;
    ANSWERS(cellar_write_through(root, "v", 1, no, n, NULL, write_row, &written), E_TOOBIG);
    T_EQ_I64(written, 1);
    cellar_lease lease;
    cellar_result r = cellar_result_default();
    ANSWERS(cellar_lease_acquire(root, "lease", 5, NULL, NULL, &lease, &r), LEASED);
    ANSWERS(cellar_lease_fulfill(root, &lease, no, n, NULL), E_TOOBIG);
}

/* ---- results of loaders ---- */

typedef struct loading {
    size_t n;
    int how;
} loading;

static void never_free(void *value, void *ctx) { (void)ctx, (void)value; }

static cellar_err load_huge(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    const loading *l = ctx;
    void *p;
    const cellar_bytes tag = { no, l->n };
    cellar_set_opts o = { .struct_size = sizeof o, .tags = &tag,
                          .tag_count = l->how == 3 ? UINT32_MAX : 1 };
    (void)key, (void)key_len;
    switch (l->how) {
    case 0: return cellar_load_value(ld, no, l->n);
    case 1: return cellar_buf_resize(cellar_load_buf(ld), l->n, &p);
    case 2: return cellar_load_take(ld, no, l->n, never_free, NULL);
    default: ANSWERS(cellar_load_opts_set(ld, &o), E_INVAL); break;
    }
    return cellar_load_value(ld, "x", 1);
}

static cellar_err load_many_huge(cellar_load *ld, const cellar_bytes *key, size_t count, void *ctx)
{
    const loading *l = ctx;
    (void)key, (void)count;
    ANSWERS(loader_value(ld, l->n, "x", 1), E_INVAL);
    ANSWERS(loader_absent(ld, l->n), E_INVAL);
    ANSWERS(loader_fail(ld, l->n, 1), E_INVAL);
    ANSWERS(loader_value(ld, 0, no, l->n), E_TOOBIG);
    return CELLAR_OK;
}

static void loads(size_t n)
{
    loading l = { n, 0 };
    for (l.how = 0; l.how < 5; l.how++) {
        cellar_result r = cellar_result_default();
        const cellar_err err = cellar_get_or_load(root, "load", 4, NULL, load_huge, &l, &r);
        T_EQ_STR(cellar_code_name(err), l.how < 3 ? "E_TOOBIG" : "OK");
        cellar_result_free(&r);
        (void)cellar_delete(root, "load", 4);
    }
    cellar_load_item item = { "many", 4, fresh_result(), CELLAR_OK, 0 };
    ANSWERS(cellar_get_or_load_many(root, &item, 1, NULL, load_many_huge, &l), OK);
    ANSWERS(item.status, E_TOOBIG);
    cellar_result_free(item.result);
    const cellar_bytes instead = { no, n };
    cellar_result r = cellar_result_default();
    cellar_load_opts o = { .struct_size = sizeof o, .default_value = &instead };
    ANSWERS(cellar_get_or_load(root, "load", 4, &o, never_load, NULL, &r), E_INVAL);
}

/* ---- counts of items ---- */

/* More items than an address space holds: no array is that long. */
T_CASE_ON(impossible_item_count_is_refused, STORE)
{
    cellar_warm_report report = cellar_warm_report_default();
    cellar_warm_opts o = { .struct_size = sizeof o, .keys = no, .loader = never_load };
    for (size_t i = 0; i < 3; i++) {
        const size_t n = lengths[i];
        o.key_count = n;
        ANSWERS(cellar_get_many(root, no, n, NULL), E_INVAL);
        ANSWERS(cellar_set_many(root, no, n, NULL, NULL), E_INVAL);
        ANSWERS(cellar_delete_many(root, no, n, NULL), E_INVAL);
        ANSWERS(cellar_get_or_load_many(root, no, n, NULL, load_many_huge, NULL), E_INVAL);
        ANSWERS(cellar_warm(root, &o, &report), E_INVAL);
    }
}

/* ---- capacities: any is fine ---- */

T_CASE_ON(buffer_capacity_of_any_size_is_accepted, STORE)
{
    static char text[1 << 17];
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        const size_t n = lengths[i];
        char buf[64];
        size_t len = 0;
        cellar_get_item item = { "k", 1, buf, n, 0, CELLAR_OK, 0 };
        cellar_arg arg = cellar_arg_u64(7), back[1];
        T_CHECK(cellar_get(root, "k", 1, buf, n, &len) == CELLAR_OK && len == 5);
        T_CHECK(peek(root, "k", 1, buf, n, &len) == CELLAR_OK && len == 5);
        T_CHECK(cellar_get_with(root, "k", 1, NULL, buf, n, &len) == CELLAR_OK && len == 5);
        T_CHECK(cellar_get_many(root, &item, 1, NULL) == CELLAR_OK && item.value_len == 5);
        cellar_result r = { .struct_size = sizeof r, .buf = buf, .buf_cap = n };
        T_EQ_I64(cellar_get_or_load(root, "k", 1, NULL, never_load, NULL, &r), CELLAR_OK);
        T_CHECK(r.value_len == 5);
        cellar_result_free(&r);
        T_EQ_I64(cellar_memo_key("f", 1, &arg, 1, buf, n, &len), CELLAR_OK);
        T_EQ_I64(cellar_memo_parse(buf, len, NULL, NULL, back, n, NULL), CELLAR_OK);
        T_EQ_I64(cellar_metrics_write(root, text, n, &len), CELLAR_OK);
        T_CHECK(len < sizeof text);
        T_EQ_I64(cellar_dump_write(root, text, n, &len), CELLAR_OK);
        T_CHECK(len < sizeof text);
    }
}

/* ---- limiters and locks ---- */

static void limiter_keys(cellar_limiter *l, size_t n)
{
    const cellar_rule rule = cellar_rule_sliding_log(5, CELLAR_SECOND_NS);
    const cellar_limiter_link link = { l, no, n, 1 };
    cellar_limiter_result r;
    cellar_limiter_ticket t;
    uint64_t wait_ns;
    bool existed;
    cellar_check_opts with = cellar_check_opts_default();
    ANSWERS(cellar_limiter_check(l, no, n, 1, &r), E_INVAL);
    ANSWERS(cellar_limiter_check_with(l, no, n, 1, &with, &r), E_INVAL);
    with.rules = no;
    with.rule_count = UINT32_MAX;
    ANSWERS(cellar_limiter_check_with(l, "k", 1, 1, &with, &r), E_INVAL);
    ANSWERS(cellar_limiter_check_chain(&link, 1, &r, NULL), E_INVAL);
    ANSWERS(cellar_limiter_check_chain(no, UINT32_MAX, &r, NULL), E_INVAL);
    ANSWERS(cellar_limiter_wait(l, no, n, 1, 1, &r), E_INVAL);
    T_EQ_U64(cellar_limiter_fingerprint(l, no, n), 0);
    ANSWERS(cellar_limiter_reserve(l, no, n, 1, 1, &t, &wait_ns, &r), E_INVAL);
    ANSWERS(cellar_limiter_adjust(l, no, n, -1), E_INVAL);
    ANSWERS(cellar_limiter_adjust(l, no, n, 1), E_INVAL);
    ANSWERS(cellar_limiter_ban(l, no, n, 1), E_INVAL);
    ANSWERS(cellar_limiter_reset(l, no, n, &existed), E_INVAL);
    ANSWERS(cellar_limiter_rules_set(l, no, n, "plan", NULL, 0), E_INVAL);
    ANSWERS(cellar_limiter_rules_set(l, no, n, NULL, &rule, 1), E_INVAL);
    ANSWERS(cellar_limiter_rules_set(l, "k", 1, NULL, no, UINT32_MAX), E_INVAL);
    ANSWERS(cellar_limiter_rules_set(l, NULL, 0, NULL, no, UINT32_MAX), E_INVAL);
    ANSWERS(cellar_limiter_rules_set(l, NULL, 0, "plan", no, UINT32_MAX), E_INVAL);
    ANSWERS(cellar_user_limiter_check(l, no, n, 1, 1, &r), E_INVAL);
}

T_CASE_ON(limiter_checks_length_before_reading_key, STORE)
{
    static char text[1 << 16];
    size_t len;
    cellar_limiter *l, *permits;
    cellar_limiter_result r;
    uint64_t token;
    const cellar_rule conc = cellar_rule_concurrency(2);
    T_REQUIRE(cellar_user_limiter_open(NULL, &l) == CELLAR_OK);
    T_REQUIRE(cellar_limiter_open(NULL, &conc, 1, &permits) == CELLAR_OK);
    T_EQ_I64(cellar_limiter_check(l, "k", 1, 1, &r), CELLAR_OK);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        const size_t n = lengths[i];
        limiter_keys(l, n);
        ANSWERS(cellar_permit_acquire(permits, no, n, 5, &token, &r), E_INVAL);
        ANSWERS(cellar_permit_release(permits, no, n, 5), E_INVAL);
        ANSWERS(cellar_permit_extend(permits, no, n, 5, 5), E_INVAL);
        T_EQ_I64(cellar_metrics_write(l, text, n, &len), CELLAR_OK);
        T_EQ_I64(cellar_limiter_headers_write(l, &r, 15, text, n, &len), CELLAR_OK);
    }
    cellar_limiter *none;
    ANSWERS(cellar_limiter_open(NULL, no, UINT32_MAX, &none), E_INVAL);
    cellar_limiter_close(permits);
    cellar_limiter_close(l);
}

T_CASE_ON(lock_checks_length_before_reading_key, STORE)
{
    static char text[1 << 16];
    cellar_locks *t;
    cellar_lock lk;
    cellar_lock_info info = cellar_lock_info_default();
    T_REQUIRE(cellar_locks_open(NULL, &t) == CELLAR_OK);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        const size_t n = lengths[i];
        const cellar_bytes key[2] = { { "a", 1 }, { no, n } };
        cellar_lock two[2];
        size_t len;
        ANSWERS(cellar_lock_acquire(t, no, n, NULL, &lk), E_INVAL);
        ANSWERS(cellar_lock_info_get(t, no, n, &info), E_INVAL);
        ANSWERS(cellar_lock_acquire_many(t, key, 2, NULL, two), E_INVAL);
        ANSWERS(cellar_lock_acquire_many(t, no, n, NULL, no), E_INVAL);
        ANSWERS(cellar_lock_release_many(t, no, n), E_INVAL);
        T_EQ_I64(cellar_metrics_write(t, text, n, &len), CELLAR_OK);
    }
    cellar_locks_close(t);
}

/* ---- all of it in namespaces of both kinds ---- */

static void lengths_are_checked_first(uint32_t exact_age)
{
    set_up(exact_age);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        keys(lengths[i]);
        keys_apart(lengths[i]);
        values(lengths[i]);
        loads(lengths[i]);
    }
    tear_down();
}
T_CASE(key_length_is_checked_before_key_is_read) { lengths_are_checked_first(0); }
T_CASE(value_length_is_checked_before_value_is_read) { lengths_are_checked_first(1); }

T_MAIN("cache_huge")
