/* SPDX-License-Identifier: MIT
 *
 * types: the structs of the port.
 *
 * PICTURE    port -- epoll -- listeners, three for clients of Redis, three for admin pages
 *                 \-- clients, least recently active first -- out: blocks of unsent replies
 *                                                          \-- in: a request that is not complete
 *            A client without a partial request and unsent replies has no memory but its struct:
 *            reads go to the buffer of the port, and blocks return to its list of free blocks.
 * INVARIANTS A client is in the list of all clients. out_bytes == sum of the used bytes of its
 *            blocks. `argv` of a running command points into the buffer of the port, into `in`, or
 *            into the queue of a transaction: it is valid until the command returns.
 * LOCKING    None: one thread at a time runs a step (`stepping`). Figures are relaxed atomics. Any
 *            thread pushes to `inbox` (channel.c).
 * FORK       The child closes the sockets and never looks at the lists: another thread may have
 *            changed them while the kernel copied the memory. */
#ifndef RESP_TYPES_H
#define RESP_TYPES_H

#include "base/atomic.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/net.h"
#include "base/service.h"
#include "base/sha256.h"
#include "base/sync.h"
#include "cellar_entry.h"
#include "cellar_resp.h"
#include "stats/text.h"
#include "tls/tls.h"

/* Places of the counters in `count` of the port, in the order of cellar_resp_stats. */
typedef enum resp_count {
#define RESP_X(name, help) RESP_COUNT_##name,
    CELLAR_RESP_COUNTS(RESP_X)
#undef RESP_X
    RESP_COUNTS
} resp_count;

#define RESP_REDIS_VERSION "7.0.0"        /* clients choose their commands by it */
#define RESP_DBS 16u                      /* databases that SELECT accepts */
#define RESP_READ_BYTES ((size_t)64 << 10) /* buffer of the port: most bytes of one read */
#define RESP_READ_LEAST ((size_t)16 << 10) /* what a read counts for a port that finishes */
#define RESP_BLOCK_BYTES ((size_t)16 << 10) /* a usual block of unsent replies */
#define RESP_ARGS_MAX 1048576u            /* arguments of a request */
#define RESP_INLINE_MAX ((size_t)64 << 10) /* bytes of an inline request, and of a length line */
#define RESP_BATCH 32u                    /* GETs of one client that are looked up together */
#define RESP_BATCH_VALUE 512u             /* longer values are read in a call of their own */
#define RESP_INDEX 1024u                  /* places of the hash table of command names */
#define RESP_SLOW_MAX 128u                /* entries of the slow log */
#define RESP_TEXT_MAX 64u                 /* bytes of an argument in MONITOR and SLOWLOG */
#define RESP_SLOW_ARGS 32u                /* arguments of a command in the slow log */
#define RESP_NAME_MAX 64u                 /* bytes of the name of a client */
#define RESP_ADMIN_CLIENTS 16u            /* connections for admin pages, besides max_clients */
#define RESP_ADMIN_ACCEPTS 4              /* of a listener in a round */
#define RESP_ADMIN_SLOTS (RESP_ADMIN_CLIENTS + RESP_ADMIN_ACCEPTS * RESP_SOCKETS)
#define RESP_ADMIN_HEAD_MS 5000           /* the head of a request comes within this time */
#define RESP_PINS 64u                     /* values that replies are sent from in place */
#define RESP_GUESSERS 64u                 /* addresses with wrong passwords that are known */
#define RESP_GUESSES 10u                  /* wrong passwords of an address that begin its delay */
#define RESP_STALL_MS 1000                /* a peer that moves no byte for so long is silent */

typedef struct resp_client resp_client;
typedef struct resp_command resp_command;

/* A value that replies are sent from in place. */
typedef struct resp_pin {
    cellar_pinned value;
    uint32_t refs;         /* blocks that send it; 0: free */
} resp_pin;

/* A block of unsent replies. With `pin` it stands for a bulk: the line before the value lies in
 * `bytes`, then the end of a line, and the value between them stays in the store. */
typedef struct resp_block {
    struct resp_block *next;
    resp_pin *pin;         /* NULL: all bytes are in `bytes` */
    size_t cap;            /* bytes of the block; without pin: of `bytes` */
    size_t from, used;     /* [from, used) is unsent */
    unsigned char bytes[];
} resp_block;

/* A request between MULTI and EXEC, one allocation. */
typedef struct resp_queued {
    struct resp_queued *next;
    const resp_command *cmd;
    size_t bytes;          /* of the allocation */
    uint32_t argc;
    cellar_bytes argv[];   /* then the bytes of the arguments */
} resp_queued;

/* A key that WATCH looks at, one allocation. */
typedef struct resp_watched {
    struct resp_watched *next;
    uint64_t version;      /* of its entry; 0: there was none */
    int64_t ends_ms;       /* its deadline on the clock of the port; INT64_MAX: none */
    uint32_t db;
    size_t key_len;
    unsigned char key[];
} resp_watched;

/* What a client subscribes to. */
typedef enum resp_kind {
    RESP_CHANNEL = 0,
    RESP_PATTERN = 1, /* a glob over the names of channels */
    RESP_PREFIX = 2,  /* of keys: CLIENT TRACKING */
    RESP_KINDS = 3
} resp_kind;

/* A channel or a pattern with subscribers, one allocation. */
typedef struct resp_channel {
    struct resp_channel *next;      /* in its chain */
    struct resp_sub *first, **end;  /* subscriptions, the oldest first */
    resp_kind kind;
    uint32_t hash;
    uint32_t count;                 /* of subscriptions */
    size_t len;
    unsigned char name[];
} resp_channel;

/* A subscription, in the list of its channel and in one of its client. */
typedef struct resp_sub {
    struct resp_sub *next, **at;    /* at: the place that points to it */
    struct resp_sub *client_next, **client_at;
    resp_client *client;
    resp_channel *channel;
} resp_sub;

typedef struct resp_channels {
    resp_channel **chain;
    uint32_t chains;                /* a power of two; 0: none yet */
    uint32_t count;                 /* channels */
} resp_channels;

/* A signal of the process on its way to the subscribers, one allocation. */
typedef struct resp_signal {
    struct resp_signal *next;
    size_t channel_len, len;
    unsigned char bytes[];          /* channel, message */
} resp_signal;

/* The last wrong passwords of one address. */
typedef struct resp_guesser {
    uint64_t peer;                  /* as in resp_client; 0: free */
    uint64_t word[RESP_GUESSES];    /* keyed hashes of different ones, a ring; 0: none */
    int64_t at_ms[RESP_GUESSES];    /* when they came */
    uint32_t next;
    int64_t last_ms;                /* its last wrong password, a repeated one too */
    int64_t end_ms;                 /* of its delay */
} resp_guesser;

typedef struct resp_walk resp_walk; /* key_list.h */

/* Bits of resp_client.flags. */
#define RESP_C_AUTH      0x0001u /* knows the password, or none is set */
#define RESP_C_MULTI     0x0002u /* between MULTI and EXEC */
#define RESP_C_DIRTY     0x0004u /* a request of the transaction was refused: EXEC aborts */
#define RESP_C_MONITOR   0x0008u
#define RESP_C_CLOSE     0x0010u /* no more requests; closed when all replies are sent */
#define RESP_C_BROKEN    0x0020u /* a reply is incomplete or the socket failed: closed at once */
#define RESP_C_END       0x0040u /* the peer sends no more */
#define RESP_C_PENDING   0x0080u /* in the list of clients with requests left to run */
#define RESP_C_UNIX      0x0100u
#define RESP_C_MUTED     0x0200u /* replies are dropped: CLIENT REPLY */
#define RESP_C_REPLY_OFF 0x0400u /* CLIENT REPLY OFF */
#define RESP_C_SKIP      0x0800u /* CLIENT REPLY SKIP: the next reply is dropped */
#define RESP_C_LINGER    0x1000u /* all is sent, the rest of the input is read and dropped */
#define RESP_C_FIRST     0x2000u /* before the first request: a line that is no command closes */
#define RESP_C_IN_EXEC   0x4000u /* EXEC runs its queue */
#define RESP_C_TIMED     0x8000u /* counted in `timed` of the port: it has a deadline of its own */
#define RESP_C_STALLED   0x40000u /* has requests left that must not run yet */
#define RESP_C_HTTP      0x80000u /* asks for admin pages */
#define RESP_C_NO_EVICT  0x10000u
#define RESP_C_NO_TOUCH  0x20000u
#define RESP_C_SUBSCRIBED 0x100000u /* to a channel or a pattern */
#define RESP_C_LOCAL     0x200000u /* of a unix socket or a loopback address */
#define RESP_C_TRACKING  0x400000u /* hears of changes of the shared store */
#define RESP_C_NOLOOP    0x800000u /* but not of its own ones */
#define RESP_C_REDIRECT  0x1000000u /* `redirect` hears of them instead */

struct resp_client {
    resp_client *next, *prev;    /* clients of Redis, or those of admin pages; least recently
                                  * active first */
    resp_client *pending_next;
    cellar_resp *of;
    uint64_t id;                 /* from 1, never used twice */
    int64_t process;             /* with a shared store: of a unix socket; TCP: -id; 0: not known */
    uint64_t peer;               /* keyed hash of its address without the port; not 0 */
    int fd;
    tls *tls;                    /* NULL: plain */
    uint32_t slot;               /* its place in `fds` of the port */
    uint32_t flags;              /* RESP_C_... */
    uint32_t events;             /* what epoll watches */
    uint32_t db;
    uint32_t protocol;           /* 2 or 3 */
    /* input: a request that is not complete */
    unsigned char *in;           /* NULL: none */
    size_t in_len, in_cap;
    size_t read_bytes;           /* of all reads, each at least RESP_READ_LEAST: finish.c */
    size_t scan;                 /* bytes that the parser has passed */
    int64_t bulk_len;            /* of the argument at `scan`; -1: its length line comes next */
    uint32_t args_left;          /* of the request; 0: its first line comes next */
    uint32_t args_all;
    cellar_pinned place;         /* of a long value that comes; its bytes are not in `in` */
    size_t place_at;             /* offset in the request where they would be; 0: no place */
    size_t place_len;            /* bytes that have come */
    size_t place_moved;          /* of them behind the request in the buffer that was parsed */
    /* output */
    resp_block *out_first, *out_last;
    size_t out_bytes;
    size_t out_pinned;           /* of them in the blocks with a pin */
    uint32_t reserved_head;      /* bytes before a reserved bulk in the last block */
    int64_t born_ms, active_ms;  /* active: read or sent something; port clock */
    int64_t hold_ms;             /* no reply is sent and no request runs before; 0: none */
    int64_t full_ms;             /* since when out_bytes is over the limit; 0: it is not */
    int64_t linger_ms;           /* until when the rest of the input is dropped */
    int64_t head_ms;             /* HTTP: until when its head must have come; 0: none has begun */
    /* transaction */
    resp_queued *queue, **queue_end;
    uint32_t queue_count;
    size_t queue_bytes;
    size_t watched_bytes;        /* of `watched` */
    resp_watched *watched;
    /* subscriptions, the oldest first */
    resp_sub *subs[RESP_KINDS], **subs_end[RESP_KINDS];
    uint32_t sub_count[RESP_KINDS];
    size_t sub_bytes;            /* of `subs`; each one counts its whole channel */
    /* tracking */
    resp_client *redirect;       /* hears in its place; NULL: it is gone, or there is none */
    uint32_t redirects;          /* clients that redirect to this one */
    uint64_t changes;            /* for the message that resp_announce writes */
    resp_client *chain_next;     /* of resp_chain, or clients with changes */
    resp_walk *walk;             /* a scan that runs in slices; no request runs before its end */
    /* texts */
    char name[RESP_NAME_MAX + 1];
    char lib_name[33], lib_version[17];
    char address[128];           /* "127.0.0.1:4711", "[::1]:4711", the path of the socket */
    const char *last;            /* name of the last command; static */
};

/* An entry of the slow log, one allocation. */
typedef struct resp_slow {
    uint64_t id;
    int64_t wall_ms;
    uint64_t took_us;
    size_t bytes;               /* of the allocation */
    uint32_t argc;
    char address[128], name[RESP_NAME_MAX + 1];
    cellar_bytes argv[];        /* then their bytes */
} resp_slow;

/* GETs of one client that are looked up together. */
typedef struct resp_batch {
    uint32_t count;
    cellar_get_item item[RESP_BATCH];
    unsigned char value[RESP_BATCH][RESP_BATCH_VALUE];
} resp_batch;

typedef struct resp_db {
    cellar *handle;                  /* NULL: not opened yet */
    char name[CELLAR_NAME_MAX + 1];  /* "": the root namespace */
} resp_db;

#define RESP_READS 4u /* values that a function has at hand */
#define RESP_READ_COPY 1024u /* bytes of a value that is copied: a pin would end writes in place */

/* The store that processes share, database 0 of a port with shared_bytes. */
enum { RESP_PART_KEYS, RESP_PART_TAGS, RESP_PARTS };

/* A part of the control keys (control.c). */
typedef struct resp_part {
    base_account account;
    struct resp_control *first;  /* the oldest one */
    struct resp_control *sweep;  /* the next one that is looked at for its end */
} resp_part;

typedef struct resp_shared {
    cellar *store;               /* without threads; NULL: the port has none */
    resp_part part[RESP_PARTS];
    uint64_t largest;            /* bytes of the longest value, with the envelope of its client */
    _Atomic uint64_t most_bytes; /* of all parts; changed by the thread of the round */
    _Atomic uint64_t tags_forgotten; /* for room; relaxed, written by the stepping thread */
    struct resp_limit *limits;   /* shared limiters (shared_limit.c) */
    uint64_t limit_bytes;        /* of their tables */
    _Atomic uint64_t limit_most_bytes, limits_evicted, limits_refused; /* bound of limit_bytes; keys
                                  * with debt, names; written by the thread of the round */
    int64_t limit_log_ms;        /* port clock: of the next line of the log about them */
    int64_t tags_log_ms;         /* port clock: of the next line of the log about them */
    uint64_t last_version;       /* of a control key */
    int64_t full_ms;             /* port clock: of the next walk through a full part */
    cellar_pinned read[RESP_READS];       /* values that a function has read */
    unsigned char copy[RESP_READS][RESP_READ_COPY]; /* the same: short ones */
    uint32_t reads;
    int64_t tick_ms;             /* port clock: of the next tick of the store */
    struct resp_waiter *waits;     /* leases that processes wait for, the newest first */
    int64_t look_ms, look_until_ms; /* port clock: of the next look for dead owners of them */
    bool in_function;            /* CELLAR.TIER runs a function */
    bool fills;                  /* it stores the value of a load: NOLOOP hides that, as a SET */
    int file;                    /* of base_net_unix_look for the socket file */
    bool wrote;                  /* it has written */
} resp_shared;

#define RESP_LOOK_FOR_MS 100 /* for dead owners of leases, behind a client that left */
#define RESP_PREFIX_MAX 255u /* bytes of a prefix */
#define RESP_PREFIXES_MAX 1024u /* of a client */

/* Changes of the shared store on their way to the clients that track. */
typedef struct resp_tracking {
    uint32_t clients;            /* with RESP_C_TRACKING */
    bool all;                    /* all keys may have changed, before `changes` */
    unsigned char *changes;      /* since the last message (track.c) */
    size_t used, cap;
    uint32_t lengths[RESP_PREFIX_MAX + 1]; /* number of prefixes of each length */
} resp_tracking;

#define RESP_PLACES 2    /* for clients of Redis; for admin pages */
#define RESP_POLICY_FILE_MAX 1023 /* bytes of a path */
#define RESP_SOCKETS 3   /* of a place: a unix socket, IPv4, IPv6 */
#define RESP_LISTENERS (RESP_PLACES * RESP_SOCKETS)

/* Replies that are not in the output of a client. */
typedef struct resp_out {
    resp_block *first, *last;
    size_t bytes, pinned;
} resp_out;

struct cellar_resp {
    base_object obj;             /* first; its account: requests and replies; the limit of that:
                                  * what the store is charged */
    cellar *store;
    cellar_resp_config opts;     /* with defaults; pointers to options and texts are NULL; constant.
                                  * Two of them change at run time: */
    int64_t idle_timeout_ms;     /* CONFIG SET timeout; CELLAR_TTL_NONE: none */
    uint32_t max_clients;        /* CONFIG SET maxclients; at most opts.max_clients */
    _Atomic uint64_t share;      /* greatest limit of `account`; relaxed, set in each round */
    _Atomic(const base_thread_record *) stepper; /* the thread of the last round; relaxed */
    tls_server *tls;             /* of TCP clients; NULL: plain */
    resp_client *serving;        /* the client that runs or sends; NULL: none */
    resp_pin pin[RESP_PINS];
    uint64_t pinned_bytes;       /* of the values in `pin` */
    uint64_t place_bytes;        /* of the places of all clients */
    _Atomic uint32_t limiting;   /* 1: a thread changes the limit of `account` */
    base_thread thread;
    bool started;
    bool has_password;
    char policy_file[RESP_POLICY_FILE_MAX + 1]; /* for CELLAR.POLICY RELOAD; "": none */
    unsigned char password[32];  /* SHA-256 */
    _Atomic uint32_t stop;       /* 1: the thread ends */
    _Atomic uint32_t stepping;   /* 1: a thread runs a step, or `thread` serves */
    int epoll, bell;             /* bell: an eventfd; readable while work is left or on a stop */
    bool rung;                   /* the bell is readable */
    int listener[RESP_LISTENERS]; /* RESP_SOCKETS of each place; -1: none */
    bool listening;              /* false: accept is paused until accept_ms */
    int64_t accept_ms;
    char unix_path[RESP_PLACES][108];
    bool has_group;              /* peers of unix_group are served */
    bool inherits;               /* the sockets are copies of listen_fds */
    uint32_t unix_group;
    base_net_file unix_file[RESP_PLACES];
    _Atomic int *fd_of;          /* by slot: socket of a client, -1: none; for a forked child.
                                  * The last RESP_ADMIN_SLOTS are for admin pages */
    resp_client *first, *last;   /* least recently active first */
    resp_client *admin_first, *admin_last; /* those of admin pages, likewise */
    uint32_t admin_count;
    size_t page_bytes;           /* room that the last page of figures needed */
    resp_client *pending, **pending_end;
    _Atomic uint32_t client_count; /* relaxed */
    uint32_t timed;              /* clients with RESP_C_TIMED */
    uint32_t port[RESP_PLACES];  /* TCP ports; 0: none; constant */
    _Atomic uint32_t draining;   /* 1: cellar_resp_drain was called */
    bool walked;                 /* a scan has continued in this round */
    bool dropped;                /* the namespace of a database was dropped */
    uint32_t monitors;
    uint64_t last_id;
    resp_block *free_blocks;
    uint32_t free_count;
    int64_t now_ms;              /* port clock at the start of the round */
    int64_t opened_ms;           /* port clock; constant */
    int64_t saved_wall_ms;       /* last SAVE that wrote all; 0: none */
    resp_guesser guesser[RESP_GUESSERS];
    bool save_failed;            /* the last SAVE */
    resp_shared shared;
    resp_tracking tracking;
    int64_t (*wall_us)(void);    /* of TIME; a test replaces it */
    resp_db db[RESP_DBS];
    const resp_command *table;   /* of table.c */
    uint32_t command_count;
    uint16_t index[RESP_INDEX];  /* by hash of the name: row + 1; 0: free */
    cellar_bytes *argv;          /* of the running command */
    uint32_t argv_cap;
    resp_batch batch;
    char refusal[64];            /* why the parser refused a request, terminated */
    resp_slow *slow[RESP_SLOW_MAX]; /* a ring */
    uint64_t slow_next;          /* id of the next one */
    base_hash_key hash_key;      /* of channels and lists of keys; constant */
    resp_channels channels[RESP_KINDS];
    _Atomic uint32_t sub_count;  /* subscriptions; release, acquire in emitting threads */
    char topic[256];             /* channel that this port emits, terminated */
    const void *topic_data;      /* its message */
    uint64_t bridge_id;          /* subscription to the pool */
    _Atomic uint32_t bridged;    /* 1: the subscription exists, or a call of it runs */
    resp_out behind;             /* messages of EXEC to its own client */
    resp_signal *heard;          /* signals taken from the inbox, the oldest first */
    _Atomic(resp_signal *) inbox; /* the newest first; pushed by any thread */
    _Atomic uint64_t inbox_bytes; /* of the signals in both */
    /* Figures; relaxed, written by the stepping thread. Any thread adds to signals_dropped. */
    _Atomic uint64_t count[RESP_COUNTS];
    unsigned char read[RESP_READ_BYTES]; /* what the last read brought */
};

/* Return the number of slots for clients. */
BASE_INLINE uint32_t resp_slots(const cellar_resp *r)
{
    return r->opts.max_clients + RESP_ADMIN_SLOTS;
}

/* Return whether a client uses the shared store. */
BASE_INLINE bool resp_is_shared(const resp_client *c)
{
    return c->db == 0 && c->of->shared.store != NULL;
}

/* Return the store of which INFO and CONFIG tell. */
BASE_INLINE cellar *resp_main_store(const cellar_resp *r)
{
    return r->shared.store != NULL ? r->shared.store : r->store;
}

/* Read the figures: see stats_service. */
CELLAR_PRIVATE const char *resp_figures(void *object, uint64_t *value);
#ifndef CELLAR_OMIT_TEXT
/* Write the figures of the shared store, if there is one. */
CELLAR_PRIVATE void resp_shared_figures(stats_out *o, const stats_owner *owner, void *object,
                                        const uint64_t *value);
#endif

#endif
