/* SPDX-License-Identifier: MIT
 *
 * handshake: kind of the server, rights of the user, tracking.
 *
 * PICTURE    data:        HELLO [AUTH], of a Redis: probes of rights, SCRIPT LOAD ..  |
 *            subscriber:  HELLO [AUTH], SUBSCRIBE -> acknowledged     | both -> CLIENT
 *            TRACKING, SET marker key -> linked -> (layer above) -> remote_synced -> first marker
 * INVARIANTS `linked` follows the reply to CLIENT TRACKING: entries end after tracking is on.
 *            A flush before it would let a reply of the time between stay in memory unheard.
 * RIGHTS     Each probe is a command without effect. NOPERM names the missing right in the reason.
 * SECRETS    The password is in the bytes of HELLO only, which are wiped. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "remote/reason.h"

BASE_SIZE_BEGIN

#define REMOTE_MAJOR_MIN 7
#define REMOTE_TRACK_PREFIX 112 /* bytes of a prefix, with the final 0 */

/* ---- rights ---- */

/* A command without effect. Argument "@" is a key of the prefix that has no value, "~" a marker. */
static const struct remote_probe {
    const char *right;
    const char *argv[6];
} remote_probes[] = {
    { "+get", { "GET", "@" } },
    { "+set", { "SET", "@", "", "XX" } },
    { "+unlink", { "UNLINK", "@" } },
    { "+pttl", { "PTTL", "@" } },
    { "+pexpire", { "PEXPIRE", "~", "1" } },
    { "+incrby", { "INCRBY", "@", "none" } },
    { "+evalsha", { "EVALSHA", "0000000000000000000000000000000000000000", "0" } },
    { "+time", { "TIME" } },
    { "+wait", { "WAIT", "0", "0" } },
    { "+scan", { "SCAN", "0", "COUNT", "1" } },
    { "+client|tracking", { "CLIENT", "TRACKING", "OFF" } },
};

#define REMOTE_PROBES (sizeof remote_probes / sizeof remote_probes[0])

static void remote_probe_add(remote_link *l, remote_bytes *b, const struct remote_probe *p)
{
    char key[REMOTE_PREFIX_MAX + 8];
    cellar_bytes words[6];
    size_t n = 0;
    (void)snprintf(key, sizeof key, "%s:~", l->c->prefix);
    for (; n < 6 && p->argv[n] != NULL; n++) {
        const char *const text = strcmp(p->argv[n], "@") == 0 ? key : p->argv[n];
        words[n] = (cellar_bytes)REMOTE_WORD(text);
        if (*text == '~') { words[n] = (cellar_bytes){ l->marker_key, l->marker_prefix_len }; }
    }
    remote_command(b, words, n);
}

CELLAR_PRIVATE void remote_lacks(remote_link *l, const char *right)
{
    char text[REMOTE_PREFIX_MAX + 8];
    const size_t len = strlen(l->lacks);
    (void)snprintf(text, sizeof text, " %s", right);
    if (strstr(l->lacks, text) == NULL && len + strlen(text) < sizeof l->lacks) {
        memcpy(l->lacks + len, text, strlen(text) + 1);
    }
}

/* Break because rights are missing. */
static void remote_lacks_break(remote_link *l)
{
    remote_break(l, REMOTE_WHY_NOPERM, "the user lacks the right%s%s",
                 strchr(l->lacks + 1, ' ') != NULL ? "s" : "", l->lacks);
}

/* Take an error reply of the handshake. False: it concerns nothing. */
static bool remote_handshake_error(remote_link *l, const remote_reply *reply, const char *right)
{
    const remote_why why = remote_why_of(reply);
    if (why == REMOTE_WHY_NONE) { return false; }
    if (why == REMOTE_WHY_NOPERM) {
        char key[REMOTE_PREFIX_MAX + 8];
        (void)snprintf(key, sizeof key, "%s%s:*", strcmp(right, "+pexpire") == 0 ? "~~" : "~",
                       l->c->prefix);
        remote_lacks(l, memmem(reply->text, reply->len, " key", 4) != NULL ? key : right);
        if (l->phase != REMOTE_PHASE_HANDSHAKE) { remote_lacks_break(l); } /* else all together */
    } else {
        remote_break_reply(l, why, "the server answers", reply);
    }
    return true;
}

/* ---- HELLO ---- */

/* Read the password file into `to`, which the caller wipes. False: the link breaks. */
static bool remote_password_read(remote_link *l, char *to, size_t cap)
{
    struct stat s;
    const int fd = open(l->c->password_file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || fstat(fd, &s) != 0 || (s.st_mode & 077) != 0) {
        const int error = errno;
        if (fd >= 0) { (void)close(fd); }
        remote_break(l, REMOTE_WHY_AUTH, fd < 0 ? "the password file cannot be read (errno %d)"
                     : "the password file must have mode 0600", error);
        return false;
    }
    ssize_t n = read(fd, to, cap - 1);
    (void)close(fd);
    if (n == (ssize_t)cap - 1) {
        remote_break(l, REMOTE_WHY_AUTH, "the password file must have at most %zu bytes", cap - 2);
        return false;
    }
    while (n > 0 && (to[n - 1] == '\n' || to[n - 1] == '\r')) { n--; }
    to[n > 0 ? n : 0] = '\0';
    if (n > 0) { return true; }
    remote_break(l, REMOTE_WHY_AUTH, "the password file is empty");
    return false;
}

/* Append HELLO 2 [AUTH ..]. False: no password, for which the link breaks, or no memory. */
static bool remote_auth_command(remote_link *l, remote_bytes *b)
{
    char password[sizeof l->c->password];
    bool fine = true;
    if (l->c->password_file[0] != '\0') {
        fine = remote_password_read(l, password, sizeof password);
    } else {
        memcpy(password, l->c->password, sizeof password);
    }
    if (fine && password[0] == '\0') {
        remote_command(b, REMOTE_WORDS({ "HELLO", 5 }, { "2", 1 }));
    } else if (fine) {
        const char *user = l->c->user[0] != '\0' ? l->c->user : "default";
        remote_command(b, REMOTE_WORDS({ "HELLO", 5 }, { "2", 1 }, { "AUTH", 4 },
                                       REMOTE_WORD(user), REMOTE_WORD(password)));
    }
    explicit_bzero(password, sizeof password);
    return fine && b->err == CELLAR_OK;
}

/* Return the value of a field in the flat map that HELLO returns. */
static const remote_reply *remote_hello_field(const remote_reply *map, const char *name)
{
    const remote_reply *key = map->type == REMOTE_ARRAY ? map->first : NULL;
    for (; key != NULL && key->next != NULL; key = key->next->next) {
        if (remote_is_text(key, name)) { return key->next; }
    }
    return NULL;
}

/* Break unless the server is one that the link can use. */
static void remote_hello_check(remote_link *l, const remote_reply *map)
{
    const remote_reply *version = remote_hello_field(map, "version");
    const remote_reply *mode = remote_hello_field(map, "mode");
    const remote_reply *port = remote_hello_field(map, "cellar");
    const remote_reply *largest = remote_hello_field(map, "largest");
    if (version == NULL || version->type != REMOTE_STRING || mode == NULL) {
        remote_break(l, REMOTE_WHY_PROTOCOL, "the server is no Redis");
    } else if (strtol(version->text, NULL, 10) < REMOTE_MAJOR_MIN) {
        remote_break(l, REMOTE_WHY_VERSION, "the server must be Redis 7.0 or later (got %.*s)",
                     (int)(version->len < 20 ? version->len : 20), version->text);
    } else if (port != NULL && !remote_is_text(port, cellar_version())) {
        remote_break(l, REMOTE_WHY_VERSION, "the port has version %.*s of cellar, this process %s: "
                     "give both the same one", (int)(port->len < 20 ? port->len : 20), port->text,
                     cellar_version());
    } else if (remote_is_text(mode, "cluster")) {
        remote_break(l, REMOTE_WHY_CLUSTER,
                     "the server is a node of a Cluster: use a single server or Sentinel");
    } else if (remote_is_text(mode, "sentinel")) {
        remote_break(l, REMOTE_WHY_REFUSED, "the server is a Sentinel: give it as sentinels");
    } else if (!remote_is_text(remote_hello_field(map, "role"), "master")) {
        remote_break(l, REMOTE_WHY_REPLICA, "the server is a replica: give its primary, or "
                     "the addresses of Sentinels");
    }
    atomic_store(&l->largest, largest != NULL ? (uint64_t)largest->number : 0);
}

static void remote_hello_error(remote_link *l, const remote_reply *reply)
{
    if (remote_starts(reply, "ERR unknown command")) {
        remote_break(l, REMOTE_WHY_VERSION, "the server must be Redis 7.0 or later");
    } else if (remote_starts(reply, "NOAUTH ")) {
        remote_break(l, REMOTE_WHY_AUTH, "the server wants a password");
    } else if (remote_starts(reply, "WRONGPASS ") || remote_starts(reply, "ERR AUTH ")) {
        remote_break(l, REMOTE_WHY_AUTH, "user name or password is wrong");
    } else if (!remote_handshake_error(l, reply, "+hello")) {
        remote_break_reply(l, REMOTE_WHY_REFUSED, "the server answers", reply);
    }
}

CELLAR_PRIVATE void remote_hello_reply(remote_link *l, const remote_reply *reply, bool subscriber)
{
    if (reply->type == REMOTE_ERROR) {
        remote_hello_error(l, reply);
        return;
    }
    const remote_reply *id = remote_hello_field(reply, "id");
    remote_hello_check(l, reply);
    if (subscriber && id != NULL) { l->subscriber_id = id->number; }
}

/* ---- scripts ---- */

static void remote_scripts_add(remote_link *l, remote_bytes *b, uint32_t *count)
{
    const char *text = REMOTE_MARKER_SCRIPT;
    for (size_t i = 0; text != NULL; i++) {
        remote_command(b, REMOTE_WORDS({ "SCRIPT", 6 }, { "LOAD", 4 }, REMOTE_WORD(text)));
        ++*count;
        text = l->e.script(l->e.ctx, i);
    }
}

/* Take the digest of script number `index`; 0 is the one of markers. */
static void remote_script_reply(void *link, uint32_t index, const remote_reply *reply)
{
    remote_link *l = link;
    char digest[41];
    if (reply->type == REMOTE_ERROR && remote_handshake_error(l, reply, "+script|load")) { return; }
    if (remote_starts(reply, "ERR scripts are not supported")) {
        remote_break(l, REMOTE_WHY_VERSION, "the server is a port of cellar without this "
                     "version's shared store: give it shared_bytes (cellar serve --shared)");
        return;
    }
    if (reply->type != REMOTE_STRING || reply->len != sizeof digest - 1) {
        remote_break(l, REMOTE_WHY_PROTOCOL, "SCRIPT LOAD returned no digest");
        return;
    }
    memcpy(digest, reply->text, reply->len);
    digest[reply->len] = '\0';
    if (index == 0) {
        memcpy(l->marker_digest, digest, sizeof digest);
    } else {
        l->e.script_loaded(l->e.ctx, index - 1, digest);
    }
}

static void remote_bytes_done(void *link, cellar_err err, remote_fate fate)
{
    remote_link *l = link;
    (void)err, (void)fate;
    remote_bytes_free(&l->bytes);
}

CELLAR_PRIVATE void remote_load_scripts(remote_link *l)
{
    remote_request q = { .ctx = l, .fn = remote_script_reply, .done = remote_bytes_done };
    if (l->bytes.data != NULL) { return; } /* of another request: later */
    l->scripts_gone = false;
    remote_scripts_add(l, &l->bytes, &q.replies);
    if (!remote_post_own(l, &q, &l->bytes)) { return; }
    for (remote_ticket *t; (t = remote_tickets_first(l, &l->again)) != NULL;) {
        remote_tickets_pop(l, &l->again);
        remote_tickets_add(l, &l->queue, t);
    }
}

/* ---- the handshake ---- */

static void remote_handshake_reply(void *link, uint32_t index, const remote_reply *reply)
{
    remote_link *l = link;
    if (l->why != REMOTE_WHY_NONE) { return; }
    if (index >= REMOTE_PROBES) {
        remote_script_reply(l, index - (uint32_t)REMOTE_PROBES, reply);
    } else if (reply->type == REMOTE_ERROR) {
        (void)remote_handshake_error(l, reply, remote_probes[index].right);
    }
}

static void remote_handshake_end(void *link, cellar_err err, remote_fate fate)
{
    remote_link *l = link;
    remote_bytes_done(l, err, fate);
    if (err != CELLAR_OK || l->why != REMOTE_WHY_NONE) { return; }
    l->answered = true;
    remote_handshake_done(l);
}

static bool remote_handshake_subscriber(remote_link *l)
{
    remote_bytes b = { .memory = l->e.memory, .secret = true };
    const bool fine = remote_auth_command(l, &b);
    remote_command(&b, REMOTE_WORDS({ "SUBSCRIBE", 9 }, { "__redis__:invalidate", 20 }));
    return remote_wire_say(&l->subscriber, fine, &b);
}

static void remote_hello_taken(void *link, uint32_t index, const remote_reply *reply)
{
    (void)index;
    remote_hello_reply(link, reply, false);
}

/* Continue when the kind of the server is known. A port has all rights and requests. */
static void remote_hello_end(void *link, cellar_err err, remote_fate fate)
{
    remote_link *l = link;
    remote_request q = { .ctx = l, .replies = REMOTE_PROBES, .fn = remote_handshake_reply,
                         .done = remote_handshake_end };
    remote_bytes_done(l, err, fate);
    if (err != CELLAR_OK || l->why != REMOTE_WHY_NONE) { return; }
    if (atomic_load(&l->largest) != 0) {
        l->answered = true;
        remote_handshake_done(l);
        return;
    }
    for (size_t i = 0; i < REMOTE_PROBES; i++) {
        remote_probe_add(l, &l->bytes, &remote_probes[i]);
    }
    remote_scripts_add(l, &l->bytes, &q.replies);
    (void)remote_post_own(l, &q, &l->bytes);
}

static bool remote_handshake_data(remote_link *l)
{
    const remote_request q = { .ctx = l, .replies = 1, .fn = remote_hello_taken,
                               .done = remote_hello_end };
    remote_bytes_free(&l->bytes);
    return remote_auth_command(l, &l->bytes) && remote_post_own(l, &q, &l->bytes);
}

CELLAR_PRIVATE void remote_handshake(remote_link *l)
{
    l->answered = l->subscribed = false;
    l->lacks[0] = '\0';
    l->subscriber_step = 0;
    l->subscriber_id = 0;
    l->prefixes = 0;
    if (remote_handshake_data(l) && remote_handshake_subscriber(l)) { return; }
    remote_bytes_free(&l->bytes);
    remote_break(l, REMOTE_WHY_NOMEM, "no memory for the handshake");
}

CELLAR_PRIVATE void remote_handshake_done(remote_link *l)
{
    if (!l->answered || !l->subscribed || l->phase != REMOTE_PHASE_HANDSHAKE) { return; }
    if (l->lacks[0] != '\0') {
        remote_lacks_break(l);
        return;
    }
    remote_state_set(l, REMOTE_LINKED);
    remote_track(l, true);
}

/* ---- tracking ---- */

static void remote_track_reply(void *link, uint32_t index, const remote_reply *reply)
{
    remote_link *l = link;
    (void)index;
    if (reply->type != REMOTE_ERROR || l->why != REMOTE_WHY_NONE ||
        remote_handshake_error(l, reply, "+client|tracking")) {
        return;
    }
    remote_break_reply(l, REMOTE_WHY_REFUSED, "CLIENT TRACKING failed", reply);
}

static bool remote_prefix_left(remote_link *l)
{
    char text[REMOTE_TRACK_PREFIX];
    return l->e.prefix(l->e.ctx, l->prefixes, text, sizeof text) != 0;
}

static void remote_track_end(void *link, cellar_err err, remote_fate fate)
{
    remote_link *l = link;
    remote_bytes_done(l, err, fate);
    if (err != CELLAR_OK || l->why != REMOTE_WHY_NONE) { return; }
    if (remote_prefix_left(l)) {
        remote_track(l, false);
        return;
    }
    l->phase = REMOTE_PHASE_SYNC;
    l->gap_told = false;
    remote_count(l, REMOTE_LINK_LINKS, 1);
    remote_state_set(l, REMOTE_GAP);
    atomic_store(&l->usable, true);
    l->e.linked(l->e.ctx);
}

/* Append CLIENT TRACKING with the prefixes that this connection does not hear yet. */
static void remote_track_command(remote_link *l, remote_bytes *b, bool whole)
{
    enum { FIXED = 7, PREFIXES_MAX = 64 };
    char id[24], texts[PREFIXES_MAX][REMOTE_TRACK_PREFIX];
    cellar_bytes words[FIXED + 2 * PREFIXES_MAX] = {
        { "CLIENT", 6 }, { "TRACKING", 8 }, { "ON", 2 }, { "BCAST", 5 }, { "NOLOOP", 6 },
        { "REDIRECT", 8 }, remote_digits(id, l->subscriber_id) };
    size_t n = FIXED;
    for (size_t i = 0; i < PREFIXES_MAX; i++) {
        const bool own = whole && i == 0;
        const size_t len = own ? l->marker_prefix_len
                               : l->e.prefix(l->e.ctx, l->prefixes, texts[i], sizeof texts[i]);
        if (len == 0) { break; }
        words[n++] = (cellar_bytes){ "PREFIX", 6 };
        words[n++] = (cellar_bytes){ own ? l->marker_key : texts[i], len };
        l->prefixes += !own;
    }
    remote_command(b, words, n);
}

CELLAR_PRIVATE void remote_track(remote_link *l, bool whole)
{
    remote_request q = { .ctx = l, .replies = 1, .fn = remote_track_reply,
                         .done = remote_track_end };
    l->phase = REMOTE_PHASE_TRACK;
    if (!whole && !remote_prefix_left(l)) {
        remote_track_end(l, CELLAR_OK, REMOTE_NOT_SENT);
        return;
    }
    remote_track_command(l, &l->bytes, whole);
    l->marker_rekey = l->marker_rekey || whole; /* the end of the old key was not heard */
    (void)remote_post_own(l, &q, &l->bytes);
}

BASE_SIZE_END
