/* SPDX-License-Identifier: MIT
 *
 * Aim:    The text of a refused call names the call, the argument, its rule and the given number.
 * Method: One store; a row for each kind of argument. */
#include "tests/support/t.h"

#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_breaker.h"
#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "cellar_object.h"
#include "cellar_observe.h"
#include "tests/support/settings.h"

static cellar *root;
static cellar *other; /* a closed namespace */

static int64_t still(void *ctx)
{
    (void)ctx;
    return 1000;
}

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

T_CASE(last_error_is_kept_per_handle)
{
    cellar *v;
    cellar_error_info e = cellar_error_info_default();
    set_up();
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
    tear_down();
}

static const char *said(cellar_err given, cellar_err want)
{
    static cellar_error_info e;
    e = cellar_error_info_default();
    T_EQ_I64(given, want);
    T_EQ_I64(cellar_last_error(root, &e), CELLAR_OK);
    return e.text;
}

static cellar_err say_nothing(cellar_load *load, const void *key, size_t len, void *ctx)
{
    (void)load, (void)key, (void)len, (void)ctx;
    return CELLAR_OK;
}

T_CASE(refused_set_options_name_call_field_and_number)
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
        SET("flags has one that this call does not take, see its contract (got 512)",
            .flags = CELLAR_NO_STORE),
        SET("set CELLAR_ONLY_IF_ABSENT, or one of _PRESENT and _VERSION, not both",
            .flags = CELLAR_ONLY_IF_ABSENT | CELLAR_ONLY_IF_PRESENT),
#undef SET
    };
    cellar_set_item item = { "k", 1, "v", 1, CELLAR_OK, 0 };
    set_up();
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
    tear_down();
}

T_CASE(refused_options_of_namespaces_and_loads_name_field_and_number)
{
    const cellar_breaker_config broken = { .struct_size = sizeof broken, .failure_pct = 101 };
    const cellar_load_opts load = { .struct_size = sizeof load, .wait_timeout_ms = -2 };
    const cellar_ttl_class class = { "a", 0 };
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
#undef NAMED
    };
    cellar *c;
    cellar_result r = cellar_result_default();
    set_up();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char want[240];
        (void)snprintf(want, sizeof want, "cellar_namespace_open: %s", rows[i].text);
        T_EQ_STR(said(cellar_namespace_open(root, "n", &rows[i].o, &c), CELLAR_E_INVAL), want);
        settings cfg = { SETTINGS_SIZES, .config.root = &rows[i].o };
        T_EQ_I64(settings_open(&cfg, &c), CELLAR_E_INVAL);
        cellar_error_info e = cellar_error_info_default();
        T_EQ_I64(cellar_last_error(NULL, &e), CELLAR_OK);
        (void)snprintf(want, sizeof want, "cellar_open: root: %s", rows[i].text);
        T_EQ_STR(e.text, want);
    }
    T_EQ_STR(said(cellar_get_or_load(root, "k", 1, &load, say_nothing, NULL, &r), CELLAR_E_INVAL),
             "cellar_get_or_load: wait_timeout_ms must be 0 or more (got -2)");
    tear_down();
}

T_CASE(error_text_names_the_flag_and_the_number)
{
    char b[8];
    cellar_set_opts so = cellar_set_opts_default();
    cellar_get_opts go = cellar_get_opts_default();
    cellar_load_opts lo = cellar_load_opts_default();
    cellar_result r = cellar_result_default();
    set_up();
    so.flags = go.flags = lo.flags = 1u << 30;
    T_EQ_STR(said(cellar_get(root, NULL, 3, b, sizeof b, NULL), CELLAR_E_INVAL),
             "cellar_get: key must not be NULL (key_len is 3)");
    T_EQ_STR(said(cellar_set(root, "k", 1, "v", 1, &so), CELLAR_E_UNSUPPORTED),
             "cellar_set: flag 0x40000000 is unknown: this library and its header do not have it");
    T_EQ_STR(said(cellar_get_with(root, "k", 1, &go, b, sizeof b, NULL), CELLAR_E_UNSUPPORTED),
             "cellar_get_with: flag 0x40000000 is unknown: this library and its header do not have "
             "it");
    T_EQ_STR(said(cellar_get_or_load(root, "k", 1, &lo, say_nothing, NULL, &r), CELLAR_E_INVAL),
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
    tear_down();
}

static void free_nothing(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)object, (void)charge, (void)why, (void)ctx;
}

/* Calls of objects share code with those of bytes: each text has the name of the call. */
T_CASE(error_text_names_the_call_of_objects_and_of_closed_handles)
{
    cellar *v;
    cellar_held h;
    cellar_lease lease = { { 0 } };
    cellar_entry_info info = cellar_entry_info_default();
    cellar_error_info e = cellar_error_info_default();
    cellar_object_config of = cellar_object_config_default();
    of.free_fn = free_nothing;
    cellar_namespace_config config = cellar_namespace_config_default();
    config.object = &of;
    cellar_load_opts lo = cellar_load_opts_default();
    cellar_set_opts so = cellar_set_opts_default();
    set_up();
    T_EQ_I64(cellar_namespace_open(root, "v", &config, &v), CELLAR_OK);
    so.jitter_pct = 101;
#define NAMES(call, name) do { \
        T_CHECK((call) < 0); \
        T_EQ_I64(cellar_last_error(v, &e), CELLAR_OK); \
        T_EQ_MEM(e.text, name ":", sizeof name); \
    } while (0)
    NAMES(cellar_object_get_or_load(v, "k", 1, NULL, NULL, NULL, &h), "cellar_object_get_or_load");
    NAMES(cellar_object_lease_fulfill(v, &lease, &h, 1, &so), "cellar_object_lease_fulfill");
    NAMES(cellar_object_lease_fulfill(v, &lease, &h, 1, NULL), "cellar_object_lease_fulfill");
    NAMES(cellar_lease_release(v, &lease, 0), "cellar_lease_release");
    lo.hard_timeout_ms = -1;
    NAMES(cellar_object_get_or_load(v, "k", 1, &lo, NULL, NULL, &h), "cellar_object_get_or_load");
    NAMES(cellar_object_lease_acquire(v, "k", 1, &lo, NULL, &lease, &h),
          "cellar_object_lease_acquire");
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    v = other;
    NAMES(cellar_contains(v, "k", 1), "cellar_contains");
    NAMES(cellar_entry_info_get(v, "k", 1, 0, &info), "cellar_entry_info_get");
#undef NAMES
    tear_down();
}

T_ONE_THREAD;
T_MAIN("api_refusal_texts")
