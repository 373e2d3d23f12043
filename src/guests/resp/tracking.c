/* SPDX-License-Identifier: MIT
 *
 * tracking: CLIENT TRACKING ON|OFF with BCAST, PREFIX, NOLOOP and REDIRECT. */
#include <string.h>

#include "base/num.h"
#include "resp/channel.h"
#include "resp/client.h"
#include "resp/command.h"
#include "resp/track.h"
#include "resp/tracking.h"

BASE_SIZE_BEGIN

/* What CLIENT TRACKING ON asks for. */
typedef struct resp_tracking_words {
    bool bcast, no_loop, redirects;
    resp_client *redirect;
    uint32_t prefixes;
    const cellar_bytes *prefix[RESP_PREFIXES_MAX];
} resp_tracking_words;

/* Add a prefix of keys to those of a client. False: an error was written. */
static bool resp_prefix_add(resp_client *c, const cellar_bytes *prefix)
{
    const bool fresh = resp_channel_find(c->of, RESP_PREFIX, prefix) == NULL;
    if (!resp_sub_add(c, RESP_PREFIX, prefix)) {
        resp_fail(c, CELLAR_E_NOMEM);
        return false;
    }
    c->of->tracking.lengths[prefix->len] += fresh;
    return true;
}


/* Read the words after ON. False: an error was written. */
static bool resp_tracking_read(resp_client *c, const cellar_bytes *argv, uint32_t argc,
                               resp_tracking_words *w)
{
    for (uint32_t i = 3; i < argc; i++) {
        int64_t id;
        if (resp_is(&argv[i], "bcast")) {
            w->bcast = true;
        } else if (resp_is(&argv[i], "noloop")) {
            w->no_loop = true;
        } else if (resp_is(&argv[i], "prefix") && i + 1 < argc) {
            const bool is_long = argv[++i].len > RESP_PREFIX_MAX;
            if (is_long || w->prefixes + c->sub_count[RESP_PREFIX] >= RESP_PREFIXES_MAX) {
                resp_error(c, is_long ? "ERR a prefix must have at most %u bytes"
                                      : "ERR a client may have at most %u prefixes",
                           is_long ? RESP_PREFIX_MAX : RESP_PREFIXES_MAX);
                return false;
            }
            w->prefix[w->prefixes++] = &argv[i];
        } else if (resp_is(&argv[i], "redirect") && i + 1 < argc) {
            if (!resp_need_int(c, &argv[++i], &id)) { return false; }
            w->redirects = id != 0;
            w->redirect = resp_client_by_id(c->of, id);
            if (w->redirects && w->redirect == NULL) {
                resp_error(c, "ERR The client ID you want redirect to does not exist");
                return false;
            }
        } else {
            resp_syntax(c);
            return false;
        }
    }
    if (!w->bcast) {
        resp_error(c, w->prefixes != 0 ? "ERR PREFIX option requires BCAST mode to be enabled"
                                       : "ERR the port tracks no single keys: use BCAST");
    }
    return w->bcast;
}

/* Return whether one of two prefixes begins with the other; an error was written. */
static bool resp_prefixes_meet(resp_client *c, const cellar_bytes *a, const cellar_bytes *b,
                               const char *which)
{
    const size_t len = BASE_MIN(a->len, b->len);
    if (len != 0 && memcmp(a->data, b->data, len) != 0) { return false; }
    resp_error(c, "ERR Prefix '%.*s' overlaps with %s prefix '%.*s'. Prefixes for a single client "
               "must not overlap.", (int)a->len, (const char *)a->data, which, (int)b->len,
               (const char *)b->data);
    return true;
}

/* Check that no prefix meets another one. False: an error was written. */
static bool resp_prefixes_check(resp_client *c, const resp_tracking_words *w)
{
    for (uint32_t i = 0; i < w->prefixes; i++) {
        for (const resp_sub *s = c->subs[RESP_PREFIX]; s != NULL; s = s->client_next) {
            const cellar_bytes have = { s->channel->name, s->channel->len };
            if (resp_prefixes_meet(c, w->prefix[i], &have, "an existing")) { return false; }
        }
        for (uint32_t k = i + 1; k < w->prefixes; k++) {
            if (resp_prefixes_meet(c, w->prefix[i], w->prefix[k], "another provided")) {
                return false;
            }
        }
    }
    return true;
}

/* Add the prefixes of the words, or the empty one in place of those that the client has. False: an
 * error was written, and nothing has changed. */
static bool resp_prefixes_add(resp_client *c, const resp_tracking_words *w)
{
    const cellar_bytes every = { "", 0 };
    resp_sub *const *had = c->subs[RESP_PREFIX] != NULL ? c->subs_end[RESP_PREFIX]
                                                        : &c->subs[RESP_PREFIX];
    bool fine = w->prefixes != 0 || resp_prefix_add(c, &every);
    for (uint32_t i = 0; fine && i < w->prefixes; i++) { fine = resp_prefix_add(c, w->prefix[i]); }
    while (!fine && *had != NULL) { resp_prefix_end(*had); }
    while (fine && w->prefixes == 0 && c->subs[RESP_PREFIX]->client_next != NULL) {
        resp_prefix_end(c->subs[RESP_PREFIX]);
    }
    return fine;
}

CELLAR_PRIVATE void resp_tracking_call(resp_client *c, const cellar_bytes *argv, uint32_t argc)
{
    resp_tracking_words w = { .bcast = false };
    if (c->of->shared.store == NULL) {
        resp_error(c, "ERR tracking needs a port with shared_bytes");
    } else if (resp_is(&argv[2], "off") && argc == 3) {
        resp_tracking_off(c);
        resp_ok(c);
    } else if (!resp_is(&argv[2], "on")) {
        resp_syntax(c);
    } else if (resp_tracking_read(c, argv, argc, &w) && resp_prefixes_check(c, &w) &&
               resp_prefixes_add(c, &w)) {
        c->of->tracking.clients += !(c->flags & RESP_C_TRACKING);
        c->flags &= ~(RESP_C_NOLOOP | RESP_C_REDIRECT);
        c->flags |= RESP_C_TRACKING | (w.no_loop ? RESP_C_NOLOOP : 0) |
                    (w.redirects ? RESP_C_REDIRECT : 0);
        resp_redirect_set(c, w.redirect);
        resp_ok(c);
    }
}

BASE_SIZE_END
