/* SPDX-License-Identifier: MIT
 *
 * guest: may change until 1.0.
 *
 * cellar_resp: a port through which clients of Redis talk to a running store.
 *
 * CALL PATTERN
 *     #include "cellar_resp.h"     // drop-in: part of "cellar_all.h"
 *     cellar_resp_config o = cellar_resp_config_default();
 *     o.port = 6379;                                // 127.0.0.1 and ::1; commands only read
 *     cellar_resp *r;
 *     if (cellar_resp_open(store, &o, &r) != CELLAR_OK) return 1;
 *     cellar_resp_start(r);                         // a thread; or poll cellar_resp_fd and step
 *                                                   // redis-cli -p 6379 get user:7
 *     cellar_resp_close(r);                         // when the program ends, before cellar_close
 *
 * PROTOCOL  RESP2; RESP3 after HELLO 3; lines of text. Replies and errors have the words of Redis
 *           7.0. A request that breaks the protocol is answered with an error, then the port closes
 *           the connection. A line of another protocol, such as HTTP, TLS or SMTP, also closes it:
 *           a line with a control byte, or a first line that is no command.
 * DATABASES Database n is the namespace "db<n>", or the one that `namespaces` names. It is created
 *           by the first command that needs it. A new value without a TTL of the client has that
 *           of its rule, else of the namespace, else none.
 * SECURITY  Nothing listens unless an option says so. TCP listens on 127.0.0.1 and ::1. Any other
 *           address needs listen_public and a password of at least 16 bytes. A unix socket has mode
 *           0600, lies in a folder that no other user may write, and serves the user of the process
 *           and root, and unix_group if given. Commands that change something need `writable`.
 * GUESSING  Wrong passwords delay the answers to passwords from their address. See WRONG PASSWORDS.
 * CHANNELS  SUBSCRIBE and PUBLISH work between the clients. With `pool`, a signal of the process
 *           reaches the subscribed clients, and PUBLISH also calls the subscribers of the signal,
 *           on the thread that serves the port: a subscriber must return, and must not step or
 *           close the port. The thread has the default stack of the process, or host option
 *           stack_bytes. A pool without names, groups and loaders has no threads of its own.
 *           Up to 8 MiB of signals wait, or a quarter of resp_buffer_bytes; more are dropped.
 * LISTS     CELLAR.TASKS, CELLAR.SCHED and CELLAR.REFRESH show tasks, schedules and rows of the
 *           pool of the options. Pool and remote outlive the port.
 * LIMITS    Each limit is an option with a default. 1,048,576 arguments a request. Lines of 64 KiB.
 *           64 requests or 1 ms a client and round. KEYS and DBSIZE run in slices of 1 ms.
 * MEMORY    Requests and unread replies are charged to the budget of the store, in steps of 64 KiB,
 *           up to resp_buffer_bytes: see SILENT CLIENTS. A request without room gets -OOM. If a
 *           part of the request has not arrived, the connection is closed. The port keeps up to
 *           512 KiB of free memory.
 * FORK      The child has no port: its sockets are closed there, calls return E_FORKED, and a close
 *           does nothing. */
#ifndef CELLAR_RESP_H
#define CELLAR_RESP_H

#include "cellar.h"
#include "cellar_admin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Types ---------------------------------------------------------------------------------- */

/* A value of cellar_resp_config.port. */
#define CELLAR_RESP_PORT_ANY UINT32_MAX /* a free port; cellar_resp_stats_get tells which        */

struct cellar_pool;
struct cellar_remote;

/* A port on a store: its sockets and its clients. cellar_resp_open makes it, cellar_resp_close
 * frees it. */
typedef struct cellar_resp cellar_resp;

/* TLS. With tls_cert_file all TCP clients, of the pages too, must speak TLS 1.2 or later; unix
 * sockets stay plain. It needs a build with OpenSSL: `make TLS=1`, or a drop-in with
 * -DCELLAR_WITH_TLS; any other returns E_UNSUPPORTED. Files that change are read again; if they
 * cannot be used, the present ones stay, and the log has a warning, as it has of a certificate that
 * has expired. A client that does not end its handshake within 5 s is closed. OpenSSL keeps about
 * 40 KiB for a busy client, outside the budget.
 *
 * WRONG PASSWORDS. The client waits 250 ms for the reply. 10 different ones from one address within
 * a minute begin a delay of a minute for this address alone: its clients get their answers to AUTH
 * one after the other, every 100 ms, after 10 s at most. The right password is let in; a wrong one
 * closes its connection. Clients that gave the right password before do not wait. Addresses of IPv6
 * count by their first 64 bits, unix sockets as one; 64 addresses are remembered. The log has one
 * line, with the end of the delay.
 *
 * SILENT CLIENTS. Unread replies, incomplete requests and transactions of all clients have one
 * share of the budget, resp_buffer_bytes. Entries are evicted for this share, and for no more. If
 * the share is used up, the port closes the clients that hold most: those that do not read, and
 * those that sent part of a request and were silent for a second. A subscriber or monitor with a
 * backlog over a quarter of the share, at least 1 MiB, is closed. So is a client that reads nothing
 * of a reply of that length for 10 s.
 *
 * LONG VALUES. A value from 256 KiB on is sent from its memory in the store. SET receives such a
 * value there, and may evict entries for it, as each set does. At most one share of such values is
 * on its way at a time, in each direction, or one value that is longer.
 *
 * SHARED STORE. With shared_bytes database 0 is a store of the port: the server for the remote tier
 * of the processes of this machine (cellar_remote.h), instead of a Redis. No call of the program
 * reaches it: the thread that serves the port alone reads, writes, expires and evicts it. The
 * program attaches as its workers do, by the path of the socket. Commands may change database 0
 * without `writable`; `namespaces` must not name it. CLIENT TRACKING with BCAST tells clients of
 * changes. The store begins empty, has no disk tier and no replicas: WAIT answers 0. Each worker
 * takes two of max_clients, which is 1,024 by default. With unix_group a peer is served if it has
 * that group.
 * Figures of the store: INFO, CELLAR.METRICS of database 0, cellar_port_shared_ of the pages. If
 * another port has the socket file, clients are closed within 200 ms, and connect to that port. If
 * the file was removed, they go on, no other one can connect, and the log has a warning.
 *
 * SHARED PARTS. A sixteenth of shared_bytes is for keys with '~' in front or behind their first ':'
 * (locks, leases, numbers of the tier). They are never evicted: if it is full, a new one gets -OOM.
 * A sixteenth is for the numbers of tags: the tag that was longest not asked for is forgotten. A
 * sixteenth is for limiters, which forget the key that loses least. All else is for values.
 *
 * SOCKETS OF A PARENT. listen_fds names sockets that listen, of systemd for instance: at most one
 * of IPv4, one of IPv6 and one of unix. The port serves copies of them, and sets O_NONBLOCK. A copy
 * has the same open file description, so the descriptor of the caller does not block either. The
 * port changes no socket file, and removes none. Addresses and peers have the same rules as
 * without. While no port is open, clients wait at the sockets. So cellar_resp_finish accepts no
 * more clients; one that has connected within the last second may still send its first request.
 *
 * ADMIN PAGES. `admin` opens pages over HTTP: / (a dashboard), /metrics (Prometheus), /stats.json,
 * /healthz or /health, and /readyz or /ready (503 after cellar_resp_drain). Each is also below
 * /_cellar. The methods are GET and HEAD. No page changes or loads anything of other hosts. With a
 * password, all pages but these four need it: Basic, any user. Without a password, Host must be
 * localhost or a loopback address. Limits: admin_head_bytes and admin_body_bytes of a request, 5 s
 * for its head, 30 s for a request and its answer, 16 connections besides max_clients. A connection
 * beyond them closes one that is idle or sends its head slowly; one of this machine closes the
 * oldest if all have unread answers. */

/* Write figures of the program for the admin pages: they stand behind those of the store, of the
 * port and of its pool and remote.
 * in:      ctx: figures_ctx of the options;
 *          json 0: text for Prometheus; 1: one JSON object or several with commas, as
 *          cellar_stats_json writes one;
 *          buf_cap in bytes
 * out:     buf: the text; *text_len: its whole length, also if it does not fit
 * returns: OK; E_BUFFER (*text_len + 1 bytes are needed: the port calls again). Any other error
 *          fails the page
 * owns:    ctx lives until cellar_resp_close has returned
 * thread:  the one that serves the port: that of cellar_resp_start, or the one inside
 *          cellar_resp_step; one call at a time. No lock is held. The function may call the store,
 *          but must not step, finish or close the port
 * cost:    all clients of the port wait for it                                                   */
typedef cellar_err (*cellar_resp_figures_fn)(void *ctx, int json, char *buf, size_t buf_cap,
                                             size_t *text_len);

/* Options of a port, for cellar_resp_open. Start from cellar_resp_config_default(). Texts are
 * copied. */
typedef struct cellar_resp_config {
    size_t   struct_size;    /* set by cellar_resp_config_default()                               */
    const struct cellar_host_config *host; /* cellar_admin.h. NULL: all defaults. Used: name ("" */
                             /* counts as "port"), clock, alloc, free, log, log_level,            */
                             /* stack_bytes                                                       */
    const char *unix_path;   /* socket file, to 107 bytes. Default NULL: none                     */
    const char *listen;      /* numeric address for `port`. Default NULL: 127.0.0.1 and ::1       */
    const char *password;    /* password for AUTH; from 16 bytes with listen_public.              */
                             /* Default NULL: none                                                */
    const char *admin;       /* pages for people and monitors: "9180" (loopback), "ADDRESS:9180", */
                             /* "[::1]:9180", "/path/socket"; port 0: a free one. Default NULL    */
    cellar_resp_figures_fn figures; /* more figures for the pages. Default NULL: none             */
    void    *figures_ctx;    /* given to figures                                                  */
    const char *namespaces;  /* "0=image_task 3=users": namespaces of databases. Default NULL:    */
                             /* "db<n>" for each                                                  */
    const char *policy_file; /* file for CELLAR.POLICY RELOAD; its path has 1..1,023 bytes.       */
                             /* Default NULL: none                                                */
    struct cellar_pool *pool; /* cellar_task.h: for CELLAR.TASKS, CELLAR.SCHED, and               */
                             /* CELLAR.REFRESH with the keys of its rows. Its signals             */
                             /* (cellar_bus.h) are the channels. Default NULL: none               */
    uint64_t max_request_bytes; /* bytes of one request. Range 64 KiB..1 GiB. Default 0: 64 MiB   */
    uint64_t resp_buffer_bytes; /* memory of all clients, see SILENT CLIENTS.                     */
                             /* Range 1 MiB..2^64 - 1 bytes. Default 0: an eighth of the budget   */
    int64_t  idle_timeout_ms; /* closes a client that sends nothing for so long.                  */
                             /* Range 1..2^63 - 2 ms. Default 0: 300,000. CELLAR_TTL_NONE: never  */
                             /* closes it                                                         */
    uint32_t port;           /* TCP port. Range 1..65,535, or CELLAR_RESP_PORT_ANY. Default 0: no */
                             /* TCP                                                               */
    uint32_t max_clients;    /* connections at a time. Range 1..65,536. Default 64; 1,024 with    */
                             /* shared_bytes                                                      */
    uint32_t slow_us;        /* SLOWLOG keeps commands that take longer. Range 1..2^32 - 2 us.    */
                             /* Default 0: 10,000. CELLAR_OFF: it keeps none                      */
    uint32_t writable;       /* 1: commands may change the store. Default 0                       */
    uint32_t danger;         /* 1: FLUSHALL, SHUTDOWN and DEBUG are allowed. Default 0            */
    uint32_t listen_public;  /* 1: `listen` may be an address other machines reach. Default 0     */
    uint32_t admin_head_bytes; /* most of the head of a request for a page.                       */
                             /* Range 1,024..1,048,576 bytes. Default 0: 16 KiB                   */
    uint32_t admin_body_bytes; /* most of the body of such a request, which is read and dropped.  */
                             /* Range 1..1,048,576 bytes. Default 0: a body is refused            */
    const char *tls_cert_file; /* PEM: certificate with its chain; see TLS. Default NULL: plain   */
    const char *tls_key_file; /* PEM: its key. Default NULL: in tls_cert_file                     */
    const char *tls_ca_file; /* PEM: each TCP client needs a certificate of these. Default NULL   */
    struct cellar_remote *remote; /* cellar_remote.h: a link for the pages. Default NULL: none    */
    const char *unix_group;  /* group that may use unix_path as well: its name, or its number.    */
                             /* Mode 0660. Default NULL: none                                     */
    uint64_t shared_bytes;   /* database 0 is a store of the port; see SHARED STORE.              */
                             /* Range 2 MiB..2^63 - 1 bytes. Default 0: none                      */
    const int *listen_fds;   /* sockets that listen, in place of `unix_path` and `port`: see      */
                             /* SOCKETS OF A PARENT. -1 ends the list. Default NULL: none         */
} cellar_resp_config;
CELLAR_STRUCT(cellar_resp_config, listen_fds);

/* Counters of a port: field, help. */
#define CELLAR_RESP_COUNTS(X) \
    X(connections, "connections accepted") \
    X(rejected, "connections closed at once: max_clients, peer") \
    X(commands, "requests executed") \
    X(refused, "requests answered with an error before they ran") \
    X(protocol_errors, "connections closed for a broken request") \
    X(foreign, "connections closed because they spoke another protocol") \
    X(auth_failures, "wrong passwords") \
    X(idle_closed, "clients closed by idle_timeout_ms") \
    X(output_closed, "clients closed because they did not read their replies") \
    X(memory_closed, "clients closed because resp_buffer_bytes or the budget was reached") \
    X(admin_requests, "requests for admin pages") \
    X(accept_pauses, "times that accept stopped because the process had no descriptor left") \
    X(messages, "messages sent to subscribers") \
    X(signals_dropped, "signals dropped because too many waited for the port") \
    X(bytes_in, "bytes read") \
    X(bytes_out, "bytes sent")

/* Figures of a port, from cellar_resp_stats_get; see CELLAR_RESP_COUNTS for the counters. Start
 * from cellar_resp_stats_default(). Counts begin at the open. */
typedef struct cellar_resp_stats {
    size_t   struct_size;    /* set by cellar_resp_stats_default()                                */
#define CELLAR_RESP_FIELD(name, help) uint64_t name; /* see CELLAR_RESP_COUNTS */
    CELLAR_RESP_COUNTS(CELLAR_RESP_FIELD)
#undef CELLAR_RESP_FIELD
    uint64_t clients;        /* connections now                                                   */
    uint64_t bytes;          /* memory of requests and replies now                                */
    uint64_t port;           /* TCP port; 0: none                                                 */
    uint64_t admin_port;     /* TCP port of the admin pages; 0: none                              */
} cellar_resp_stats;
CELLAR_STRUCT(cellar_resp_stats, admin_port);

/* ---- The port ------------------------------------------------------------------------------- */

/* Open a port on a store for clients of Redis: bind its sockets. No client is served before
 * cellar_resp_step or cellar_resp_start.
 * in:      c: any handle of the store;
 *          o from cellar_resp_config_default, with unix_path, port, listen_fds or admin
 * out:     *out is NULL on failure
 * returns: OK;
 *          E_DENIED (a public address without listen_public and password, a folder that others may
 *          write);
 *          E_BUSY (address or socket in use), E_IO (the system refused a socket);
 *          E_NOMEM, E_LIMIT (max_subscribers of the pool);
 *          E_UNSUPPORTED (also: TLS in a build without it).
 *          cellar_last_error of NULL has the reason
 * owns:    the caller closes *out with cellar_resp_close, before the store is closed. Pool, remote
 *          and figures_ctx live until then. Descriptors of listen_fds stay the caller's
 * thread:  any
 * cost:    about 100 KiB; no thread
 * example:
 *     cellar_resp_config o = cellar_resp_config_default();
 *     o.port = 6379;
 *     cellar_resp *r;
 *     if (cellar_resp_open(c, &o, &r) != CELLAR_OK) return 1;                                    */
CELLAR_API cellar_err cellar_resp_open(cellar *c, const cellar_resp_config *o, cellar_resp **out);

/* Return the descriptor to poll for reading in a loop of the host. When it is readable, and at
 * least every 100 ms, call cellar_resp_step.
 * in:      r: the port
 * returns: a descriptor; -1: r is NULL, or this is a forked child
 * owns:    the descriptor belongs to the port until its close: only poll it
 * thread:  any
 * cost:    O(1)
 * example: pfd.fd = cellar_resp_fd(r);                                                           */
CELLAR_API int cellar_resp_fd(const cellar_resp *r);

/* Serve clients for one round: accept, read, run at most 64 requests or 1 ms of each client, write.
 * in:      r: the port;
 *          timeout_ms: longest wait for the first event; 0 does not wait, -1 waits without a limit
 * returns: OK; PENDING (more is due now: step again), E_BUSY (another thread runs a step, or the
 *          thread of cellar_resp_start does), E_IO (epoll failed)
 * thread:  any, one at a time; no lock is held. Subscribers of signals and `figures` run inside
 * cost:    O(clients that are ready)
 * example: while (running) cellar_resp_step(r, 100);                                             */
CELLAR_API cellar_err cellar_resp_step(cellar_resp *r, int timeout_ms);

/* Start a thread that serves the clients until the port is closed.
 * in:      r: the port
 * returns: OK, also when it runs already; E_NOMEM (the system refused a thread), E_BUSY (a step
 *          runs: try again)
 * owns:    the thread belongs to the port: finish and close end it
 * thread:  any; not at the same time as another start or close
 * cost:    one thread
 * example: cellar_resp_start(r);                                                                 */
CELLAR_API cellar_err cellar_resp_start(cellar_resp *r);

/* Tell monitors that the program is about to end: /readyz answers 503 from now on. Clients are
 * served on.
 * in:      r; NULL is allowed. A second call changes nothing
 * thread:  any
 * cost:    O(1)
 * example: cellar_resp_drain(r);                                                                 */
CELLAR_API void cellar_resp_drain(cellar_resp *r);

/* End the service of a port: stop its thread, close the sockets that listen, run the requests that
 * have arrived, send their replies, close the clients. Admin pages stay, and /readyz answers 503.
 * in:      r: the port; timeout_ms: longest time, from 0
 * returns: OK; E_TIMEOUT (requests or replies are left; cellar_resp_close drops them), E_BUSY (a
 *          step runs: finish again)
 * owns:    the port stays open for its admin pages: close it afterwards
 * thread:  must not overlap other calls on the port, and not run inside a handler or `figures`;
 *          only cellar_resp_close may follow
 * cost:    at most 1 MiB of requests is read from a client; O(clients)
 * example: (void)cellar_resp_finish(r, 5000);                                                    */
CELLAR_API cellar_err cellar_resp_finish(cellar_resp *r, int64_t timeout_ms);

/* Close a port: stop its thread after the running command, close all sockets, remove the socket
 * file, free the memory. Requests that have not run are dropped.
 * in:      r; NULL is allowed
 * owns:    r is freed
 * thread:  must not overlap other calls on the port, and not run inside a handler or `figures`
 * cost:    O(clients); waits for the running command
 * example: cellar_resp_close(r);                                                                 */
CELLAR_API void cellar_resp_close(cellar_resp *r);

/* Read the figures of a port.
 * in:      r: the port; out from cellar_resp_stats_default
 * out:     *out, only with OK
 * returns: OK
 * thread:  any
 * cost:    O(1)
 * example:
 *     cellar_resp_stats s = cellar_resp_stats_default();
 *     cellar_resp_stats_get(r, &s);                                                              */
CELLAR_API cellar_err cellar_resp_stats_get(const cellar_resp *r, cellar_resp_stats *out);

#ifndef CELLAR_OMIT_TEXT
/* Return the dashboard, for the HTTP server of a host: one HTML file with style and script inside,
 * and its Content-Security-Policy as a meta element. Every 2 s it loads "stats.json" beside its own
 * path: the text of cellar_stats_json, or a list of such objects.
 * out:     *html, *html_len, both optional: static bytes without a final 0
 * owns:    the bytes belong to the library, and are valid as long as it is loaded
 * thread:  any
 * cost:    O(1)
 * example:
 *     const char *html;
 *     size_t len;
 *     // serve it as text/html; charset=utf-8
 *     cellar_dashboard_html(&html, &len);                                                        */
CELLAR_API void cellar_dashboard_html(const char **html, size_t *html_len);
#endif

#ifdef __cplusplus
}
#endif
#endif
