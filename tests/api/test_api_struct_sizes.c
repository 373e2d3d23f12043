/* SPDX-License-Identifier: MIT
 *
 * Aim:    A caller and a library of different age work together. A field that an older caller
 *         lacks counts as zero. An unknown field of a newer caller is refused. Nothing is written
 *         behind a caller's struct. A struct_size that ends inside a field is refused.
 * Method: Every struct with every struct_size from 0 to its size + 64, in memory full of 0xAA: a
 *         read behind struct_size would show immediately. */
#include "cellar.h"
#include "cellar_entry.h"
#include "cellar_load.h"
#include "cellar_object.h"
#include "cellar_l2.h"
#include "cellar_limit.h"
#include "cellar_lock.h"
#include "cellar_observe.h"
#include "cellar_bloom.h"
#include "cellar_breaker.h"
#include "cellar_memo.h"
#include "cellar_admin.h"
#include "cellar_warm.h"
#include "tests/support/spaces.h"
#include "tests/support/struct_sizes.h"
#include "tests/support/settings.h"

static cellar *store;

static int64_t still(void *ctx) { (void)ctx; return 1000; }

static void open_store(void)
{
    settings cfg = settings_default();
    cfg.config.memory_bytes = 16u << 20; /* the smallest budget with an advisor */
    cfg.host.no_threads = 1;
    cfg.host.clock = still;
    T_REQUIRE(settings_open(&cfg, &store) == CELLAR_OK);
    T_REQUIRE(cellar_set(store, "k", 1, "value", 5, NULL) == CELLAR_OK);
}

static void close_store(void) { cellar_close(store); store = NULL; }

/* A call that must return OK with the struct `p`: to each kind of input struct there is one. */
#define CALL(name, type, call) static cellar_err name(void *p) { type *o = p; return call; }

static cellar_err use_config(void *p)
{
    cellar *c = NULL;
    cellar_err err = cellar_open((const cellar_config *)p, &c);
    if (err == CELLAR_OK) cellar_close(c);
    return err;
}

static cellar_err use_namespace_config(void *p)
{
    cellar *v = NULL;
    cellar_err err = cellar_namespace_open(store, "v", (const cellar_namespace_config *)p, &v);
    if (err == CELLAR_OK) cellar_namespace_close(v);
    return err;
}

/* The same with the struct as a part of another one. */
#define PART_OF_CONFIG(name, part) \
    static cellar_err name(void *p) \
    { \
        cellar_config o = cellar_config_default(); \
        o.part = p; \
        return use_config(&o); \
    }
#define PART_OF_NAMESPACE(name, part) \
    static cellar_err name(void *p) \
    { \
        cellar_namespace_config o = cellar_namespace_config_default(); \
        o.part = p; \
        return use_namespace_config(&o); \
    }
PART_OF_CONFIG(use_l2_config, l2)
PART_OF_CONFIG(use_host_config, host)
PART_OF_CONFIG(use_tuning_config, tuning)
PART_OF_NAMESPACE(use_namespace_load, load)
PART_OF_NAMESPACE(use_namespace_breaker, breaker)

/* Return OK for `code` if the struct ends before `size`: it lacks a field that must be set. */
static cellar_err short_is(cellar_err code, cellar_err err, const void *p, size_t size)
{
    size_t given;
    memcpy(&given, p, sizeof given);
    return err == code && given >= FIRST && given < size ? CELLAR_OK : err;
}

static void never_free(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)object, (void)charge, (void)why, (void)ctx;
}

static cellar_err use_object_config(void *p)
{
    cellar_namespace_config o = { .struct_size = sizeof o,
                                  .object = (const cellar_object_config *)p };
    cellar *v = NULL; /* not that of use_namespace_config, which holds bytes */
    const cellar_err err = cellar_namespace_open(store, "objects", &o, &v);
    if (err == CELLAR_OK) cellar_namespace_close(v);
    return short_is(CELLAR_E_INVAL, err, p, FIRST + 1); /* without free_fn */
}

static cellar_err use_breaker_config(void *p)
{
    cellar_breaker *b = NULL;
    cellar_err err = cellar_breaker_create(store, (const cellar_breaker_config *)p, &b);
    if (err == CELLAR_OK) cellar_breaker_destroy(b);
    return err;
}

CALL(use_set_opts, const cellar_set_opts, cellar_set(store, "s", 1, "x", 1, o))

static cellar_err use_delete_opts(void *p)
{
    T_EQ_I64(cellar_set(store, "d", 1, "x", 1, NULL), CELLAR_OK);
    return cellar_delete_with(store, "d", 1, (const cellar_delete_opts *)p);
}

static cellar_err use_get_opts(void *p)
{
    char buf[16];
    size_t len = 0;
    return cellar_get_with(store, "k", 1, (const cellar_get_opts *)p, buf, sizeof buf, &len);
}

static cellar_err load_x(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_value(load, "x", 1);
}

static cellar_err use_policy_rule(void *p)
{
    const cellar_err err = cellar_policy_set(store, (const cellar_policy_rule *)p, 1);
    return short_is(CELLAR_E_CONFIG, err, p, offsetof(cellar_policy_rule, pattern) + 1);
}

static cellar_err use_load_opts(void *p)
{
    cellar_result *r = fresh_result();
    const cellar_err err = cellar_get_or_load(store, "l", 1, p, load_x, NULL, r);
    cellar_result_free(r);
    return err;
}

static cellar_err load_args(cellar_load *load, const cellar_arg *args, size_t count, void *ctx)
{
    (void)args, (void)count, (void)ctx;
    return cellar_load_value(load, "x", 1);
}

static cellar_err use_memo_opts(void *p)
{
    cellar_result *r = fresh_result();
    const cellar_err err = cellar_memoize(store, "m", 1, NULL, 0, p, load_args, NULL, r);
    cellar_result_free(r);
    return err;
}

static cellar_warm_opts one_key(void)
{
    static const cellar_bytes key = { "w", 1 };
    cellar_warm_opts o = { .struct_size = sizeof o, .keys = &key, .key_count = 1,
                           .loader = load_x };
    return o;
}

/* A shorter struct has no keys or no loader. A report may count the failure, too. */
static cellar_err use_warm_opts(void *p)
{
    cellar_warm_report r = cellar_warm_report_default();
    const cellar_err err = cellar_warm(store, (const cellar_warm_opts *)p, &r);
    return short_is(CELLAR_E_INVAL, err, p, sizeof(cellar_warm_opts));
}

static int keep_bytes(const unsigned char *nonce, const void *aad, size_t aad_len,
                    const void *in, size_t in_len, void *out, void *ctx)
{
    (void)ctx, (void)nonce, (void)aad, (void)aad_len;
    memcpy(out, in, in_len);
    return 0;
}

/* A shorter struct lacks one of the two functions. */
static cellar_err use_crypt(void *p)
{
    cellar_l2_config disk = { .struct_size = sizeof disk, .cipher = (const cellar_l2_cipher *)p };
    return short_is(CELLAR_E_INVAL, use_l2_config(&disk), p, sizeof(cellar_l2_cipher));
}

T_CASE(config_of_every_size)
{
    cellar_config cfg = cellar_config_default();
    cfg.memory_bytes = CELLAR_MEMORY_MIN;
    check_in("cellar_config", &cfg, sizeof cfg, FIRST, use_config);
    CHECK_IN(cellar_l2_config, cellar_l2_config_default(), use_l2_config);
    CHECK_IN(cellar_host_config, cellar_host_config_default(), use_host_config);
    CHECK_IN(cellar_tuning_config, cellar_tuning_config_default(), use_tuning_config);
    cellar_l2_cipher crypt = { .struct_size = sizeof crypt, .seal = keep_bytes,
                               .open = keep_bytes };
    check_in("cellar_l2_cipher", &crypt, sizeof crypt, FIRST, use_crypt);
}

T_CASE(open_by_bounds_alone_has_these_bounds)
{
    cellar *c;
    T_REQUIRE(cellar_open_sized(UINT64_C(8) << 20, 100, &c) == CELLAR_OK);
    for (uint64_t id = 0; id < 1000; id++) {
        T_EQ_I64(cellar_set(c, &id, sizeof id, "value", 5, NULL), CELLAR_OK);
    }
    const cellar_stats st = store_stats(c);
    T_CHECK(st.entries > 50 && st.entries <= 100);
    T_EQ_U64(st.budget_bytes, UINT64_C(8) << 20);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_REQUIRE(cellar_open_sized(0, 0, &c) == CELLAR_OK); /* the defaults */
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

#define STORE(fn) T_WITHIN(fn, open_store(), close_store())

T_CASE_ON(namespace_options_of_every_struct_size_work, STORE)
{
    CHECK_IN(cellar_namespace_config, cellar_namespace_config_default(), use_namespace_config);
    CHECK_IN(cellar_load_opts, cellar_load_opts_default(), use_namespace_load);
    CHECK_IN(cellar_breaker_config, cellar_breaker_config_default(), use_namespace_breaker);
    CHECK_IN(cellar_breaker_config, cellar_breaker_config_default(), use_breaker_config);
    cellar_object_config objects = { .struct_size = sizeof objects, .free_fn = never_free };
    check_in("cellar_object_config", &objects, sizeof objects, FIRST, use_object_config);
}

T_CASE(call_options_of_every_struct_size_work)
{
    const cellar_warm_opts warm = one_key();
    open_store();
    CHECK_IN(cellar_set_opts, cellar_set_opts_default(), use_set_opts);
    CHECK_IN(cellar_get_opts, cellar_get_opts_default(), use_get_opts);
    CHECK_IN(cellar_delete_opts, cellar_delete_opts_default(), use_delete_opts);
    CHECK_IN(cellar_load_opts, cellar_load_opts_default(), use_load_opts);
    CHECK_IN(cellar_load_opts, cellar_load_opts_default(), use_memo_opts);
    check_in("cellar_warm_opts", &warm, sizeof warm, FIRST, use_warm_opts);
    cellar_policy_rule rule = { .struct_size = sizeof rule, .pattern = "none" };
    check_in("cellar_policy_rule", &rule, sizeof rule, FIRST, use_policy_rule);
    close_store();
}

/* The call must neither follow half a pointer nor read half a number. */
T_CASE(struct_size_inside_a_pointer_is_refused_by_name)
{
    cellar_config cfg = cellar_config_default();
    cellar *c = NULL;
    cfg.struct_size = offsetof(cellar_config, root) + 1;
    memset(&cfg.root, 0xAA, sizeof cfg.root);
    T_EQ_I64(cellar_open(&cfg, &c), CELLAR_E_ABI);
    T_CHECK(strstr(error_text(NULL), "cellar_open: struct_size") != NULL);
    cfg = cellar_config_default();
    cfg.abi = 0; /* not checked */
    T_EQ_I64(use_config(&cfg), CELLAR_OK);
    cfg.abi = CELLAR_ABI + 1;
    T_EQ_I64(use_config(&cfg), CELLAR_E_ABI);
}

/* A field of an older, shorter struct reaches the library; the same bytes behind it do not. */
T_CASE_ON(only_fields_within_struct_size_count, STORE)
{
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 5000 };
    T_EQ_I64(use_set_opts(lay_out(&o, sizeof o, offsetof(cellar_set_opts, idle_ms))), CELLAR_OK);
    const cellar_entry_info info = key_info(store, "s");
    T_CHECK(info.ttl_left_ms > 0 && info.ttl_left_ms <= 5000);
    T_EQ_I64(use_set_opts(lay_out(&o, sizeof o, offsetof(cellar_set_opts, ttl_ms))), CELLAR_OK);
    T_EQ_I64(key_info(store, "s").ttl_left_ms, CELLAR_TTL_NONE);
}

/* What a short struct leaves open is that of the acquire. The 0xAA behind it is no field. */
T_CASE_ON(options_of_a_fulfill_end_with_their_struct, STORE)
{
    static const cellar_set_opts none = { .struct_size = sizeof none };
    static int thing;
    cellar_object_config oc = { .struct_size = sizeof oc, .free_fn = never_free };
    cellar_load_opts lo = { .struct_size = sizeof lo, .ttl_ms = 5000, .jitter_pct = 100 };
    cellar_entry_info info = cellar_entry_info_default();
    cellar_result r = cellar_result_default();
    cellar_lease l;
    cellar_held held;
    cellar *v;
    uint64_t spread = 0;
    T_REQUIRE(cellar_namespace_open(store, "things", SPACE_OPTS(.object = &oc), &v) == CELLAR_OK);
    for (size_t n = FIRST; n <= sizeof none; n += FIRST) {
        T_EQ_I64(cellar_lease_acquire(store, &n, sizeof n, &lo, NULL, &l, &r), CELLAR_LEASED);
        T_EQ_I64(cellar_lease_fulfill(store, &l, "x", 1, lay_out(&none, sizeof none, n)),
                 CELLAR_OK);
        T_EQ_I64(cellar_entry_info_get(store, &n, sizeof n, 0, &info), CELLAR_OK);
        T_CHECK(info.ttl_left_ms <= 5000);
        spread += info.ttl_left_ms < 4900;
        T_EQ_I64(cellar_object_lease_acquire(v, &n, sizeof n, &lo, NULL, &l, &held),
                 CELLAR_LEASED);
        T_EQ_I64(cellar_lease_fulfill(v, &l, "x", 1, lay_out(&none, sizeof none, n)),
                 CELLAR_E_TYPE);
        T_EQ_I64(cellar_object_lease_fulfill(v, &l, &thing, 1, lay_out(&none, sizeof none, n)),
                 CELLAR_OK);
        T_EQ_I64(cellar_entry_info_get(v, &n, sizeof n, 0, &info), CELLAR_OK);
        T_CHECK(info.ttl_left_ms <= 5000);
    }
    T_CHECK(spread > sizeof none / FIRST / 2); /* the jitter of the acquire holds, too */
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
}

/* Output structs. */
CALL(fill_info, cellar_entry_info, cellar_entry_info_get(store, "k", 1, 0, o))
static cellar_err fill_info_of_get(void *p)
{
    cellar_get_opts o = { .struct_size = sizeof o, .info = (cellar_entry_info *)p };
    return use_get_opts(&o);
}
CALL(fill_stats, cellar_stats, cellar_stats_get(store, CELLAR_SCOPE_STORE, o))
CALL(fill_latency, cellar_latency, cellar_latency_get(store, CELLAR_OP_SET, o))
CALL(fill_error, cellar_error_info, cellar_last_error(store, o))
CALL(fill_bloom, cellar_bloom_info, cellar_bloom_info_get(store, o))
CALL(fill_reason, cellar_reason, cellar_why(store, "k", 1, o))
static cellar_err fill_advice(void *p)
{
    cellar_err err = cellar_advice_get(store, CELLAR_SCOPE_STORE, (cellar_advice *)p);
    return err == CELLAR_PENDING || err == CELLAR_DISABLED ? CELLAR_OK : err;
}
static cellar_err fill_warm(void *p)
{
    const cellar_warm_opts o = one_key();
    return cellar_warm(store, &o, (cellar_warm_report *)p);
}

static cellar_breaker *breaker;
CALL(fill_breaker, cellar_breaker_info, cellar_breaker_info_get(breaker, o))
T_CASE_ON(structs_handed_out_end_where_the_caller_says, STORE)
{
    check_out("cellar_entry_info", sizeof(cellar_entry_info), fill_info);
    check_out("cellar_entry_info of a get", sizeof(cellar_entry_info), fill_info_of_get);
    check_out("cellar_stats", sizeof(cellar_stats), fill_stats);
    check_out("cellar_latency", sizeof(cellar_latency), fill_latency);
    check_out("cellar_error_info", sizeof(cellar_error_info), fill_error);
    check_out("cellar_bloom_info", sizeof(cellar_bloom_info), fill_bloom);
    check_out("cellar_reason", sizeof(cellar_reason), fill_reason);
    check_out("cellar_advice", sizeof(cellar_advice), fill_advice);
    check_out("cellar_warm_report", sizeof(cellar_warm_report), fill_warm);
    T_REQUIRE(cellar_breaker_create(store, NULL, &breaker) == CELLAR_OK);
    check_out("cellar_breaker_info", sizeof(cellar_breaker_info), fill_breaker);
    cellar_breaker_destroy(breaker);
}

/* A result must have at least the size it had in 0.2; what a newer caller has behind is its own. */
T_CASE_ON(results_from_their_first_size_on_are_filled, STORE)
{
    for (size_t n = 0; n <= sizeof(cellar_result) + BEHIND; n++) {
        const cellar_result init = cellar_result_default();
        cellar_result *r = lay_out(&init, sizeof init, n);
        const bool enough = n >= sizeof init;
        memset(room.bytes + (n < sizeof init ? n : sizeof init), 0xAA, BEHIND);
        const cellar_err err = cellar_get_or_load(store, "k", 1, NULL, load_x, NULL, r);
        bool ok = T_EQ_I64(err, enough ? CELLAR_OK : CELLAR_E_INVAL);
        ok = T_CHECK(untouched_from(enough ? sizeof init : n)) && ok;
        if (enough) {
            ok = T_EQ_MEM(r->value, "value", 5) && ok;
            ok = T_EQ_U64(r->struct_size, n) && ok;
            cellar_result_free(r);
        }
        if (!ok) { printf("# cellar_result with struct_size %zu\n", n); }
    }
}

/* ---- limiters and locks ---- */

static cellar_limiter *limiter;
static cellar_locks *locks;

static cellar_err use_limiter_config(void *p)
{
    const cellar_rule rule = cellar_rule_token_bucket(100, CELLAR_SECOND_NS, 20);
    cellar_limiter *l = NULL;
    cellar_err err = cellar_limiter_open((const cellar_limiter_config *)p, &rule, 1, &l);
    if (err == CELLAR_OK) cellar_limiter_close(l);
    return err;
}

static cellar_err use_locks_config(void *p)
{
    cellar_locks *t = NULL;
    cellar_err err = cellar_locks_open((const cellar_locks_config *)p, &t);
    if (err == CELLAR_OK) cellar_locks_close(t);
    return err;
}

static cellar_err use_lock_opts(void *p)
{
    cellar_lock lk;
    cellar_err err = cellar_lock_acquire(locks, "k", 1, (const cellar_lock_opts *)p, &lk);
    return err == CELLAR_OK ? cellar_lock_release(locks, &lk) : err;
}

CALL(use_check_opts, const cellar_check_opts,
     cellar_limiter_check_with(limiter, "k", 1, 0, o, NULL))
CALL(fill_limiter, cellar_limiter_stats, cellar_limiter_stats_get(limiter, o))
CALL(fill_lock, cellar_lock_info, cellar_lock_info_get(locks, "held", 4, o))
CALL(fill_locks, cellar_locks_stats, cellar_locks_stats_get(locks, o))

T_CASE(structs_of_limiters_of_every_size_work)
{
    const cellar_rule rule = cellar_rule_token_bucket(100, CELLAR_SECOND_NS, 20);
    cellar_limiter_config cfg = cellar_limiter_config_default();
    check_in("cellar_limiter_config", &cfg, sizeof cfg, FIRST, use_limiter_config);
    cfg.abi = 0; /* not checked */
    T_EQ_I64(use_limiter_config(&cfg), CELLAR_OK);
    cfg.abi = CELLAR_ABI + 1;
    T_EQ_I64(use_limiter_config(&cfg), CELLAR_E_ABI);
    T_REQUIRE(cellar_limiter_open(NULL, &rule, 1, &limiter) == CELLAR_OK);
    CHECK_IN(cellar_check_opts, cellar_check_opts_default(), use_check_opts);
    check_out("cellar_limiter_stats", sizeof(cellar_limiter_stats), fill_limiter);
    cellar_limiter_close(limiter);
}

T_CASE(structs_of_locks_of_every_size_work)
{
    cellar_lock lk;
    CHECK_IN(cellar_locks_config, cellar_locks_config_default(), use_locks_config);
    T_REQUIRE(cellar_locks_open(NULL, &locks) == CELLAR_OK);
    CHECK_IN(cellar_lock_opts, cellar_lock_opts_default(), use_lock_opts);
    T_REQUIRE(cellar_lock_acquire(locks, "held", 4, NULL, &lk) == CELLAR_OK);
    check_out("cellar_lock_info", sizeof(cellar_lock_info), fill_lock);
    check_out("cellar_locks_stats", sizeof(cellar_locks_stats), fill_locks);
    T_EQ_I64(cellar_lock_release(locks, &lk), CELLAR_OK);
    cellar_locks_close(locks);
}

#define STRUCTS(X) \
    X(cellar_namespace_config) X(cellar_config) X(cellar_set_opts) X(cellar_error_info) \
    X(cellar_entry_info) X(cellar_get_opts) X(cellar_delete_opts) X(cellar_result) \
    X(cellar_load_opts) X(cellar_l2_cipher) X(cellar_l2_config) X(cellar_stats) X(cellar_latency) \
    X(cellar_advice) X(cellar_reason) X(cellar_bloom_info) X(cellar_breaker_config) \
    X(cellar_breaker_info) X(cellar_host_config) X(cellar_tuning_config) X(cellar_warm_opts) \
    X(cellar_warm_report) X(cellar_limiter_config) X(cellar_check_opts) X(cellar_limiter_stats) \
    X(cellar_locks_config) X(cellar_lock_opts) X(cellar_lock_info) X(cellar_locks_stats)

/* Zero bytes and the size are the defaults: callers in other languages rely on it. */
T_CASE(zeroed_structs_with_a_size_are_the_defaults)
{
#define MADE(type) const type made_##type = type##_default();
#define ROW(type) { #type, sizeof(type), &made_##type, offsetof(type, struct_size) },
    STRUCTS(MADE)
    const struct { const char *name; size_t size; const void *made; size_t at; } all[] = {
        STRUCTS(ROW)
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const uint32_t abi = CELLAR_ABI;
        T_EQ_U64(all[i].at, 0);
        T_REQUIRE(all[i].size <= ROOM);
        memset(room.bytes, 0, all[i].size);
        memcpy(room.bytes, &all[i].size, sizeof all[i].size);
        const bool limits = strcmp(all[i].name, "cellar_limiter_config") == 0;
        if (limits || strcmp(all[i].name, "cellar_config") == 0) {
            memcpy(room.bytes + (limits ? offsetof(cellar_limiter_config, abi)
                                        : offsetof(cellar_config, abi)), &abi, sizeof abi);
        }
        if (!T_EQ_MEM(all[i].made, room.bytes, all[i].size)) { printf("# %s\n", all[i].name); }
    }
}

T_MAIN("api_struct_sizes")
