/* SPDX-License-Identifier: MIT
 *
 * guest: may change until 1.0.
 *
 * cellar_remote: namespaces that several processes share: Redis, Valkey, PORT OF CELLAR (below).
 *
 * CALL PATTERN
 *     #include "cellar_remote.h"
 *     cellar_remote *r;
 *     if (cellar_remote_open(store, "unix:///run/redis.sock?prefix=app", NULL, &r) != CELLAR_OK)
 *         return 1;
 *     cellar_remote_attach(r, users, NULL);  // from now on: cellar_get, cellar_set .. as ever
 *     cellar_remote_close(r);                // before cellar_close(store)
 *
 * PROMISED  What memory returns at time x is a value that the server had after x - proof_ms, or a
 *         write of this process on its way. x counts by the monotonic clock of this process.
 * HEARD   A change by any client removes the entry from memory, also expiry, eviction and flush.
 *         A process sees its own writes immediately. All see the changes of a key in one order.
 * ENDS    After a clear, a version change or a tag delete no process serves an older value, also
 *         not one that starts later, also not after the server lost the numbers.
 * LOAD    One load of a missing key over all processes, while the link is proven; see DEATHS.
 * NOT PROMISED  Linearizable reads. Writes that survive a failover of the server. One load only,
 *         or a bound, in a split network: see LIMITS OF THE PROMISES. No Cluster.
 * START   cellar_remote_open returns before the connection exists. Until the state is PROVEN each
 *         call behaves as in AWAY.
 * AWAY    Without the server a call waits io_ms at most. A write of many keys waits for each key,
 *         until 5 waits in a row close the link. Gets miss (see OFFLINE). get_or_load runs the
 *         loader in each process; io_ms behind the proof its wait for another one ends, too. Writes
 *         return DEFERRED (see WRITES). cellar_remote_last_error says why the link is down. */
#ifndef CELLAR_REMOTE_H
#define CELLAR_REMOTE_H

#include "cellar.h"
#include "cellar_limit.h"
#include "cellar_lock.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Types ---------------------------------------------------------------------------------- */

/* Limits of keys on the server. */
#define CELLAR_REMOTE_PREFIX_MAX  32u     /* bytes of the prefix of all keys                      */
#define CELLAR_REMOTE_KEY_TEXT_MAX 512u   /* longer keys are named by their digest; see KEYS      */

/* A link to a server, for the namespaces, limiters and locks that it shares. cellar_remote_open
 * makes it, cellar_remote_close frees it. The calls of this header take it from any thread. */
typedef struct cellar_remote cellar_remote;

/* How a write of a shared namespace reaches the server; see WRITES. */
typedef enum cellar_remote_write {
    CELLAR_REMOTE_THROUGH = 0,    /* the call returns after the answer of the server              */
    CELLAR_REMOTE_BEHIND = 1,     /* a bounded queue holds the newest value of each key           */
    CELLAR_REMOTE_INVALIDATE = 2  /* a set deletes the key; each process loads from its source    */
} cellar_remote_write;

/* What the server keeps for a value; see KEYS. */
typedef enum cellar_remote_values {
    CELLAR_REMOTE_ENVELOPE = 0,   /* head with deadline, generation and tags, then the value      */
    CELLAR_REMOTE_RAW = 1         /* the value alone, as clients in other languages write it      */
} cellar_remote_values;

/* What memory answers without a proof that all changes were heard; see OFFLINE. */
typedef enum cellar_remote_offline {
    CELLAR_REMOTE_MISS = 0,       /* memory of shared namespaces does not answer                  */
    CELLAR_REMOTE_SERVE_STALE = 1, /* memory answers as stale, within the stale window            */
    CELLAR_REMOTE_TRUST = 2       /* memory answers: values may be older than proof_ms            */
} cellar_remote_offline;

/* State of the link; see STATES. */
typedef enum cellar_remote_state {
    CELLAR_REMOTE_DOWN = 0,       /* no connection                                                */
    CELLAR_REMOTE_LINKED = 1,     /* both connections stand                                       */
    CELLAR_REMOTE_GAP = 2,        /* changes may have been missed                                 */
    CELLAR_REMOTE_PROVEN = 3,     /* all changes up to the last proof were heard                  */
    CELLAR_REMOTE_SUSPECT = 4     /* proven, and the next proof is late                           */
} cellar_remote_state;

/* Options of cellar_remote_open. 0 or NULL in a field: its default. The URL overrides the fields
 * that it names. Texts are copied. */
typedef struct cellar_remote_config {
    size_t      struct_size;    /* set by cellar_remote_config_default()                          */
    const struct cellar_host_config *host; /* cellar_admin.h. Used: log and log_level. NULL: all  */
                                  /* defaults                                                     */
    const char *prefix;           /* first part of all keys on the server: 1..32 of A-Z a-z 0-9 . */
                                  /* _ -. Default "cellar"                                        */
    const char *user;             /* name for AUTH. Default NULL: the default user                */
    const char *password;         /* password for AUTH. Default NULL: no AUTH                     */
    const char *password_file;    /* a file with the password, mode 0600; read again after        */
                                  /* WRONGPASS. Default NULL: none                                */
    const char *sentinels;        /* "host:port,host:port": all of them, asked for `master`; see  */
                                  /* SENTINEL. Default NULL: none                                 */
    const char *master;           /* name of the group in Sentinel. Default "mymaster"            */
    int64_t     io_ms;            /* longest wait of a call, ms. Range 1..10,000. Default 50      */
    int64_t     proof_ms;         /* age of a proof that counts, ms. Range 200..60,000. Default   */
                                  /* 2,000                                                        */
    int64_t     max_ttl_ms;       /* longest TTL of shared values, ms. Range 1..2^40. Default     */
                                  /* 3,600,000                                                    */
    int64_t     close_ms;         /* longest wait of a close, ms. Range 1..600,000. Default 2,000 */
    uint32_t    no_thread;        /* 1: the program calls cellar_remote_step. Default 0           */
    uint32_t    allow_plaintext;  /* 1: allow TCP to another machine. Default 0                   */
    uint32_t    journal_keys;     /* keys in the journal of each namespace. Range 1..2^20.        */
                                  /* Default 65,536                                               */
    uint32_t    queue_entries;    /* writes in the queue of each namespace with BEHIND. Range     */
                                  /* 1..2^20. Default 65,536                                      */
    int64_t     lease_ms;         /* life of the leases of a process that died, ms; see DEATHS.   */
                                  /* Range max(1,000, proof_ms)..600,000. Default 2 x proof_ms    */
    const char *sentinel_user;    /* name for AUTH of Sentinels. Default NULL: the default user   */
    const char *sentinel_password; /* password for AUTH of Sentinels. Default NULL: no AUTH       */
    const char *tls_ca_file;      /* PEM: certificates to trust, with rediss://. Default NULL; if */
                                  /* both are NULL, those of the system                           */
    const char *tls_ca_dir;       /* a folder of such files, as of `openssl rehash`. Default NULL */
    const char *tls_cert_file;    /* PEM: certificate of this client, with its chain. Default NULL*/
    const char *tls_key_file;     /* PEM: its key. Default NULL: in tls_cert_file                 */
    const char *tls_server_name;  /* name that certificates of server and Sentinels must have.    */
                                  /* Default NULL: the host of the URL, or that Sentinel names    */
} cellar_remote_config;
CELLAR_STRUCT(cellar_remote_config, tls_server_name);

/* Options of cellar_remote_attach. 0 in a field: its default. */
typedef struct cellar_remote_namespace_config {
    size_t                struct_size;  /* set by cellar_remote_namespace_config_default()        */
    int64_t               local_ttl_ms; /* with values RAW: longest life in memory of an entry    */
                                        /* that was read from the server.                         */
                                        /* Range 1..2^63 - 1 ms. Default 0: as on the server      */
    cellar_remote_write   write;        /* how writes reach the server. Default THROUGH           */
    cellar_remote_values  values;       /* what the server keeps. Default ENVELOPE. RAW excludes  */
                                        /* INVALIDATE                                             */
    cellar_remote_offline offline;      /* what memory answers without a proof. Default MISS      */
    uint32_t              strict;       /* 1: a write that the server did not answer in time      */
                                        /* returns E_TIMEOUT instead of DEFERRED; see WRITES.     */
                                        /* Default 0                                              */
    uint32_t              durable;      /* number of replicas that a write waits for; see WRITES. */
                                        /* Range 1..2^32 - 1. Default 0: none                     */
    uint32_t              reserved0;    /* must be 0                                              */
} cellar_remote_namespace_config;
CELLAR_STRUCT(cellar_remote_namespace_config, reserved0);

/* Counters of a remote: field, help. */
#define CELLAR_REMOTE_COUNTS(X) \
    X(gets, "gets that asked the server") \
    X(hits, "gets that the server answered with a usable value") \
    X(misses, "gets that the server answered without a value") \
    X(dead, "values of an older generation or with a deleted tag") \
    X(damaged, "values with a wrong checksum or length") \
    X(foreign, "values without the magic of cellar, or of another type") \
    X(newer, "values in a format of a newer version") \
    X(too_big, "values above the limit of the namespace") \
    X(other_key, "values of another key under the same digest") \
    X(sets, "values sent to the server") \
    X(deletes, "deletes sent to the server") \
    X(deferred, "writes without an answer; their keys went into the journal") \
    X(replayed, "keys of the journal deleted after the link came back") \
    X(overflows, "namespaces cleared because the journal was full") \
    X(refused_memory, "sets refused because the server is out of memory") \
    X(queue_full, "writes of BEHIND that met a full queue; their keys went into the journal") \
    X(replicas_short, "durable writes that too few replicas confirmed in time") \
    X(heard, "invalidations of shared namespaces") \
    X(heard_foreign, "invalidations of keys that no namespace of this process has") \
    X(flushes, "flushes of the server") \
    X(timeouts, "calls that waited io_ms without an answer") \
    X(refused_breaker, "calls refused by the breaker") \
    X(proofs, "markers that came back") \
    X(gaps, "times that the proof was lost") \
    X(bytes_in, "bytes read") \
    X(bytes_out, "bytes sent") \
    X(leases_taken, "loads led for all processes") \
    X(leases_lost, "loads that lost their lease to a change or its end") \
    X(leases_waited, "requests for a lease that another process had") \
    X(limit_calls, "calls of limiters to the server") \
    X(limit_unused, "tokens that expired in this process")

/* Figures of a remote, from cellar_remote_stats_get; see CELLAR_REMOTE_COUNTS for the counters.
 * Start from cellar_remote_stats_default(). Counts begin at the open. */
typedef struct cellar_remote_stats {
    size_t   struct_size;    /* set by cellar_remote_stats_default()                              */
#define CELLAR_REMOTE_FIELD(name, help) uint64_t name; /* see CELLAR_REMOTE_COUNTS */
    CELLAR_REMOTE_COUNTS(CELLAR_REMOTE_FIELD)
#undef CELLAR_REMOTE_FIELD
    uint64_t journal_keys;   /* deletes and leases to release in the journal now                  */
    uint64_t queue_entries;  /* writes of BEHIND that wait now                                    */
    uint64_t bytes;          /* memory of the remote, charged to the store                        */
    int64_t  proof_age_ms;   /* age of the newest proof; -1: none                                 */
    int64_t  proof_trip_us;  /* journey of the newest marker                                      */
    uint64_t state;          /* a cellar_remote_state                                             */
    uint64_t trusting;       /* namespaces with TRUST: memory answers without a proof             */
    uint64_t leases_held;    /* loads that this process leads for all processes now               */
} cellar_remote_stats;
CELLAR_STRUCT(cellar_remote_stats, leases_held);

/* ---- Open and close ------------------------------------------------------------------------- */

/* TLS. rediss:// and rediss-sentinel:// need a build with TLS=1. TLS 1.2 or later, for both
 * connections and for Sentinels. The certificate of the server must have a chain up to tls_ca_file
 * or tls_ca_dir and the name of the host. Else the link stays DOWN, and cellar_remote_last_error
 * has the reason. The files are read at each connect, so a new certificate needs no new open. The
 * handshake ends after io_ms x 10, that with a Sentinel after 2 s. The word tls_insecure in the URL
 * ("rediss://host?tls_insecure") turns the verification off, and each connect logs a warning.
 * OpenSSL keeps about 200 KiB, outside the budget. */

/* Open a link to a server of Redis or Valkey, or to a port of cellar. The call does not wait for
 * the connection: it is OK with a dead server, too.
 * in:      store: any handle of it;
 *          url "unix:///path?prefix=app", "redis://user@host:6379?prefix=app",
 *          "redis-sentinel://user@host:26379,host2?master=name", with TLS "rediss://.." or
 *          "rediss-sentinel://..", or NULL with o->sentinels; see TLS;
 *          o from cellar_remote_config_default; NULL: all defaults
 * out:     *out: the link; NULL on failure
 * returns: OK;
 *          E_INVAL (the URL or the prefix is wrong), E_RANGE (a field is out of its range),
 *          E_TOOBIG (a text is too long);
 *          E_NOT_FOUND (the password file does not exist);
 *          E_DENIED (TCP to another host without TLS or allow_plaintext, or a password file that
 *          others may read);
 *          E_UNSUPPORTED (also: TLS in a build without it, a database number);
 *          E_NOMEM, E_IO (the system refused a descriptor).
 *          cellar_remote_last_error of NULL has the reason
 * owns:    the caller closes *out with cellar_remote_close before cellar_close of the store. Texts
 *          are copied
 * thread:  any
 * cost:    about 1 MiB of the budget; one thread unless no_thread. One more for each host name
 *          while the system resolves it, also with no_thread: it may outlive cellar_remote_close.
 *          Numeric addresses and localhost need none. Threads have the default stack of the process
 * example:
 *     cellar_remote *r;
 *     const char *url = "unix:///run/redis.sock?prefix=app";
 *     if (cellar_remote_open(c, url, NULL, &r) != CELLAR_OK)
 *         return 1;                                                                              */
CELLAR_API cellar_err cellar_remote_open(cellar *store, const char *url,
                                         const cellar_remote_config *o, cellar_remote **out);

/* Close a link. Send queue and journal for up to close_ms, also when a link that is away comes back
 * in that time; what is left then is lost. Shared limiters are closed before. The namespaces stay
 * attached until their store is closed: gets miss, and writes fail with E_CLOSED.
 * in:      r; NULL is allowed
 * owns:    r is freed. Handles of its locks are invalid, and the locks end with their hold
 * thread:  must not overlap other calls with r, and not run in a callback of r
 * cost:    at most close_ms; no wait for a server that is away when queue and journal are empty
 * example: cellar_remote_close(r);                                                               */
CELLAR_API void cellar_remote_close(cellar_remote *r);

/* Share a namespace: gets that miss in memory ask the server, writes go to the server. The server
 * stores no version: that of cellar_namespace_open before the attach ends no value there. Change
 * the name or the prefix with the form of the values, or call cellar_version_set once.
 * in:      c, a namespace of the store of r; its name has bytes 0x21..0x7E without ':', no '~' in
 *          front, and is not "+", which names the root;
 *          o from cellar_remote_namespace_config_default; NULL: all defaults
 * returns: OK;
 *          E_INVAL (name, options, a namespace of another store than those that r shares);
 *          E_BUSY (the namespace has a disk tier or another one: open it with tier CELLAR_TIER_L1;
 *          or r shares one of its name);
 *          E_UNSUPPORTED (also: a hidden namespace), E_NOMEM;
 *          E_LIMIT (64 namespaces of r, or too many tiers).
 *          cellar_remote_last_error of NULL has the reason
 * owns:    c stays shared until its store is closed; there is no detach. The entries that it has in
 *          memory are invalidated. After cellar_namespace_drop the server has the values, and r
 *          refuses a new namespace of that name: E_BUSY
 * thread:  any
 * cost:    one allocation; the link is in GAP until the server knows the new prefix
 * example: cellar_remote_attach(r, users, NULL);                                                 */
CELLAR_API cellar_err cellar_remote_attach(cellar_remote *r, cellar *c,
                                           const cellar_remote_namespace_config *o);

/* Wait until gets of this process see every write that the server acknowledged to any process
 * before this call. A write that still waits in the queue of BEHIND has no acknowledgement.
 * in:      timeout_ms: longest wait, from 0
 * returns: OK; E_TIMEOUT (not proven in time: older values may be read), E_BREAKER_OPEN (the link
 *          to the server is down), E_DEADLOCK (in a callback of r)
 * thread:  any; calls at the same time share one marker
 * cost:    one round trip
 * example:
 *     if (cellar_remote_fence(r, 100) == CELLAR_OK)
 *         err = cellar_get(users, "7", 1, b, 9, &n);                                             */
CELLAR_API cellar_err cellar_remote_fence(cellar_remote *r, int64_t timeout_ms);

/* ---- Loop of the host ----------------------------------------------------------------------- */

/* Return the descriptor to poll for reading, for a remote with no_thread.
 * in:      r: the link
 * returns: a descriptor; -1: r has a thread, or this is a forked child
 * owns:    the descriptor belongs to r until its close: only poll it
 * thread:  any
 * cost:    O(1)
 * example: pfd.fd = cellar_remote_fd(r);                                                         */
CELLAR_API int cellar_remote_fd(const cellar_remote *r);

/* Serve the link of a remote with no_thread. Call it when the descriptor is readable, and at least
 * every 50 ms.
 * in:      budget_us: time for this call, from 0
 * returns: OK; PENDING (more is due now: step again), E_BUSY (another thread runs a step),
 *          E_DEADLOCK (in a callback of r); E_INVAL (also: r has a thread)
 * thread:  any, one at a time; listeners of the store may run inside
 * cost:    about budget_us
 * example: while (running) cellar_remote_step(r, 1000);                                          */
CELLAR_API cellar_err cellar_remote_step(cellar_remote *r, uint64_t budget_us);

/* ---- Figures -------------------------------------------------------------------------------- */

/* Return the state of the link: whether memory is proven to be up to date.
 * in:      r: the link
 * returns: the state; DOWN for NULL
 * thread:  any
 * cost:    O(1)
 * example:
 *     if (cellar_remote_state_get(r) == CELLAR_REMOTE_PROVEN)
 *         puts("shared");                                                                        */
CELLAR_API cellar_remote_state cellar_remote_state_get(const cellar_remote *r);

/* Tell why the link was last lost or refused, or that its server is out of memory; or why an open
 * or attach of the process failed.
 * in:      r; NULL: the last failed open of a remote or a limiter, or the last failed attach. out
 *          from cellar_error_info_default
 * out:     *out; code OK: no failure yet. The text names rule and remedy, or the missing right
 * returns: OK
 * owns:    the text is copied
 * thread:  any
 * cost:    O(1)
 * example:
 *     cellar_error_info e = cellar_error_info_default();
 *     cellar_remote_last_error(r, &e);                                                           */
CELLAR_API cellar_err cellar_remote_last_error(const cellar_remote *r, cellar_error_info *out);

/* Read the figures of a remote. cellar_metrics_write and cellar_stats_json (cellar_observe.h) write
 * them with the label remote="PREFIX", and a port shows them: `remote` of cellar_resp_config. While
 * the link is not proven, `state` of cellar_stats_json has the label why: the last error.
 * in:      out from cellar_remote_stats_default
 * out:     *out, only with OK
 * returns: OK
 * thread:  any
 * cost:    O(1)
 * example:
 *     cellar_remote_stats s = cellar_remote_stats_default();
 *     cellar_remote_stats_get(r, &s);                                                            */
CELLAR_API cellar_err cellar_remote_stats_get(const cellar_remote *r, cellar_remote_stats *out);

#ifndef CELLAR_OMIT_LIMIT
/* ---- Shared limiter ------------------------------------------------------------------------- */

/* A limiter of several processes: those that open it with the same prefix, name and rule share its
 * keys. The server holds one word for each key. A process takes units in batches, and spends them
 * without the server until `hold_ms` after the request for them. A token bucket with a hold of at
 * least 10 ms and batches above the cost of a call grants a denied process its next batch up to 1 s
 * ahead: the process may spend it for `hold_ms` from the end of `retry_after_ns` on. Calendar
 * periods are UTC, by the clock of the server. `now_ns` of the results: since boot, with suspend.
 *
 * PROMISED  Units admitted in any window W <= limit / period x (W + hold_ms) + burst, however many
 * processes, pauses or crashes. Batch 1: W + one round trip. The bound of a fixed window and of a
 * sliding log is that of cellar_limit.h, with one round trip of slack. A check waits io_ms for its
 * answer, whatever hold_ms is, and spends the unit that it asked for when the answer comes: with an
 * io_ms that a busy machine keeps, such as 1,000, not one unit is lost or admitted twice.
 *
 * NOT PROMISED  The bound while the server does not answer, after a failover or a loss of its data,
 * and across steps of its clock. Units that a process does not spend in time are lost.
 *
 * AWAY      Without an answer in io_ms `offline` decides, for hold_ms or until the link is proven
 * again; the units of a later answer are lost. Denials until a known wait has passed never need the
 * server. */
#define CELLAR_REMOTE_LIMITER_NAME_MAX 48u  /* bytes of the name of a shared limiter              */
#define CELLAR_REMOTE_LIMIT_MAX UINT64_C(1000000000) /* largest limit                             */

/* A shared limiter in this process. cellar_remote_limiter_open makes it,
 * cellar_remote_limiter_close frees it. */
typedef struct cellar_remote_limiter cellar_remote_limiter;

/* How a check decides while the server does not answer. Each change between server and local rule
 * may admit one burst more. */
typedef enum cellar_remote_limiter_offline {
    CELLAR_REMOTE_LIMITER_LOCAL_SHARE = 0, /* by a token bucket of rate and burst divided by the  */
                                           /* processes last seen; a burst of at least 1          */
    CELLAR_REMOTE_LIMITER_LOCAL_FULL = 1,  /* by a token bucket of the whole rule in each process */
    CELLAR_REMOTE_LIMITER_DENY = 2,        /* deny                                                */
    CELLAR_REMOTE_LIMITER_ALLOW = 3        /* admit                                               */
} cellar_remote_limiter_offline;

/* Options of cellar_remote_limiter_open. Start from cellar_remote_limiter_config_default(). 0 or
 * NULL in a field: its default. */
typedef struct cellar_remote_limiter_config {
    size_t      struct_size; /* set by cellar_remote_limiter_config_default()                     */
    const char *name;        /* 1..48 of A-Z a-z 0-9 . _ -. Copied. Default "default"             */
    int64_t     hold_ms;     /* life of a unit in a process, ms. Range 1..60,000. Default 50, or  */
                             /* period / 20 if that is less, and at least 2                       */
    uint32_t    batch;       /* units asked for at a time. Range 1..4,096. 1: exact. Default      */
                             /* limit x hold_ms / period / 4. Always 1 but for token buckets      */
    uint32_t    max_keys;    /* keys that this process remembers. Range 1..2^22. Default 16,384   */
    cellar_remote_limiter_offline offline; /* decisions without the server. Default LOCAL_SHARE   */
    uint32_t    reserved0;   /* must be 0                                                         */
} cellar_remote_limiter_config;
CELLAR_STRUCT(cellar_remote_limiter_config, reserved0);

/* Figures of a shared limiter in this process, from cellar_remote_limiter_stats_get. Start from
 * cellar_remote_limiter_stats_default(). Counts begin at the open. */
typedef struct cellar_remote_limiter_stats {
    size_t   struct_size;    /* set by cellar_remote_limiter_stats_default()                      */
    uint64_t calls;          /* requests to the server                                            */
    uint64_t granted;        /* units that the server granted                                     */
    uint64_t denied;         /* denials by the server                                             */
    uint64_t unused;         /* units that were not spent in time, or asked for without an answer */
    uint64_t offline;        /* decisions without the server                                      */
    uint64_t keys;           /* keys in memory                                                    */
    uint64_t processes;      /* processes that used the limiter in the last 10 s, as last seen    */
    uint64_t bytes;          /* memory, charged to the store                                      */
} cellar_remote_limiter_stats;
CELLAR_STRUCT(cellar_remote_limiter_stats, bytes);

/* Open a limiter with keys that all processes share.
 * in:      rule: token bucket, fixed window, or sliding log, without flags and ban; equal in all
 *          processes;
 *          o from cellar_remote_limiter_config_default; NULL: all defaults
 * out:     *out is NULL on failure
 * returns: OK;
 *          E_UNSUPPORTED (also: another algorithm, flags, a ban);
 *          E_RANGE (limit above CELLAR_REMOTE_LIMIT_MAX, or 4,096 for a sliding log; more than 8 x
 *          10^6 a second; burst x period / limit above 400 days; hold_ms; batch);
 *          E_NOMEM.
 *          cellar_remote_last_error of NULL has the reason
 * owns:    the caller closes *out with cellar_remote_limiter_close before cellar_remote_close. The
 *          rule and the texts are copied
 * thread:  any
 * cost:    one allocation of about 130 bytes for each of max_keys; the server is not asked
 * example:
 *     const cellar_rule rule =
 *         cellar_rule_token_bucket(10000, CELLAR_SECOND_NS, 1000);
 *     cellar_remote_limiter *l;
 *     if (cellar_remote_limiter_open(r, &rule, NULL, &l) != CELLAR_OK)
 *         return 1;                                                                              */
CELLAR_API cellar_err cellar_remote_limiter_open(cellar_remote *r, const cellar_rule *rule,
                                                 const cellar_remote_limiter_config *o,
                                                 cellar_remote_limiter **out);

/* Close a shared limiter. Units that were not spent go back to a Redis; those of a port of cellar
 * end with hold_ms.
 * in:      l; NULL is allowed
 * owns:    l is freed
 * thread:  must not overlap other calls with l
 * cost:    O(max_keys), and one round trip
 * example: cellar_remote_limiter_close(l);                                                       */
CELLAR_API void cellar_remote_limiter_close(cellar_remote_limiter *l);

/* Ask whether a call of a key may pass now, in all processes together: admit or deny `cost` units.
 * in:      key 1..CELLAR_KEY_MAX bytes; cost in units, 0 charges nothing
 * out:     *out, optional, with OK and LIMITED. `remaining`: units left in this process;
 *          `reset_after_ns` is 0, `rule` is 0
 * returns: OK (admitted), LIMITED (denied: try again after out->retry_after_ns, or never if
 *          out->never is 1)
 * thread:  any; in a callback of r `offline` decides in place of the server
 * cost:    units at hand or a known denial: no lock, one compare-exchange at most; else one round
 *          trip; io_ms at most if the server does not answer
 * example:
 *     cellar_limiter_result x;
 *     const cellar_err err =
 *         cellar_remote_limiter_check(l, "10.0.0.7", 8, 1, &x);
 *     if (err == CELLAR_LIMITED) return 429;                                                     */
CELLAR_API cellar_err cellar_remote_limiter_check(cellar_remote_limiter *l, const void *key,
                                                  size_t key_len, uint64_t cost,
                                                  cellar_limiter_result *out);

/* Read the figures of a shared limiter in this process.
 * in:      out from cellar_remote_limiter_stats_default
 * out:     *out, only with OK
 * returns: OK
 * thread:  any
 * cost:    one short lock
 * example:
 *     cellar_remote_limiter_stats s = cellar_remote_limiter_stats_default();
 *     cellar_remote_limiter_stats_get(l, &s);                                                    */
CELLAR_API cellar_err cellar_remote_limiter_stats_get(cellar_remote_limiter *l,
                                                      cellar_remote_limiter_stats *out);

/* ---- Shared lock ---------------------------------------------------------------------------- */

/* Locks that all processes with the same prefix share.
 *
 * PROMISED  Each owner has a larger fence than all earlier owners, by the clock of the server if it
 * lost the last fence. While the server neither fails over nor loses data, one owner at a time
 * within the hold. Waiting is fair within one process only.
 *
 * NOT PROMISED  One owner at a time across a failover of the server, a loss of its data or a step
 * of its clock, or if an owner pauses longer than its hold. The resource must compare the fence and
 * reject smaller ones.
 *
 * AWAY      Without the server no lock is acquired, and the calls return codes of the link. */
#define CELLAR_REMOTE_HOLD_MAX_MS 86400000 /* longest hold of a shared lock                       */

/* Handle of an owner of a shared lock, from cellar_remote_lock_acquire. It holds no memory, and may
 * be copied. All zero: not an owner. */
typedef struct cellar_remote_lock {
    uint64_t opaque[2];
    uint64_t fence;          /* fencing token: above those of all earlier owners                  */
    int64_t  until_ms;       /* end of the hold: ms since boot, including suspend                 */
} cellar_remote_lock;
typedef char cellar_remote_lock_is_frozen[sizeof(cellar_remote_lock) == 32 ? 1 : -1];

/* Acquire the shared lock of a key. Wait while another owner holds it; a release anywhere wakes.
 * A key without a TTL, of another program, is an owner until it is deleted.
 * in:      key 1..CELLAR_KEY_MAX bytes;
 *          o as cellar_lock_acquire, without a note and without a flag but CELLAR_LOCK_NO_WAIT,
 *          hold_ms up to CELLAR_REMOTE_HOLD_MAX_MS; NULL: wait 30 s, hold 30 s
 * out:     *out is the handle; all zero on any code but OK
 * returns: OK;
 *          E_BUSY (NO_WAIT: another owner holds the lock);
 *          E_TIMEOUT (waited for wait_timeout_ms, or the server did not answer in io_ms: then a
 *          lock that it may have granted is released);
 *          E_IO (the link failed during the call), E_BREAKER_OPEN (the link to the server is down),
 *          E_SPACE (the server is out of memory), E_LIMIT (too many requests under way);
 *          E_DEADLOCK (in a callback of r), E_NOMEM, E_UNSUPPORTED (also: o has a note or a flag
 *          that a shared lock does not know)
 * owns:    the caller releases *out. If the process ends, or the release does not reach the server,
 *          the lock ends with its hold
 * thread:  any; sleeps while it waits
 * cost:    one round trip for a free lock; one more for each owner meanwhile
 * example:
 *     cellar_remote_lock lk;
 *     cellar_err err;
 *     err = cellar_remote_lock_acquire(r, "order:7", 7, NULL, &lk);
 *     if (err == CELLAR_OK)
 *         store_write(order, lk.fence);                                                          */
CELLAR_API cellar_err cellar_remote_lock_acquire(cellar_remote *r, const void *key,
                                                 size_t key_len, const cellar_lock_opts *o,
                                                 cellar_remote_lock *out);

/* Give a shared lock more time: its hold ends `hold_ms` from now.
 * in:      key, lk: the key and the handle of the owner;
 *          hold_ms 1..CELLAR_REMOTE_HOLD_MAX_MS
 * out:     lk->until_ms: the end of the new hold
 * returns: OK; E_LOST (the hold has ended, or the server lost it: acquire again), E_NOT_OWNER (the
 *          handle is empty: it never owned the lock), codes of the link as
 *          cellar_remote_lock_acquire: the hold may have changed
 * owns:    the caller still releases lk
 * thread:  any, one at a time with one handle
 * cost:    one round trip
 * example:
 *     cellar_err err;
 *     err = cellar_remote_lock_extend(r, "order:7", 7, &lk, 30000);
 *     if (err != CELLAR_OK) stop();                                                              */
CELLAR_API cellar_err cellar_remote_lock_extend(cellar_remote *r, const void *key, size_t key_len,
                                                cellar_remote_lock *lk, int64_t hold_ms);

/* Release a shared lock: the next owner may be in any process.
 * in:      key, lk: the key and the handle of the owner
 * out:     *lk is all zero after OK
 * returns: OK; E_LOST (another owner has the lock, or the server lost it: undo the work),
 *          E_NOT_OWNER (the handle is empty: it never owned the lock), codes of the link as
 *          cellar_remote_lock_acquire: repeat the call, or the lock ends with its hold
 * owns:    after OK the handle owns nothing
 * thread:  any
 * cost:    one round trip
 * example:
 *     if (cellar_remote_lock_release(r, "order:7", 7, &lk) == CELLAR_E_LOST)
 *         undo();                                                                                */
CELLAR_API cellar_err cellar_remote_lock_release(cellar_remote *r, const void *key,
                                                 size_t key_len, cellar_remote_lock *lk);

/* Test whether the hold of a handle has time left. The server is not asked.
 * in:      lk of cellar_remote_lock_acquire
 * returns: OK; E_LOST (the hold has ended), E_NOT_OWNER (the handle is empty: it never owned the
 *          lock)
 * owns:    the caller still releases lk
 * thread:  any
 * cost:    one reading of the clock
 * example: while (cellar_remote_lock_check(r, &lk) == CELLAR_OK) work_a_little();                */
CELLAR_API cellar_err cellar_remote_lock_check(const cellar_remote *r,
                                               const cellar_remote_lock *lk);

#endif

/* ---- Details -------------------------------------------------------------------------------- */

/* LIMITS OF THE PROMISES
 * Another process may see a change up to proof_ms later; cellar_remote_fence waits for it.
 * A load runs once in each process, and CELLAR_RESULT_NOT_SHARED marks its result, in these cases:
 * the mode INVALIDATE; a key above 512 bytes; no link or no proof; a write of the key that the
 * server has not confirmed; an error of the server; CELLAR_LOAD_BYPASS and CELLAR_LOAD_NO_STORE.
 * With cellar_lease_acquire also: a refresh, a RAW value, a value that a clear or a tag ended.
 * A failed load releases its lease, and a Redis announces that to the own process, too. Memory then
 * loses the error that `error_ttl_ms` keeps, or the value of a fallback or `default_value`, and the
 * next call runs the loader. A load of the key in another process has the same effect, also over a
 * port of cellar. RAW has neither: a lease of RAW is announced to no process.
 *
 * DEATHS
 * A process with a lease extends the lease while its loader runs. A lease that is not extended ends
 * after lease_ms / 2, or after half of the shorter one of hard_timeout_ms and wait_timeout_ms of
 * the namespace, at least 200 ms. So a process that stands still for less keeps its loads alone.
 * With no_thread the steps extend it. Calls of other processes that wait for the value get these
 * results; none of them fails for it:
 * kill, crash            another process runs its loader within lease_ms, and 200 ms for it; if the
 *                        times of the namespace are shorter, within the wait of the call. With a
 *                        PORT OF CELLAR as a rule within 50 ms on a socket file, 100 ms on TCP
 * stop, cut link         the same. When the process goes on, its own callers get its value with
 *                        CELLAR_RESULT_INVALIDATED; the server and memory do not
 * cut TCP of a port      a connection that is closed for 30 ms counts as a death: the load may run
 *                        twice, and the value of the process that was cut off is not stored
 * thread ends in loader  another process runs its loader immediately
 * loader that hangs      another process runs its loader hard_timeout_ms + 1 s + lease_ms / 4 after
 *                        the begin of the load, or earlier
 * server dies, or stops  each process runs its loader io_ms behind the proof; see AWAY. A server
 *                        that begins empty has no lease: the value of the leader is not stored
 * A wait ends after wait_timeout_ms in all cases. It takes nothing from the own loader of the call,
 * which has hard_timeout_ms from its begin. A wait below 400 ms may end earlier, and one below
 * lease_ms that the calls set, not the namespace.
 *
 * Replication of the server is asynchronous: a failover loses acknowledged writes. With Sentinel
 * and min-replicas-to-write 1 the bound is min-replicas-max-lag + 2 s, which the server itself
 * adds; without it an isolated primary takes writes until the process follows; see SENTINEL. An
 * isolated primary without Sentinel proves itself.
 *
 * SENTINEL
 * Each Sentinel is asked each second, or each proof_ms / 4, for the primary. A proof counts only
 * while a majority of `sentinels` named this server within proof_ms. If a majority names another
 * server, the link goes there. Without one the state is GAP: gets answer as in OFFLINE, and writes
 * still go to the last server, where a failover may lose them. So a failover is followed within 3 s
 * of the promotion, and in a split network no hit is older than proof_ms, plus the time in which
 * the Sentinels tell each other of the promotion. One or two known Sentinels have no majority
 * without all of them: name three.
 *
 * KEYS
 *     app:users:42        the value of key "42" of namespace "users" with prefix "app"
 *     app:users:#x00ff    a key with other bytes than 0x21..0x7E, or with '#' in front: hexadecimal
 *     app:users:#h<hex>   a key over 512 bytes: a digest of 128 bits; the key is in the value
 *     app:~e              the epoch
 *     app:~g:users        the generation of "users"
 *     app:~t:TAG          the end of a tag, hard
 *     app:~s:TAG          the same, soft
 *     app:~p:..           exists only inside a script: announces a delete by pattern
 *     app:~k:KEY          the owner of a shared lock
 *     ~app:..             markers of processes, last fence, shared limiters, leases of refreshes
 *
 * A key with ~e, ~g, ~t or ~s that holds no number of cellar is one of another program, and is not
 * replaced. The link stays DOWN, with E_CONFIG; a clear or a tag delete: see WRITES.
 *
 * A delete by pattern also deletes all keys in hexadecimal or with a digest. It invalidates all
 * entries of the namespace in memory of other processes: the server may not have their keys.
 *
 * DEL, UNLINK and SET by other clients have their usual effect. A value that cellar did not write,
 * that is damaged, of a newer format or too large is a miss; the key stays until a set replaces it.
 * Neither a load nor a refresh replaces a value of another program or of a newer format. Over such
 * a value these calls return E_TYPE and change nothing: a set with ONLY_IF_ABSENT, an update, an
 * increment, and a delete that returns the old value.
 *
 * An idle time ends an entry in memory alone: the server keeps it until its TTL, or for max_age_ms,
 * and what it returns has no idle time. RAW has no tags, user_flags, cost_us, negative entries and
 * stale window. A clear of RAW deletes key by key. A load of RAW may overwrite a change by another
 * process that this one has not heard yet. A set, update or increment with ONLY_IF_PRESENT that
 * finds no RAW value ends no load elsewhere.
 *
 * STATES
 * DOWN -> LINKED -> GAP -> PROVEN -> SUSPECT. A lost connection, a late marker, another role of the
 * server lead to GAP: the journal is sent, the first marker comes back, entries in memory are
 * invalidated (SERVE_STALE: see OFFLINE; TRUST: before the journal), and the state is PROVEN. No
 * call of the program is needed. A marker is a write to a key of this process. The server announces
 * the marker behind all earlier changes, which proves delivery.
 * A lost link and a late marker are warnings in the log, once for each reason until the next proof;
 * a full server is one, once for each link. There is at most one warning in 5 s.
 *
 * WRITES
 * OK         the server has the value (THROUGH), or the queue has it (BEHIND). If another process
 *            has ended the namespace or a tag, and this one has not heard of it yet, the set counts
 *            as the earlier one: it has no value.
 * DEFERRED   the server did not answer within io_ms: the write may have happened. The entry in
 *            memory is removed, and the journal deletes the key when the link is back: with it a
 *            value that another process has set meanwhile, but no later write of this one. With
 *            `strict` the same with E_TIMEOUT. Also for a set that a clear or a tag delete
 *            overtook, for one behind a deferred clear, or with tags that the server did not
 *            confirm: it has no value then. Also for a set of BEHIND in a gap: no value waits for
 *            the link, because another process may write a newer one.
 * E_SPACE    the server is out of memory (maxmemory): the key was deleted there, or kept by a call
 *            with a condition. INVALIDATE and deletes return OK.
 * E_LIMIT    RAW only: no answer, and the journal is full. Other processes may keep the old value.
 *
 * A network or a proxy that keeps bytes of the old link may bring them to the server behind the
 * journal. Then a deferred value stands there until its TTL, also over a later write.
 *
 * A full journal clears the namespace instead of forgetting keys. A process that dies loses its
 * journal: other processes serve the old value until its TTL, at most max_ttl_ms. Updates and
 * conditional sets compare and set on the server; without an answer the journal ends the state that
 * they have read, and no other. An increment is one addition on the server. Without an answer it
 * returns E_TIMEOUT: it may have counted, and the journal has nothing of it. Only a set, a delete,
 * a clear or a tag ends a live counter. All these calls return E_BREAKER_OPEN without a proof, and
 * E_UNSUPPORTED with BEHIND and INVALIDATE. A clear or a tag delete without an answer,
 * or with a control key of another program, returns DEFERRED: gets of the namespace miss until the
 * server has cleared it. A clear of RAW without an answer returns E_TIMEOUT.
 *
 * RAW compares all bytes of the value: equal bytes have equal versions. A counter is decimal text,
 * changed by INCRBY, and keeps its TTL or its lack of one; E_TYPE: other text. E_TYPE of a
 * condition: the key is no string. E_TOOBIG of an update, or of a delete that returns the value:
 * the old value is too large, and stays. Without an answer these calls return E_TIMEOUT or E_IO:
 * the value may have changed, and no key is deleted.
 *
 * `durable` is for sets, updates, increments and deletes of a key. Loads, BEHIND, clears, and
 * deletes by tag or pattern do not wait. When the server has the write, WAIT asks the replicas, for
 * io_ms / 10; writes at the same time share one. A write that too few replicas confirm in that time
 * counts in replicas_short, and its call returns OK. Then the writes of the next 1 s count as well,
 * without WAIT. Requests of all namespaces of the remote wait behind a WAIT.
 *
 * OFFLINE
 * MISS         memory does not answer, so each cellar_get_or_load runs the loader. Calls at the
 *              same time share one run in each process; `breaker` of the loads protects the source.
 * SERVE_STALE  calls that accept stale values get entries of memory within their stale window.
 *              After a gap these entries are stale, and such calls ask the server first. The
 *              entries are invalidated if values are RAW, and if another process cleared a
 *              namespace, changed its version or deleted a tag in the gap or shortly before. A key
 *              that another process deleted or set in the gap stays stale.
 * TRUST        memory answers as with a proof, for as long as the server is away. All figures of
 *              the remote say how many namespaces do so (`trusting`).
 *
 * PORT OF CELLAR
 * A port with shared_bytes (cellar_resp.h), or `cellar serve --shared=256M`, serves processes of
 * one machine: "unix:///run/app.sock?prefix=app". Open after the fork. The promises are those with
 * a Redis. A restart of the port begins empty; epochs and fences are above all earlier ones while
 * the clock does not go back.
 *     versions    all processes need the version of the port: else the link stays DOWN, and the
 *                 reason names both
 *     largest     a set above the largest value, about 13/32 of shared_bytes, is E_TOOBIG
 *     loads       a value that a process has loaded is in its memory. A Redis announces it to the
 *                 process itself, too, so its next get asks a Redis once more
 *     durable     is never met: the port has no replicas
 *     parts       of shared_bytes: values 13/16, tags 1/16, locks, leases and other control keys
 *                 1/16, limiters 1/16. Nothing fills the port: values are evicted, the tag that was
 *                 longest not used is forgotten and its entries end, a limiter forgets the key that
 *                 loses least. A name of a limiter takes a quarter of what is left of their part; a
 *                 name too many is refused, and `offline` decides. INFO and `cellar remote` tell
 *                 what was forgotten and refused
 *
 * SECURITY
 * Names of keys reach every client with tracking, whatever its rights: put no secrets in keys.
 * Other machines are reached with TLS, or with allow_plaintext in clear text. Values above
 * memory_bytes + 4 KiB close the connection. The least rights of the user are
 *     ~app:* ~~app:* &__redis__:invalidate -@all +get +set +unlink +pttl +pexpire +incrby
 *     +evalsha +script|load +subscribe +client|tracking +time +wait +scan
 * A missing right leaves the link DOWN, and cellar_remote_last_error names each of them.
 *
 * FORK
 * The child has no link: its sockets are closed there, calls return E_FORKED, and a close does
 * nothing. */

#ifdef __cplusplus
}
#endif
#endif
