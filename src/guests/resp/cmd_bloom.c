/* SPDX-License-Identifier: MIT
 *
 * cmd_bloom: BF.ADD BF.MADD BF.EXISTS BF.MEXISTS BF.INFO.
 *
 * INVARIANTS The one filter that the commands know is the filter of the selected database. Its name
 *            is the name of the namespace: another first argument is "not found". The program opens
 *            the filter, not a client.
 * LOCKING    None. */
#include "cellar_bloom.h"
#include "resp/data.h"

#include <string.h>

BASE_SIZE_BEGIN

/* Find the filter. False: an error was written. */
static bool resp_need_filter(resp_client *c, const cellar_bytes *name, cellar **ns,
                             cellar_bloom_info *info)
{
    *ns = resp_ns(c);
    if (*ns == NULL) { return false; }
    const char *own = c->of->db[c->db].name;
    *info = cellar_bloom_info_default();
    const cellar_err err = cellar_bloom_info_get(*ns, info);
    if (err != CELLAR_OK) {
        resp_fail(c, err);
        return false;
    }
    if (name->len == strlen(own) && memcmp(name->data, own, name->len) == 0 &&
        info->state != CELLAR_BLOOM_OFF) {
        return true;
    }
    resp_error(c, "ERR not found: the filter of this database is named '%s' and %s", own,
               info->state != CELLAR_BLOOM_OFF ? "is open" : "is not open");
    return false;
}

/* Return whether the filter may know a key. */
static bool resp_filter_knows(cellar *ns, cellar_bytes key)
{
    return cellar_bloom_check(ns, key.data, key.len) == CELLAR_OK;
}

/* Send whether each key was new, or is known. several: as an array. */
static void resp_bloom_run(resp_client *c, const cellar_bytes *argv, uint32_t argc, bool add,
                           bool several)
{
    cellar *ns;
    cellar_bloom_info info;
    if (!resp_need_filter(c, &argv[1], &ns, &info)) { return; }
    for (uint32_t i = 2; i < argc; i++) {
        if (argv[i].len == 0 || argv[i].len > CELLAR_KEY_MAX) {
            resp_error(c, "ERR invalid key");
            return;
        }
    }
    if (several) { resp_array(c, argc - 2); }
    for (uint32_t i = 2; i < argc; i++) {
        const bool knows = resp_filter_knows(ns, argv[i]);
        if (add) { (void)cellar_bloom_add(ns, argv[i].data, argv[i].len); }
        resp_int(c, add ? !knows : knows);
    }
}

RESP_CALL(resp_cmd_bf_add)
{
    resp_bloom_run(c, argv, argc, true, false);
}

RESP_CALL(resp_cmd_bf_madd)
{
    resp_bloom_run(c, argv, argc, true, true);
}

RESP_CALL(resp_cmd_bf_exists)
{
    resp_bloom_run(c, argv, argc, false, false);
}

RESP_CALL(resp_cmd_bf_mexists)
{
    resp_bloom_run(c, argv, argc, false, true);
}

RESP_CALL(resp_cmd_bf_info)
{
    (void)argc;
    cellar *ns;
    cellar_bloom_info i;
    if (!resp_need_filter(c, &argv[1], &ns, &i)) { return; }
    resp_map(c, 7);
    resp_bulk_text(c, "Capacity");
    resp_int(c, (int64_t)i.expected_keys);
    resp_bulk_text(c, "Size");
    resp_int(c, (int64_t)i.bytes);
    resp_bulk_text(c, "Number of filters");
    resp_int(c, 1 + (int64_t)i.filling);
    resp_bulk_text(c, "Number of items inserted");
    resp_int(c, (int64_t)i.keys);
    resp_bulk_text(c, "Expansion rate");
    resp_null(c);
    resp_bulk_text(c, "State");
    resp_bulk_text(c, i.state == CELLAR_BLOOM_AUTHORITATIVE ? "authoritative" : "observing");
    resp_bulk_text(c, "Rejects");
    resp_int(c, (int64_t)i.rejects);
}

BASE_SIZE_END
