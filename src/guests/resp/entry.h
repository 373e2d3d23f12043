/* SPDX-License-Identifier: MIT
 *
 * entry: what the commands of one key have in common. */
#ifndef RESP_ENTRY_H
#define RESP_ENTRY_H

#include "cellar_entry.h"
#include "resp/command.h"
#include "resp/options.h"

/* A copy of a value, charged to the port. */
typedef struct resp_value {
    base_account *account;
    unsigned char *bytes; /* NULL: none */
    size_t len, cap;
} resp_value;

/* Keep a copy of a value. Return OK or E_SPACE. */
CELLAR_PRIVATE cellar_err resp_value_keep(resp_value *v, const void *bytes, size_t len);
CELLAR_PRIVATE void resp_value_free(resp_value *v);

/* Return the options of a write. ttl_ms 0: that of the rule of the key, else of the namespace, else
 * none; the shared store has no default. A write that fails leaves the old value, as in Redis. */
CELLAR_PRIVATE cellar_set_opts resp_write_opts(int64_t ttl_ms);
/* Return the options of a write that keeps the TTL of a live value; a new one has that of 0. */
CELLAR_PRIVATE cellar_set_opts resp_keep_opts(void);

#define RESP_BUSY_ROUNDS 100u /* of a change that other changes of the key overtake */
/* The calls below reach control keys, too, and note changes of the shared store for the clients
 * that track. */

/* Call cellar_set or cellar_update, again while a race is lost. E_BUSY after RESP_BUSY_ROUNDS. */
CELLAR_PRIVATE cellar_err resp_store(resp_client *c, cellar *ns, cellar_bytes key,
                                     cellar_bytes value, const cellar_set_opts *o);
CELLAR_PRIVATE cellar_err resp_update(resp_client *c, cellar *ns, cellar_bytes key,
                                      const cellar_set_opts *o, cellar_update_fn fn, void *ctx);

/* Describe the entry on which a change depends. flags: of cellar_entry_info_get. Return OK, MISS,
 * or an error: nothing is known. */
CELLAR_PRIVATE cellar_err resp_look(resp_client *c, cellar *ns, cellar_bytes key, uint32_t flags,
                                    cellar_entry_info *info);
/* Leave the value of an update, with CONFLICT; without one with MISS. */
CELLAR_PRIVATE cellar_err resp_change_nothing(const void *old, size_t old_len, cellar_buf *out,
                                              void *ctx);
/* Delete a key. *gone: GET would have found it. Return OK or an error. */
CELLAR_PRIVATE cellar_err resp_delete(resp_client *c, cellar *ns, cellar_bytes key, bool *gone);
/* A value that is held for longer than a call: pinned, or a copy. */
typedef struct resp_held {
    cellar_pinned pin;
    void *copy;        /* of cellar_get_alloc */
    resp_value own;    /* of a control key */
    cellar_bytes value;
} resp_held;

/* Hold the value of a key. Return OK, MISS, ABSENT or an error; free *h in all cases. */
CELLAR_PRIVATE cellar_err resp_hold(resp_client *c, cellar *ns, cellar_bytes key, resp_held *h);
CELLAR_PRIVATE void resp_held_free(resp_held *h);
/* Set the TTL of a key. Return OK, MISS, ABSENT or an error. */
CELLAR_PRIVATE cellar_err resp_touch(resp_client *c, cellar *ns, cellar_bytes key, int64_t ttl_ms);
/* Describe the entry that GET would find: of a control key length and TTL. Return OK, MISS, ABSENT
 * or an error. */
CELLAR_PRIVATE cellar_err resp_info(resp_client *c, cellar *ns, cellar_bytes key,
                                    cellar_entry_info *info);

/* Read the time of SET, SETEX, PSETEX or GETEX (`name`). *ttl_ms: from now on; 0: it has passed.
 * False: an error was written. */
CELLAR_PRIVATE bool resp_need_ttl(resp_client *c, const char *name, cellar_bytes text,
                                  resp_unit unit, int64_t *ttl_ms);

#endif
