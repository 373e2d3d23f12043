/* SPDX-License-Identifier: MIT
 *
 * cmd_read: GET MGET STRLEN GETRANGE EXISTS TYPE TOUCH.
 *
 * INVARIANTS Nothing here changes a value or its TTL.
 * LOCKING    None. */
#include "resp/data.h"

#include "cellar_object.h"
#include "resp/entry.h"
#include "resp/value.h"

RESP_CALL(resp_cmd_get)
{
    (void)argc;
    cellar *ns = resp_ns(c);
    if (ns != NULL) { (void)resp_bulk_value(c, ns, argv[1].data, argv[1].len); }
}

RESP_CALL(resp_cmd_mget)
{
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    resp_array(c, argc - 1);
    for (uint32_t i = 1; i < argc; i++) {
        (void)resp_bulk_value(c, ns, argv[i].data, argv[i].len);
    }
}

RESP_CALL(resp_cmd_strlen)
{
    (void)argc;
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    cellar_entry_info info;
    cellar_err err = resp_info(c, ns, argv[1], &info);
    if (err == CELLAR_OK && info.kind == CELLAR_KIND_OBJECT) { err = CELLAR_E_TYPE; }
    if (err < 0) {
        resp_fail(c, err);
    } else {
        resp_int(c, err == CELLAR_OK ? (int64_t)info.value_len : 0);
    }
}

/* Clip the places of GETRANGE, 0-based and inclusive, negative ones from the end, to a value.
 * Return false if no byte is left. */
static bool resp_clip(size_t len, int64_t *from, int64_t *to)
{
    const int64_t all = (int64_t)len; /* at most CELLAR_VALUE_MAX */
    if (*from < 0 && *to < 0 && *from > *to) { return false; }
    if (*from < 0) { *from = *from < -all ? 0 : all + *from; }
    if (*to < 0) { *to = *to < -all ? 0 : all + *to; }
    if (*to >= all) { *to = all - 1; }
    return all > 0 && *from <= *to;
}

RESP_CALL(resp_cmd_getrange)
{
    (void)argc;
    int64_t from, to;
    if (!resp_need_int(c, &argv[2], &from) || !resp_need_int(c, &argv[3], &to)) { return; }
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    resp_held h;
    const cellar_err err = resp_hold(c, ns, argv[1], &h);
    if (err < 0) {
        resp_fail(c, err);
    } else if (err != CELLAR_OK || !resp_clip(h.value.len, &from, &to)) {
        resp_bulk(c, "", 0);
    } else {
        resp_bulk(c, (const unsigned char *)h.value.data + from, (size_t)(to - from) + 1);
    }
    resp_held_free(&h);
}

/* Count a key that exists. False: an error was written. */
static bool resp_exists(resp_client *c, cellar *ns, cellar_bytes key, int64_t *count)
{
    cellar_entry_info info;
    const cellar_err err = resp_info(c, ns, key, &info);
    if (err < 0) { resp_fail(c, err); }
    *count += err == CELLAR_OK;
    return err >= 0;
}

/* Send how many of the keys exist; a key counts as often as it is named. */
RESP_CALL(resp_cmd_exists)
{
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    int64_t count = 0;
    for (uint32_t i = 1; i < argc; i++) {
        if (!resp_exists(c, ns, argv[i], &count)) { return; }
    }
    resp_int(c, count);
}

/* Like EXISTS, and a use of each entry: a get of no bytes, or a hold of an object. */
RESP_CALL(resp_cmd_touch)
{
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    int64_t count = 0;
    for (uint32_t i = 1; i < argc; i++) {
        if (!resp_exists(c, ns, argv[i], &count)) { return; }
        if (cellar_get(ns, argv[i].data, argv[i].len, NULL, 0, NULL) == CELLAR_E_TYPE) {
            cellar_held h;
            (void)cellar_object_acquire(ns, argv[i].data, argv[i].len, &h);
            cellar_object_release(&h);
        }
    }
    resp_int(c, count);
}

RESP_CALL(resp_cmd_type)
{
    (void)argc;
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    cellar_entry_info info;
    const cellar_err err = resp_info(c, ns, argv[1], &info);
    const char *kind = info.kind == CELLAR_KIND_OBJECT ? "object" : "string";
    if (err < 0) { resp_fail(c, err); } else { resp_simple(c, err == CELLAR_OK ? kind : "none"); }
}
