/* SPDX-License-Identifier: MIT
 *
 * cmd_channel: PUBLISH SUBSCRIBE UNSUBSCRIBE PSUBSCRIBE PUNSUBSCRIBE PUBSUB.
 *
 * INVARIANTS SUBSCRIBE and its kin confirm each name with a message of its own, in place of one
 *            reply. CLIENT REPLY OFF does not drop a confirmation. The count in it is that of all
 *            subscriptions of the client.
 * SOURCE     Behaviour of redis-server 7.0.15. Own code. */
#include "resp/channel.h"
#include "resp/data.h"
#include "resp/room.h"

BASE_SIZE_BEGIN

static uint32_t resp_sub_count(const resp_client *c)
{
    return c->sub_count[RESP_CHANNEL] + c->sub_count[RESP_PATTERN];
}

/* Confirm a name; NULL: none was left. */
static void resp_confirm(resp_client *c, const char *what, const cellar_bytes *name,
                         uint32_t count)
{
    const uint32_t muted = c->flags & RESP_C_MUTED;
    c->flags &= ~muted;
    resp_push(c, 3);
    resp_bulk_text(c, what);
    if (name != NULL) { resp_bulk(c, name->data, name->len); } else { resp_null(c); }
    resp_int(c, (int64_t)count);
    c->flags |= muted;
}

static void resp_subscribe(resp_client *c, resp_kind kind, const cellar_bytes *argv,
                           uint32_t argc)
{
    for (uint32_t i = 1; i < argc; i++) {
        if (!resp_room_in(c->of, resp_sub_bytes(argv[i].len)) ||
            !resp_sub_add(c, kind, &argv[i])) {
            resp_fail(c, CELLAR_E_NOMEM);
            return;
        }
        resp_confirm(c, kind == RESP_CHANNEL ? "subscribe" : "psubscribe", &argv[i],
                     resp_sub_count(c));
    }
}

static void resp_unsubscribe(resp_client *c, resp_kind kind, const cellar_bytes *argv,
                             uint32_t argc)
{
    const char *what = kind == RESP_CHANNEL ? "unsubscribe" : "punsubscribe";
    if (argc == 1 && c->subs[kind] == NULL) { resp_confirm(c, what, NULL, resp_sub_count(c)); }
    while (argc == 1 && c->subs[kind] != NULL) {
        resp_sub *s = c->subs[kind];
        const cellar_bytes name = { s->channel->name, s->channel->len };
        resp_confirm(c, what, &name, resp_sub_count(c) - 1);
        resp_sub_end(s); /* may free the name */
    }
    for (uint32_t i = 1; i < argc; i++) {
        resp_sub *s = resp_sub_find(c, kind, &argv[i]);
        if (s != NULL) { resp_sub_end(s); }
        resp_confirm(c, what, &argv[i], resp_sub_count(c));
    }
}

RESP_CALL(resp_cmd_subscribe) { resp_subscribe(c, RESP_CHANNEL, argv, argc); }
RESP_CALL(resp_cmd_psubscribe) { resp_subscribe(c, RESP_PATTERN, argv, argc); }
RESP_CALL(resp_cmd_unsubscribe) { resp_unsubscribe(c, RESP_CHANNEL, argv, argc); }
RESP_CALL(resp_cmd_punsubscribe) { resp_unsubscribe(c, RESP_PATTERN, argv, argc); }

RESP_CALL(resp_cmd_publish)
{
    (void)argc;
    resp_int(c, (int64_t)resp_publish(c->of, &argv[1], &argv[2]));
}

/* PUBSUB CHANNELS [pattern] */
static void resp_pubsub_channels(resp_client *c, const cellar_bytes *pattern)
{
    const resp_channels *t = &c->of->channels[RESP_CHANNEL];
    const resp_out before = resp_out_take(c);
    uint64_t count = 0;
    for (uint32_t i = 0; i < t->chains; i++) {
        for (const resp_channel *ch = t->chain[i]; ch != NULL; ch = ch->next) {
            if (pattern != NULL && !resp_pattern_matches(pattern, ch->name, ch->len)) { continue; }
            resp_bulk(c, ch->name, ch->len);
            count++;
        }
    }
    const resp_out names = resp_out_take(c);
    resp_out_add(c, before);
    resp_array(c, count);
    resp_out_add(c, names);
}

RESP_CALL(resp_cmd_pubsub)
{
    cellar_resp *r = c->of;
    if (resp_is(&argv[1], "channels") && argc <= 3) {
        resp_pubsub_channels(c, argc == 3 ? &argv[2] : NULL);
    } else if (resp_is(&argv[1], "numsub")) {
        resp_array(c, 2 * (uint64_t)(argc - 2));
        for (uint32_t i = 2; i < argc; i++) {
            const resp_channel *ch = resp_channel_find(r, RESP_CHANNEL, &argv[i]);
            resp_bulk(c, argv[i].data, argv[i].len);
            resp_int(c, ch != NULL ? (int64_t)ch->count : 0);
        }
    } else if (resp_is(&argv[1], "numpat")) {
        argc == 2 ? resp_int(c, (int64_t)r->channels[RESP_PATTERN].count)
                  : resp_wrong_arity(c, "pubsub|numpat");
    } else if (resp_is(&argv[1], "channels")) {
        resp_error(c, "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try PUBSUB "
                      "HELP.", (int)argv[1].len, (const char *)argv[1].data);
    } else {
        resp_unknown_sub(c, argv, "PUBSUB");
    }
}

BASE_SIZE_END

