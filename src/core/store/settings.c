/* SPDX-License-Identifier: MIT
 *
 * settings: read and check every option that cellar_open gets.
 *
 * PICTURE     cellar_config, root, l2, host, tuning of the caller -> cache_settings, one copy:
 *             missing structs and fields are zero, numbers are in range, pointers are the caller's.
 * INVARIANTS  The call refuses before it allocates anything. Each refusal names field and rule.
 * LIMITS      TTL classes, load options, breaker and quotas of the root:
 *             cache_namespace_opts_read. */
#include "store/settings.h"

#include "cache/error.h"
#include "store/options.h"


#include "base/open_error.h"
#include "base/text.h"

#define CACHE_HOURS_24 ((uint64_t)24 * 3600 * 1000)

#define CACHE_CONFIG(field, min, max) BASE_NUMBER(cellar_config, field, 0, min, max, #field)
#define CACHE_L2(field, min, max) BASE_NUMBER(cellar_l2_config, field, 0, min, max, "l2." #field)
#define CACHE_HOST(field, min, max) \
    BASE_NUMBER(cellar_host_config, field, 0, min, max, "host." #field)
#define CACHE_TUNING(field, min, max) \
    BASE_NUMBER(cellar_tuning_config, field, 0, min, max, "tuning." #field)

static const base_number cache_config_numbers[] = {
    CACHE_CONFIG(eviction, 0, CELLAR_EVICT_FIFO),
    CACHE_CONFIG(memory_bytes, CELLAR_MEMORY_MIN, INT64_MAX),
    CACHE_CONFIG(max_entries, 0, INT64_MAX),
    CACHE_CONFIG(default_ttl_ms, 0, INT64_MAX),
    CACHE_CONFIG(negative_ttl_ms, 0, INT64_MAX),
    CACHE_CONFIG(max_age_ms, 0, INT64_MAX),
    CACHE_CONFIG(stale_ms, 0, CACHE_WINDOW_MAX),
    CACHE_CONFIG(l2_bytes, CELLAR_L2_BYTES_MIN, CELLAR_L2_BYTES_MAX),
};
static const base_number cache_l2_numbers[] = {
    CACHE_L2(mean_entry_bytes, 0, UINT32_MAX),
    CACHE_L2(sync_interval_ms, 0, INT64_MAX),
    CACHE_L2(min_ttl_ms, 0, INT64_MAX),
    CACHE_L2(close_ms, 0, INT64_MAX),
    CACHE_L2(retry_ms, 0, CACHE_HOURS_24),
    CACHE_L2(retry_max_ms, 0, CACHE_HOURS_24),
    CACHE_L2(sync, 0, CELLAR_L2_SYNC_ALWAYS),
    CACHE_L2(on_damage, 0, CELLAR_L2_REFUSE),
    CACHE_L2(write, 0, CELLAR_L2_WRITE_THROUGH),
    CACHE_L2(fail_errors, 0, 64),
    CACHE_L2(fail_damaged_pct, 0, 100),
    CACHE_L2(optional, 0, 1),
    CACHE_L2(reserved0, 0, 0),
    CACHE_L2(allow_network, 0, 1),
};
static const base_number cache_host_numbers[] = {
    CACHE_HOST(log_level, 0, CELLAR_LOG_OFF),
    CACHE_HOST(log_keys, 0, CELLAR_LOG_KEYS_FULL),
    CACHE_HOST(no_threads, 0, 1),
    CACHE_HOST(load_threads, 0, 64),
    CACHE_HOST(load_queue, 0, 65536),
};
static const base_number cache_tuning_numbers[] = {
    CACHE_TUNING(max_value_bytes, 0, CELLAR_VALUE_MAX),
    CACHE_TUNING(expected_entry_bytes, 0, UINT32_MAX),
    CACHE_TUNING(close_timeout_ms, 0, INT64_MAX),
    CACHE_TUNING(hash, 0, CELLAR_HASH_SIPHASH13),
    CACHE_TUNING(huge_pages, 0, CELLAR_HUGE_PAGES_NEVER),
    CACHE_TUNING(optimize, 0, CELLAR_OPTIMIZE_OBJECTS),
    CACHE_TUNING(jitter_mode, 0, CELLAR_JITTER_PLUSMINUS),
    CACHE_TUNING(stripes, 0, 1024),
    CACHE_TUNING(max_namespaces, 0, CACHE_NAMESPACES_MAX),
    CACHE_TUNING(reserved0, 0, 0),
    CACHE_TUNING(no_explain, 0, 1),
    CACHE_TUNING(no_advisor, 0, 1),
};

BASE_SIZE_BEGIN

static void cache_number_add(base_text *t, bool size, bool time, uint64_t n)
{
    if (size && n <= INT64_MAX) {
        base_text_size(t, n);
    } else {
        base_text_add(t, time ? "%lld" : "%llu", (unsigned long long)n);
    }
}

/* Refuse a number that breaks a rule. Numbers of bytes are shown as sizes. */
static cellar_err cache_number_refuse(const base_number *r, uint64_t got)
{
    char text[BASE_ERROR_TEXT];
    base_text t = { text, sizeof text, 0 };
    const bool size = strstr(r->why, "_bytes") != NULL;
    const bool time = strstr(r->why, "_ms") != NULL;
    const bool below = size && r->max % 1024 == 1023;
    base_text_add(&t, "%s must be ", r->why);
    if (r->max == INT64_MAX && r->min != 0) { base_text_add(&t, "at least "); }
    cache_number_add(&t, size, time, r->min);
    if (r->max == INT64_MAX) {
        base_text_add(&t, "%s", r->min != 0 ? "" : time ? " or more" : "..2^63 - 1");
    } else if (r->max != r->min) {
        base_text_add(&t, "..");
        cache_number_add(&t, size, time, r->max + below);
        base_text_add(&t, "%s", below ? " - 1" : "");
    }
    if (r->min != 0) {
        base_text_add(&t, ", or 0 %s", strcmp(r->why, "l2_bytes") == 0 ? "without l2_path"
                                                                     : "for its default");
    }
    base_text_add(&t, " (got ");
    cache_number_add(&t, size, time, got);
    return base_open_fail(CELLAR_E_INVAL, 0, "cellar_open: %s)", text);
}

/* Copy the struct `src` of the caller and check its numbers. NULL: all defaults. */
static cellar_err cache_struct_read(void *dst, size_t bytes, const void *src, const char *name,
                                    const base_number *rows, size_t count)
{
    uint64_t n;
    const cellar_err err = base_open_opts(dst, bytes, src, "cellar_open", name);
    if (err != CELLAR_OK) { return err; }
    const base_number *r = base_numbers_in(dst, rows, count, &n);
    return r == NULL ? CELLAR_OK : cache_number_refuse(r, n);
}

static cellar_err cache_cipher_read(cache_settings *out)
{
    out->cipher = cellar_l2_cipher_default();
    if (out->l2.cipher == NULL) { return CELLAR_OK; }
    const cellar_err err = cache_struct_read(&out->cipher, sizeof out->cipher, out->l2.cipher,
                                             "cellar_l2_cipher", NULL, 0);
    if (err != CELLAR_OK) { return err; }
    if (out->cipher.seal == NULL || out->cipher.open == NULL || out->cipher.reserved0 != 0) {
        return cache_open_refuse(CELLAR_E_INVAL, "l2.cipher needs seal and open");
    }
    if (out->cipher.overhead_bytes > 256) {
        return cache_open_refuse(CELLAR_E_INVAL, "l2.cipher: overhead_bytes must be 0..256");
    }
    return CELLAR_OK;
}

/* Return the rule that two fields break together; NULL: none. */
static const char *cache_pairs_check(const cache_settings *o)
{
    const cellar_config *c = &o->config;
    if (c->idle_ms < 0 || (c->idle_ms > CACHE_WINDOW_MAX && c->idle_ms != CELLAR_TTL_NONE)) {
        return "idle_ms must be 0..2^32 - 1, or CELLAR_TTL_NONE";
    }
    if ((c->l2_path == NULL) != (c->l2_bytes == 0)) { return "set both l2_path and l2_bytes"; }
    if (c->l2_path != NULL && c->l2_path[0] == '\0') { return "l2_path must not be empty"; }
    if (c->rules == NULL && c->rule_count != 0) { return "rules must not be NULL"; }
    if (o->l2.retry_max_ms != 0 && o->l2.retry_max_ms < o->l2.retry_ms) {
        return "l2.retry_max_ms must be at least l2.retry_ms";
    }
    if ((o->host.alloc == NULL) != (o->host.free == NULL)) {
        return "set both host.alloc and host.free";
    }
    if (o->host.name != NULL && strlen(o->host.name) > CELLAR_NAME_MAX) {
        return "host.name must have at most 64 bytes";
    }
    const uint32_t stripes = o->tuning.stripes, jitter = o->tuning.jitter_pct;
    if ((stripes & (stripes - 1)) != 0) { return "tuning.stripes must be a power of two"; }
    if (jitter > 100 && jitter != CELLAR_OFF) {
        return "tuning.jitter_pct must be 1..100, or CELLAR_OFF";
    }
    return NULL;
}

static cellar_err cache_root_read(cache_settings *o)
{
    o->root = cellar_namespace_config_default();
    if (o->config.root == NULL) { return CELLAR_OK; }
    cache_broken why;
    char text[CACHE_ERROR_TEXT];
    const cellar_err err = cache_namespace_opts_read(&o->root, o->config.root,
                                                     o->config.l2_path != NULL, &why);
    if (err == CELLAR_OK) { return err; }
    cache_broken_text(&why, "root", text);
    return cache_open_refuse(err, text);
}

CELLAR_PRIVATE cellar_err cache_settings_read(cache_settings *out, const cellar_config *cfg)
{
    *out = (cache_settings){ .config = cellar_config_default(), .l2 = cellar_l2_config_default(),
                             .host = cellar_host_config_default(),
                             .tuning = cellar_tuning_config_default() };
    cellar_err err = cache_struct_read(&out->config, sizeof out->config, cfg, "cellar_config",
                                       BASE_NUMBERS(cache_config_numbers));
    if (out->config.abi != 0 && out->config.abi != CELLAR_ABI) {
        return base_open_fail(CELLAR_E_ABI, 0, "cellar_open: abi of the header is %u, that of this "
                              "library %u: build with its header", out->config.abi, CELLAR_ABI);
    }
    if (err == CELLAR_OK) {
        err = cache_struct_read(&out->l2, sizeof out->l2, out->config.l2, "cellar_l2_config",
                                BASE_NUMBERS(cache_l2_numbers));
    }
    if (err == CELLAR_OK) {
        err = cache_struct_read(&out->host, sizeof out->host, out->config.host,
                                "cellar_host_config", BASE_NUMBERS(cache_host_numbers));
    }
    if (err == CELLAR_OK) {
        err = cache_struct_read(&out->tuning, sizeof out->tuning, out->config.tuning,
                                "cellar_tuning_config", BASE_NUMBERS(cache_tuning_numbers));
    }
    if (err == CELLAR_OK) { err = cache_cipher_read(out); }
    if (err != CELLAR_OK) { return err; }
    const char *rule = cache_pairs_check(out);
    if (rule != NULL) { return cache_open_refuse(CELLAR_E_INVAL, rule); }
    if (out->l2.write == CELLAR_L2_WRITE_THROUGH && out->config.l2_path == NULL) {
        return cache_open_refuse(CELLAR_E_UNSUPPORTED,
                                 "l2.write THROUGH needs a disk: set l2_path");
    }
    if (out->l2.write == CELLAR_L2_WRITE_DEFAULT) { out->l2.write = CELLAR_L2_WRITE_ON_EVICTION; }
    if (out->config.memory_bytes == 0) { out->config.memory_bytes = UINT64_C(64) << 20; }
    return cache_root_read(out);
}
BASE_SIZE_END
