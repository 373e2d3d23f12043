/* SPDX-License-Identifier: MIT
 *
 * remote: what the files of the remote tier share.
 *
 * PICTURE    cellar_remote -> link   connections, requests, markers, states          link.h
 *                          -> data   keys, values, control keys, journal, tier     data.h
 *                          -> share  leases, limiters, locks                       share.h
 * INVARIANTS Each part allocates and frees itself. A part calls another one through its header.
 * LOCKING    cfg is constant after open. counts are atomics. Each part guards its own state. */
#ifndef REMOTE_REMOTE_H
#define REMOTE_REMOTE_H

#include <pthread.h>
#include <stdatomic.h>

#include "cellar_admin.h"
#include "cellar_remote.h"
#include "cellar_tier.h"
#include "remote/config.h"
#include "remote/link_types.h"
#include "base/port.h"
#include "base/service_kind.h"

enum { REMOTE_SHA1_TEXT = 40, REMOTE_SPARES = 2 };

typedef struct remote_counts {
#define REMOTE_COUNT(name, help) _Atomic uint64_t name;
    CELLAR_REMOTE_COUNTS(REMOTE_COUNT)
#undef REMOTE_COUNT
} remote_counts;

/* The scripts, which remote_script_text returns. */
typedef enum remote_script {
    REMOTE_SCRIPT_END,     /* raise the epoch, write it into a control key */
    REMOTE_SCRIPT_KNOW,    /* read a control key; make it if it is absent, never let it go back */
    REMOTE_SCRIPT_CHANGE,  /* set or delete a key that has the state that was read */
    REMOTE_SCRIPT_DROP,    /* delete a key, and let all processes hear it if there is none */
    REMOTE_SCRIPT_SWAP,    /* set or delete a RAW value that is the one that was read */
    REMOTE_SCRIPT_ADD,     /* add to a counter of RAW */
    REMOTE_SCRIPT_COUNT,   /* add to a counter in an envelope */
    REMOTE_SCRIPT_BUCKET,  /* take units of a limiter by each of its three rules */
    REMOTE_SCRIPT_WINDOW,
    REMOTE_SCRIPT_LOG,
    REMOTE_SCRIPT_GIVE,    /* give units of a bucket back */
    REMOTE_SCRIPT_LOCK,    /* take a lock and draw its fence */
    REMOTE_SCRIPT_KEEP,    /* extend or release a lock; release a lease beside a value */
    REMOTE_SCRIPT_BESIDE,  /* store the value of a lease beside its key */
    REMOTE_SCRIPTS
} remote_script;

/* What is known of the replicas of the server; see put.c. */
typedef struct remote_replicas {
    pthread_mutex_t lock;      /* guards all but `changes`; held while a WAIT is on its way */
    _Atomic uint64_t changes;  /* durable ones that the server took */
    uint64_t upto;             /* those before the last WAIT */
    uint32_t wanted, have;     /* replicas that it asked for, and that it found */
    int64_t again_ns;          /* no WAIT before this time */
} remote_replicas;

struct cellar_remote {
    base_service service;         /* first: cellar_metrics_write, cellar_stats_json */
    remote_config cfg;
    cellar_host_config log_host;  /* log, log_ctx, log_level */
    const cellar_tier_host *_Atomic host; /* of the first namespace; NULL: none yet. Release */
    _Atomic uint64_t bytes;       /* of remote_alloc */
    _Atomic uint64_t replies;     /* numbers of replies so far, over all connections */
    struct remote_block *_Atomic spare[REMOTE_SPARES]; /* long ones; see memory.c */
    remote_memory memory;         /* remote_alloc and remote_free, for commands */
    struct remote_link *link;     /* link.h */
    bool forked;                  /* it belongs to the parent of this process */
    struct remote_data *data;     /* data.h */
    struct remote_share *share;   /* share.h */
    remote_replicas replicas;
    char sha[REMOTE_SCRIPTS][REMOTE_SHA1_TEXT + 1]; /* of SCRIPT LOAD; the thread of the link writes
                                                     * them until sha_known, then never */
    _Atomic bool sha_known;       /* release after the last digest; acquire before `sha` is read */
    remote_counts counts;         /* relaxed; time-outs, proofs, gaps and bytes: of the link */
};

/* Add to a counter of `r`. */
#define REMOTE_ADD(r, name, n) \
    ((void)atomic_fetch_add_explicit(&(r)->counts.name, (uint64_t)(n), memory_order_relaxed))

/* Number a reply, as it is taken: those of a connection come in the order of their execution. */
static inline uint64_t remote_reply_number(cellar_remote *r)
{
    return atomic_fetch_add_explicit(&r->replies, 1, memory_order_relaxed) + 1;
}

/* Allocate `size` bytes charged to the store of `r`. Return NULL without memory or budget. */
CELLAR_PRIVATE void *remote_alloc(cellar_remote *r, size_t size);
/* Free a block of remote_alloc of `size` bytes. `p` NULL is allowed. */
CELLAR_PRIVATE void remote_free(cellar_remote *r, void *p, size_t size);
/* Free the blocks that wait for their next use. */
CELLAR_PRIVATE void remote_memory_rest(void *remote);
/* Return the clock of the store in ms. */
CELLAR_PRIVATE int64_t remote_now_ms(void *remote);

#ifndef CELLAR_OMIT_TEXT
/* Write the figures for cellar_metrics_write and cellar_stats_json. */
CELLAR_PRIVATE cellar_err remote_text_write(void *remote, bool json, char *buf, size_t cap,
                                            size_t *full);
#endif

/* Return the text of script `i`; NULL: no more. The link loads each one on every new connection to
 * a Redis. */
CELLAR_PRIVATE const char *remote_script_text(void *remote, size_t i);
/* Take the digest of script `i`: the event script_loaded. */
CELLAR_PRIVATE void remote_script_digest(void *remote, size_t i, const char *digest);
/* Return the digest of a name, or the name of a digest: the event script_other. */
CELLAR_PRIVATE cellar_bytes remote_script_other(void *remote, cellar_bytes word);

/* ---- data, for open.c and link.c ------------------------------------------------------------ */

/* Allocate the part `data`. Returns OK, E_NOMEM, E_SPACE. */
CELLAR_PRIVATE cellar_err remote_data_open(cellar_remote *r);
/* Free the part `data`; the I/O thread has ended. Attached namespaces keep a tier that misses. */
CELLAR_PRIVATE void remote_data_close(cellar_remote *r);
/* Refuse calls of the store, and send the queue of BEHIND and the journal for up to `wait_ms`. Wait
 * for a link that is away. Runs before the link is closed. */
CELLAR_PRIVATE void remote_data_drain(cellar_remote *r, int64_t wait_ms);

/* Count the keys in journals, the writes in queues, and the namespaces with TRUST. */
CELLAR_PRIVATE void remote_data_figures(struct remote_data *d, cellar_remote_stats *out);

/* Handle one invalidated key. The I/O thread calls this and the following ones, in the order in
 * which the subscriber received the messages. */
CELLAR_PRIVATE void remote_heard(cellar_remote *r, const char *key, size_t len);
/* Handle a flush of the server. */
CELLAR_PRIVATE void remote_heard_flush(cellar_remote *r);
/* Stop answering from memory: the link is not proven any more. */
CELLAR_PRIVATE void remote_gap(cellar_remote *r);
/* Begin the synchronisation after tracking is on: read control keys, end the entries in memory,
 * replay the journal, then call remote_synced. A later remote_gap ends the sequence. */
CELLAR_PRIVATE void remote_linked(cellar_remote *r);
/* Let entries in memory count as fresh until `until_ms`: a marker came back. */
CELLAR_PRIVATE void remote_proven(cellar_remote *r, int64_t until_ms);
/* Copy the prefix `i` for CLIENT TRACKING into `buf`. Return its length; 0: there is no more. The
 * marker's own prefix is not among them. */
CELLAR_PRIVATE size_t remote_prefix(void *remote, size_t i, char *buf, size_t cap);

#endif
