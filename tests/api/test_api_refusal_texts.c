/* SPDX-License-Identifier: MIT
 *
 * Aim:    The text of a refused call names the call, the argument, its rule and the given number.
 * Method: One store; a row for each kind of argument. */
#include "tests/support/settings.h"
#include "tests/support/spaces.h"

#include "cellar_breaker.h"
#include "cellar_invalidate.h"
#include "cellar_memo.h"
#include "cellar_object.h"

static cellar *root;
static cellar *other; /* a closed namespace */

static int64_t still(void *ctx) { (void)ctx; return 1000; }

static void set_up(void)
{
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 4u << 20,
                     .tuning.max_value_bytes = 4096, .host.no_threads = 1, .host.clock = still };
    T_REQUIRE(settings_open(&cfg, &root) == CELLAR_OK);
    T_REQUIRE(cellar_set_str(root, "k", "value", 0) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(root, "gone", NULL, &other) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_close(other) == CELLAR_OK);
}

static void tear_down(void) { T_EQ_I64(cellar_close(root), CELLAR_OK); }

#define STORE(fn) T_WITHIN(fn, set_up(), tear_down())

T_CASE_ON(last_error_is_kept_per_handle, STORE)
{
    cellar *v;
    cellar_error_info e = cellar_error_info_default();
    T_EQ_I64(cellar_namespace_open(root, "v", NULL, &v), CELLAR_OK);
    T_EQ_I64(cellar_last_error(v, &e), CELLAR_OK);
    T_EQ_I64(e.code, CELLAR_OK);
    T_EQ_I64(cellar_touch(v, "k", 1, -1), CELLAR_E_INVAL);
    T_EQ_I64(cellar_last_error(v, &e), CELLAR_OK);
    T_EQ_I64(e.code, CELLAR_E_INVAL);
    T_CHECK(strstr(e.text, "ttl") != NULL);
    T_EQ_I64(cellar_last_error(root, &e), CELLAR_OK);
    T_EQ_I64(e.code, CELLAR_OK);
    e.struct_size = 3;
    T_EQ_I64(cellar_last_error(v, &e), CELLAR_E_INVAL);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
}

static const char *said(cellar_err given, cellar_err want)
{
    T_EQ_I64(given, want);
    return error_text(root);
}

static cellar_err say_nothing(cellar_load *load, const void *key, size_t len, void *ctx)
{
    (void)load, (void)key, (void)len, (void)ctx;
    return CELLAR_OK;
}

static cellar_err say_no_more(cellar_load *load, const cellar_arg *args, size_t count, void *ctx)
{
    (void)load, (void)args, (void)count, (void)ctx;
    return CELLAR_OK;
}

T_CASE_ON(refused_set_options_name_call_field_and_number, STORE)
{
    const cellar_bytes long_tag = { "t", 129 };
    const struct { cellar_set_opts o; const char *text; } rows[] = {
#define SET(text, ...) { { .struct_size = sizeof(cellar_set_opts), __VA_ARGS__ }, text }
        SET("ttl_ms must be 0 or more (got -5)", .ttl_ms = -5),
        SET("idle_ms must be 0 or more (got -1)", .idle_ms = -1),
        SET("idle_ms must be at most 2^32 - 1 (got 4294967296)", .idle_ms = INT64_C(1) << 32),
        SET("stale_ms must be at most 2^32 - 1 (got 4294967296)", .stale_ms = INT64_C(1) << 32),
        SET("max_age_ms must be 0 or more (got -9)", .max_age_ms = -9),
        SET("max_age_ms needs an idle_ms, or use ttl_ms (got 9)", .max_age_ms = 9),
        SET("jitter_pct must be 0..100 (got 101)", .jitter_pct = 101),
        SET("jitter_mode must be 0..2 (got 3)", .jitter_mode = (cellar_jitter)3),
        SET("tag_count must be 0..16, and 0 if tags is NULL (got 1)", .tag_count = 1),
        SET("a tag must have 1..128 bytes (got 129)", .tags = &long_tag, .tag_count = 1),
        SET("ttl_class is no class of this namespace: see cellar_ttl_class_find (got 4)",
            .ttl_class = 4),
        SET("CELLAR_ONLY_IF_VERSION needs an if_version from 1, a cellar_entry_info.version",
            .flags = CELLAR_ONLY_IF_VERSION),
        SET("CELLAR_DURABLE needs a working disk tier, and not CELLAR_L2_SYNC_MANUAL",
            .flags = CELLAR_DURABLE),
        SET("flags has one that this call does not take, see its contract (got 512)",
            .flags = CELLAR_NO_STORE),
        SET("set CELLAR_ONLY_IF_ABSENT, or one of _PRESENT and _VERSION, not both",
            .flags = CELLAR_ONLY_IF_ABSENT | CELLAR_ONLY_IF_PRESENT),
#undef SET
    };
    cellar_set_item item = { "k", 1, "v", 1, CELLAR_OK, 0 };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char want[240];
        const cellar_err err = cellar_set(root, "k", 1, "v", 1, &rows[i].o);
        (void)snprintf(want, sizeof want, "cellar_set: %s", rows[i].text);
        T_EQ_STR(said(err, err), want);
        T_CHECK(err < 0);
        T_EQ_I64(cellar_set_many(root, &item, 1, &rows[i].o, NULL), err);
        (void)snprintf(want, sizeof want, "cellar_set_many: %s", rows[i].text);
        T_EQ_STR(said(err, err), want);
    }
}

T_CASE_ON(refused_options_of_namespaces_and_loads_name_field_and_number, STORE)
{
    const cellar_breaker_config broken = { .struct_size = sizeof broken, .failure_pct = 101 };
    const cellar_load_opts load = { .struct_size = sizeof load, .wait_timeout_ms = -2 };
    const cellar_ttl_class class = { "a", 0 };
    const cellar_object_config kept = { .struct_size = sizeof kept }, unsized = { 0 };
    const struct { cellar_namespace_config o; const char *text; } rows[] = {
#define NAMED(text, ...) { { .struct_size = sizeof(cellar_namespace_config), __VA_ARGS__ }, text }
        NAMED("negative_ttl_ms must be 0 or more (got -2)", .negative_ttl_ms = -2),
        NAMED("quota_max_pct must be 0..100 (got 101)", .quota_max_pct = 101),
        NAMED("bloom_keys must be at most 2^40 (got 18446744073709551615)",
              .bloom_keys = UINT64_MAX),
        NAMED("log_level must be 0..5, a cellar_log_level (got 6)", .log_level = 6),
        NAMED("ttl_ms of a TTL class must be at least 1 (got 0)", .ttl_classes = &class,
              .ttl_class_count = 1),
        NAMED("breaker.failure_pct must be 1..100 (got 101)", .breaker = &broken),
        NAMED("load.wait_timeout_ms must be 0 or more (got -2)", .load = &load),
        NAMED("object.free_fn must not be NULL: it frees an object", .object = &kept),
        NAMED("object: start from cellar_object_config_default()", .object = &unsized),
#undef NAMED
    };
    cellar *c;
    cellar_result r = cellar_result_default();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char want[240];
        (void)snprintf(want, sizeof want, "cellar_namespace_open: %s", rows[i].text);
        T_EQ_STR(said(cellar_namespace_open(root, "n", &rows[i].o, &c), CELLAR_E_INVAL), want);
        settings cfg = { SETTINGS_SIZES, .config.root = &rows[i].o };
        T_EQ_I64(settings_open(&cfg, &c), CELLAR_E_INVAL);
        (void)snprintf(want, sizeof want, "cellar_open: root: %s", rows[i].text);
        T_EQ_STR(error_text(NULL), want);
    }
    T_EQ_STR(said(cellar_get_or_load(root, "k", 1, &load, say_nothing, NULL, &r), CELLAR_E_INVAL),
             "cellar_get_or_load: wait_timeout_ms must be 0 or more (got -2)");
}

T_CASE_ON(error_text_names_the_flag_and_the_number, STORE)
{
    char b[8];
    cellar_get_opts go = { .struct_size = sizeof go, .flags = 1u << 30 };
    cellar_result r = cellar_result_default();
    T_EQ_STR(said(cellar_get(root, NULL, 3, b, sizeof b, NULL), CELLAR_E_INVAL),
             "cellar_get: key must not be NULL (key_len is 3)");
    T_EQ_STR(said(cellar_set(root, "k", 1, "v", 1, SET_OPTS(.flags = 1u << 30)),
                  CELLAR_E_UNSUPPORTED),
             "cellar_set: flag 0x40000000 is unknown: this library and its header do not have it");
    T_EQ_STR(said(cellar_get_with(root, "k", 1, &go, b, sizeof b, NULL), CELLAR_E_UNSUPPORTED),
             "cellar_get_with: flag 0x40000000 is unknown: this library and its header do not have "
             "it");
    T_EQ_STR(said(cellar_get_or_load(root, "k", 1, LOAD_OPTS(.flags = 1u << 30), say_nothing, NULL, &r),
                  CELLAR_E_INVAL),
             "cellar_get_or_load: flags has an unknown bit: this library and its header do not "
             "have it (got 1073741824)");
    T_EQ_STR(said(cellar_get_or_load(root, "n", 1, NULL, say_nothing, NULL, &r),
                  CELLAR_E_NO_RESULT),
             "load: the loader returned without a result: let it call cellar_load_value, _absent "
             "or _fail");
    cellar_lease none = { { 0 } };
    T_EQ_STR(said(cellar_lease_fulfill(root, &none, "v", 1, NULL), CELLAR_E_LEASE),
             "cellar_lease_fulfill: no such lease of this namespace: it was used, or "
             "hard_timeout_ms passed");
    /* A normal race, no mistake: the text before stays. */
    T_EQ_STR(said(cellar_lease_unsubscribe(root, &none), CELLAR_E_LEASE),
             "cellar_lease_fulfill: no such lease of this namespace: it was used, or "
             "hard_timeout_ms passed");
    T_EQ_STR(said(cellar_delete_by_tag(root, "t", SIZE_MAX, CELLAR_TAG_HARD), CELLAR_E_INVAL),
             "cellar_delete_by_tag: tag must have 1..128 bytes (got 18446744073709551615)");
    T_EQ_STR(said(cellar_delete_by_tag(root, "t", 129, CELLAR_TAG_HARD), CELLAR_E_INVAL),
             "cellar_delete_by_tag: tag must have 1..128 bytes (got 129)");
    T_EQ_STR(said(cellar_object_acquire(root, "k", 1, &(cellar_held){ 0 }), CELLAR_E_TYPE),
             "cellar_object_acquire: the namespace holds bytes: objects need "
             "cellar_namespace_config.object");
    T_EQ_STR(said(cellar_option_set(root, CELLAR_OPT_ENABLED, 7), CELLAR_E_INVAL),
             "cellar_option_set: value must be at most 1 (got 7)");
    T_EQ_STR(said(cellar_option_set(root, (cellar_option)999, 7), CELLAR_E_INVAL),
             "cellar_option_set: option is unknown (got 999)");
}

/* Check the code and the text of a call, which begins with its name. */
static void refused(const char *call, cellar_err err, cellar_err want, const char *text)
{
    char whole[240];
    (void)snprintf(whole, sizeof whole, "%.*s: %s", (int)strcspn(call, "("), call, text);
    T_EQ_STR(said(err, want), whole);
}
#define REFUSED(code, call, text) refused(#call, (call), (code), text)
#define WRONG(call, text) REFUSED(CELLAR_E_INVAL, call, text)

/* Wrong calls as the contracts name them: the text has the call, the argument and its rule. */
T_CASE_ON(wrong_call_names_itself_its_argument_and_the_rule, STORE)
{
    char b[8], long_name[66];
    size_t n;
    int64_t number;
    cellar *ns;
    cellar_pinned pin;
    cellar_result r = cellar_result_default();
    cellar_reason why = cellar_reason_default();
    cellar_entry_info info = cellar_entry_info_default();
    cellar_stats stats = cellar_stats_default();
    cellar_get_opts short_get = { .struct_size = 3 };
    const cellar_set_opts heavy = { .struct_size = sizeof heavy,
                                    .weight_bytes = UINT64_C(1) << 40 };
    memset(long_name, 'n', 65);
    long_name[65] = '\0';
    WRONG(cellar_get(root, "k", 1, NULL, 8, &n), "buf must not be NULL with buf_cap > 0");
    WRONG(cellar_get_with(root, "k", 1, &short_get, b, 8, &n),
          "start from cellar_get_opts_default()");
    WRONG(cellar_get_str(root, NULL, b, 8), "key must not be NULL (key_len is 1)");
    WRONG(cellar_get_range(root, "k", 1, 0, b, 8, NULL),
          "total must not be NULL, nor buf with buf_cap > 0");
    WRONG(cellar_set(root, "", 0, "v", 1, NULL), "key must have 1..65,535 bytes (got 0)");
    WRONG(cellar_set(root, "k", 1, NULL, 1, NULL),
          "value must not be NULL; a negative entry has no value");
    WRONG(cellar_set_str(root, "k", NULL, 0), "value must not be NULL");
    WRONG(cellar_increment(root, "", 0, 1, 0, NULL, &number),
          "key must have 1..65,535 bytes (got 0)");
    REFUSED(CELLAR_E_TYPE, cellar_increment(root, "k", 1, 1, 0, NULL, &number),
                           "the value is no counter of 8 bytes: set it");
    REFUSED(CELLAR_E_TOOBIG, cellar_set(root, "k", 1, "v", 1, &heavy),
                             "weight_bytes must be at most half of memory_bytes: raise "
                             "memory_bytes (got 1099511627776)");
    WRONG(cellar_update(root, "k", 1, NULL, NULL, NULL), "fn must not be NULL");
    WRONG(cellar_touch(root, "k", 1, -5), "ttl_ms must be 0 or more (got -5)");
    WRONG(cellar_delete(root, NULL, 1), "key must not be NULL (key_len is 1)");
    WRONG(cellar_delete_many(root, NULL, 3, &n),
          "items must not be NULL, nor count items be more than memory can have");
    WRONG(cellar_contains(root, "", 0), "key must have 1..65,535 bytes (got 0)");
    WRONG(cellar_pin(root, "k", 1, NULL), "out must not be NULL");
    WRONG(cellar_reserve(root, 0, &pin), "c and out must not be NULL, value_len not 0");
    REFUSED(CELLAR_E_UNSUPPORTED, cellar_entry_info_get(root, "k", 1, 8, &info),
                                  "flags may be CELLAR_GET_WANT_VERSION and CELLAR_GET_TAKE_HITS");
    WRONG(cellar_namespace_open(root, long_name, NULL, &ns), "name must have 1..64 bytes (got 65)");
    WRONG(cellar_namespace_close(root), "c is the root handle: call cellar_close");
    WRONG(cellar_delete_by_tag(root, "t", 1, (cellar_tag_mode)7),
          "mode must be 0 or 1, a cellar_tag_mode (got 7)");
    WRONG(cellar_delete_by_pattern(root, NULL, 3, NULL), "c and pattern must not be NULL");
    WRONG(cellar_get_or_load(root, "n", 1, NULL, NULL, NULL, &r),
          "no loader: set fn, or namespace loader");
    WRONG(cellar_get_or_load(root, "n", 1, NULL, say_nothing, NULL, NULL),
          "start from cellar_result_default(), with buf if buf_cap is set");
    WRONG(cellar_stats_get(root, (cellar_scope)99, &stats),
          "out must not be NULL, scope be a cellar_scope (got 99)");
    WRONG(cellar_why(root, "", 0, &why), "key must have 1..65,535 bytes (got 0)");
    WRONG(cellar_option_set(root, CELLAR_OPT_MEMORY_BYTES, 3),
          "memory_bytes must be at least 1 MiB (got 3)");
    WRONG(cellar_scan(root, NULL, NULL, NULL, NULL), "c, cursor and fn must not be NULL");
    REFUSED(CELLAR_E_NOT_FOUND, cellar_listener_remove(root, 99), "no listener has this id");
    WRONG(cellar_policy_set(root, NULL, 3), "rules must not be NULL");
    REFUSED(CELLAR_E_SPACE, cellar_memory_charge(root, INT64_C(1) << 40),
                            "bytes does not fit: raise memory_bytes (got 1099511627776)");
    T_EQ_I64(cellar_memoize(root, "f", 1, NULL, 17, NULL, NULL, NULL, &r), CELLAR_E_INVAL);
    T_EQ_STR(error_text(NULL), "cellar_memoize: c and fn must not be NULL");
    T_EQ_I64(cellar_memoize(root, "f", 1, NULL, 17, NULL, say_no_more, NULL, &r), CELLAR_E_INVAL);
    T_EQ_STR(error_text(NULL),
             "cellar_memoize: name must have 1..255 bytes, args be at most 16 of a "
             "cellar_arg kind, and the key of them have at most 65,535 bytes");
}

static char long_value[4097];

static cellar_err put_too_much(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)old, (void)old_len, (void)ctx;
    return cellar_buf_append(out, long_value, sizeof long_value);
}

static cellar_err load_too_much(cellar_load *load, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len;
    return *(int *)ctx == 0 ? cellar_load_value(load, long_value, sizeof long_value)
                            : cellar_buf_append(cellar_load_buf(load), long_value,
                                                sizeof long_value);
}

T_CASE_ON(too_long_value_names_the_call_the_bound_and_its_length, STORE)
{
#define BOUND ": the value must have at most 4096 bytes: raise tuning.max_value_bytes (got 4097)"
    cellar_lease lease;
    cellar_pinned pin;
    cellar_result r = cellar_result_default();
    cellar_set_item item = { "k", 1, long_value, sizeof long_value, CELLAR_OK, 0 };
    T_EQ_STR(said(cellar_set(root, "k", 1, long_value, sizeof long_value, NULL), CELLAR_E_TOOBIG),
             "cellar_set" BOUND);
    T_EQ_I64(cellar_set_many(root, &item, 1, NULL, NULL), CELLAR_OK);
    T_EQ_STR(said(item.status, CELLAR_E_TOOBIG), "cellar_set_many" BOUND);
    T_EQ_STR(said(cellar_update(root, "k", 1, NULL, put_too_much, NULL), CELLAR_E_TOOBIG),
             "cellar_update" BOUND);
    T_EQ_STR(said(cellar_reserve(root, sizeof long_value, &pin), CELLAR_E_TOOBIG),
             "cellar_reserve" BOUND);
    T_EQ_I64(cellar_lease_acquire(root, "l", 1, NULL, NULL, &lease, &r), CELLAR_LEASED);
    T_EQ_STR(said(cellar_lease_fulfill(root, &lease, long_value, sizeof long_value, NULL),
                  CELLAR_E_TOOBIG), "cellar_lease_fulfill" BOUND);
    for (int how = 0; how < 2; how++) {
        T_EQ_STR(said(cellar_get_or_load(root, "n", 1, NULL, load_too_much, &how, &r),
                      CELLAR_E_TOOBIG), how == 0 ? "cellar_load_value" BOUND
                                                 : "cellar_load_buf" BOUND);
    }
#undef BOUND
}

static unsigned depth;

static cellar_err load_itself(cellar_load *load, const void *key, size_t len, void *ctx)
{
    (void)ctx;
    cellar_result r = cellar_result_default();
    T_EQ_STR(said(cellar_get_or_load(root, key, len, NULL, load_itself, NULL, &r),
                  CELLAR_E_DEADLOCK),
             "load: this thread loads the key already, or the load of the key waits for this "
             "thread: do not load it inside its loader, or set CELLAR_LOAD_RECURSE");
    return cellar_load_absent(load);
}

static cellar_err load_another(cellar_load *load, const void *key, size_t len, void *ctx)
{
    const char next[2] = { 'd', (char)depth++ };
    cellar_result r = cellar_result_default();
    (void)key, (void)len, (void)ctx;
    const cellar_err err = cellar_get_or_load(root, next, 2, NULL, load_another, NULL, &r);
    if (err != CELLAR_ABSENT) {
        T_EQ_STR(said(err, CELLAR_E_DEPTH),
                 "load: at most 16 loads run in each other, 1,000 with CELLAR_LOAD_RECURSE: load "
                 "fewer keys inside a loader");
    }
    return cellar_load_absent(load);
}

T_CASE_ON(load_inside_a_loader_that_may_not_begin_has_a_text, STORE)
{
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(root, "self", 4, NULL, load_itself, NULL, &r), CELLAR_ABSENT);
    T_EQ_I64(cellar_get_or_load(root, "deep", 4, NULL, load_another, NULL, &r), CELLAR_ABSENT);
    T_EQ_U64(depth, 16);
}

/* A load takes memory of the budget itself, the first one of a store most. */
T_CASE_ON(load_without_room_for_the_call_names_the_budget, STORE)
{
    int64_t charged = 0;
    cellar_result r = cellar_result_default();
    for (int64_t bytes = 1 << 20; bytes != 0;) {
        if (cellar_memory_charge(root, bytes) == CELLAR_OK) { charged += bytes; } else { bytes /= 2; }
    }
    T_EQ_STR(said(cellar_get_or_load(root, "n", 1, NULL, say_nothing, NULL, &r), CELLAR_E_NOMEM),
             "load: no memory for the call: raise memory_bytes if it is full");
    T_EQ_I64(cellar_memory_charge(root, -charged), CELLAR_OK);
}

static void free_nothing(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)object, (void)charge, (void)why, (void)ctx;
}

/* Calls of objects share code with those of bytes: each text has the name of the call. */
T_CASE_ON(error_text_names_the_call_of_objects_and_of_closed_handles, STORE)
{
    cellar *v;
    cellar_held h;
    cellar_lease lease = { { 0 } };
    cellar_entry_info info = cellar_entry_info_default();
    cellar_object_config of = { .struct_size = sizeof of, .free_fn = free_nothing };
    const cellar_load_opts *lo = LOAD_OPTS(.hard_timeout_ms = -1);
    const cellar_set_opts *so = SET_OPTS(.jitter_pct = 101);
    T_EQ_I64(cellar_namespace_open(root, "v", SPACE_OPTS(.object = &of), &v), CELLAR_OK);
#define NAMES(call) do { \
        T_CHECK((call) < 0); \
        T_EQ_MEM(error_text(v), #call, strcspn(#call, "(")); \
        T_EQ_I64(error_text(v)[strcspn(#call, "(")], ':'); \
    } while (0)
    NAMES(cellar_object_get_or_load(v, "k", 1, NULL, NULL, NULL, &h));
    NAMES(cellar_object_lease_fulfill(v, &lease, &h, 1, so));
    NAMES(cellar_object_lease_fulfill(v, &lease, &h, 1, NULL));
    NAMES(cellar_lease_release(v, &lease, 0));
    NAMES(cellar_object_get_or_load(v, "k", 1, lo, NULL, NULL, &h));
    NAMES(cellar_object_lease_acquire(v, "k", 1, lo, NULL, &lease, &h));
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    v = other;
    NAMES(cellar_contains(v, "k", 1));
    NAMES(cellar_entry_info_get(v, "k", 1, 0, &info));
#undef NAMES
}

T_ONE_THREAD;
T_MAIN("api_refusal_texts")
