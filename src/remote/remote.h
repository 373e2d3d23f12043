/* SPDX-License-Identifier: MIT
 *
 * remote: what the files of the remote tier share.
 *
 * PICTURE    cellar_remote -> link   connections, requests, marks, states          link.h
 *                          -> data   keys, values, control keys, journal, tier     data.h
 *                          -> share  leases, limiters, locks                       share.h
 * INVARIANTS Each part allocates and frees itself. A part calls another one through its header.
 * LOCKING    cfg is constant after open. counts are atomics. Each part guards its own state. */
#ifndef REMOTE_REMOTE_H
#define REMOTE_REMOTE_H

#include <stdatomic.h>

#include "cellar_remote.h"

enum { REMOTE_ADDRESSES_MAX = 16, REMOTE_HOST_MAX = 255, REMOTE_UUID_TEXT = 32,
       REMOTE_SHA1_TEXT = 40 };

typedef struct remote_address {
    char host[REMOTE_HOST_MAX + 1]; /* name, numeric address, or path of a unix socket */
    uint16_t port;                  /* 0: unix socket */
} remote_address;

/* The options after defaults and URL. Texts end with a zero byte; "" means none. */
struct remote_config {
    char prefix[CELLAR_REMOTE_PREFIX_MAX + 1];
    char uuid[REMOTE_UUID_TEXT + 1];  /* of this remote, random: names the mark */
    char user[128], password[512], password_file[512];
    char master[128];                 /* "": no Sentinel */
    remote_address server;            /* without Sentinel */
    remote_address sentinel[REMOTE_ADDRESSES_MAX];
    uint32_t sentinel_count;
    bool no_thread, allow_plaintext;
    int64_t io_ms, proof_ms, max_ttl_ms, close_ms;
    uint32_t journal_keys, queue_entries;
};

typedef struct remote_counts {
#define REMOTE_COUNT(name, help) _Atomic uint64_t name;
    CELLAR_REMOTE_COUNTS(REMOTE_COUNT)
#undef REMOTE_COUNT
} remote_counts;

/* The scripts, which remote_script_text returns. Each part appends its own. */
typedef enum remote_script {
    REMOTE_SCRIPT_END,     /* end: raise the epoch, write it into a control key */
    REMOTE_SCRIPT_KNOW,    /* read a control key; make it if it is absent, never let it go back */
    REMOTE_SCRIPT_CHANGE,  /* set or delete a key that has the state that was read */
    REMOTE_SCRIPTS
} remote_script;

struct cellar_remote {
    struct remote_config cfg;
    cellar *store;                /* any handle; outlives the remote */
    struct remote_link *link;     /* link.h */
    struct remote_data *data;     /* data.h */
    struct remote_share *share;   /* share.h */
    char sha[REMOTE_SCRIPTS][REMOTE_SHA1_TEXT + 1]; /* of SCRIPT LOAD; link writes them before
                                                     * remote_linked: they never change */
    remote_counts counts;         /* relaxed */
};

/* Add to a counter of `r`. */
#define REMOTE_ADD(r, name, n) \
    ((void)atomic_fetch_add_explicit(&(r)->counts.name, (uint64_t)(n), memory_order_relaxed))

/* Allocate `size` bytes charged to the store of `r`. Return NULL without memory or budget. */
void *remote_alloc(cellar_remote *r, size_t size);
/* Free a block of remote_alloc of `size` bytes. `p` NULL is allowed. */
void remote_free(cellar_remote *r, void *p, size_t size);
/* Return the monotonic clock of the store in ms. */
int64_t remote_now_ms(const cellar_remote *r);

/* Return the text of a script. The link loads each one on every new connection. */
const char *remote_script_text(remote_script s);

/* ---- data, for open.c and link.c ------------------------------------------------------------ */

/* Allocate the part `data`. Returns OK, E_NOMEM, E_SPACE. */
cellar_err remote_data_open(cellar_remote *r);
/* Free the part `data`; the I/O thread has ended. Attached namespaces keep a tier that misses. */
void remote_data_close(cellar_remote *r);
/* Send the queue of BEHIND and the journal until `deadline_ms`; then end the namespaces that have
 * keys in the journal. Runs before the I/O thread ends. */
void remote_data_drain(cellar_remote *r, int64_t deadline_ms);

/* Handle one invalidated key. The I/O thread calls this and the following ones, in the order in
 * which the ear received the messages. */
void remote_heard(cellar_remote *r, const char *key, size_t len);
/* Handle a flush of the server. */
void remote_heard_flush(cellar_remote *r);
/* Stop answering from memory: the link is not proven any more. */
void remote_gap(cellar_remote *r);
/* Begin the synchronisation after tracking is on: read control keys, end the entries in memory,
 * replay the journal, then call remote_synced. A later remote_gap ends the sequence. */
void remote_linked(cellar_remote *r);
/* Let entries in memory count as fresh until `until_ms`: a mark came back. */
void remote_proven(cellar_remote *r, int64_t until_ms);
/* Copy the prefix `i` for CLIENT TRACKING into `buf`. Return its length; 0: there is no more. The
 * mark's own prefix is not among them. */
size_t remote_prefix(cellar_remote *r, uint32_t i, char *buf, size_t cap);

#endif
