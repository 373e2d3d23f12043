/* SPDX-License-Identifier: MIT
 *
 * options: optional words of SET, GETEX, EXPIRE, SCAN and COPY.
 *
 * INVARIANTS The words may come in any order. A word that contradicts an earlier one is a syntax
 *            error; the same word twice is none, and the last value counts.
 * LOCKING    None: pure functions.
 * SOURCE     Behaviour of redis-server 7.0.15. Own code. */
#include "resp/options.h"

#include "base/check.h"
#include "resp/command.h"

BASE_SIZE_BEGIN

#define RESP_OPT_ANY_TTL 0x200u /* stands for one of EX PX EXAT PXAT */

typedef struct resp_option_row {
    const char *word;
    resp_unit unit;   /* with a value: its unit */
    uint32_t flag;    /* bit that the word sets */
    uint32_t against; /* earlier bits that contradict it */
    bool set, getex;  /* commands that know the word */
} resp_option_row;

/* EX after EX is fine, EX after PX is not: resp_option_fits compares the units. */
static const resp_option_row resp_option_rows[] = {
    { "nx", RESP_UNIT_NONE, RESP_OPT_NX, RESP_OPT_XX, true, false },
    { "xx", RESP_UNIT_NONE, RESP_OPT_XX, RESP_OPT_NX, true, false },
    { "get", RESP_UNIT_NONE, RESP_OPT_GET, 0, true, false },
    { "keepttl", RESP_UNIT_NONE, RESP_OPT_KEEPTTL, RESP_OPT_ANY_TTL, true, false },
    { "persist", RESP_UNIT_NONE, RESP_OPT_PERSIST, RESP_OPT_ANY_TTL, false, true },
    { "ex", RESP_UNIT_EX, 0, RESP_OPT_KEEPTTL | RESP_OPT_PERSIST, true, true },
    { "px", RESP_UNIT_PX, 0, RESP_OPT_KEEPTTL | RESP_OPT_PERSIST, true, true },
    { "exat", RESP_UNIT_EXAT, 0, RESP_OPT_KEEPTTL | RESP_OPT_PERSIST, true, true },
    { "pxat", RESP_UNIT_PXAT, 0, RESP_OPT_KEEPTTL | RESP_OPT_PERSIST, true, true },
};

/* Return whether a word may follow the words read so far. */
static bool resp_option_fits(const resp_option_row *r, const resp_options *o)
{
    const uint32_t have = o->flags | (o->unit != RESP_UNIT_NONE ? RESP_OPT_ANY_TTL : 0u);
    if ((have & r->against) != 0) { return false; }
    return r->unit == RESP_UNIT_NONE || o->unit == RESP_UNIT_NONE || o->unit == r->unit;
}

static const char *resp_options_string(const cellar_bytes *arg, size_t count, bool set,
                                       resp_options *out)
{
    *out = (resp_options){ 0 };
    for (size_t i = 0; i < count; i++) {
        const resp_option_row *found = NULL;
        for (size_t k = 0; k < sizeof resp_option_rows / sizeof resp_option_rows[0]; k++) {
            const resp_option_row *r = &resp_option_rows[k];
            if ((set ? r->set : r->getex) && resp_is(&arg[i], r->word)) { found = r; }
        }
        if (found == NULL || !resp_option_fits(found, out)) { return RESP_ERR_SYNTAX; }
        out->flags |= found->flag;
        if (found->unit != RESP_UNIT_NONE) {
            if (++i == count) { return RESP_ERR_SYNTAX; }
            out->unit = found->unit;
            out->expire = arg[i];
        }
    }
    return NULL;
}

CELLAR_PRIVATE const char *resp_options_set(const cellar_bytes *arg, size_t count,
                                            resp_options *out)
{
    return resp_options_string(arg, count, true, out);
}

CELLAR_PRIVATE const char *resp_options_getex(const cellar_bytes *arg, size_t count,
                                              resp_options *out)
{
    return resp_options_string(arg, count, false, out);
}

CELLAR_PRIVATE const char *resp_options_expire(const cellar_bytes *arg, size_t count,
                                               resp_options *out, cellar_bytes *unknown)
{
    static const struct { const char *word; uint32_t flag; } rows[] = {
        { "nx", RESP_OPT_NX }, { "xx", RESP_OPT_XX }, { "gt", RESP_OPT_GT }, { "lt", RESP_OPT_LT },
    };
    *out = (resp_options){ 0 };
    *unknown = (cellar_bytes){ NULL, 0 };
    for (size_t i = 0; i < count; i++) {
        uint32_t flag = 0;
        for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
            if (resp_is(&arg[i], rows[k].word)) { flag = rows[k].flag; }
        }
        if (flag == 0) {
            *unknown = arg[i];
            return "ERR Unsupported option ";
        }
        out->flags |= flag;
    }
    const uint32_t others = RESP_OPT_XX | RESP_OPT_GT | RESP_OPT_LT;
    if ((out->flags & RESP_OPT_NX) != 0 && (out->flags & others) != 0) {
        return "ERR NX and XX, GT or LT options at the same time are not compatible";
    }
    if ((out->flags & RESP_OPT_GT) != 0 && (out->flags & RESP_OPT_LT) != 0) {
        return "ERR GT and LT options at the same time are not compatible";
    }
    return NULL;
}

CELLAR_PRIVATE bool resp_read_cursor(const void *text, size_t len, uint64_t *out)
{
    const unsigned char *p = text;
    const size_t sign = len > 0 && (p[0] == '-' || p[0] == '+');
    if (sign == len && len > 0) { return false; }
    uint64_t v = 0;
    for (size_t i = sign; i < len; i++) {
        const unsigned digit = (unsigned)p[i] - '0';
        if (digit > 9 || v > (UINT64_MAX - digit) / 10) { return false; }
        v = v * 10 + digit;
    }
    *out = sign != 0 && p[0] == '-' ? 0 - v : v;
    return true;
}

CELLAR_PRIVATE const char *resp_options_scan(const cellar_bytes *arg, size_t count,
                                             resp_options *out)
{
    *out = (resp_options){ .count = 10 };
    for (size_t i = 0; i < count; i += 2) {
        if (i + 1 == count) { return RESP_ERR_SYNTAX; }
        if (resp_is(&arg[i], "count")) {
            if (!resp_to_int(&arg[i + 1], &out->count)) {
                return RESP_ERR_INTEGER;
            }
            if (out->count < 1) { return RESP_ERR_SYNTAX; }
        } else if (resp_is(&arg[i], "match")) {
            out->match = arg[i + 1];
        } else if (resp_is(&arg[i], "type")) {
            out->type = arg[i + 1];
        } else {
            return RESP_ERR_SYNTAX;
        }
    }
    return NULL;
}

CELLAR_PRIVATE const char *resp_options_copy(const cellar_bytes *arg, size_t count,
                                             resp_options *out)
{
    *out = (resp_options){ 0 };
    for (size_t i = 0; i < count; i++) {
        if (resp_is(&arg[i], "replace")) {
            out->flags |= RESP_OPT_REPLACE;
        } else if (resp_is(&arg[i], "db") && i + 1 < count) {
            i++;
            if (!resp_to_int(&arg[i], &out->db) || out->db < INT32_MIN ||
                out->db > INT32_MAX) {
                return RESP_ERR_INTEGER;
            }
            if (out->db < 0 || out->db >= (int64_t)RESP_DBS) {
                return "ERR DB index is out of range";
            }
            out->flags |= RESP_OPT_DB;
        } else {
            return RESP_ERR_SYNTAX;
        }
    }
    return NULL;
}

CELLAR_PRIVATE resp_expire_answer resp_expire_read(cellar_bytes text, resp_unit unit,
                                                   int64_t now_wall_ms, bool positive,
                                                   int64_t *at_wall_ms)
{
    int64_t when;
    if (!resp_to_int(&text, &when)) { return RESP_EXPIRE_NOT_INTEGER; }
    if (positive && when <= 0) { return RESP_EXPIRE_INVALID; }
    if (unit == RESP_UNIT_EX || unit == RESP_UNIT_EXAT) {
        if (when > INT64_MAX / 1000 || when < INT64_MIN / 1000) { return RESP_EXPIRE_INVALID; }
        when *= 1000;
    }
    if (unit == RESP_UNIT_EX || unit == RESP_UNIT_PX) {
        if (when > INT64_MAX - now_wall_ms) { return RESP_EXPIRE_INVALID; }
        when += now_wall_ms;
    }
    *at_wall_ms = when;
    return RESP_EXPIRE_OK;
}

CELLAR_PRIVATE int64_t resp_expire_ttl(int64_t at_wall_ms, int64_t now_wall_ms)
{
    BASE_ASSERT(now_wall_ms > 0);
    return at_wall_ms > now_wall_ms ? at_wall_ms - now_wall_ms : 0;
}

BASE_SIZE_END
