/* SPDX-License-Identifier: MIT
 *
 * cmd_number: INCR DECR INCRBY DECRBY INCRBYFLOAT APPEND SETRANGE: a new value from the old one.
 *
 * INVARIANTS Each command is one cellar_update: atomic against every thread of the process. The TTL
 *            of the entry stays. A number is decimal text, as in Redis; the 8 bytes of
 *            cellar_increment are no text and are refused.
 * LOCKING    None. */
#include "base/float_text.h"
#include "resp/data.h"
#include "resp/entry.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

BASE_SIZE_BEGIN

#define RESP_ERR_FLOAT    "ERR value is not a valid float"
#define RESP_ERR_OVERFLOW "ERR increment or decrement would overflow"
#define RESP_ERR_NAN      "ERR increment would produce NaN or Infinity"

/* ---- Integers -------------------------------------------------------------------------------- */

typedef struct resp_increment {
    int64_t delta, now;
    const char *error; /* why the update failed; NULL: it did not */
} resp_increment;

static cellar_err resp_increment_one(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    resp_increment *i = ctx;
    int64_t before = 0;
    i->error = NULL;
    if (old != NULL && !resp_to_int(&(cellar_bytes){ old, old_len }, &before)) {
        i->error = RESP_ERR_INTEGER;
    } else if (__builtin_add_overflow(before, i->delta, &i->now)) {
        i->error = RESP_ERR_OVERFLOW;
    }
    if (i->error != NULL) { return CELLAR_E_TYPE; }
    char text[24];
    return cellar_buf_append(out, text, (size_t)snprintf(text, sizeof text, "%" PRId64, i->now));
}

CELLAR_PRIVATE void resp_increment_key(resp_client *c, cellar *ns, cellar_bytes key,
                                       int64_t delta, bool only_present)
{
    cellar_set_opts o = resp_keep_opts();
    if (only_present) { o.flags |= CELLAR_ONLY_IF_PRESENT; }
    resp_increment i = { delta, 0, NULL };
    const cellar_err err = resp_update(c, ns, key, &o, resp_increment_one, &i);
    if (i.error != NULL) {
        resp_error(c, "%s", i.error);
    } else if (err == CELLAR_MISS) {
        resp_null(c);
    } else if (err != CELLAR_OK) {
        resp_fail(c, err);
    } else {
        resp_int(c, i.now);
    }
}

static void resp_increment_run(resp_client *c, cellar_bytes key, int64_t delta)
{
    cellar *ns = resp_ns(c);
    if (ns != NULL) { resp_increment_key(c, ns, key, delta, false); }
}

RESP_CALL(resp_cmd_incr)
{
    (void)argc;
    resp_increment_run(c, argv[1], 1);
}

RESP_CALL(resp_cmd_decr)
{
    (void)argc;
    resp_increment_run(c, argv[1], -1);
}

RESP_CALL(resp_cmd_incrby)
{
    (void)argc;
    int64_t delta;
    if (resp_need_int(c, &argv[2], &delta)) { resp_increment_run(c, argv[1], delta); }
}

RESP_CALL(resp_cmd_decrby)
{
    (void)argc;
    int64_t delta;
    if (!resp_need_int(c, &argv[2], &delta)) { return; }
    if (delta == INT64_MIN) {
        resp_error(c, "ERR decrement would overflow");
    } else {
        resp_increment_run(c, argv[1], -delta);
    }
}

/* ---- Floats ---------------------------------------------------------------------------------- */

typedef struct resp_increment_float {
    long double delta;
    char text[BASE_FLOAT_MAX]; /* the new value */
    size_t len;
    const char *error;
} resp_increment_float;

static cellar_err resp_increment_float_one(const void *old, size_t old_len, cellar_buf *out,
                                           void *ctx)
{
    resp_increment_float *i = ctx;
    long double before = 0;
    i->error = NULL;
    if (old != NULL && !base_float_read(old, old_len, &before)) {
        i->error = RESP_ERR_FLOAT;
    } else {
        i->len = base_float_print(i->text, before + i->delta);
        if (i->len == 0) { i->error = RESP_ERR_NAN; }
    }
    return i->error != NULL ? CELLAR_E_TYPE : cellar_buf_append(out, i->text, i->len);
}

RESP_CALL(resp_cmd_incrbyfloat)
{
    (void)argc;
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    resp_increment_float i;
    i.error = NULL;
    /* The server looks at the old value first: both texts give the same error. */
    if (!base_float_read(argv[2].data, argv[2].len, &i.delta)) {
        resp_error(c, RESP_ERR_FLOAT);
        return;
    }
    const cellar_set_opts o = resp_keep_opts();
    const cellar_err err = resp_update(c, ns, argv[1], &o, resp_increment_float_one, &i);
    if (i.error != NULL) {
        resp_error(c, "%s", i.error);
    } else if (err != CELLAR_OK) {
        resp_fail(c, err);
    } else {
        resp_bulk(c, i.text, i.len);
    }
}

/* ---- Parts of values ------------------------------------------------------------------------- */

typedef struct resp_splice {
    cellar_bytes part;
    bool append;
    size_t at;      /* SETRANGE: its offset */
    size_t now_len; /* bytes of the new value */
} resp_splice;

static cellar_err resp_splice_one(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    resp_splice *s = ctx;
    if (old == NULL) { old_len = 0; }
    const size_t at = s->append ? old_len : s->at;
    if (s->part.len > CELLAR_VALUE_MAX - at) { return CELLAR_E_TOOBIG; } /* at <= VALUE_MAX */
    s->now_len = at + s->part.len > old_len ? at + s->part.len : old_len;
    void *to;
    const cellar_err err = cellar_buf_resize(out, s->now_len, &to);
    if (err != CELLAR_OK) { return err; }
    unsigned char *bytes = to;
    if (old_len > 0) { memcpy(bytes, old, old_len); }
    if (s->part.len > 0) { memcpy(bytes + at, s->part.data, s->part.len); }
    return CELLAR_OK;
}

static void resp_splice_key(resp_client *c, cellar_bytes key, resp_splice *s)
{
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    const cellar_set_opts o = resp_keep_opts();
    const cellar_err err = resp_update(c, ns, key, &o, resp_splice_one, s);
    if (err != CELLAR_OK) {
        resp_fail(c, err);
    } else {
        resp_int(c, (int64_t)s->now_len);
    }
}

RESP_CALL(resp_cmd_append)
{
    (void)argc;
    resp_splice s = { .part = argv[2], .append = true };
    resp_splice_key(c, argv[1], &s);
}

RESP_CALL(resp_cmd_setrange)
{
    (void)argc;
    int64_t at;
    if (!resp_need_int(c, &argv[2], &at)) { return; }
    if (at < 0) {
        resp_error(c, "ERR offset is out of range");
    } else if (argv[3].len == 0) { /* writes nothing, and makes no key */
        resp_cmd_strlen(c, argv, 2);
    } else if (at > (int64_t)CELLAR_VALUE_MAX) {
        resp_fail(c, CELLAR_E_TOOBIG);
    } else {
        resp_splice s = { .part = argv[3], .at = (size_t)at };
        resp_splice_key(c, argv[1], &s);
    }
}

BASE_SIZE_END
