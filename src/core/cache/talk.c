/* SPDX-License-Identifier: MIT
 *
 * talk: log lines about one namespace.
 *
 * PICTURE    CACHE_TALK in the state word -> cache_read_tell -> level of the namespace -> base/log
 * INVARIANTS No line has a value. A line has the text of a key only if log_keys asks for it, and
 *            never of a key of a hidden namespace.
 * LOCKING    None. Callers hold no ranked lock.
 * LIMITS     A name of a key has CACHE_KEY_NAME - 1 bytes; the text of a longer key is cut. */
#include "cache/talk.h"

#include <stdio.h>

#include "cellar_admin.h"

BASE_SIZE_BEGIN

/* Write the bytes of the key between quotes; other bytes than printable ones as \xNN. */
static void cache_key_quote(const l1_key *k, size_t most, char *out)
{
    static const char digits[] = "0123456789abcdef", lead[] = ", key \"", cut[] = "...";
    const unsigned char *key = k->bytes;
    const size_t room = CACHE_KEY_NAME - sizeof cut - 2; /* one escape, cut and quote fit behind */
    size_t n = sizeof lead - 1, i = 0;
    memcpy(out, lead, n);
    for (; i < k->len && i < most && n + 4 <= room; i++) {
        const unsigned char b = key[i];
        if (b >= ' ' && b < 0x7f && b != '"' && b != '\\') {
            out[n++] = (char)b;
            continue;
        }
        const char escape[4] = { '\\', 'x', digits[b >> 4], digits[b & 15] };
        memcpy(out + n, escape, sizeof escape);
        n += sizeof escape;
    }
    if (i < k->len) {
        memcpy(out + n, cut, sizeof cut - 1);
        n += sizeof cut - 1;
    }
    out[n++] = '"';
    out[n] = '\0';
}

BASE_COLD CELLAR_PRIVATE void cache_key_name(const cellar *c, const l1_key *k, char *out)
{
    const uint32_t asked = c->store->log_keys;
    out[0] = '\0';
    if (k == NULL || asked == CELLAR_LOG_KEYS_NONE) { return; }
    if (!c->secret && (asked == CELLAR_LOG_KEYS_PREFIX || asked == CELLAR_LOG_KEYS_FULL)) {
        cache_key_quote(k, asked == CELLAR_LOG_KEYS_FULL ? SIZE_MAX : CACHE_KEY_PREFIX, out);
        return;
    }
    (void)snprintf(out, CACHE_KEY_NAME, ", key #%016llx", (unsigned long long)k->hash);
}

BASE_COLD CELLAR_PRIVATE void cache_read_tell(const cellar *c, const char *module, const l1_key *k,
                                              cellar_err err)
{
    const bool hit = err == CELLAR_OK || err == CELLAR_STALE || err == CELLAR_E_BUFFER;
    const base_log_level level = hit ? BASE_LOG_DEBUG : BASE_LOG_INFO;
    if ((int)level > cache_log_limit(c)) { return; }
    char name[CACHE_KEY_NAME];
    cache_key_name(c, k, name);
    base_log_line(&c->store->log, (int)level, module, (int)err, "%s%s", hit ? "hit" : "miss", name);
}

BASE_SIZE_END
