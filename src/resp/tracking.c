/* SPDX-License-Identifier: MIT
 *
 * tracking: CLIENT TRACKING ON|OFF with BCAST, PREFIX, NOLOOP and REDIRECT. */
#include "resp/command.h"
#include "resp/track.h"
#include "resp/tracking.h"

BASE_SIZE_BEGIN

/* What CLIENT TRACKING ON asks for. */
typedef struct resp_tracking_words {
    bool bcast, no_loop, redirects;
    resp_client *redirect;
    uint32_t prefixes; /* arguments with one */
} resp_tracking_words;

static resp_client *resp_client_of_id(const cellar_resp *r, int64_t id)
{
    resp_client *c = r->first;
    while (c != NULL && (int64_t)c->id != id) { c = c->next; }
    return c;
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
            w->prefixes++;
            if (argv[++i].len > RESP_PREFIX_MAX) {
                resp_error(c, "ERR a prefix must have at most %u bytes", RESP_PREFIX_MAX);
                return false;
            }
        } else if (resp_is(&argv[i], "redirect") && i + 1 < argc) {
            if (!resp_need_int(c, &argv[++i], &id)) { return false; }
            w->redirects = id != 0;
            w->redirect = resp_client_of_id(c->of, id);
            if (w->redirects && w->redirect == NULL) {
                resp_error(c, "ERR The client ID you want redirect to does not exist");
                return false;
            }
        } else {
            resp_syntax(c);
            return false;
        }
    }
    if (!w->bcast && w->prefixes != 0) {
        resp_error(c, "ERR PREFIX option requires BCAST mode to be enabled");
    } else if (!w->bcast) {
        resp_error(c, "ERR the port tracks no single keys: use BCAST");
    }
    return w->bcast;
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
    } else if (resp_tracking_read(c, argv, argc, &w)) {
        const cellar_bytes every = { "", 0 };
        const bool begins = !(c->flags & RESP_C_TRACKING);
        bool fine = true;
        c->of->tracking.clients += begins;
        c->flags |= RESP_C_TRACKING;
        for (uint32_t i = 3; i < argc && fine; i++) {
            if (resp_is(&argv[i], "redirect")) { i++; }
            if (resp_is(&argv[i], "prefix")) { fine = resp_prefix_add(c, &argv[++i]); }
        }
        if (fine && w.prefixes == 0) { fine = resp_prefix_add(c, &every); }
        if (fine) { /* else a client that tracks goes on as before */
            c->flags &= ~(RESP_C_NOLOOP | RESP_C_REDIRECT);
            c->flags |= (w.no_loop ? RESP_C_NOLOOP : 0) | (w.redirects ? RESP_C_REDIRECT : 0);
            resp_redirect_set(c, w.redirect);
            resp_ok(c);
        } else if (begins) {
            resp_tracking_off(c);
        }
    }
}

BASE_SIZE_END
