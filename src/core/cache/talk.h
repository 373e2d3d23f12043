/* SPDX-License-Identifier: MIT
 *
 * talk: log lines about one namespace: its level, and how a line names a key. */
#ifndef CACHE_TALK_H
#define CACHE_TALK_H

#include "cache/types.h"

#define CACHE_KEY_PREFIX 8u
#define CACHE_KEY_NAME 320u /* bytes of the name of a key in a line */


/* Return the least important level that is logged for the namespace: its own, else of the store. */
BASE_INLINE int cache_log_limit(const cellar *c)
{
    const uint32_t own = base_load_rlx(&c->log_own);
    return own != 0 ? (int)own - 1 : (int)base_load_rlx(&c->store->quiet_level);
}

/* Log one line about the namespace. */
#define cache_log(c, lvl, module, code, ...) \
    (BASE_UNLIKELY((int)(lvl) <= cache_log_limit(c)) \
         ? base_log_line(&(c)->store->log, (lvl), (module), (code), __VA_ARGS__) : (void)0)

/* Write ", key " and the name of the key as log_keys says; an empty text without a name. `out` has
 * CACHE_KEY_NAME bytes. */
CELLAR_PRIVATE void cache_key_name(const cellar *c, const l1_key *k, char *out);
/* Log a read of one key: a hit at DEBUG, a miss at INFO. `module` names the call. k NULL: no key is
 * named. */
CELLAR_PRIVATE void cache_read_tell(const cellar *c, const char *module, const l1_key *k,
                                    cellar_err err);

#endif
