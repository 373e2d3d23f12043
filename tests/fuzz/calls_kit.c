/* SPDX-License-Identifier: MIT
 *
 * calls_kit: rows of the kit: keys, templates, numbers, states of tasks, texts, settings. See
 * calls.h. */
#include "tests/fuzz/calls.h"

static cellar *calls_kit;
static cellar_status *calls_status;

static _Thread_local calls_owned own_f64, own_f32s;

static void kit_open(void)
{
    cellar_load_opts load;
    cellar_breaker_config breaker;
    cellar_namespace_config o = draw_namespace(2, &load, &breaker);
    cellar_embeddings_config eo = cellar_embeddings_config_default();
    o.loader = NULL, o.loader_many = NULL;
    if (told(world.store, CALL(cellar_namespace_open)(world.store, "kit", &o, &calls_kit)) !=
        CELLAR_OK) {
        return;
    }
    cellar_llm_config lo = { .struct_size = sizeof lo, .mode = (cellar_llm_mode)draw(3) };
    bool bad = spoil(&lo, sizeof lo);
    cellar_err err = plain(CALL(cellar_llm_open)(calls_kit, &lo, &calls_llm));
    refused(bad, err);
    eo.model = (cellar_bytes){ "m", 1 };
    eo.dim = chance(90) ? 4 : 0;
    MAYBE(eo.max_batch, 0, 1, 2);
    err = plain(CALL(cellar_embeddings_open)(calls_kit, &eo, &calls_embeddings));
    MUST((err == CELLAR_OK) == (eo.dim == 4) || err == CELLAR_E_NOMEM);
    cellar_status_config so = { .struct_size = sizeof so, .clock = calls_clock };
    MAYBE(so.hot_extra_ms, 0, 1000);
    MAYBE(so.hot_reads, 0, 1, 5, CELLAR_OFF);
    bad = spoil(&so, sizeof so);
    err = plain(CALL(cellar_status_open)(world.store, chance(50) ? NULL : "states", &so,
                                         &calls_status));
    refused(bad, err);
}

static void kit_forget(void) /* what a thread knows ends with the namespace */
{
    own_f64.known = own_f32s.known = false;
}

static void kit_close(void)
{
    CALL(cellar_llm_close)(calls_llm);
    CALL(cellar_embeddings_close)(calls_embeddings);
    CALL(cellar_status_close)(calls_status);
    (void)plain(CALL(cellar_namespace_close)(calls_kit));
    calls_llm = NULL;
    calls_embeddings = NULL;
    calls_status = NULL;
    calls_kit = NULL;
}

static void row_key(void)
{
    cellar_key_builder b;
    const cellar_bytes some = { "some bytes", draw(11) };
    char key[CELLAR_KEY_BUILT_MAX];
    size_t len = 0;
    CALL(cellar_key_begin)(&b);
    for (unsigned n = draw(12); n > 0; n--) {
        switch (draw(11)) {
        case 0: plain(CALL(cellar_key_add)(&b, cellar_arg_text(chance(95) ? "text" : NULL))); break;
        case 1: plain(CALL(cellar_key_add)(&b, cellar_arg_bytes(some))); break;
        case 2: plain(CALL(cellar_key_add)(&b, cellar_arg_i64((int64_t)draw64()))); break;
        case 3: plain(CALL(cellar_key_add)(&b, cellar_arg_u64(draw64()))); break;
        case 4: plain(CALL(cellar_key_add)(&b, cellar_arg_f64((double)draw(100) / 7))); break;
        case 5: plain(CALL(cellar_key_add)(&b, cellar_arg_bool(chance(50)))); break;
        case 6: plain(CALL(cellar_key_add)(&b, cellar_arg_null())); break;
        case 7: plain(CALL(cellar_key_add)(&b, cellar_arg_list())); break;
        case 8: plain(CALL(cellar_key_add)(&b, cellar_arg_map())); break;
        default: plain(CALL(cellar_key_end)(&b));
        }
    }
    if (chance(60)) {
        plain(CALL(cellar_key_finish)(&b, key, (size_t)ONE_OF(0, 10, CELLAR_KEY_BUILT_MAX), &len));
    }
    CALL(cellar_key_discard)(&b);
}

static void row_template(void)
{
    static const char *const texts[] = { "user:{id}", "a:{x}:b:{y}", "{", "", "{x}{y}" };
    cellar_template t;
    const cellar_bytes in[2] = { { "v:1", 3 }, { "{%", draw(3) } };
    cellar_bytes back[2];
    char key[100], buf[100];
    size_t len = 0;
    const unsigned which = draw(5);
    if (plain(CALL(cellar_template_compile)(chance(50) ? "p" : NULL, texts[which], &t)) !=
        CELLAR_OK) {
        return;
    }
    const size_t n = chance(90) ? which + 1 : 3 - (which + 1);
    if (plain(CALL(cellar_template_key)(&t, in, n, key, (size_t)ONE_OF(100, 100, 0, 3), &len)) !=
        CELLAR_OK || len > 100) {
        return;
    }
    const cellar_err err =
        plain(CALL(cellar_template_match)(&t, key, len, back, n, buf, sizeof buf));
    if (err == CELLAR_OK) {
        for (size_t i = 0; i < n; i++) {
            MUST(back[i].len == in[i].len && memcmp(back[i].data, in[i].data, in[i].len) == 0);
        }
    }
}

/* ---- Values with an owner: the thread reads what it wrote, or a miss ------------------------- */

static size_t own_key(char *key, const char *what)
{
    return (size_t)snprintf(key, 32, "%s%u", what, calls_me->number);
}

static void row_numbers(void)
{
    char key[32];
    cellar *c = calls_kit;
    if (c == NULL || calls_me->number >= calls.threads) { return; }
    if (chance(50)) {
        const size_t len = own_key(key, "f64");
        double x = (double)draw(1000) / 3;
        calls_owned was = own_f64;
        if (chance(50)) {
            was = own_begin(&own_f64);
            const cellar_err err = plain(CALL(cellar_set_f64)(c, key, len, x, NULL));
            own_f64.known = err == CELLAR_OK && own_alone(&own_f64, &was);
            own_f64.is.f64 = x;
        } else if (plain(CALL(cellar_get_f64)(c, key, len, &x)) == CELLAR_OK &&
                   own_still(&own_f64, &was)) {
            MUST(x == own_f64.is.f64);
        }
    } else {
        const size_t len = own_key(key, "f32s");
        float x[3] = { (float)draw(100), 1.5f, 0 };
        size_t n = 0;
        calls_owned was = own_f32s;
        if (chance(50)) {
            was = own_begin(&own_f32s);
            const cellar_err err = plain(CALL(cellar_set_f32s)(c, key, len, x, 3, NULL));
            own_f32s.known = err == CELLAR_OK && own_alone(&own_f32s, &was);
            memcpy(own_f32s.is.f32s, x, sizeof x);
        } else if (plain(CALL(cellar_get_f32s)(c, key, len, x, 3, &n)) == CELLAR_OK &&
                   own_still(&own_f32s, &was)) {
            MUST(n == 3 && memcmp(x, own_f32s.is.f32s, sizeof x) == 0);
        }
    }
    int64_t i = 0;
    MUST(plain(CALL(cellar_get_i64)(c, key, own_key(key, "f64"), &i)) != CELLAR_E_TYPE);
}

/* ---- States ---------------------------------------------------------------------------------- */

static cellar_err merge_state(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    MUST(old != NULL && old_len <= 6 && memcmp(old, "value!", old_len) == 0);
    calls_back();
    plain(CALL(cellar_buf_append)(out, "value!", draw(7)));
    return (cellar_err)ONE_OF(CELLAR_OK, CELLAR_OK, CELLAR_REMOVED, CELLAR_E_CANCELLED);
}

static void row_status(void)
{
    static const char *const states[] = { "processing", "success", "failed", "batch", "unknown" };
    cellar_status *s = calls_status;
    const char *id = draw_name(), *state = states[draw(5)];
    char buf[2][16];
    size_t len = 0;
    if (s == NULL) { return; }
    switch (draw(8)) {
    case 0: plain(CALL(cellar_status_set)(s, id, 2, "value!", draw(7), state)); break;
    case 1: case 2: {
        const char *is = NULL;
        if (plain(CALL(cellar_status_get)(s, id, 2, buf[0], sizeof buf[0], &len, &is)) ==
            CELLAR_OK) {
            MUST(is != NULL && len <= 6 && memcmp(buf[0], "value!", len) == 0);
        }
        break;
    }
    case 3: plain(CALL(cellar_status_update)(s, id, 2, state, merge_state, NULL)); break;
    case 4: {
        cellar_status_get_item it[2] = { { "n0", 2, buf[0], 16, 0, NULL, CELLAR_OK, 0 },
                                         { "n1", 2, buf[1], 16, 0, NULL, CELLAR_OK, 0 } };
        plain(CALL(cellar_status_get_many)(s, it, draw(3), &len));
        break;
    }
    case 5: {
        cellar_status_set_item it[2] = { { "n0", 2, "value!", 6, state, CELLAR_OK, 0 },
                                         { id, 2, "value!", 3, "batch", CELLAR_OK, 0 } };
        plain(CALL(cellar_status_set_many)(s, it, draw(3), &len));
        break;
    }
    case 6: {
        cellar_status_hot_id hot[3];
        uint32_t n = 0;
        plain(CALL(cellar_status_hot)(s, hot, 3, &n));
        MUST(n <= 3);
        break;
    }
    case 7: {
        cellar_status_stats st = cellar_status_stats_default();
        plain(CALL(cellar_status_stats_get)(s, &st));
        break;
    }
    default: break;
    }
}

/* ---- Texts and settings ---------------------------------------------------------------------- */

static void take_settings_note(const cellar_settings_note *note, void *ctx)
{
    (void)ctx;
    MUST(note->text[0] != '\0');
}

static void judge_url(void)
{
    static const char *const lists[] = { "https://.example.com", "http://10.0.0.0/8", "nonsense" };
    static const char url[] = "https://hooks.example.com/path?query";
    const char *list = lists[draw(3)], *why = "unset";
    const cellar_err err =
        plain(CALL(cellar_url_allowed)(chance(95) ? list : NULL, url, draw(sizeof url), &why));
    if (err != CELLAR_E_INVAL) { MUST((err == CELLAR_OK) == (why == NULL)); }
}

static void row_settings(void)
{
    static const char text[] = "memory = 8M\nmax_entries = 100\neviction = lru\nl2_sync = always\n"
                               "default_ttl = 1h30m\nnonsense = 1\n";
    static const char secret[] = "authorization: Bearer sk-123456789 token=abcdefgh";
    char out[100], path[T_FOLDER_MAX + 16];
    if (chance(20)) {
        judge_url();
        return;
    }
    if (chance(50)) {
        const size_t cap = (size_t)ONE_OF(100, 10, 0);
        (void)CALL(cellar_redact)(secret, draw(sizeof secret), cap != 0 ? out : NULL, cap);
        return;
    }
    cellar_settings *s = malloc(sizeof *s);
    MUST(s != NULL);
    *s = cellar_settings_default();
    snprintf(path, sizeof path, "%s/settings", calls_folder);
    switch (draw(4)) {
    case 0: plain(CALL(cellar_settings_read)(s, "text", text, draw(sizeof text), take_settings_note,
                                             NULL));
        break;
    case 1: plain(CALL(cellar_settings_read)(s, path, NULL, 0, take_settings_note, NULL)); break;
    case 2: plain(CALL(cellar_settings_read)(s, NULL, NULL, 0, take_settings_note, NULL)); break;
    default: {
        cellar *c = NULL;
        s->config.memory_bytes = (uint64_t)ONE_OF(1, 0, 1) << 20;
        s->host.no_threads = 1;
        if (chance(50)) { snprintf(s->policy_file, sizeof s->policy_file, "%s", path); }
        const cellar_err err = plain(CALL(cellar_settings_open)(s, take_settings_note, NULL, &c));
        MUST((err == CELLAR_OK) == (c != NULL));
        (void)plain(CALL(cellar_close)(c));
    }
    }
    free(s);
}
