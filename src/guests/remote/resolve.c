/* SPDX-License-Identifier: MIT
 *
 * resolve: the address of a name, without waiting for it.
 *
 * PICTURE    I/O thread -> remote_lookup -> a thread: getaddrinfo -> done -> I/O thread, next round
 * INVARIANTS Owner and thread hold a lookup; the last of them frees it. So a link closes while the
 *            resolver of the system is silent, and a thread of such a link ends by itself.
 *            The answer is written before `done` (release) and read after it (acquire).
 * LIMITS     One thread for the server of a link, and one for each Sentinel. A lookup outlives the
 *            store, so malloc has its memory.
 * FORK       A child has no such thread: its link leaves the lookup, which stays allocated. */
#include <netdb.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "remote/resolve.h"

BASE_SIZE_BEGIN

struct remote_lookup {
    _Atomic uint32_t holders; /* the link, the thread */
    _Atomic bool done;
    bool found;               /* with `done`: peer is the answer */
    remote_address name;
    uint32_t turn;
    remote_peer peer;
};

static bool remote_resolve_path(const char *path, remote_peer *out)
{
    struct sockaddr_un *to = &out->at.unix_path;
    if (strlen(path) >= sizeof to->sun_path) { return false; }
    to->sun_family = AF_UNIX;
    memcpy(to->sun_path, path, strlen(path));
    out->len = sizeof *to;
    out->count = 1;
    return true;
}

/* Ask the resolver of the system. flags: AI_NUMERICHOST, or 0: this call may wait. */
static bool remote_resolve_host(const char *host, uint16_t number, int flags, uint32_t turn,
                                remote_peer *out)
{
    const struct addrinfo want = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
                                   .ai_flags = flags | AI_NUMERICSERV };
    struct addrinfo *found = NULL;
    char port[8];
    uint32_t count = 0;
    (void)snprintf(port, sizeof port, "%u", (unsigned)number);
    if (getaddrinfo(host, port, &want, &found) != 0 || found == NULL) { return false; }
    for (const struct addrinfo *a = found; a != NULL; a = a->ai_next) { count++; }
    const struct addrinfo *chosen = found;
    for (turn %= count; turn > 0; turn--) { chosen = chosen->ai_next; }
    memcpy(&out->at, chosen->ai_addr, chosen->ai_addrlen);
    out->len = chosen->ai_addrlen;
    out->count = count;
    freeaddrinfo(found);
    return true;
}

CELLAR_PRIVATE void remote_lookup_leave(remote_lookup *l)
{
    if (l != NULL && atomic_fetch_sub(&l->holders, 1) == 1) { free(l); }
}

static void *remote_lookup_main(void *lookup)
{
    remote_lookup *l = lookup;
    l->found = remote_resolve_host(l->name.host, l->name.port, 0, l->turn, &l->peer);
    atomic_store(&l->done, true);
    remote_lookup_leave(l);
    return NULL;
}

CELLAR_PRIVATE bool remote_thread_start(pthread_t *t, const char *name, void *(*fn)(void *ctx),
                                        void *ctx)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(t, NULL, fn, ctx);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0) { (void)pthread_setname_np(*t, name); } /* joinable, if it has ended */
    return error == 0;
}

static remote_lookup *remote_lookup_open(const remote_address *a, uint32_t turn)
{
    pthread_t t;
    remote_lookup *l = calloc(1, sizeof *l);
    if (l == NULL) { return NULL; }
    atomic_init(&l->holders, 2);
    l->name = *a;
    l->turn = turn;
    if (!remote_thread_start(&t, "cellar-resolve", remote_lookup_main, l)) {
        free(l);
        return NULL;
    }
    (void)pthread_detach(t);
    return l;
}

/* Take the answer of a lookup that is done, and leave it. PENDING: the one of another name. */
static cellar_err remote_lookup_take(remote_lookup *l, const remote_address *a, remote_peer *out)
{
    const bool same = l->name.port == a->port && strcmp(l->name.host, a->host) == 0;
    const cellar_err err = !same ? CELLAR_PENDING : l->found ? CELLAR_OK : CELLAR_E_NOT_FOUND;
    if (same) { *out = l->peer; }
    remote_lookup_leave(l);
    return err;
}

CELLAR_PRIVATE cellar_err remote_resolve(remote_lookup **l, const remote_address *a, uint32_t turn,
                                         remote_peer *out)
{
    const bool loopback = strcmp(a->host, "localhost") == 0;
    const char *numeric = !loopback ? a->host : turn % 2 != 0 ? "127.0.0.1" : "::1";
    memset(out, 0, sizeof *out);
    if (a->port == 0) { return remote_resolve_path(a->host, out) ? CELLAR_OK : CELLAR_E_NOT_FOUND; }
    if (remote_resolve_host(numeric, a->port, AI_NUMERICHOST, 0, out)) {
        out->count += loopback;
        return CELLAR_OK;
    }
    if (*l != NULL && !atomic_load(&(*l)->done)) { return CELLAR_PENDING; }
    const cellar_err err = *l != NULL ? remote_lookup_take(*l, a, out) : CELLAR_PENDING;
    *l = err == CELLAR_PENDING ? remote_lookup_open(a, turn) : NULL;
    if (err != CELLAR_PENDING) { return err; }
    return *l != NULL ? CELLAR_PENDING : CELLAR_E_NOMEM;
}

BASE_SIZE_END
