/* SPDX-License-Identifier: MIT
 *
 * open: open, step, start, close and fork a port.
 *
 * WALK       open: options -> struct -> table -> sockets -> epoll -> fork handler
 *            close: stop the thread -> clients -> sockets -> memory
 * FORK       types.h. */
#include <string.h>

#include "base/fd.h"
#include "base/net.h"
#include "base/num.h"
#include "base/open_error.h"
#include "base/random.h"
#include "base/service.h"
#include "base/text.h"
#include "resp/channel.h"
#include "resp/client.h"
#include "resp/finish.h"
#include "resp/listen.h"
#include "resp/loop.h"
#include "resp/parse.h"
#include "resp/room.h"
#include "resp/shared.h"
#include "resp/shared_wait.h"
#include "resp/table.h"
#include "resp/trace.h"
#include "stats/text.h"

BASE_SIZE_BEGIN

#define RESP_OPEN "cellar_resp_open"
#define RESP_ADMIN_MAX (1u << 20)
#define RESP_PUBLIC_PASSWORD 16u /* bytes of a password for a public address */
#define RESP_CLIENTS 64u
#define RESP_CLIENTS_SHARED 1024u /* two connections of each worker */
#define RESP_SHARED_MIN (UINT64_C(2) << 20)
#define RESP_RETRY_MS 100        /* the thread waits so long after epoll failed */

/* ---- options ---- */

#define RESP_NUMBER(field, none, min, max, why) \
    BASE_NUMBER(cellar_resp_config, field, none, min, max, why)
#define RESP_FLAG(field) \
    RESP_NUMBER(field, 0, 0, 1, "writable, danger and listen_public must be 0 or 1")
static const base_number resp_numbers[] = {
    RESP_NUMBER(max_request_bytes, UINT64_C(64) << 20, UINT64_C(64) << 10, UINT64_C(1) << 30,
                "max_request_bytes must be 64 KiB..1 GiB"),
    RESP_NUMBER(resp_buffer_bytes, 0, UINT64_C(1) << 20, UINT64_MAX,
                "resp_buffer_bytes must be at least 1 MiB"),
    RESP_NUMBER(idle_timeout_ms, 300000, 0, INT64_MAX, "idle_timeout_ms must not be negative"),
    RESP_NUMBER(max_clients, 0, 0, 65536, "max_clients must be at most 65,536"),
    RESP_NUMBER(shared_bytes, 0, RESP_SHARED_MIN, UINT64_MAX / 2,
                "shared_bytes must be at least 2 MiB"),
    RESP_NUMBER(slow_us, 10000, 0, UINT64_MAX, ""),
    RESP_NUMBER(admin_head_bytes, 16u << 10, 1024, RESP_ADMIN_MAX,
                "admin_head_bytes must be 1 KiB..1 MiB"),
    RESP_NUMBER(admin_body_bytes, 0, 0, RESP_ADMIN_MAX, "admin_body_bytes must be at most 1 MiB"),
    RESP_FLAG(writable),
    RESP_FLAG(danger),
    RESP_FLAG(listen_public),
};

static bool resp_empty(const char *text) { return text != NULL && *text == '\0'; }

/* Name the first field that breaks its rule. False: none does. */
static bool resp_opts_broken(const cellar_resp_config *o, const char **why)
{
    bool valid = true;
    if (o->listen != NULL) { (void)resp_is_public(o->listen, &valid); }
    const bool inherits = o->listen_fds != NULL, own = o->unix_path != NULL || o->port != 0;
    return base_broken(!own && o->admin == NULL && (!inherits || o->listen_fds[0] < 0),
                       "give unix_path, port, listen_fds or admin", why) ||
           base_broken(own && inherits, "listen_fds stands in place of unix_path and port", why) ||
           base_broken(resp_empty(o->unix_path),
                       "unix_path must have 1 to 107 bytes", why) ||
           base_broken(o->port > 65535 && o->port != CELLAR_RESP_PORT_ANY,
                       "port must be 1..65,535 or CELLAR_RESP_PORT_ANY", why) ||
           base_broken(!valid, "listen must be a numeric address", why) ||
           base_broken(o->listen != NULL && o->port == 0, "listen needs port", why) ||
           base_broken(o->unix_group != NULL && o->unix_path == NULL && !inherits,
                       "unix_group needs unix_path", why) ||
           base_broken(resp_empty(o->password), "password must not be empty", why) ||
           base_broken(resp_empty(o->tls_cert_file) || resp_empty(o->tls_key_file) ||
                       resp_empty(o->tls_ca_file), "the tls files must not be empty texts", why) ||
           base_broken((o->tls_key_file != NULL || o->tls_ca_file != NULL) &&
                       o->tls_cert_file == NULL, "tls_key_file and tls_ca_file need tls_cert_file",
                       why);
}

/* Check what a public address needs. */
static cellar_err resp_public_check(const cellar_resp_config *o, const char *address)
{
    bool valid;
    if (address == NULL || !resp_is_public(address, &valid)) { return CELLAR_OK; }
    if (o->listen_public == 0) {
        return base_refuse(CELLAR_E_DENIED, RESP_OPEN, "listen, listen_fds or admin has a public "
                           "address: set listen_public and a password");
    }
    if (o->password == NULL || strlen(o->password) < RESP_PUBLIC_PASSWORD) {
        return base_refuse(CELLAR_E_DENIED, RESP_OPEN,
                           "a public address needs a password of at least 16 bytes");
    }
    return CELLAR_OK;
}

static cellar_err resp_opts_in(const cellar_resp_config *o, cellar_resp_config *out,
                               cellar_host_config *host)
{
    const char *why;
    const cellar_err err = BASE_CONFIG_IN(cellar_resp_config, out, o, host, RESP_OPEN, "port",
                                          BASE_NUMBERS(resp_numbers));
    if (err != CELLAR_OK) { return err; }
    if (out->max_clients == 0) {
        out->max_clients = out->shared_bytes != 0 ? RESP_CLIENTS_SHARED : RESP_CLIENTS;
    }
    if (resp_opts_broken(out, &why)) { return base_refuse(CELLAR_E_INVAL, RESP_OPEN, why); }
    return resp_public_check(out, out->listen);
}

/* Bind the sockets of both places, or take the sockets of listen_fds. */
static cellar_err resp_places(cellar_resp *r, const cellar_resp_config *o)
{
    resp_place at = { .unix_path = o->unix_path, .listen = o->listen, .port = o->port,
                      .unix_name = "unix_path", .tcp_name = "port",
                      .has_group = o->unix_group != NULL };
    r->has_group = at.has_group;
    if (at.has_group && base_net_group(o->unix_group, &r->unix_group) < 0) {
        return base_refuse(CELLAR_E_INVAL, RESP_OPEN, "unix_group is no group of this machine");
    }
    cellar_err err = resp_listen(r, 0, &at);
    for (const int *fd = o->listen_fds; r->inherits && err == CELLAR_OK && *fd >= 0; fd++) {
        char address[64];
        err = resp_listen_take(r, *fd, address);
        if (err == CELLAR_OK) { err = resp_public_check(o, address); }
    }
    if (err != CELLAR_OK || o->admin == NULL) { return err; }
    if (!resp_place_read(o->admin, "admin", &at)) {
        return base_refuse(CELLAR_E_INVAL, RESP_OPEN, "admin must be like \"9180\", "
                              "\"127.0.0.1:9180\", \"[::1]:9180\" or \"/path/socket\"");
    }
    err = resp_public_check(o, at.listen);
    return err == CELLAR_OK ? resp_listen(r, 1, &at) : err;
}

/* Read "0=name 3=other" into the names of the databases. False: not such a text. */
static bool resp_names_in(cellar_resp *r, const char *text, uint32_t *all)
{
    uint32_t named = 0; /* a bit for each database */
    for (uint32_t i = 0; i < RESP_DBS; i++) {
        base_text t = { r->db[i].name, sizeof r->db[i].name, 0 };
        base_text_add(&t, "db%u", (unsigned)i);
    }
    for (const char *p = text; p != NULL && *p != '\0';) {
        uint32_t n = 0;
        const char *digit = p;
        while (*p >= '0' && *p <= '9' && p - digit < 3) { n = n * 10 + (uint32_t)(*p++ - '0'); }
        if (p == digit || *p != '=' || n >= RESP_DBS) { return false; }
        const size_t len = strcspn(++p, " ,");
        if (len > CELLAR_NAME_MAX || (named & 1u << n) != 0) { return false; }
        named |= 1u << n;
        memcpy(r->db[n].name, p, len);
        r->db[n].name[len] = '\0';
        p += len;
        p += strspn(p, " ,");
    }
    *all = named;
    return true;
}

/* ---- fork ---- */

/* Close the sockets of the child, so that its parent alone keeps the connections. */
static void resp_forked(void *port)
{
    cellar_resp *r = port;
    base_object_forked(r);
    for (uint32_t i = 0; i < resp_slots(r); i++) {
        const int fd = base_load_acq(&r->fd_of[i]);
        if (fd >= 0) { base_fd_close(fd); }
    }
    for (int i = 0; i < RESP_LISTENERS; i++) {
        if (r->listener[i] >= 0) { base_fd_close(r->listener[i]); }
    }
    base_fd_close(r->bell);
    base_fd_close(r->epoll);
}

/* ---- open ---- */

STATS_SERVICE(resp_service, NULL, resp_figures, cellar_resp_stats, 2, "port", STATS_PORTS,
              resp_shared_figures)

static void resp_init(cellar_resp *r, cellar *c, const cellar_resp_config *o)
{
    base_store_rlx(&r->obj.account.limit, UINT64_C(0));
    r->obj.account.make_room = resp_room_make;
    r->obj.account.make_room_ctx = r;
    r->store = c;
    r->opts = *o;
    r->opts.host = NULL;
    r->opts.unix_path = r->opts.listen = r->opts.password = r->opts.namespaces = NULL;
    r->opts.admin = r->opts.policy_file = r->opts.unix_group = NULL;
    r->opts.tls_cert_file = r->opts.tls_key_file = r->opts.tls_ca_file = NULL;
    r->opts.listen_fds = NULL;
    r->inherits = o->listen_fds != NULL;
    resp_share_read(r);
    r->idle_timeout_ms = o->idle_timeout_ms;
    r->max_clients = o->max_clients;
    r->pending_end = &r->pending;
    r->wall_us = base_wall_us;
    r->now_ms = r->opened_ms = base_now_ms(&r->obj.clock);
    r->epoll = r->bell = -1;
    for (int i = 0; i < RESP_LISTENERS; i++) { r->listener[i] = -1; }
    if (o->password != NULL) {
        base_sha256 s;
        base_sha256_init(&s);
        base_sha256_add(&s, o->password, strlen(o->password));
        base_sha256_end(&s, r->password);
        r->has_password = true;
    }
}

/* Free what resp_parts made, and what the clients left. */
static void resp_parts_free(cellar_resp *r)
{
    const size_t bytes = resp_slots(r) * sizeof *r->fd_of;
    while (r->first != NULL) { resp_client_free(r->first); }
    while (r->admin_first != NULL) { resp_client_free(r->admin_first); }
    resp_wait_clear(r);
    resp_shared_close(r);
    for (int i = 0; i < RESP_PLACES; i++) { resp_listen_close(r, i); }
    tls_server_close(r->tls);
    resp_channels_close(r);
    if (r->bell >= 0) { base_fd_close(r->bell); }
    if (r->epoll >= 0) { base_fd_close(r->epoll); }
    resp_slow_drop(r);
    resp_argv_trim(r);
    base_free(&r->obj.account, BASE_MOD_STORE, r->argv, r->argv_cap * sizeof *r->argv);
    resp_blocks_drop(r);
    base_free(&r->obj.account, BASE_MOD_STORE, r->fd_of, bytes);
    for (uint32_t i = 0; i < RESP_DBS; i++) {
        if (r->db[i].handle != NULL && r->db[i].handle != r->store) {
            (void)cellar_namespace_close(r->db[i].handle);
        }
    }
    BASE_ASSERT(base_load_rlx(&r->obj.account.used) == 0);
    resp_room_return(r, 0);
}

/* Read the certificate of the port. */
static cellar_err resp_secure(cellar_resp *r, const cellar_resp_config *o)
{
    const tls_files files = { .ca_file = o->tls_ca_file, .cert_file = o->tls_cert_file,
                              .key_file = o->tls_key_file };
    char why[TLS_WHY];
    if (o->tls_cert_file == NULL) { return CELLAR_OK; }
    r->tls = tls_server_open(&files, why);
    if (r->tls != NULL) {
        resp_stale_log(r);
        return CELLAR_OK;
    }
    return base_refuse(tls_is_built() ? CELLAR_E_INVAL : CELLAR_E_UNSUPPORTED, RESP_OPEN, why);
}

/* Make everything of a port but the struct. */
static cellar_err resp_parts(cellar_resp *r, const cellar_resp_config *o,
                             const cellar_host_config *host)
{
    uint32_t count, named;
    unsigned char secret[32];
    const resp_command *table = resp_table(&count);
    if (o->policy_file != NULL) {
        const size_t len = strnlen(o->policy_file, sizeof r->policy_file);
        if (len == sizeof r->policy_file) {
            return base_refuse(CELLAR_E_INVAL, RESP_OPEN,
                               "policy_file must have at most 1,023 bytes");
        }
        memcpy(r->policy_file, o->policy_file, len + 1);
    }
    if (!resp_names_in(r, o->namespaces, &named)) {
        return base_refuse(CELLAR_E_INVAL, RESP_OPEN, "namespaces must be like "
                           "\"0=users 3=images\", with different numbers 0..15");
    }
    if (o->shared_bytes != 0 && (named & 1) != 0) {
        return base_refuse(CELLAR_E_INVAL, RESP_OPEN, "namespaces must not name database 0: with "
                           "shared_bytes database 0 is the shared store");
    }
    BASE_REQUIRE(resp_table_init(r, table, count));
    if (!base_random_bytes(secret, sizeof secret)) {
        return base_refuse(CELLAR_E_IO, RESP_OPEN, "the system gave no random bytes");
    }
    base_hash_key_init(&r->hash_key, BASE_HASH_FOLD, secret);
    r->fd_of = base_alloc(&r->obj.account, BASE_MOD_STORE, resp_slots(r) * sizeof *r->fd_of, NULL);
    if (r->fd_of == NULL) {
        return base_refuse(CELLAR_E_NOMEM, RESP_OPEN, "no memory for the clients");
    }
    for (uint32_t i = 0; i < resp_slots(r); i++) { base_store_rlx(&r->fd_of[i], -1); }
    cellar_err err = resp_secure(r, o);
    if (err == CELLAR_OK) { err = resp_shared_open(r, o, host); }
    if (err == CELLAR_OK) { err = resp_places(r, o); }
    if (err != CELLAR_OK) { return err; }
    r->epoll = base_net_epoll();
    r->bell = base_net_bell();
    if (r->epoll < 0 || r->bell < 0 ||
        base_net_watch(r->epoll, EPOLL_CTL_ADD, r->bell, EPOLLIN, &r->bell) < 0 ||
        !resp_listen_watch(r, true)) {
        return base_refuse(CELLAR_E_IO, RESP_OPEN, "the system refused a descriptor for epoll");
    }
    const cellar_err heard = resp_channels_open(r, o->pool);
    if (heard != CELLAR_OK) { return heard; }
    return base_object_forks(&r->obj, resp_forked)
        ? CELLAR_OK : base_refuse(CELLAR_E_NOMEM, RESP_OPEN, "no memory for the fork handlers");
}

CELLAR_API cellar_err cellar_resp_open(cellar *c, const cellar_resp_config *o, cellar_resp **out)
{
    cellar_resp_config full;
    cellar_host_config host;
    if (out != NULL) { *out = NULL; }
    if (c == NULL || o == NULL || out == NULL) {
        return base_refuse(CELLAR_E_INVAL, RESP_OPEN, "c, o and out must not be NULL");
    }
    cellar_err err = resp_opts_in(o, &full, &host);
    if (err != CELLAR_OK) { return err; }
    cellar_resp *r = base_object_new(&resp_service.kind, &host, sizeof *r);
    if (r == NULL) { return base_refuse(CELLAR_E_NOMEM, RESP_OPEN, "no memory for the port"); }
    resp_init(r, c, &full);
    err = resp_parts(r, &full, &host);
    if (err == CELLAR_OK) {
        *out = r;
    } else {
        resp_parts_free(r);
        base_object_free(&r->obj);
    }
    return err;
}

/* ---- step, thread, close ---- */

CELLAR_API int cellar_resp_fd(const cellar_resp *r)
{
    return r == NULL || r->obj.forked ? -1 : r->epoll;
}

CELLAR_API cellar_err cellar_resp_step(cellar_resp *r, int timeout_ms)
{
    if (r == NULL || timeout_ms < -1) { return CELLAR_E_INVAL; }
    if (r->obj.forked) { return CELLAR_E_FORKED; }
    if (!base_cas_ar(&r->stepping, 0u, 1u)) { return CELLAR_E_BUSY; }
    const cellar_err err = resp_round(r, timeout_ms);
    base_store_rel(&r->stepping, 0u);
    return err;
}

static void resp_main(void *arg)
{
    cellar_resp *r = arg;
    while (base_load_acq(&r->stop) == 0) {
        if (resp_round(r, -1) == CELLAR_E_IO) {
            (void)sync_wait(&r->stop, 0, base_now_ns() + RESP_RETRY_MS * UINT64_C(1000000));
        }
    }
}

CELLAR_API cellar_err cellar_resp_start(cellar_resp *r)
{
    if (r == NULL) { return CELLAR_E_INVAL; }
    if (r->obj.forked) { return CELLAR_E_FORKED; }
    if (r->started) { return CELLAR_OK; }
    if (!base_cas_ar(&r->stepping, 0u, 1u)) { return CELLAR_E_BUSY; }
    r->started = true;
    if (base_thread_start(&r->thread, resp_main, r, "cellar-resp", r->obj.stack_bytes) != 0) {
        r->started = false;
        base_store_rel(&r->stepping, 0u);
        return CELLAR_E_NOMEM;
    }
    return CELLAR_OK;
}

CELLAR_API void cellar_resp_drain(cellar_resp *r)
{
    if (r == NULL || r->obj.forked) { return; }
    base_store_rlx(&r->draining, 1u);
}

CELLAR_API void cellar_resp_close(cellar_resp *r)
{
    if (r == NULL || r->obj.forked) { return; }
    resp_thread_stop(r);
    base_fork_unregister(&r->obj.fork);
    resp_parts_free(r);
    base_object_free(&r->obj);
}

BASE_SIZE_END
