/* SPDX-License-Identifier: MIT
 *
 * link_inside: the structs of the link, private to its files. */
#ifndef REMOTE_LINK_INSIDE_H
#define REMOTE_LINK_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "remote/config.h"
#include "remote/link_types.h"
#include "remote/resolve.h"
#include "remote/wire.h"

#define REMOTE_TICKETS 4096u   /* requests of callers under way */
#define REMOTE_TICKETS_OWN 16u /* requests of the link itself */
#define REMOTE_TICKETS_ALL (REMOTE_TICKETS + REMOTE_TICKETS_OWN)
#define REMOTE_GROUP 32u       /* tickets of a group: the bits of a futex */
#define REMOTE_GROUPS ((REMOTE_TICKETS_ALL + REMOTE_GROUP - 1) / REMOTE_GROUP)
#define REMOTE_MARKER_KEY_MAX 96u
#define REMOTE_NS_OF_MS INT64_C(1000000)
/* Announce the marker, and tell whether its key existed and what time it is. With an argument make
 * the key first, behind UNLINK: a full server refuses only a SET that comes first. */
#define REMOTE_MARKER_SCRIPT \
    "if ARGV[1] then redis.call('UNLINK',KEYS[1]) redis.call('SET',KEYS[1],'') end " \
    "local e=redis.call('PEXPIRE',KEYS[1],60000) local t=redis.call('TIME') return {e,t[1],t[2]}"

/* State of a ticket. */
enum {
    REMOTE_T_QUEUED = 0,  /* no byte sent */
    REMOTE_T_SENDING = 1, /* the runner reads the bytes of the request */
    REMOTE_T_SENT = 2,
    REMOTE_T_TAKING = 3,  /* the runner runs `fn` */
    REMOTE_T_DONE = 4,    /* the caller frees the ticket */
    REMOTE_T_LEFT = 5     /* the caller has returned: the runner frees the ticket */
};

/* A request between its caller and the runner of the link. */
typedef struct remote_ticket {
    _Atomic uint32_t state;
    _Atomic uint32_t next;  /* number + 1 of the next ticket in a list; 0: the last */
    remote_request q;
    uint32_t taken;         /* replies that were handled */
    bool posted, own;       /* of remote_post; of the link itself */
    bool repeated;          /* sent again after NOSCRIPT */
    remote_fate fate;       /* with err: the result, written before DONE */
    cellar_err err;
    int64_t until_ns;       /* of a posted request */
    int64_t sent_ns;
} remote_ticket;

/* Tickets that share a futex word, each with a bit of its own: one system call wakes the callers of
 * all tickets that a read has answered. */
typedef struct remote_group {
    _Atomic uint32_t ends; /* futex word: rises after tickets of the group have ended */
    uint32_t ended;        /* runner: bits of ended tickets: their callers may sleep */
} remote_group;

/* A list of tickets, of the runner. */
typedef struct remote_tickets {
    uint32_t first, last; /* number + 1; 0: empty */
} remote_tickets;

typedef enum remote_phase {
    REMOTE_PHASE_PAUSE,    /* waits for retry_ns */
    REMOTE_PHASE_RESOLVE,  /* waits for the address of a name */
    REMOTE_PHASE_SENTINEL, /* asks a Sentinel for the address */
    REMOTE_PHASE_HANDSHAKE, /* both connections say HELLO */
    REMOTE_PHASE_TRACK,    /* tracking is being switched on */
    REMOTE_PHASE_SYNC,     /* `linked` was called, remote_synced not yet */
    REMOTE_PHASE_MARKERS   /* markers are sent */
} remote_phase;

typedef struct remote_marker {
    int64_t sent_ms;      /* clock of the store */
    int64_t sent_ns;
    uint32_t number;      /* 0: none under way */
    bool fresh;           /* its script made a new key */
    bool echoed, replied; /* by *subscriber*; by *data* */
    bool counts;          /* sent in PHASE_MARKS, and no gap since */
    bool lost;            /* the key of the marker was gone: no proof */
    int64_t server_ms;    /* clock of the server in the reply */
} remote_marker;

/* A Sentinel, in the I/O thread. */
typedef struct remote_sentinel {
    remote_link *link;
    remote_wire wire;
    remote_lookup *lookup;  /* of its name; NULL: none */
    int64_t next_ns;        /* of the next question, or connect */
    int64_t asked_ms;       /* store clock: of the newest question */
    int64_t named_ms;       /* asked_ms of the answer `named` */
    remote_address named;   /* port 0: none */
    remote_why why;         /* of its last answer or failure; NONE: a server, or nothing yet */
    char text[120];         /* with why */
    uint32_t skip;          /* replies to AUTH */
    bool fresh, asking;     /* no question was sent; one is under way */
} remote_sentinel;

struct remote_link {
    const remote_config *c;
    remote_events e;
    bool forked;                   /* it belongs to the parent of this process */
    struct remote_link *next;      /* in the list of the process */

    /* Any thread. */
    remote_ticket tickets[REMOTE_TICKETS_ALL];
    remote_group groups[REMOTE_GROUPS];
    _Atomic uint64_t free_list;    /* change count << 32 | number + 1 */
    _Atomic uint32_t under_way;    /* tickets of callers */
    _Atomic uint32_t inbox;        /* newest posted ticket, number + 1 */
    _Atomic uint32_t asleep;       /* the I/O thread waits, or no thread runs the link */
    _Atomic uint32_t turn;         /* futex word. 1: a thread runs the link; 2: and others wait */
    _Atomic uintptr_t runner;      /* that thread; 0: none */
    _Atomic uint32_t reader;       /* ticket of the caller that reads *data*; 0: the I/O thread
                                    * reads it. Written by the runner */
    _Atomic uint32_t spin_rest, spin_pause; /* waits without a spin: left; behind a spin in vain */
    _Atomic uint32_t state;        /* remote_state */
    _Atomic bool usable;           /* requests are sent */
    _Atomic bool closing, retrack;
    _Atomic uint32_t timeouts_row; /* time-outs of io_ms since the last reply */
    _Atomic uint32_t marker_want;  /* fences wait for this marker */
    _Atomic uint32_t marker_sent;
    _Atomic uint32_t marker_back;  /* futex word of fences */
    _Atomic uint32_t addresses;    /* of the name of the last attempt */
    _Atomic uint32_t falls;        /* connections lost: ends the wait of fences */
    _Atomic int64_t proven_until;
    _Atomic uint64_t largest;      /* bytes of a value that a port takes; 0: no port */
    _Atomic int64_t server_offset_ms, server_error_ms; /* offset 0: unknown */
    _Atomic uint64_t counts[REMOTE_LINK_COUNTS_N];
    _Atomic uint64_t whys[REMOTE_WHYS_N];
    _Atomic uint64_t trips[REMOTE_TRIP_BUCKETS + 1], journeys[REMOTE_TRIP_BUCKETS + 1];
    _Atomic int64_t journey_us;    /* of the newest marker */
    _Atomic int64_t proof_ms_at;   /* store clock of the newest proof; 0: none */
    pthread_mutex_t refusal_lock;  /* guards refusal */
    remote_refusal refusal;
    int epoll, bell;
    pthread_t thread;

    /* The runner. */
    remote_phase phase;
    remote_wire data, subscriber;
    remote_tickets queue, sent;
    uint32_t alone;                /* ticket of the caller that runs the link; 0: none */
    uint32_t others;               /* tickets under way that have no caller, or are a WAIT */
    uint32_t ended_groups;         /* groups from here on have no ended tickets */
    remote_address at;             /* server of this attempt */
    remote_address primary;        /* newest one that the Sentinels named */
    uint32_t told;                 /* answers and failures of Sentinels in this attempt */
    remote_sentinel sentinel[REMOTE_ADDRESSES_MAX];
    remote_lookup *lookup;         /* of a name, one at a time; NULL: none */
    remote_peer peer;
    bool answered, subscribed;     /* data; subscriber */
    char lacks[208];               /* rights that the user lacks, each behind a blank */
    uint32_t subscriber_step;
    int64_t subscriber_id;
    uint32_t attempt, failures;    /* attempts ever; in a row */
    uint32_t answered_at;          /* attempt at which an address answered last; 0: none */
    int64_t retry_ns, deadline_ns; /* of the pause; of the name, then till tracking is on */
    bool gap_told;                 /* `linked` was not called since `gap` */
    uint32_t prefixes;             /* tracked on this connection */
    remote_bytes bytes;            /* of the handshake request under way */
    char marker_key[REMOTE_MARKER_KEY_MAX]; /* "~app:<uuid>:", then the number of the key */
    size_t marker_prefix_len;
    bool unvouched;                /* no majority of the Sentinels named the server at a marker */
    uint32_t marker_keys;          /* keys of markers that were made */
    bool marker_rekey;             /* the next marker makes a new key */
    char marker_digest[41];
    remote_bytes marker_bytes;
    remote_marker marker;
    int64_t marker_due_ms;         /* store clock */
    int64_t beat_ms;               /* until the next call of the event `beat`; the round before */
    remote_why why;                /* why the connections must close; NONE: they are fine */
    char why_text[232];
    uint32_t logged;               /* bits of reasons that the log has since the last proof */
    int64_t warned_ns;             /* time of the last warning; 0: none */
    bool scripts_gone;             /* the server answered NOSCRIPT */
    remote_tickets again;          /* requests to repeat after SCRIPT LOAD */
};

#define REMOTE_TICKET_NONE 0u

/* ---- ticket.c ---- */
CELLAR_PRIVATE void remote_tickets_open(remote_link *l); /* of a link of zero bytes */
/* Take a free ticket for `q`. NULL: too many under way. */
CELLAR_PRIVATE remote_ticket *remote_ticket_new(remote_link *l, const remote_request *q, bool own);
CELLAR_PRIVATE void remote_ticket_free(remote_link *l, remote_ticket *t);
CELLAR_PRIVATE void remote_ticket_post(remote_link *l, remote_ticket *t); /* any thread */
/* Move the inbox to a list, in order. */
CELLAR_PRIVATE void remote_tickets_collect(remote_link *l, remote_tickets *to);
CELLAR_PRIVATE void remote_tickets_add(remote_link *l, remote_tickets *list, remote_ticket *t);
CELLAR_PRIVATE uint32_t remote_ticket_number(const remote_link *l, const remote_ticket *t);
CELLAR_PRIVATE remote_ticket *remote_ticket_at(remote_link *l, uint32_t number); /* NULL: NONE */
CELLAR_PRIVATE remote_ticket *remote_tickets_first(remote_link *l, const remote_tickets *list);
CELLAR_PRIVATE void remote_tickets_pop(remote_link *l, remote_tickets *list);
CELLAR_PRIVATE remote_ticket *remote_ticket_after(remote_link *l, const remote_ticket *t);
/* Move a ticket from one state to another. False: its caller left. */
CELLAR_PRIVATE bool remote_ticket_move(remote_ticket *t, uint32_t from, uint32_t to);
/* Return the word on which the caller of a ticket sleeps, and the bit of the ticket. The caller
 * loads the word before the state. */
CELLAR_PRIVATE _Atomic uint32_t *remote_ticket_word(remote_link *l, const remote_ticket *t,
                                                    uint32_t *bit);
/* End a ticket that is in no list. Its caller is woken by remote_tickets_wake. */
CELLAR_PRIVATE void remote_ticket_end(remote_link *l, remote_ticket *t, cellar_err err,
                                      remote_fate fate);
/* Note that the caller of a ticket must be woken. It may have freed the ticket already. */
CELLAR_PRIVATE void remote_ticket_ended(remote_link *l, const remote_ticket *t);
/* Wake these callers. */
CELLAR_PRIVATE void remote_tickets_wake(remote_link *l);

/* ---- pipeline.c ---- */
CELLAR_PRIVATE void remote_send_queue(remote_link *l);
CELLAR_PRIVATE void remote_take_reply(void *link, const remote_reply *reply); /* of *data* */
CELLAR_PRIVATE void remote_end_all(remote_link *l, cellar_err err);
CELLAR_PRIVATE void remote_expire_posted(remote_link *l, int64_t now_ns);
/* Return whether a time-out of the request counts against the link: it waited io_ms or longer. */
CELLAR_PRIVATE bool remote_is_patient(const remote_link *l, const remote_request *q);
/* Send `b` as a request of the link itself. False: no memory or ticket; the link breaks. */
CELLAR_PRIVATE bool remote_post_own(remote_link *l, const remote_request *q, remote_bytes *b);

/* ---- marker.c ---- */
CELLAR_PRIVATE void remote_marker_heard(remote_link *l, const char *key, size_t len);
CELLAR_PRIVATE void remote_marker_tick(remote_link *l);
CELLAR_PRIVATE bool remote_marker_due(remote_link *l);
CELLAR_PRIVATE bool remote_same(const remote_address *a, const remote_address *b);
/* Return whether a majority named one server less than proof_ms ago. *at_ms: of its oldest answer,
 * store clock. */
CELLAR_PRIVATE bool remote_primary(const remote_link *l, remote_address *out, int64_t *at_ms);

/* ---- subscriber.c ---- */
CELLAR_PRIVATE void remote_take_message(void *link, const remote_reply *reply);

/* ---- handshake.c ---- */
CELLAR_PRIVATE void remote_handshake(remote_link *l); /* begin the handshake on both connections */
CELLAR_PRIVATE void remote_handshake_done(remote_link *l); /* go on when both connections are
                                                            * ready */
CELLAR_PRIVATE void remote_track(remote_link *l, bool whole);
CELLAR_PRIVATE void remote_lacks(remote_link *l, const char *right); /* for the reason at its end */
CELLAR_PRIVATE void remote_hello_reply(remote_link *l, const remote_reply *reply, bool subscriber);
CELLAR_PRIVATE void remote_load_scripts(remote_link *l); /* again, after NOSCRIPT */

/* ---- sentinel.c ---- */
CELLAR_PRIVATE void remote_sentinels_open(remote_link *l);
CELLAR_PRIVATE void remote_sentinels_close(remote_link *l);
/* Return whether the last answer of a Sentinel was something else than the name of a server. */
CELLAR_PRIVATE bool remote_sentinel_objects(const remote_sentinel *s);
/* Ask the Sentinels, and act on what their majority names. */
CELLAR_PRIVATE void remote_sentinels_tick(remote_link *l);
CELLAR_PRIVATE void remote_sentinel_serve(remote_wire *w, uint32_t reads); /* it has events */

/* ---- state.c ---- */
CELLAR_PRIVATE void remote_fall(remote_link *l);      /* close what broke */
CELLAR_PRIVATE void remote_attempt(remote_link *l);   /* connect */
CELLAR_PRIVATE void remote_deadline_set(remote_link *l); /* for the phases up to TRACK */
CELLAR_PRIVATE void remote_connect_to(remote_link *l, const remote_address *at);
/* Make epoll watch a wire as it wants. False: the link breaks. */
CELLAR_PRIVATE bool remote_watch(remote_link *l, remote_wire *w);
CELLAR_PRIVATE void remote_wire_drop(remote_link *l, remote_wire *w); /* close; fd may be -1 */
CELLAR_PRIVATE void remote_unresolved(remote_link *l, cellar_err err); /* break, for l->at.host */
CELLAR_PRIVATE void remote_insecure(const remote_link *l); /* warn if certificates do not count */
CELLAR_PRIVATE void remote_unvouched(remote_link *l); /* begin a gap: no Sentinels vouch */
CELLAR_PRIVATE void remote_resolve_step(remote_link *l); /* connect once the name has an address */

#endif
