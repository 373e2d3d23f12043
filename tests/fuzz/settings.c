/* SPDX-License-Identifier: MIT
 *
 * fuzz/settings: cellar_settings_read on any bytes.
 *
 * INPUT      the text
 * ORACLE     no crash, no sanitizer report. E_CONFIG: at least one error was noted, and no byte of
 *            the struct changed. OK: each number is in the range that cellar_open accepts, and the
 *            text read once more changes nothing. A note lies inside the text.
 * USE        tests/fuzz/test_settings_fuzz.c: seeded inputs, in every test run. libFuzzer:
 *            tests/fuzz/matrix_fuzz.sh. */
#include "tests/support/t.h"

#include "cellar_kit.h"
#include "tests/fuzz/must.h"

static uint64_t fuzz_good, fuzz_set; /* texts without an error; of these: with a setting */

typedef struct fuzz_notes {
    uint32_t errors, lines;
    size_t len;
} fuzz_notes;

static void fuzz_note(const cellar_settings_note *note, void *ctx)
{
    fuzz_notes *to = ctx;
    to->errors += note->level == CELLAR_LOG_ERROR;
    FUZZ_MUST(note->level == CELLAR_LOG_ERROR || note->level == CELLAR_LOG_INFO);
    FUZZ_MUST(note->line >= 1 && note->line <= to->lines);
    FUZZ_MUST(note->column >= 1 && note->column <= to->len + 1);
    FUZZ_MUST(strlen(note->name) <= 64 && strlen(note->text) < 512);
    for (const char *p = note->text; *p != '\0'; p++) { FUZZ_MUST((unsigned char)*p >= ' '); }
}

static void fuzz_ranges(const cellar_settings *s)
{
    const cellar_config *c = &s->config;
    FUZZ_MUST(c->memory_bytes == 0 ||
              (c->memory_bytes >= CELLAR_MEMORY_MIN && c->memory_bytes <= INT64_MAX));
    FUZZ_MUST(c->max_entries <= INT64_MAX && c->default_ttl_ms >= 0 && c->negative_ttl_ms >= 0);
    FUZZ_MUST(c->max_age_ms >= 0 && c->stale_ms >= 0 && c->stale_ms <= UINT32_MAX);
    FUZZ_MUST(c->idle_ms >= 0 && (c->idle_ms <= UINT32_MAX || c->idle_ms == CELLAR_TTL_NONE));
    FUZZ_MUST(c->l2_bytes == 0 ||
              (c->l2_bytes >= CELLAR_L2_BYTES_MIN && c->l2_bytes <= CELLAR_L2_BYTES_MAX));
    FUZZ_MUST(c->l2_path == NULL || (c->l2_path == s->l2_path && c->l2_path[0] != '\0'));
    FUZZ_MUST(c->rules == NULL && strlen(s->policy_file) <= CELLAR_SETTINGS_PATH_MAX);
    FUZZ_MUST(s->tuning.jitter_pct <= 100 || s->tuning.jitter_pct == CELLAR_OFF);
    FUZZ_MUST(s->tuning.max_value_bytes <= CELLAR_VALUE_MAX);
    FUZZ_MUST(s->host.load_threads <= 64 && s->host.load_queue <= 65536);
    FUZZ_MUST(s->host.no_threads <= 1 && s->disabled <= 1 && s->l2.optional <= 1);
    FUZZ_MUST((unsigned)s->host.log_level <= CELLAR_LOG_OFF);
    FUZZ_MUST((unsigned)s->host.log_keys <= CELLAR_LOG_KEYS_FULL);
    FUZZ_MUST((unsigned)c->eviction <= CELLAR_EVICT_FIFO);
    FUZZ_MUST((unsigned)s->l2.sync <= CELLAR_L2_SYNC_ALWAYS);
    FUZZ_MUST(s->work.refresh_ms >= 0 && s->work.refresh_ms <= INT64_C(366) * 86400000);
    const char *end = s->work.routes + sizeof s->work.routes;
    for (const char *p = s->work.routes, *queue; *p != 0; p = queue + strlen(queue) + 1) {
        queue = p + strlen(p) + 1;
        FUZZ_MUST(strlen(p) <= CELLAR_NAME_MAX && *queue != 0 && strlen(queue) <= CELLAR_NAME_MAX);
        FUZZ_MUST(queue + strlen(queue) + 1 < end);
    }
    FUZZ_MUST(s->host.name == NULL || strlen(s->host.name) <= CELLAR_NAME_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const cellar_settings fresh = cellar_settings_default();
    cellar_settings s = fresh, again;
    fuzz_notes notes = { 0, 1, n };
    for (size_t i = 0; i < n; i++) { notes.lines += data[i] == '\n'; }
    const char *text = (const char *)data;
    const cellar_err err = cellar_settings_read(&s, "fuzz", text, n, fuzz_note, &notes);
    FUZZ_MUST(err == CELLAR_OK || err == CELLAR_E_CONFIG);
    FUZZ_MUST((err == CELLAR_OK) == (notes.errors == 0));
    if (err != CELLAR_OK) {
        FUZZ_MUST(memcmp(&s, &fresh, sizeof s) == 0);
    } else {
        fuzz_good++;
        fuzz_set += memcmp(&s, &fresh, sizeof s) != 0;
        fuzz_ranges(&s);
        again = s;
        FUZZ_MUST(cellar_settings_read(&s, "fuzz", text, n, NULL, NULL) == CELLAR_OK);
        FUZZ_MUST(memcmp(&s, &again, sizeof s) == 0);
    }
    return 0;
}
