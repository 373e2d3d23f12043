/* SPDX-License-Identifier: MIT
 *
 * settings: options of a store from text, from a file and from the environment.
 *
 * PICTURE    text -> lines (text.c) -> name, value -> row of settings_list.h -> field of a copy
 *            no error: the copy replaces the caller's struct; an error: the copy is dropped
 * INVARIANTS A call changes all that it found, or nothing. A note has no value: a value may be a
 *            secret. A CELLAR_ name wins over a name of the documents in either order.
 * LIMITS     Texts of 64 KiB, values of 1,023 bytes, 100 errors. */
#include "cellar_kit.h"

#include "base/environment.h"
#include "base/mem.h"
#include "base/memory_limit.h"
#include "base/num.h"
#include "base/text.h"
#include "kit/settings_list.h"
#include "kit/text.h"

#include <arpa/inet.h>
#include <string.h>

BASE_SIZE_BEGIN

#define KIT_NAME_MAX 64u

typedef enum kit_setting_kind {
    KIT_MEMORY, KIT_SIZE, KIT_COUNT, KIT_TIME, KIT_WINDOW, KIT_JITTER, KIT_CHOICE, KIT_FLAG,
    KIT_OFF, KIT_LABEL, KIT_PATH, KIT_HOST, KIT_ROUTES
} kit_setting_kind;

typedef struct kit_setting {
    const char *name, *seed; /* seed: name in the documents, "" for none */
    const char *range;
    kit_setting_kind kind;
    uint32_t bytes;          /* of the field */
    size_t offset;
    int64_t least, most;
} kit_setting;

enum {
#define KIT_ROW(name, ...) KIT_ROW_##name,
    KIT_SETTINGS(KIT_ROW)
#undef KIT_ROW
    KIT_ROWS
};

static const kit_setting kit_settings[KIT_ROWS] = {
#define KIT_ROW(name, kind, field, least, most, range, seed, standard, help) \
    { #name, seed, range, KIT_##kind, (uint32_t)CELLAR_SIZEOF_FIELD(cellar_settings, field), \
      offsetof(cellar_settings, field), (int64_t)(least), (int64_t)(most) },
    KIT_SETTINGS(KIT_ROW)
#undef KIT_ROW
};
static const char *const kit_seeds[] = {
#define KIT_ROW(name) #name,
    KIT_SETTINGS_SEEDS(KIT_ROW)
#undef KIT_ROW
};
#define KIT_COUNT_OF(list) (sizeof(list) / sizeof(list)[0])

/* One run over a text or the environment. */
typedef struct kit_settings_run {
    cellar_settings to;    /* changed copy */
    cellar_settings scratch; /* for a value that has no effect */
    kit_notes notes;
    uint32_t own[KIT_ROWS], seed[KIT_ROWS]; /* line + 1 that set it by its name; 0: none */
} kit_settings_run;

/* ---- values: each returns the error, NULL for none ---- */

/* Replace *n percent of the memory of the container or machine by bytes, `most` at most. */
static const char *kit_value_share(uint64_t *n, uint64_t most)
{
    const uint64_t all = base_memory_limit("");
    if (*n > 100) { return "a share is 1% to 100%"; }
    if (all == 0) { return "the system does not tell its memory: give bytes"; }
    *n = BASE_MIN(all / 100 * *n + all % 100 * *n / 100, most);
    return NULL;
}

static const char *kit_value_size(const kit_setting *r, kit_value *v, uint64_t *n)
{
    static const char units[] = "kMGT";
    const char *why = kit_digits(v, n);
    if (why != NULL || v->at == v->len) { return why; }
    if (r->kind == KIT_MEMORY && kit_word_is(v->p + v->at, v->len - v->at, "%")) {
        return kit_value_share(n, (uint64_t)r->most);
    }
    const char *unit = strchr(units, v->p[v->at]);
    if (unit == NULL || v->at + 1 != v->len) { return "a size has no unit but k, M, G or T"; }
    *n = kit_times(*n, UINT64_C(1024) << 10 * (unit - units));
    return NULL;
}

static const char *kit_value_flag(kit_value *v, uint64_t *n)
{
    static const char *const words[] = { "0", "1", "false", "true", "no", "yes", "off", "on" };
    char low[8];
    if (v->len < sizeof low) {
        for (size_t i = 0; i < v->len; i++) { low[i] = kit_lower(v->p[i]); }
        for (size_t i = 0; i < KIT_COUNT_OF(words); i++) {
            if (kit_word_is(low, v->len, words[i])) {
                *n = i % 2;
                return NULL;
            }
        }
    }
    return "must be 0 or 1, false or true, no or yes, off or on";
}

/* Find the value among the words of the row; *n counts from `least`. */
static const char *kit_value_choice(const kit_setting *r, const kit_value *v, uint64_t *n)
{
    *n = (uint64_t)r->least;
    for (const char *p = r->range; *p != '\0'; (*n)++) {
        const size_t len = strcspn(p, " ");
        if (len == v->len && memcmp(p, v->p, len) == 0) { return NULL; }
        p += len + (p[len] == ' ');
    }
    return "must be one of:";
}

/* Return whether a text is a numeric address. */
static bool kit_is_address(const char *p, size_t len)
{
    char text[CELLAR_NAME_MAX + 1];
    unsigned char address[16];
    if (len >= sizeof text) { return false; }
    memcpy(text, p, len);
    text[len] = '\0';
    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

static const char *kit_value_text(const kit_setting *r, const kit_value *v, cellar_settings *to)
{
    size_t len = v->len;
    if (r->kind == KIT_HOST && !kit_is_address(v->p, len)) {
        /* The documents name the machine of a server, which is this process now. */
        if (!v->seconds && !kit_word_is(v->p, len, "localhost")) {
            return "must be a numeric address, or localhost";
        }
        len = 0;
    }
    /* A prefix of keys and one with its separator are the same. */
    if (r->kind == KIT_LABEL && len > 1 && v->p[len - 1] == ':') { len--; }
    if (len > (uint64_t)r->most) { return ""; }
    char *field = (char *)to + r->offset;
    memcpy(field, v->p, len);
    field[len] = '\0';
    return NULL;
}

/* ---- routes ---- */

/* Take one mark of a dictionary, if it is the next one. */
static bool kit_mark(kit_value *v, char mark)
{
    kit_skip_blanks(v);
    const bool there = v->at < v->len && v->p[v->at] == mark;
    v->at += there;
    return there;
}

/* Append a text in quotes of 1 to 64 bytes, terminated. */
static bool kit_mark_text(kit_value *v, char **out)
{
    const char quote = kit_mark(v, '"') ? '"' : '\'';
    if (quote != '"' && !kit_mark(v, quote)) { return false; }
    const char *from = v->p + v->at, *end = memchr(from, quote, v->len - v->at);
    const size_t len = end != NULL ? (size_t)(end - from) : 0;
    if (len == 0 || len > CELLAR_NAME_MAX || memchr(from, '\\', len) != NULL) { return false; }
    memcpy(*out, from, len);
    (*out)[len] = '\0';
    *out += len + 1;
    v->at += len + 1;
    return true;
}

/* Store a dictionary of routes: each pattern and its queue. A text needs less room than in the
 * value, where it has quotes. */
static const char *kit_value_routes(kit_value *v, char *out)
{
    static const char why[] = "needs {\"pattern\": \"queue\"} or {\"pattern\": {\"queue\": ..}}";
    if (!kit_mark(v, '{')) { return why; }
    for (bool more = true; !kit_mark(v, '}'); more = kit_mark(v, ',')) {
        if (!more || !kit_mark_text(v, &out) || !kit_mark(v, ':')) { return why; }
        const bool nested = kit_mark(v, '{');
        char *queue = out;
        if (nested && (!kit_mark_text(v, &out) || strcmp(queue, "queue") != 0 ||
                       !kit_mark(v, ':'))) {
            return why;
        }
        out = queue;
        if (!kit_mark_text(v, &out) || (nested && !kit_mark(v, '}'))) { return why; }
    }
    *out = '\0';
    kit_skip_blanks(v);
    return v->at == v->len ? NULL : why;
}

/* Read a value into its field. Return the error; "": out of range. */
static const char *kit_value_put(const kit_setting *r, kit_value *v, cellar_settings *to)
{
    uint64_t n = 0;
    const char *why = NULL;
    const bool never = r->kind == KIT_TIME && kit_word_is(v->p, v->len, "never");
    switch (r->kind) {
    case KIT_MEMORY:
    case KIT_SIZE: why = kit_value_size(r, v, &n); break;
    case KIT_TIME:
    case KIT_WINDOW: why = never ? NULL : kit_time(v, &n); break;
    case KIT_COUNT:
        why = kit_digits(v, &n);
        if (why == NULL && v->at != v->len) { why = "must be a number without unit"; }
        break;
    case KIT_CHOICE: why = kit_value_choice(r, v, &n); break;
    case KIT_FLAG:
    case KIT_OFF: why = kit_value_flag(v, &n); break;
    case KIT_JITTER: return kit_jitter(v, &to->tuning.jitter_pct, &to->tuning.jitter_mode);
    case KIT_LABEL:
    case KIT_HOST:
    case KIT_PATH: return kit_value_text(r, v, to);
    case KIT_ROUTES: return kit_value_routes(v, (char *)to + r->offset);
    }
    if (why != NULL) { return why; }
    if (!never && (n < (uint64_t)r->least || n > (uint64_t)r->most)) {
        v->at = 0;
        return "";
    }
    if (never) { n = (uint64_t)CELLAR_TTL_NONE; }
    if (r->kind == KIT_OFF) { n = n == 0; }
    const uint32_t half = (uint32_t)n;
    if (r->bytes == sizeof n) {
        memcpy((char *)to + r->offset, &n, sizeof n);
    } else {
        memcpy((char *)to + r->offset, &half, sizeof half);
    }
    return NULL;
}

/* ---- one setting ---- */

/* Set row `i` from a value that begins at column `at`, by its own name or the documents' one. An
 * empty value is not set. An empty password is refused: the port would open without one. */
static void kit_setting_set(kit_settings_run *run, size_t i, bool own, const char *name, size_t at,
                            kit_value *v)
{
    const kit_setting *r = &kit_settings[i];
    uint32_t *line = own ? &run->own[i] : &run->seed[i];
    if (v->len == 0 && (!own || i != KIT_ROW_resp_password)) { return; }
    if (*line != 0) {
        kit_note(&run->notes, CELLAR_LOG_ERROR, at, name, "is set twice, first in line %u",
                          *line - 1);
        return;
    }
    *line = run->notes.line + 1;
    v->seconds = !own;
    v->at = 0;
    const bool loses = !own && run->own[i] != 0; /* read, for its errors alone */
    if (loses) { run->scratch = run->to; }
    const char *why = v->len == 0 ? "must not be empty: write a password, or leave it out"
                                  : kit_value_put(r, v, loses ? &run->scratch : &run->to);
    if (why == NULL) { return; }
    if (why[0] == '\0') {
        kit_note(&run->notes, CELLAR_LOG_ERROR, at + v->at, name, "%.*s is out of range: %s",
                          (int)BASE_MIN(v->len, 32u), v->p,
                          strcmp(r->range, "time") == 0 ? "from 1ms, or never" : r->range);
    } else {
        const bool words = r->kind == KIT_CHOICE;
        kit_note(&run->notes, CELLAR_LOG_ERROR, at + v->at, name, "%s%s%s", why,
                          words ? " " : "", words ? r->range : "");
    }
}

static void kit_setting_seed(kit_settings_run *run, const char *name, size_t at)
{
    kit_note(&run->notes, CELLAR_LOG_INFO, at, name, "in process: not needed");
}

/* Write the name of a setting as it is in files to `own`, other names unchanged. Return false if
 * `name` belongs to other programs: capitals without CELLAR_. */
static bool kit_setting_name(const char *name, char own[KIT_NAME_MAX + 1])
{
    const bool env = strncmp(name, "CELLAR_", 7) == 0;
    bool lower = false;
    for (const char *p = name; *p != '\0'; p++) { lower |= *p >= 'a' && *p <= 'z'; }
    const bool fold = env && !lower;
    size_t i = 0;
    for (const char *p = name + (fold ? 7 : 0); *p != '\0'; p++) {
        own[i++] = fold ? kit_lower(*p) : *p;
    }
    own[i] = '\0';
    return env || lower;
}

/* Set what `name` means. `name_at`, `at`: columns of name and value. */
static void kit_setting_named(kit_settings_run *run, const char *name, size_t name_at, size_t at,
                              kit_value *v)
{
    char own[KIT_NAME_MAX + 1];
    const bool ours = kit_setting_name(name, own);
    for (size_t i = 0; i < KIT_ROWS; i++) {
        const bool named = strcmp(own, kit_settings[i].name) == 0;
        if (named || (own[0] != '\0' && strcmp(own, kit_settings[i].seed) == 0)) {
            kit_setting_set(run, i, named, name, at, v);
            return;
        }
    }
    if (v->len == 0) { return; }
    if (ours) {
        kit_note(&run->notes, CELLAR_LOG_ERROR, name_at, name, "unknown setting");
        return;
    }
    for (size_t i = 0; i < KIT_COUNT_OF(kit_seeds); i++) {
        if (strcmp(name, kit_seeds[i]) == 0) {
            kit_setting_seed(run, name, name_at);
            return;
        }
    }
    kit_note(&run->notes, CELLAR_LOG_INFO, name_at, name, "not a setting of cellar");
}

/* ---- texts ---- */

static bool kit_is_name(char c, bool first)
{
    return kit_letter(c) || c == '_' || (!first && kit_digit(c));
}

/* Read the value at line[*at]: a word up to a comment, or a text in quotes. Copy it to `out`.
 * Return the error, at *at; NULL for none. */
static const char *kit_line_value(const char *line, size_t len, size_t *at,
                                  char out[CELLAR_SETTINGS_PATH_MAX + 1], size_t *out_len)
{
    size_t i = *at, n = 0;
    if (i < len && (line[i] == '"' || line[i] == '\'')) {
        kit_value v = { line, len, i, false };
        const char *why = kit_quoted(&v, false, out, CELLAR_SETTINGS_PATH_MAX, out_len);
        if (why == NULL) { kit_skip_blanks(&v); }
        if (why == NULL && v.at < len && line[v.at] != '#') {
            why = "only a comment may follow the quote";
        }
        *at = v.at;
        return why;
    }
    for (; i < len && !(line[i] == '#' && kit_is_blank(line[i - 1])); i++, n++) {
        if (n == CELLAR_SETTINGS_PATH_MAX) {
            *at = i;
            return "the value is longer than 1,023 bytes";
        }
        out[n] = line[i];
    }
    while (n > 0 && kit_is_blank(out[n - 1])) { n--; }
    *out_len = n;
    return NULL;
}

static void kit_settings_line(void *ctx, const char *line, size_t len)
{
    kit_settings_run *run = ctx;
    char name[KIT_NAME_MAX + 1], value[CELLAR_SETTINGS_PATH_MAX + 1];
    size_t at = 0;
    while (at < len && kit_is_blank(line[at])) { at++; }
    if (at == len || line[at] == '#') { return; }
    const size_t name_at = at;
    while (at < len && kit_is_name(line[at], at == name_at)) { at++; }
    const size_t name_len = at - name_at;
    while (at < len && kit_is_blank(line[at])) { at++; }
    if (name_len == 0 || name_len > KIT_NAME_MAX || at == len || line[at] != '=') {
        kit_note(&run->notes, CELLAR_LOG_ERROR, name_len == 0 || name_len > KIT_NAME_MAX ? name_at
                          : at, "", "a line is: name = value");
        return;
    }
    memcpy(name, line + name_at, name_len);
    name[name_len] = '\0';
    at++;
    while (at < len && kit_is_blank(line[at])) { at++; }
    kit_value v = { value, 0, 0, false };
    const bool quoted = at < len && (line[at] == '"' || line[at] == '\'');
    size_t value_at = at;
    const char *why = kit_line_value(line, len, &value_at, value, &v.len);
    if (why != NULL) {
        kit_note(&run->notes, CELLAR_LOG_ERROR, value_at, name, "%s", why);
        return;
    }
    kit_setting_named(run, name, name_at, at + quoted, &v);
}

static cellar_err kit_settings_end(const kit_settings_run *run, cellar_settings *s)
{
    if (run->notes.errors != 0) { return CELLAR_E_CONFIG; }
    *s = run->to;
    if ((run->own[KIT_ROW_l2_path] | run->seed[KIT_ROW_l2_path]) != 0) {
        s->config.l2_path = s->l2_path;
    }
    if ((run->own[KIT_ROW_key_prefix] | run->seed[KIT_ROW_key_prefix]) != 0) {
        s->host.name = s->key_prefix;
    }
    return CELLAR_OK;
}

static void kit_settings_text(kit_settings_run *run, const char *text, size_t len)
{
    if (len > CELLAR_SETTINGS_TEXT_MAX) {
        run->notes.line = 1;
        kit_note(&run->notes, CELLAR_LOG_ERROR, 0, "", "larger than 64 KiB");
    } else {
        kit_lines(&run->notes, text, len, kit_settings_line, run);
    }
}

static cellar_err kit_settings_file(kit_settings_run *run, const char *path)
{
    char *text;
    size_t len;
    const cellar_err err = kit_file_read(&run->notes, path, CELLAR_SETTINGS_TEXT_MAX, &text, &len);
    if (err != CELLAR_OK) { return err; }
    kit_settings_text(run, text, len);
    base_free_raw(NULL, text, CELLAR_SETTINGS_TEXT_MAX + 1);
    return CELLAR_OK;
}

/* ---- environment ---- */

/* Find the variable of a setting, and write its name: CELLAR_NAME, or the name itself if it is in
 * capitals. */
static bool kit_variable(const char *setting, char name[KIT_NAME_MAX + 1], const char **value)
{
    const bool own = *setting >= 'a';
    base_text t = { name, KIT_NAME_MAX + 1, 0 };
    base_text_add(&t, "%s%s", own ? "CELLAR_" : "", setting);
    for (char *p = name; own && *p != '\0'; p++) {
        if (*p >= 'a' && *p <= 'z') { *p = (char)(*p - 'a' + 'A'); }
    }
    *value = base_environment(name);
    return *value != NULL;
}

static void kit_variable_set(kit_settings_run *run, size_t i, bool own, const char *name,
                             const char *value)
{
    kit_value v = { value, strlen(value), 0, false };
    if (v.len > CELLAR_SETTINGS_PATH_MAX) {
        kit_note(&run->notes, CELLAR_LOG_ERROR, 0, name, "the value is longer than 1,023 bytes");
        return;
    }
    for (size_t k = 0; k < v.len; k++) {
        if ((unsigned char)value[k] < ' ' || value[k] == 0x7f) {
            kit_note(&run->notes, CELLAR_LOG_ERROR, k, name, "a control byte");
            return;
        }
    }
    kit_setting_set(run, i, own, name, 0, &v);
}

/* Return why a variable has no effect, as it is probably of another program; NULL: it has one. */
static const char *kit_variable_foreign(const kit_settings_run *run, size_t i, bool own,
                                        const char *name, const char *value)
{
    if (i == KIT_ROW_resp_port && strstr(value, "://") != NULL) {
        return "not read: Kubernetes sets such an address beside a Service";
    }
    if (own || value[0] == '\0' || run->to.env_redis != 0 || strncmp(name, "REDIS_", 6) != 0) {
        return NULL;
    }
    return "not read: it may be of another server; cellar serve takes it with --env=redis, a "
           "program with env_redis";
}

static void kit_settings_env(kit_settings_run *run)
{
    char name[KIT_NAME_MAX + 1];
    const char *value;
    for (size_t i = 0; i < 2 * KIT_ROWS; i++) {
        const kit_setting *r = &kit_settings[i / 2];
        const bool own = i % 2 == 0;
        if ((!own && r->seed[0] == '\0') || !kit_variable(own ? r->name : r->seed, name, &value)) {
            continue;
        }
        const char *why = kit_variable_foreign(run, i / 2, own, name, value);
        if (why != NULL) {
            kit_note(&run->notes, CELLAR_LOG_INFO, 0, name, "%s", why);
        } else {
            kit_variable_set(run, i / 2, own, name, value);
        }
    }
    for (size_t i = 0; i < KIT_COUNT_OF(kit_seeds); i++) {
        if (kit_variable(kit_seeds[i], name, &value) && value[0] != '\0') {
            kit_setting_seed(run, kit_seeds[i], 0);
        }
    }
}

CELLAR_API cellar_err cellar_settings_read(cellar_settings *s, const char *name, const char *text,
                                           size_t text_len, cellar_settings_note_fn fn, void *ctx)
{
    kit_settings_run run;
    if (s == NULL || s->struct_size == 0 || (text == NULL ? text_len != 0 : name == NULL)) {
        return CELLAR_E_INVAL;
    }
    if (s->struct_size != sizeof *s) { return CELLAR_E_ABI; }
    memset(&run, 0, sizeof run);
    run.to = *s;
    run.notes = (kit_notes){ .source = name, .fn = fn, .ctx = ctx };
    if (text != NULL) {
        kit_settings_text(&run, text, text_len);
    } else if (name == NULL) {
        kit_settings_env(&run);
    } else {
        const cellar_err err = kit_settings_file(&run, name);
        if (err != CELLAR_OK) { return err; }
    }
    return kit_settings_end(&run, s);
}

/* ---- open ---- */

CELLAR_API cellar_err cellar_settings_open(const cellar_settings *s, cellar_settings_note_fn fn,
                                           void *ctx, cellar **out)
{
    if (out != NULL) { *out = NULL; }
    if (s == NULL || s->struct_size == 0 || out == NULL) { return CELLAR_E_INVAL; }
    if (s->struct_size != sizeof *s) { return CELLAR_E_ABI; }
    cellar_config cfg = s->config;
    cellar_policy_rule *rules = NULL;
    if (cfg.l2 == NULL) { cfg.l2 = &s->l2; }
    if (cfg.host == NULL) { cfg.host = &s->host; }
    if (cfg.tuning == NULL) { cfg.tuning = &s->tuning; }
    if (cfg.root == NULL) { cfg.root = &s->root; }
    if (s->policy_file[0] != '\0') {
        const cellar_err err = cellar_policy_read(s->policy_file, NULL, fn, ctx, &rules,
                                                  &cfg.rule_count);
        if (err != CELLAR_OK) { return err; }
        cfg.rules = rules;
    }
    const cellar_err err = cellar_open(&cfg, out);
    cellar_free(rules);
    return err;
}

BASE_SIZE_END
