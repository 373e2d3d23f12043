/* SPDX-License-Identifier: MIT
 *
 * Aim:    Every public function refuses bad arguments with the code of its contract. A refused call
 *         changes nothing.
 * Method: One store with one entry; a table of calls that must fail. After each call the entry, the
 *         number of entries and the counters of sets and deletes are as before. */
#include "tests/support/counter.h"
#include "tests/support/each_call.h"
#include "tests/support/scan.h"
#include "tests/support/told.h"


static cellar *root;
static cellar *other; /* a closed namespace */

static const uint8_t long_key[CELLAR_KEY_MAX + 1] = { 1 };
static char long_name[CELLAR_NAME_MAX + 2];

static int64_t still(void *ctx) { (void)ctx; return 1000; }

static void set_up(void)
{
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 4u << 20,
                     .tuning.max_value_bytes = 4096, .host.no_threads = 1, .host.clock = still };
    T_REQUIRE(settings_open(&cfg, &root) == CELLAR_OK);
    T_REQUIRE(cellar_set(root, "k", 1, "value", 5, NULL) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(root, "gone", NULL, &other) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_close(other) == CELLAR_OK);
    memset(long_name, 'n', sizeof long_name - 1);
}

static void tear_down(void)
{
    T_EQ_I64(cellar_integrity_check(root), CELLAR_OK);
    T_EQ_I64(cellar_close(root), CELLAR_OK);
}

/* Check all state that a refused call could have changed. */
static void expect_untouched(const char *call)
{
    char buf[16];
    size_t len = 0;
    if (!T_EQ_I64(peek(root, "k", 1, buf, sizeof buf, &len), CELLAR_OK) ||
        !T_EQ_U64(len, 5) || !T_EQ_MEM(buf, "value", 5)) {
        printf("# after %s\n", call);
    }
    cellar_stats st = store_stats(root);
    if (!T_EQ_U64(st.entries, 1) || !T_EQ_U64(st.sets, 1) || !T_EQ_U64(st.deletes, 0) ||
        !T_EQ_U64(st.gets, 0) || !T_EQ_U64(st.clears + st.version_changes, 0)) {
        printf("# after %s\n", call);
    }
}

#define REFUSED(call, code)                                                                        \
    do {                                                                                           \
        if (!t_eq_str(cellar_code_name(call), #code, __FILE__, __LINE__, #call)) { break; }        \
        expect_untouched(#call);                                                                   \
    } while (0)

#define STORE(fn) T_WITHIN(fn, set_up(), tear_down())

T_CASE_ON(key_of_wrong_length_is_refused, STORE)
{
    char buf[8];
    size_t len;
    void *copy;
    cellar_pinned pin;
    cellar_entry_info info = cellar_entry_info_default();
    const size_t lengths[] = { 0, CELLAR_KEY_MAX + 1, SIZE_MAX };
    for (size_t i = 0; i < 3; i++) {
        const size_t n = lengths[i];
        REFUSED(cellar_get(root, long_key, n, buf, sizeof buf, &len), E_INVAL);
        REFUSED(cellar_get_with(root, long_key, n, NULL, buf, sizeof buf, &len), E_INVAL);
        REFUSED(peek(root, long_key, n, buf, sizeof buf, &len), E_INVAL);
        REFUSED(cellar_get_alloc(root, long_key, n, &copy, &len), E_INVAL);
        REFUSED(cellar_pin(root, long_key, n, &pin), E_INVAL);
        REFUSED(cellar_contains(root, long_key, n), E_INVAL);
        REFUSED(cellar_entry_info_get(root, long_key, n, 0, &info), E_INVAL);
        REFUSED(cellar_set(root, long_key, n, "x", 1, NULL), E_INVAL);
        REFUSED(cellar_delete(root, long_key, n), E_INVAL);
        REFUSED(cellar_touch(root, long_key, n, 5), E_INVAL);
        REFUSED(cellar_update(root, long_key, n, NULL, never_update, NULL), E_INVAL);
        REFUSED(cellar_increment(root, long_key, n, 1, 0, NULL, NULL), E_INVAL);
    }
}

static void objects_are_refused(void)
{
    cellar_held h;
    cellar_lease lease;
    int object;
    REFUSED(cellar_object_set(root, NULL, 1, &object, 1, NULL), E_INVAL);
    REFUSED(cellar_object_set(root, "k", 1, NULL, 1, NULL), E_INVAL);
    REFUSED(cellar_object_set(root, "k", 1, &object, 1, NULL), E_TYPE);
    REFUSED(cellar_object_acquire(root, NULL, 1, &h), E_INVAL);
    REFUSED(cellar_object_acquire(root, "k", 1, NULL), E_INVAL);
    REFUSED(cellar_object_acquire(root, "k", 1, &h), E_TYPE);
    REFUSED(cellar_object_retain(NULL, &h), E_INVAL);
    REFUSED(cellar_object_retain(&h, NULL), E_INVAL);
    REFUSED(cellar_object_get_or_load(root, NULL, 1, NULL, NULL, NULL, &h), E_INVAL);
    REFUSED(cellar_object_get_or_load(root, "k", 1, NULL, NULL, NULL, NULL), E_INVAL);
    REFUSED(cellar_object_get_or_load(root, "k", 1, NULL, NULL, NULL, &h), E_TYPE);
    REFUSED(cellar_object_lease_acquire(root, "k", 1, NULL, NULL, NULL, &h), E_INVAL);
    REFUSED(cellar_object_lease_acquire(root, "k", 1, NULL, NULL, &lease, NULL), E_INVAL);
    REFUSED(cellar_object_lease_acquire(root, "k", 1, NULL, NULL, &lease, &h), E_TYPE);
    REFUSED(cellar_object_lease_fulfill(root, NULL, &object, 1, NULL), E_INVAL);
    REFUSED(cellar_object_lease_fulfill(root, &lease, NULL, 1, NULL), E_INVAL);
    REFUSED(cellar_object_lease_fulfill(root, &lease, &object, 1, NULL), E_TYPE);
    REFUSED(cellar_load_object(NULL, &object, 1), E_INVAL);
    cellar_object_release(NULL);
}

T_CASE_ON(null_pointer_is_refused, STORE)
{
    char buf[8];
    size_t len;
    void *copy;
    uint64_t id, cursor = 0;
    uint32_t number;
    int64_t value;
    cellar *v;
    cellar_pinned pin;
    cellar_entry_info info = cellar_entry_info_default();
    REFUSED(cellar_open(NULL, NULL), E_INVAL);
    REFUSED(cellar_open_sized(0, 0, NULL), E_INVAL);
    REFUSED(cellar_open_sized(4096, 0, &v), E_INVAL);
    REFUSED(cellar_namespace_open(root, NULL, NULL, &v), E_INVAL);
    REFUSED(cellar_namespace_open(root, "v", NULL, NULL), E_INVAL);
    REFUSED(cellar_namespace_drop(root, NULL), E_INVAL);
    REFUSED(cellar_ttl_class_find(root, NULL, &number), E_INVAL);
    REFUSED(cellar_ttl_class_find(root, "x", NULL), E_INVAL);
    REFUSED(cellar_get(root, NULL, 1, buf, 8, &len), E_INVAL);
    REFUSED(cellar_get(root, "k", 1, NULL, 8, &len), E_INVAL);
    REFUSED(peek(root, NULL, 1, buf, 8, &len), E_INVAL);
    REFUSED(peek(root, "k", 1, NULL, 8, &len), E_INVAL);
    REFUSED(cellar_get_alloc(root, NULL, 1, &copy, &len), E_INVAL);
    REFUSED(cellar_get_alloc(root, "k", 1, NULL, &len), E_INVAL);
    REFUSED(cellar_get_alloc(root, "k", 1, &copy, NULL), E_INVAL);
    REFUSED(cellar_pin(root, NULL, 1, &pin), E_INVAL);
    REFUSED(cellar_pin(root, "k", 1, NULL), E_INVAL);
    REFUSED(cellar_contains(NULL, "k", 1), E_INVAL);
    REFUSED(cellar_contains(root, NULL, 1), E_INVAL);
    REFUSED(cellar_entry_info_get(root, NULL, 1, 0, &info), E_INVAL);
    REFUSED(cellar_entry_info_get(root, "k", 1, 0, NULL), E_INVAL);
    REFUSED(cellar_set(root, NULL, 1, "x", 1, NULL), E_INVAL);
    REFUSED(cellar_set(root, "k", 1, NULL, 1, NULL), E_INVAL);
    REFUSED(cellar_delete(root, NULL, 1), E_INVAL);
    REFUSED(cellar_touch(root, NULL, 1, 1), E_INVAL);
    REFUSED(cellar_update(root, NULL, 1, NULL, never_update, NULL), E_INVAL);
    REFUSED(cellar_update(root, "k", 1, NULL, NULL, NULL), E_INVAL);
    objects_are_refused();
    each_call_is(NULL, CELLAR_E_INVAL);
    expect_untouched("calls on NULL");
    REFUSED(cellar_value_damaged(root, NULL, 1, "v", 1), E_INVAL);
    REFUSED(cellar_value_damaged(root, "k", 1, NULL, 1), E_INVAL);
    REFUSED(cellar_buf_append(NULL, "x", 1), E_INVAL);
    REFUSED(cellar_buf_resize(NULL, 1, &copy), E_INVAL);
    REFUSED(cellar_increment(root, NULL, 1, 1, 0, NULL, &value), E_INVAL);
    REFUSED(cellar_get_many(root, NULL, 1, NULL), E_INVAL);
    REFUSED(cellar_set_many(root, NULL, 1, NULL, NULL), E_INVAL);
    REFUSED(cellar_delete_many(root, NULL, 1, NULL), E_INVAL);
    REFUSED(cellar_scan(root, NULL, NULL, never_scan, NULL), E_INVAL);
    REFUSED(cellar_scan(root, &cursor, NULL, NULL, NULL), E_INVAL);
    REFUSED(cellar_listener_add(root, 0, NULL, NULL, &id), E_INVAL);
    REFUSED(cellar_listener_add(root, 0, never_listen, NULL, NULL), E_INVAL);
    REFUSED(cellar_option_get(root, CELLAR_OPT_MAINTENANCE_THREAD, NULL), E_INVAL);
    REFUSED(cellar_stats_get(root, CELLAR_SCOPE_NAMESPACE, NULL), E_INVAL);
    REFUSED(cellar_namespace_list(root, NULL, NULL), E_INVAL);
    REFUSED(cellar_policy_list(root, NULL, NULL), E_INVAL);
    REFUSED(cellar_latency_get(root, CELLAR_OP_SET, NULL), E_INVAL);
    REFUSED(cellar_metrics_write(root, NULL, 8, &len), E_INVAL);
    REFUSED(cellar_stats_json(root, NULL, 8, &len), E_INVAL);
    REFUSED(cellar_dump_write(root, NULL, 8, &len), E_INVAL);
    REFUSED(cellar_last_error(root, NULL), E_INVAL);
    T_EQ_I64(cellar_close(NULL), CELLAR_OK); /* as in free(NULL) */
    T_EQ_I64(cellar_namespace_close(NULL), CELLAR_OK);
    REFUSED(cellar_namespace_close(root), E_INVAL);
    cellar_free(NULL);
    cellar_unpin(NULL);
    T_CHECK(copy == NULL);
}

T_CASE(load_calls_outside_a_loader_are_refused)
{
    const cellar_set_opts o = cellar_set_opts_default();
    T_EQ_I64(cellar_load_opts_set(NULL, &o), CELLAR_E_INVAL);
    T_EQ_I64(cellar_load_not_modified(NULL), CELLAR_E_INVAL);
    cellar_load_info i = cellar_load_info_default();
    T_EQ_I64(cellar_load_info_get(NULL, &i), CELLAR_E_INVAL);
    T_EQ_I64(cellar_sync(NULL), CELLAR_E_INVAL);
}

T_CASE_ON(flags_and_ranges_are_checked, STORE)
{
    char buf[8];
    size_t len;
    uint64_t cursor = 0, id, version;
    int64_t value;
    cellar *v;
    cellar_entry_info info = cellar_entry_info_default();
    cellar_stats st = cellar_stats_default();
    cellar_latency lat = cellar_latency_default();
    cellar_advice advice = cellar_advice_default();
    cellar_get_opts g = cellar_get_opts_default();
    cellar_set_item item = { "k", 1, "new", 3, CELLAR_OK, 0 };
    g.flags = CELLAR_GET_MEMORY << 1; /* the first flag that is none */
    REFUSED(cellar_get_with(root, "k", 1, &g, buf, 8, &len), E_UNSUPPORTED);
    g.flags = 0x80000000u;
    REFUSED(cellar_get_with(root, "k", 1, &g, buf, 8, &len), E_UNSUPPORTED);
    g.flags = 0;
    g.info = &info;
    info.struct_size = 0;
    REFUSED(cellar_get_with(root, "k", 1, &g, buf, 8, &len), E_INVAL);
    REFUSED(cellar_entry_info_get(root, "k", 1, 0, &info), E_INVAL);
    info.struct_size = sizeof info;
    REFUSED(cellar_entry_info_get(root, "k", 1, 0x40u, &info), E_UNSUPPORTED);
    cellar_set_opts no_store = { .struct_size = sizeof no_store, .flags = CELLAR_NO_STORE };
    REFUSED(cellar_set(root, "k", 1, "new", 3, &no_store), E_INVAL);
    REFUSED(cellar_touch(root, "k", 1, -1), E_INVAL);
    REFUSED(cellar_touch(root, "k", 1, INT64_MIN), E_INVAL);
    REFUSED(cellar_increment(root, "n", 1, 1, 0, COUNTER_OPTS(-1, 0), NULL), E_INVAL);
    REFUSED(cellar_increment(root, "n", 1, 1, 0, COUNTER_OPTS(0, CELLAR_KEEP_OLD_VALUE), NULL),
            E_INVAL);
    REFUSED(cellar_increment(root, "n", 1, 1, 0, COUNTER_OPTS(0, 1u << 31), NULL), E_UNSUPPORTED);
    cellar_set_opts versioned = { .struct_size = sizeof versioned, .new_version = &version };
    REFUSED(cellar_increment(root, "n", 1, 1, 0, &versioned, NULL), E_INVAL);
    REFUSED(cellar_option_set(root, CELLAR_OPT_BLOOM_KEYS, ((int64_t)1 << 40) + 1), E_INVAL);
    REFUSED(cellar_namespace_open(root, "", NULL, &v), E_INVAL);
    REFUSED(cellar_namespace_open(root, long_name, NULL, &v), E_INVAL);
    REFUSED(cellar_namespace_drop(root, ""), E_INVAL);
    REFUSED(cellar_namespace_drop(root, "unknown"), E_NOT_FOUND);
    REFUSED(cellar_scan(root, &cursor, SCAN("*", 0, 0), never_scan, NULL), E_INVAL);
    REFUSED(cellar_scan(root, &cursor, SCAN(long_name, CELLAR_PATTERN_MAX + 1, 0), never_scan, NULL),
            E_INVAL);
    REFUSED(cellar_scan(root, &cursor, SCAN(NULL, 1, 0), never_scan, NULL), E_INVAL);
    REFUSED(cellar_listener_add(root, 1u << CELLAR_CAUSE_COUNT, never_listen, NULL, &id), E_INVAL);
    REFUSED(cellar_listener_add(root, 1u, never_listen, NULL, &id), E_INVAL);
    REFUSED(cellar_listener_remove(root, 99), E_NOT_FOUND);
    REFUSED(cellar_stats_get(root, 2, &st), E_INVAL);
    st.struct_size = 0;
    REFUSED(cellar_stats_get(root, CELLAR_SCOPE_NAMESPACE, &st), E_INVAL);
    REFUSED(cellar_latency_get(root, -1, &lat), E_INVAL);
    REFUSED(cellar_advice_get(root, 2, &advice), E_INVAL);
    REFUSED(cellar_advice_get(root, -1, &advice), E_INVAL);
    REFUSED(cellar_advice_get(root, CELLAR_SCOPE_STORE, NULL), E_INVAL);
    REFUSED(cellar_latency_get(root, CELLAR_OP_L2_WRITE + 1, &lat), E_INVAL);
    REFUSED(cellar_option_set(root, (cellar_option)77, 1), E_INVAL);
    REFUSED(cellar_option_get(root, (cellar_option)77, &value), E_INVAL);
    REFUSED(cellar_option_set(root, CELLAR_OPT_MEMORY_BYTES, -1), E_INVAL);
    REFUSED(cellar_option_set(root, CELLAR_OPT_MEMORY_BYTES, CELLAR_MEMORY_MIN - 1), E_INVAL);
    REFUSED(cellar_option_set(root, CELLAR_OPT_LOG_LEVEL, CELLAR_LOG_OFF + 1), E_INVAL);
    REFUSED(cellar_option_set(root, CELLAR_OPT_ENABLED, 2), E_INVAL);
    REFUSED(cellar_option_set(root, CELLAR_OPT_MAINTENANCE_THREAD, 2), E_INVAL);
    REFUSED(cellar_option_set(root, CELLAR_OPT_EVICTION, 9), E_INVAL);
    REFUSED(cellar_option_set(root, CELLAR_OPT_STALE_MS, INT64_C(1) << 32), E_INVAL);
    REFUSED(cellar_option_set(root, CELLAR_OPT_IDLE_MS, INT64_C(1) << 32), E_INVAL);
    cellar_set_opts o = { .struct_size = sizeof o, .new_version = &version };
    REFUSED(cellar_set_many(root, &item, 1, &o, NULL), E_INVAL);
}

T_CASE_ON(set_options_are_checked, STORE)
{
    static const cellar_bytes no_tag = { "t", 0 }, long_tag = { long_key, CELLAR_TAG_MAX + 1 };
    static const cellar_bytes null_tag = { NULL, 1 };
    const struct { const char *want; cellar_set_opts o; } bad[] = {
#define SET(want, ...) { #want, { .struct_size = sizeof(cellar_set_opts), __VA_ARGS__ } }
        SET(E_INVAL, .ttl_ms = -1),
        SET(E_INVAL, .ttl_ms = INT64_MIN),
        SET(E_INVAL, .idle_ms = -1),
        SET(E_INVAL, .max_age_ms = -1),
        SET(E_INVAL, .stale_ms = -1),
        SET(E_INVAL, .max_age_ms = 5), /* it bounds no idle time */
        SET(E_RANGE, .idle_ms = INT64_C(1) << 32),
        SET(E_RANGE, .ttl_ms = 5, .stale_ms = INT64_C(1) << 32),
        SET(E_UNSUPPORTED, .flags = 0x8000u),
        SET(E_UNSUPPORTED, .flags = CELLAR_DURABLE),
        SET(E_INVAL, .flags = CELLAR_NO_L2 | CELLAR_DURABLE),
        SET(E_INVAL, .flags = CELLAR_ONLY_IF_ABSENT | CELLAR_ONLY_IF_PRESENT),
        SET(E_INVAL, .flags = CELLAR_ONLY_IF_ABSENT | CELLAR_ONLY_IF_VERSION),
        SET(E_INVAL, .flags = CELLAR_NEGATIVE), /* with a value */
        SET(E_INVAL, .ttl_class = 1),           /* the root has no classes */
        SET(E_INVAL, .ttl_ms = 5, .jitter_pct = 101),
        SET(E_INVAL, .ttl_ms = 5, .jitter_pct = 1, .jitter_mode = (cellar_jitter)3),
        SET(E_INVAL, .tag_count = 1),
        SET(E_INVAL, .tag_count = 17, .tags = &no_tag),
        SET(E_INVAL, .tag_count = 1, .tags = &no_tag),
        SET(E_INVAL, .tag_count = 1, .tags = &long_tag),
        SET(E_INVAL, .tag_count = 1, .tags = &null_tag),
        SET(E_UNSUPPORTED, .reserved0 = 1),
#undef SET
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const cellar_set_opts o = bad[i].o;
        cellar_set_item item = { "k", 1, "new", 3, CELLAR_OK, 0 };
        if (!T_EQ_STR(cellar_code_name(cellar_set(root, "k", 1, "new", 3, &o)), bad[i].want)) {
            printf("# row %zu\n", i);
        }
        if ((o.flags & CELLAR_NEGATIVE) == 0) {
            T_EQ_STR(cellar_code_name(cellar_set_many(root, &item, 1, &o, NULL)), bad[i].want);
            T_EQ_STR(cellar_code_name(cellar_update(root, "k", 1, &o, never_update, NULL)),
                     bad[i].want);
        }
        expect_untouched("cellar_set with bad options");
    }
    cellar_set_opts o = { .struct_size = sizeof o, .tag_count = 1 };
    REFUSED(cellar_set(root, "k", 1, "new", 3, &o), E_INVAL);
    T_CHECK(strstr(error_info(root).text, "0 if tags is NULL") != NULL);
    o.tag_count = 0;
    const uint32_t not_for_update[] = { CELLAR_ONLY_IF_ABSENT, CELLAR_ONLY_IF_VERSION,
                                        CELLAR_NEGATIVE };
    for (size_t i = 0; i < 3; i++) {
        o.flags = not_for_update[i];
        REFUSED(cellar_update(root, "k", 1, &o, never_update, NULL), E_INVAL);
    }
}

/* Behind the text lie options and pointers of the handle, and the end of a longer text. */
T_CASE_ON(last_error_has_nothing_behind_its_text, STORE)
{
    cellar_namespace_config o = cellar_namespace_config_default();
    cellar *v = NULL;
    o.policy_section = "a-section-with-a-long-name";
    T_REQUIRE(cellar_namespace_open(root, "v", &o, &v) == CELLAR_OK);
    cellar *const handles[] = { root, v };
    for (size_t i = 0; i < 2; i++) {
        for (int longer = 1; longer >= 0; longer--) {
            cellar_error_info e = cellar_error_info_default();
            T_EQ_I64(longer != 0 ? cellar_get(handles[i], NULL, 0, NULL, 0, NULL)
                                 : cellar_update(handles[i], "k", 1, NULL, NULL, NULL),
                     CELLAR_E_INVAL);
            memset(e.text, 'x', sizeof e.text);
            T_EQ_I64(cellar_last_error(handles[i], &e), CELLAR_OK);
            size_t behind = 0;
            for (size_t at = strlen(e.text); at < sizeof e.text; at++) {
                behind += e.text[at] != '\0';
            }
            T_EQ_U64(behind, 0);
        }
    }
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
}

static int no_cipher(const unsigned char *nonce, const void *aad, size_t aad_len,
                    const void *in, size_t in_len, void *out, void *ctx)
{
    (void)ctx, (void)nonce, (void)aad, (void)aad_len, (void)in, (void)in_len, (void)out;
    return 1;
}

T_CASE(config_fields_are_checked)
{
    struct { const char *field; settings cfg; cellar_err want; } t[64];
    size_t n = 0;
    cellar *c = (cellar *)&n;
#define BAD(code, assignment)                                                                      \
    do {                                                                                           \
        t[n].cfg = settings_default();                                                        \
        t[n].cfg.assignment;                                                                       \
        t[n].field = #assignment;                                                                  \
        t[n++].want = CELLAR_##code;                                                               \
    } while (0)
    BAD(E_ABI, config.abi = CELLAR_ABI + 1);
    BAD(E_INVAL, config.struct_size = 0);
    BAD(E_INVAL, config.struct_size = sizeof(size_t) - 1);
    BAD(E_INVAL, config.struct_size = 1u << 20);
    BAD(E_INVAL, config.memory_bytes = CELLAR_MEMORY_MIN - 1);
    BAD(E_INVAL, config.memory_bytes = UINT64_MAX);
    BAD(E_INVAL, tuning.max_value_bytes = (uint64_t)CELLAR_VALUE_MAX + 1);
    BAD(E_INVAL, tuning.expected_entry_bytes = UINT64_MAX);
    BAD(E_INVAL, config.max_entries = UINT64_MAX);
    BAD(E_INVAL, config.eviction = 5);
    BAD(E_INVAL, tuning.hash = 2);
    BAD(E_INVAL, tuning.stripes = 3);
    BAD(E_INVAL, tuning.stripes = 2048);
    BAD(E_INVAL, tuning.huge_pages = 3);
    BAD(E_INVAL, host.no_threads = 2);
    BAD(E_INVAL, host.log_level = 6);
    BAD(E_INVAL, tuning.max_namespaces = 4097);
    BAD(E_INVAL, config.default_ttl_ms = -1);
    BAD(E_INVAL, config.negative_ttl_ms = -1);
    BAD(E_INVAL, config.idle_ms = INT64_C(1) << 32);
    BAD(E_INVAL, config.max_age_ms = -5);
    BAD(E_INVAL, config.stale_ms = INT64_MAX);
    BAD(E_INVAL, host.name = long_name);
    BAD(E_INVAL, config.l2_path = "/tmp/x");                        /* without l2_bytes */
    BAD(E_INVAL, config.l2_bytes = CELLAR_L2_BYTES_MIN);            /* without l2_path */
    BAD(E_INVAL, config.l2_path = ""; t[n].cfg.config.l2_bytes = CELLAR_L2_BYTES_MIN);
    BAD(E_INVAL, config.l2_path = "/tmp/x"; t[n].cfg.config.l2_bytes = CELLAR_L2_BYTES_MIN - 1);
    BAD(E_INVAL, config.l2_path = "/tmp/x"; t[n].cfg.config.l2_bytes = UINT64_MAX);
    BAD(E_INVAL, config.l2_path = "/tmp/x"; t[n].cfg.config.l2_bytes = CELLAR_L2_BYTES_MAX + 1);
    BAD(E_INVAL, l2.sync_interval_ms = -1);
    BAD(E_INVAL, l2.min_ttl_ms = -1);
    BAD(E_INVAL, l2.close_ms = -1);
    BAD(E_INVAL, l2.write = 4);
    BAD(E_UNSUPPORTED, l2.write = CELLAR_L2_WRITE_THROUGH); /* without l2_path */
    BAD(E_INVAL, l2.optional = 2);
    BAD(E_INVAL, l2.reserved0 = 1);
    BAD(E_INVAL, l2.allow_network = 2);
    BAD(E_INVAL, l2.fail_errors = 65);
    BAD(E_INVAL, l2.fail_damaged_pct = 101);
    BAD(E_INVAL, l2.retry_ms = -1);
    BAD(E_INVAL, l2.retry_max_ms = -1);
    BAD(E_INVAL, l2.retry_ms = 2000; t[n].cfg.l2.retry_max_ms = 1999);
    BAD(E_INVAL, l2.mean_entry_bytes = UINT64_MAX);
    BAD(E_INVAL, l2.sync = CELLAR_L2_SYNC_ALWAYS + 1);
    cellar_l2_cipher crypt[4];
    for (int i = 0; i < 4; i++) {
        crypt[i] = cellar_l2_cipher_default();
        crypt[i].seal = crypt[i].open = no_cipher;
    }
    crypt[0].struct_size = 0;
    crypt[1].open = NULL;
    crypt[2].overhead_bytes = 257;
    crypt[3].reserved0 = 1;
    BAD(E_INVAL, l2.cipher = &crypt[0]);
    BAD(E_INVAL, l2.cipher = &crypt[1]);
    BAD(E_INVAL, l2.cipher = &crypt[2]);
    BAD(E_INVAL, l2.cipher = &crypt[3]);
    BAD(E_INVAL, l2.on_damage = 2);
    BAD(E_INVAL, host.load_threads = 65);
    BAD(E_INVAL, host.load_queue = 65537);
    BAD(E_INVAL, tuning.close_timeout_ms = -1);
    BAD(E_INVAL, tuning.jitter_pct = 101);
    BAD(E_INVAL, tuning.jitter_mode = 3);
    BAD(E_INVAL, tuning.reserved0 = 1);
    BAD(E_INVAL, tuning.no_advisor = 2);
    BAD(E_INVAL, tuning.optimize = 2);
    memset(long_name, 'n', sizeof long_name - 1);
    for (size_t i = 0; i < n; i++) {
        c = (cellar *)&n;
        if (!T_EQ_STR(cellar_code_name(settings_open(&t[i].cfg, &c)),
                      cellar_code_name(t[i].want)) ||
            !T_CHECK(c == NULL)) {
            printf("# %s\n", t[i].field);
        }
        cellar_error_info e = error_info(NULL);
        T_EQ_I64(e.code, t[i].want);
        T_CHECK(e.text[0] != '\0');
    }
    settings half = { SETTINGS_SIZES, .host.free = NULL,
                      .host.alloc = (cellar_alloc_fn)(void (*)(void))never_update };
    T_EQ_I64(settings_open(&half, &c), CELLAR_E_INVAL);
}

T_CASE_ON(namespace_options_are_checked, STORE)
{
    cellar *v;
    static const cellar_ttl_class fine[] = { { "a", 5 } }, no_name[] = { { NULL, 5 } };
    static const cellar_ttl_class empty[] = { { "", 5 } }, no_time[] = { { "a", 0 } };
    static const cellar_ttl_class twice[] = { { "x", 5 }, { "x", 6 } };
    static const cellar_ttl_class lengthy[] = { { "01234567890123456789012345678901", 5 } };
#define BAD_NAMESPACE(code, assignments)                                                           \
    do {                                                                                           \
        cellar_namespace_config o = cellar_namespace_config_default();                             \
        cellar_load_opts l = cellar_load_opts_default();                                           \
        o.load = &l;                                                                               \
        assignments;                                                                               \
        REFUSED(cellar_namespace_open(root, "v", &o, &v), code);                                   \
        T_CHECK(v == NULL);                                                                        \
        T_EQ_I64(cellar_namespace_drop(root, "v"), CELLAR_E_NOT_FOUND);                            \
    } while (0)
    BAD_NAMESPACE(E_INVAL, o.struct_size = 0);
    BAD_NAMESPACE(E_INVAL, o.default_ttl_ms = -1);
    BAD_NAMESPACE(E_INVAL, o.negative_ttl_ms = -1);
    BAD_NAMESPACE(E_INVAL, o.idle_ms = INT64_C(1) << 32);
    BAD_NAMESPACE(E_INVAL, o.max_age_ms = -1);
    BAD_NAMESPACE(E_INVAL, o.stale_ms = INT64_C(1) << 32);
    BAD_NAMESPACE(E_INVAL, o.exact_age = 2);
    BAD_NAMESPACE(E_INVAL, o.ttl_class_count = 17; o.ttl_classes = fine);
    BAD_NAMESPACE(E_INVAL, o.ttl_class_count = 1);
    BAD_NAMESPACE(E_INVAL, o.ttl_class_count = 1; o.ttl_classes = no_name);
    BAD_NAMESPACE(E_INVAL, o.ttl_class_count = 1; o.ttl_classes = empty);
    BAD_NAMESPACE(E_INVAL, o.ttl_class_count = 1; o.ttl_classes = no_time);
    BAD_NAMESPACE(E_INVAL, o.ttl_class_count = 1; o.ttl_classes = lengthy);
    BAD_NAMESPACE(E_INVAL, o.ttl_class_count = 2; o.ttl_classes = twice);
    BAD_NAMESPACE(E_INVAL, o.ttl_class_count = 1; o.ttl_classes = fine; o.ttl_class_fallback = 2);
    BAD_NAMESPACE(E_INVAL, l.jitter_pct = 101);
    BAD_NAMESPACE(E_INVAL, l.eager_refresh_pct = 50; l.xfetch_beta_x100 = 100);
    BAD_NAMESPACE(E_INVAL, l.soft_timeout_ms = 2; l.hard_timeout_ms = 1);
    BAD_NAMESPACE(E_INVAL, l.soft_timeout_ms = 30001); /* hard_timeout_ms is 30,000 */
    BAD_NAMESPACE(E_INVAL, o.quota_max_pct = 101);
    BAD_NAMESPACE(E_INVAL, o.hidden = 2);
    BAD_NAMESPACE(E_INVAL, o.tier = (cellar_tier)3);
    BAD_NAMESPACE(E_INVAL, o.l2_write = 4);
    BAD_NAMESPACE(E_UNSUPPORTED, o.l2_write = CELLAR_L2_WRITE_THROUGH); /* no l2_path */
    BAD_NAMESPACE(E_INVAL, o.l2_lz4 = 2);
    BAD_NAMESPACE(E_INVAL, l.hard_timeout_ms = -1);
    BAD_NAMESPACE(E_INVAL, l.struct_size = 0);
    BAD_NAMESPACE(E_INVAL, l.ttl_ms = 1); /* an option of calls only */
    BAD_NAMESPACE(E_INVAL, l.negative_ttl_ms = 1);
    BAD_NAMESPACE(E_INVAL, l.stale_ms = 1);
    BAD_NAMESPACE(E_INVAL, l.fallback_ttl_ms = 1);
    BAD_NAMESPACE(E_INVAL, l.flags = CELLAR_LOAD_NO_WAIT);
    BAD_NAMESPACE(E_INVAL, l.fallback[2].ctx = &o);
    BAD_NAMESPACE(E_INVAL, l.ctx_bytes = 8);
    BAD_NAMESPACE(E_INVAL, l.trace = (const unsigned char *)"12345678901234567890123456789012");
    cellar_result told = cellar_result_default();
    BAD_NAMESPACE(E_INVAL, l.result = &told);
    static const cellar_bytes text = { "x", 1 };
    BAD_NAMESPACE(E_INVAL, l.default_value = &text);
    BAD_NAMESPACE(E_INVAL, l.fallback[0].fn = (cellar_loader_fn)(void (*)(void))never_update);
    BAD_NAMESPACE(E_INVAL, l.ctx_retain = (void *(*)(void *))(void (*)(void))never_update);
    BAD_NAMESPACE(E_INVAL, l.ctx_release = (void (*)(void *))(void (*)(void))never_update);
    BAD_NAMESPACE(E_INVAL, l.breaker = (cellar_breaker *)(void *)&l);
    for (uint32_t flag = 1; flag <= CELLAR_LOAD_RECURSE; flag <<= 1) {
        if (flag != CELLAR_LOAD_NO_NEGATIVE) { BAD_NAMESPACE(E_INVAL, l.flags = flag); }
    }
}

T_CASE_ON(budget_beyond_reserved_address_space_names_the_reason, STORE)
{
    T_EQ_I64(cellar_option_set(root, CELLAR_OPT_MEMORY_BYTES, INT64_C(1) << 60), CELLAR_E_RANGE);
    T_CHECK(strstr(error_info(root).text, "address space") != NULL);
}

/* Open and option_set answer every budget immediately, with a store or with a code. */
T_CASE_ON(open_with_any_budget_returns_store_or_code, STORE)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        for (int off = -1; off < 2; off++) {
            cellar *c = NULL;
            const uint64_t bytes = ((uint64_t)1 << bit) + (uint64_t)(int64_t)off;
            if (bytes == 0) { continue; } /* the default */
            if (off != 0 && bit > 30 && bit < 56) { continue; }
            /* The mapping succeeds, but an emulator keeps a note of each page. */
            if (t_patience() > 1 && bit > 27 && bit < 48) { continue; }
            const bool bad = bytes < CELLAR_MEMORY_MIN;
            settings cfg = { SETTINGS_SIZES, .config.memory_bytes = bytes, .host.no_threads = 1 };
            const cellar_err err = settings_open(&cfg, &c);
            bool ok = T_CHECK(bad || bytes > INT64_MAX ? err == CELLAR_E_INVAL
                                                       : err == CELLAR_OK || err == CELLAR_E_NOMEM);
            if (bit >= 60) { ok = T_CHECK(err != CELLAR_OK) && ok; } /* no system has so much */
            if (bit <= 26 && !bad) { ok = T_EQ_I64(err, CELLAR_OK) && ok; }
            if (err == CELLAR_OK) { T_EQ_I64(cellar_close(c), CELLAR_OK); }
            const cellar_err set = cellar_option_set(root, CELLAR_OPT_MEMORY_BYTES, (int64_t)bytes);
            ok = T_CHECK(bad || bytes > INT64_MAX ? set == CELLAR_E_INVAL
                                                  : set == CELLAR_OK || set == CELLAR_E_RANGE) && ok;
            if (bit >= 60) { ok = T_CHECK(set != CELLAR_OK) && ok; }
            if (!ok) { printf("# %llu bytes: %d %d\n", (unsigned long long)bytes, err, set); }
            T_EQ_I64(cellar_option_set(root, CELLAR_OPT_MEMORY_BYTES, 4 << 20), CELLAR_OK);
        }
    }
}

/* For any stated mean length of entries a store opens and holds some entries. */
T_CASE(open_with_any_mean_entry_length_works)
{
    const uint64_t mean[] = { 1, 2, 3, 8, 15, 16, 17, 1 << 20, UINT32_MAX };
    const uint64_t budget[] = { CELLAR_MEMORY_MIN, 0 };
    for (size_t i = 0; i < sizeof mean / sizeof mean[0] * 2; i++) {
        cellar *c = NULL;
        settings cfg = { SETTINGS_SIZES, .config.memory_bytes = budget[i % 2],
                         .tuning.expected_entry_bytes = mean[i / 2], .host.no_threads = 1 };
        T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
        for (uint32_t k = 0; k < 20000; k++) {
            T_EQ_I64(cellar_set(c, &k, sizeof k, "v", 1, NULL), CELLAR_OK);
        }
        cellar_stats st = store_stats(c);
        if (!T_CHECK(st.entries > 5000)) {
            printf("# mean %llu: %llu\n", (unsigned long long)mean[i / 2],
                   (unsigned long long)st.entries);
        }
        T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
        T_EQ_I64(cellar_close(c), CELLAR_OK);
    }
}

/* Faulty sequence: a stated mean of 10 MB lowered the lock domains to 1. */
T_CASE(expected_entry_length_lowers_no_lock_domains)
{
    uint64_t domains[2];
    for (size_t i = 0; i < 2; i++) {
        cellar *c = NULL;
        settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 256u << 20,
                         .tuning.expected_entry_bytes = i == 0 ? 0 : 10u << 20,
                         .host.no_threads = 1 };
        T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
        domains[i] = store_stats(c).stripes;
        T_EQ_I64(cellar_close(c), CELLAR_OK);
    }
    T_EQ_U64(domains[0], 64);
    T_EQ_U64(domains[1], 64);
}

/* Where the header names a bound, the value at the bound is accepted and the next one refused. */
T_CASE_ON(bounds_of_stores_namespaces_and_breakers_are_exact, STORE)
{
    const int64_t window = UINT32_MAX, day = 86400000;
    cellar_namespace_config vo = cellar_namespace_config_default();
    cellar *c = NULL, *v = NULL;
    cellar_breaker *b = NULL;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 1u << 20, .host.no_threads = 1,
                     .tuning.expected_entry_bytes = UINT32_MAX, .l2.mean_entry_bytes = UINT32_MAX,
                     .config.max_entries = INT64_MAX };
    cfg.config.idle_ms = cfg.config.stale_ms = window;
    cfg.l2.retry_ms = cfg.l2.retry_max_ms = day;
    T_EQ_I64(settings_open(&cfg, &c), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "k", 1, "v", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    cfg.l2.retry_max_ms = day + 1;
    T_EQ_I64(settings_open(&cfg, &c), CELLAR_E_INVAL);
    cfg.l2.retry_max_ms = day;
    cfg.tuning.expected_entry_bytes = (uint64_t)UINT32_MAX + 1;
    T_EQ_I64(settings_open(&cfg, &c), CELLAR_E_INVAL);

    cfg.tuning.expected_entry_bytes = 0;
    cfg.config.idle_ms = CELLAR_TTL_NONE; /* never, as in every option */
    T_EQ_I64(settings_open(&cfg, &c), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "k", 1, "v", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    cfg.config.idle_ms = CELLAR_TTL_NONE - 1;
    T_EQ_I64(settings_open(&cfg, &c), CELLAR_E_INVAL);
    cfg.config.idle_ms = 0;
    cfg.config.stale_ms = CELLAR_TTL_NONE;
    T_EQ_I64(settings_open(&cfg, &c), CELLAR_E_INVAL);

    vo.idle_ms = vo.stale_ms = window;
    cellar_load_opts lo = cellar_load_opts_default();
    lo.error_ttl_max_ms = lo.hard_timeout_ms = day;
    lo.join_retries = 8;
    lo.leader_retries = 15;
    lo.xfetch_beta_x100 = 100000;
    vo.load = &lo;
    T_EQ_I64(cellar_namespace_open(root, "v", &vo, &v), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    lo.error_ttl_max_ms++;
    T_EQ_I64(cellar_namespace_open(root, "v", &vo, &v), CELLAR_E_INVAL);
    lo.error_ttl_max_ms--;
    lo.xfetch_beta_x100++;
    T_EQ_I64(cellar_namespace_open(root, "v", &vo, &v), CELLAR_E_INVAL);
    vo = cellar_namespace_config_default();
    vo.idle_ms = CELLAR_TTL_NONE;
    T_EQ_I64(cellar_namespace_open(root, "v", &vo, &v), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);

    const struct { uint32_t pct, calls; int64_t open_ms, max_ms; cellar_err want; } rule[] = {
        { 100, 1000000, 1, (int64_t)1 << 40, CELLAR_OK }, { 101, 0, 0, 0, CELLAR_E_INVAL },
        { 0, 1000001, 0, 0, CELLAR_E_INVAL }, { 0, 0, 0, ((int64_t)1 << 40) + 1, CELLAR_E_INVAL },
        { 0, 0, 100, 100, CELLAR_OK }, { 0, 0, 101, 100, CELLAR_E_INVAL },
        { 0, 0, -1, 0, CELLAR_E_INVAL }, { 0, 0, 90000, 0, CELLAR_OK }, /* open_max_ms follows */
    };
    for (size_t i = 0; i < sizeof rule / sizeof rule[0]; i++) {
        cellar_breaker_config bo = { .struct_size = sizeof bo, .failure_pct = rule[i].pct,
                                     .min_calls = rule[i].calls, .open_ms = rule[i].open_ms,
                                     .open_max_ms = rule[i].max_ms };
        if (!T_EQ_I64(cellar_breaker_create(root, &bo, &b), rule[i].want)) {
            printf("# breaker %zu\n", i);
        }
        cellar_breaker_destroy(b);
    }
}

T_CASE_ON(bad_item_does_not_stop_other_items, STORE)
{
    char buf[8];
    size_t n = 99;
    cellar_get_item get[4] = { { "k", 0, buf, 8, 7, CELLAR_OK, 0 },
                               { NULL, 1, buf, 8, 7, CELLAR_OK, 0 },
                               { "k", 1, NULL, 8, 7, CELLAR_OK, 0 },
                               { "k", 1, buf, 8, 7, CELLAR_OK, 0 } };
    T_EQ_I64(cellar_get_many(root, get, 4, &n), CELLAR_OK);
    T_EQ_U64(n, 1);
    for (int i = 0; i < 3; i++) {
        T_EQ_I64(get[i].status, CELLAR_E_INVAL);
        T_EQ_U64(get[i].value_len, 0);
    }
    T_EQ_I64(get[3].status, CELLAR_OK);
    cellar_set_item set[3] = { { "b", 1, NULL, 1, CELLAR_OK, 0 }, { "c", 1, "x", 1, CELLAR_OK, 1 },
                               { "d", 1, "x", 1, CELLAR_MISS, 0 } };
    T_EQ_I64(cellar_set_many(root, set, 3, NULL, &n), CELLAR_OK);
    T_EQ_U64(n, 1);
    for (int i = 0; i < 3; i++) { T_EQ_I64(set[i].status, i < 2 ? CELLAR_E_INVAL : CELLAR_OK); }
    cellar_delete_item del[3] = { { NULL, 1, CELLAR_OK, 0 }, { "d", 1, CELLAR_MISS, 0 },
                               { "d", 1, CELLAR_OK, 0 } };
    T_EQ_I64(cellar_delete_many(root, del, 3, &n), CELLAR_OK);
    T_EQ_U64(n, 1);
    T_EQ_I64(del[0].status, CELLAR_E_INVAL);
    T_EQ_I64(del[1].status, CELLAR_OK);
    T_EQ_I64(del[2].status, CELLAR_MISS);
    T_EQ_I64(cellar_get_many(root, NULL, 0, &n), CELLAR_OK);
    T_EQ_U64(n, 0);
}

T_CASE_ON(closed_namespace_returns_closed, STORE)
{
    each_call_is(other, CELLAR_E_CLOSED);
    T_EQ_I64(cellar_contains(other, "k", 1), CELLAR_E_CLOSED);
    T_EQ_I64(cellar_namespace_close(other), CELLAR_E_CLOSED);
    expect_untouched("calls on a closed namespace");
}

T_CASE(namespace_of_closed_store_returns_closed)
{
    cellar *a, *b;
    set_up();
    T_EQ_I64(cellar_namespace_open(root, "a", NULL, &a), CELLAR_OK);
    T_EQ_I64(cellar_namespace_open(root, "a", NULL, &b), CELLAR_OK);
    T_CHECK(a == b);
    T_EQ_I64(cellar_set(a, "k", 1, "x", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_close(root), CELLAR_OK);
    each_call_is(a, CELLAR_E_CLOSED);
    T_EQ_I64(error_info(a).code, CELLAR_E_CLOSED);
    T_EQ_I64(cellar_close(root), CELLAR_E_CLOSED);
    T_EQ_I64(cellar_namespace_close(a), CELLAR_OK);
    each_call_is(b, CELLAR_E_CLOSED); /* opened twice, so one handle is left */
    T_EQ_I64(cellar_namespace_close(b), CELLAR_OK);
    /* the handle is freed with its last reference */
    T_EQ_I64(cellar_namespace_close(a), CELLAR_E_CLOSED);
}

T_CASE(refused_numbers_of_bytes_are_shown_as_sizes)
{
    const struct { uint64_t memory, l2, value; const char *text; } rows[] = {
        { 4096, 0, 0, "memory_bytes must be at least 1M, or 0 for its default (got 4k)" },
        { 1000, 0, 0, "memory_bytes must be at least 1M, or 0 for its default (got 1000)" },
        { 0, 5u << 20, 0, "l2_bytes must be 16M..4T, or 0 without l2_path (got 5M)" },
        { 0, UINT64_MAX, 0,
          "l2_bytes must be 16M..4T, or 0 without l2_path (got 18446744073709551615)" },
        { 0, 0, 1u << 30, "tuning.max_value_bytes must be 0..1G - 1 (got 1G)" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cellar *c;
        settings cfg = { SETTINGS_SIZES, .config.memory_bytes = rows[i].memory,
                         .config.l2_bytes = rows[i].l2, .tuning.max_value_bytes = rows[i].value };
        T_EQ_I64(settings_open(&cfg, &c), CELLAR_E_INVAL);
        cellar_error_info e = error_info(NULL);
        T_CHECK(strncmp(e.text, "cellar_open: ", 13) == 0);
        T_EQ_STR(e.text + 13, rows[i].text);
    }
}

T_CASE(budget_beyond_the_machine_names_its_remedy)
{
    cellar *c;
    if (sizeof(void *) < 8) {
        T_SKIP("the number does not fit into 32 bits");
        return;
    }
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = UINT64_C(1) << 60 };
    T_EQ_I64(settings_open(&cfg, &c), CELLAR_E_NOMEM);
    T_EQ_STR(error_info(NULL).text, "cellar_open: no memory for memory_bytes: lower it");
}

T_CASE(every_code_has_name_and_text)
{
#define CODE(name, number, text)                                                                   \
    T_EQ_I64(CELLAR_##name, number);                                                               \
    T_EQ_STR(cellar_code_name(CELLAR_##name), #name);                                              \
    T_EQ_STR(cellar_strerror(CELLAR_##name), text);
    CELLAR_CODES(CODE)
    T_EQ_STR(cellar_code_name((cellar_err)1234), "?");
    T_EQ_STR(cellar_strerror((cellar_err)-1234), "unknown code");
#define CAUSE(name, number, text)                                                                  \
    T_EQ_I64(CELLAR_CAUSE_##name, number);                                                         \
    T_CHECK(number < CELLAR_CAUSE_COUNT);                                                          \
    T_CHECK(strcmp(cellar_cause_name(CELLAR_CAUSE_##name), "?") != 0);
    CELLAR_CAUSES(CAUSE)
    T_EQ_STR(cellar_cause_name(CELLAR_CAUSE_NONE), "?");
    T_EQ_STR(cellar_cause_name((cellar_cause)99), "?");
}

T_ONE_THREAD;
T_MAIN("api_bad_input")
