/* SPDX-License-Identifier: MIT
 *
 * remote: what an operator asks of a link: does it hold, and what does its server say.
 *
 * WALK       open a store and a remote as a program does -> wait for the proof, or print why there
 *            is none -> ask the server over the link -> rows, then notes
 * LIMITS     What the user may not ask is a row, too: the tier itself needs no INFO, no CONFIG. */
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cellar_admin.h"
#include "cellar_remote.h"
#include "cli/cli.h"
#include "remote/data.h"
#include "remote/link.h"
#include "remote/share.h"

#define REMOTE_WAIT_MS 3000
#define REMOTE_TEXT 8192

/* What the server said. "" in a text: nothing. */
typedef struct remote_seen {
    char hello[512];       /* "name value" lines of HELLO */
    char info[REMOTE_TEXT]; /* all of INFO */
    char config[1024];     /* "name value" lines of CONFIG GET */
} remote_seen;

/* ---- the server ---- */

/* Append the elements of a flat list of names and values as lines. */
static void remote_pairs(const remote_reply *list, char *to, size_t cap)
{
    size_t len = 0;
    for (const remote_reply *r = list->first; r != NULL && r->next != NULL; r = r->next->next) {
        const remote_reply *v = r->next;
        const int n = v->type == REMOTE_INTEGER
            ? snprintf(to + len, cap - len, "%.*s:%" PRId64 "\r\n", (int)r->len, r->text, v->number)
            : snprintf(to + len, cap - len, "%.*s:%.*s\r\n", (int)r->len, r->text, (int)v->len,
                       v->type == REMOTE_STRING ? v->text : "");
        if (n < 0 || (size_t)n >= cap - len) { break; }
        len += (size_t)n;
    }
    to[len] = '\0';
}

static void remote_hello_note(void *seen, uint32_t index, const remote_reply *reply)
{
    remote_seen *s = seen;
    (void)index;
    if (reply->type == REMOTE_ARRAY) { remote_pairs(reply, s->hello, sizeof s->hello); }
}

static void remote_config_note(void *seen, uint32_t index, const remote_reply *reply)
{
    remote_seen *s = seen;
    (void)index;
    if (reply->type == REMOTE_ARRAY) { remote_pairs(reply, s->config, sizeof s->config); }
}

static void remote_info_note(void *seen, uint32_t index, const remote_reply *reply)
{
    remote_seen *s = seen;
    (void)index;
    if (reply->type != REMOTE_STRING) { return; }
    (void)snprintf(s->info, sizeof s->info, "%.*s", (int)reply->len, reply->text);
}

/* Ask one command. A right that is missing breaks the link, so there may be no answer. */
static void remote_server_ask(cellar_remote *r, const cellar_bytes *words, size_t count,
                              void (*fn)(void *ctx, uint32_t index, const remote_reply *reply),
                              remote_seen *s)
{
    const remote_request q = { .ctx = s, .fn = fn, .wait_ms = REMOTE_WAIT_MS };
    (void)remote_ask_words(r, words, count, q, NULL);
}

/* Return the value of a line "name:value" as static text; "?": not told. */
static const char *remote_value(const char *lines, const char *name)
{
    static char value[4][128];
    static unsigned turn;
    char *to = value[turn++ % 4];
    const size_t len = strlen(name);
    for (const char *p = lines; p != NULL && *p != '\0'; p = strchr(p, '\n')) {
        p += *p == '\n';
        if (strncmp(p, name, len) != 0 || p[len] != ':') { continue; }
        (void)snprintf(to, sizeof value[0], "%.*s", (int)strcspn(p + len + 1, "\r\n"), p + len + 1);
        return to;
    }
    return "?";
}

/* Return a number of a line; 0: not told. */
static uint64_t remote_count_of(const char *lines, const char *name)
{
    return strtoull(remote_value(lines, name), NULL, 10);
}

/* Return whether the server has no room for one more value. */
static bool remote_is_full(const remote_seen *s)
{
    const uint64_t most = remote_count_of(s->info, "maxmemory");
    const uint64_t used = remote_count_of(s->info, "used_memory");
    const uint64_t other = remote_count_of(s->info, "mem_not_counted_for_evict");
    return most != 0 && used - (other < used ? other : 0) >= most;
}

/* ---- rows ---- */

enum { REMOTE_AT_BYTES = REMOTE_HOST_MAX + 16 };

static const char *remote_at_write(const remote_address *at, char to[REMOTE_AT_BYTES])
{
    const char *format = at->port == 0                  ? "%s"
                         : strchr(at->host, ':') != NULL ? "[%s]:%u" : "%s:%u";
    (void)snprintf(to, REMOTE_AT_BYTES, format, at->host, (unsigned)at->port);
    return to;
}

static void remote_row(const char *name, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void remote_row(const char *name, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    printf("%-10s ", name);
    cli_plain(stdout, text);
    putchar('\n');
}

static void remote_rows_of_link(cellar_remote *r, int64_t took_ms)
{
    static const char *const names[] = { "DOWN", "LINKED", "GAP", "PROVEN", "SUSPECT" };
    remote_figures f;
    struct timespec now;
    int64_t error_ms;
    const char *how = r->cfg.tls ? r->cfg.tls_insecure ? "TLS, not verified" : "TLS" : "plain";
    remote_link_figures(r->link, &f);
    const int64_t server_ms = remote_engine_now(r->link, &error_ms);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    const int64_t here_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    remote_row("link", "%s after %" PRId64 " ms; data and subscriber: connected, %s",
               names[f.state], took_ms, how);
    remote_row("proof", "%" PRId64 " ms old, counts for %" PRId64 " ms; marker and back %" PRId64
               " us", f.proof_age_ms, r->cfg.proof_ms, f.journey_us);
    remote_row("clock", "server %+" PRId64 " ms to this machine, known to %" PRId64 " ms",
               server_ms - here_ms, error_ms);
    remote_row("rights", "all that the tier needs");
}

/* Write a row for each Sentinel. Return how many do not answer. */
static uint32_t remote_rows_of_sentinels(const cellar_remote *r)
{
    remote_sentinel_view v;
    char at[REMOTE_AT_BYTES], named[REMOTE_AT_BYTES];
    uint32_t silent = 0;
    for (uint32_t i = 0; remote_sentinel_look(r->link, i, &v); i++) {
        (void)remote_at_write(&v.at, at);
        if (v.named.port != 0) {
            remote_row("sentinel", "%s names %s, %" PRId64 " ms ago", at,
                       remote_at_write(&v.named, named), v.age_ms);
        } else {
            remote_row("sentinel", "%s: %s", at, v.text[0] != '\0' ? v.text : "no answer yet");
            silent += !v.objects;
        }
    }
    return silent;
}

/* Write the rows of a port of cellar. */
static void remote_rows_of_port(const cellar_remote *r, const remote_seen *s)
{
    char at[REMOTE_AT_BYTES], used[CLI_TEXT], most[CLI_TEXT];
    remote_row("server", "cellar %s, pid %s, at %s", remote_value(s->info, "cellar_version"),
               remote_value(s->info, "process_id"), remote_at_write(remote_link_at(r->link), at));
    remote_row("memory", "%s of %s; evicted keys %s",
               cli_bytes(used, remote_count_of(s->info, "used_memory")),
               cli_bytes(most, remote_count_of(s->info, "maxmemory")),
               remote_value(s->info, "evicted_keys"));
    remote_row("control", "%s keys, %s of %s; forgotten tags %s",
               remote_value(s->info, "shared_control_keys"),
               cli_bytes(used, remote_count_of(s->info, "shared_control_used")),
               cli_bytes(most, remote_count_of(s->info, "shared_control_max")),
               remote_value(s->info, "shared_tags_forgotten"));
    remote_row("limiters", "%s of %s; forgotten keys %s, refused names %s",
               cli_bytes(used, remote_count_of(s->info, "shared_limits_used")),
               cli_bytes(most, remote_count_of(s->info, "shared_limits_max")),
               remote_value(s->info, "shared_limits_evicted"),
               remote_value(s->info, "shared_limits_refused"));
    remote_row("tracking", "%s clients, %s prefixes", remote_value(s->info, "tracking_clients"),
               remote_value(s->info, "shared_prefixes"));
    remote_row("clients", "%s of %s", remote_value(s->info, "connected_clients"),
               remote_value(s->info, "maxclients"));
}

static void remote_rows_of_server(const cellar_remote *r, const remote_seen *s)
{
    char at[REMOTE_AT_BYTES];
    const bool full = remote_is_full(s); /* before the row: remote_value keeps four values */
    remote_row("server", "%s %s, %s at %s", remote_value(s->hello, "server"),
               remote_value(s->hello, "version"), remote_value(s->hello, "role"),
               remote_at_write(remote_link_at(r->link), at));
    if (s->info[0] == '\0') {
        remote_row("memory", "not told: the user lacks +info");
    } else {
        remote_row("memory", "%s of maxmemory %s, %s%s; evicted keys %s",
                   remote_value(s->info, "used_memory_human"),
                   remote_value(s->info, "maxmemory_human"),
                   remote_value(s->info, "maxmemory_policy"),
                   full ? ", is full now" : "",
                   remote_value(s->info, "evicted_keys"));
        remote_row("tracking", "%s clients, %s prefixes; clients use %s bytes",
                   remote_value(s->info, "tracking_clients"),
                   remote_value(s->info, "tracking_total_prefixes"),
                   remote_value(s->info, "mem_clients_normal"));
        remote_row("clients", "%s of %s", remote_value(s->info, "connected_clients"),
                   remote_value(s->info, "maxclients"));
        remote_row("replicas", "%s", remote_value(s->info, "connected_slaves"));
    }
    if (s->config[0] == '\0') {
        remote_row("limits", "not told: the user lacks +config|get");
    } else {
        remote_row("limits", "client-output-buffer-limit %s",
                   remote_value(s->config, "client-output-buffer-limit"));
        remote_row("", "min-replicas-to-write %s, min-replicas-max-lag %s s",
                   remote_value(s->config, "min-replicas-to-write"),
                   remote_value(s->config, "min-replicas-max-lag"));
    }
}

static void remote_notes_of_sentinels(const cellar_remote *r, uint32_t silent)
{
    const uint32_t count = r->cfg.sentinel_count;
    if (silent != 0) {
        printf("note: %u of %u Sentinels %s not answer\n", silent, count,
               silent == 1 ? "does" : "do");
    }
    if (count == 1) {
        puts("note: without this Sentinel nothing counts, and it alone can be wrong; name three");
    }
}

static void remote_notes(const cellar_remote *r, const remote_seen *s)
{
    if (strcmp(remote_value(s->info, "maxmemory"), "0") == 0) {
        puts("note: without maxmemory the server grows until the machine has no memory left");
    } else if (strcmp(remote_value(s->info, "maxmemory_policy"), "noeviction") == 0) {
        puts("note: with noeviction a full server refuses values; set allkeys-lru");
    }
    if (r->cfg.sentinel_count != 0 &&
        strcmp(remote_value(s->config, "min-replicas-to-write"), "0") == 0) {
        puts("note: with min-replicas-to-write 0 a failover loses writes that were acknowledged");
    }
    if (r->cfg.tls_insecure) { puts("note: tls_insecure: any server can answer"); }
}

/* ---- run ---- */

static int64_t remote_now(void) { return (int64_t)(cli_clock_ns() / 1000000); }

/* Run the link for a moment. */
static void remote_run_link(const cellar_remote *r) { (void)remote_link_step(r->link, 2); }

/* Wait until each Sentinel has answered or failed. */
static void remote_sentinels_await(const cellar_remote *r)
{
    const int64_t end_ms = remote_now() + REMOTE_WAIT_MS / 2;
    for (uint32_t i = 0; remote_now() < end_ms;) {
        remote_sentinel_view v;
        if (!remote_sentinel_look(r->link, i, &v)) { return; }
        if (v.named.port != 0 || v.text[0] != '\0') { i++; } else { remote_run_link(r); }
    }
}

/* Wait for the proof. Return false with *why after the time, or after each address has refused. */
static bool remote_is_proven(const cellar_remote *r, cellar_error_info *why)
{
    const int64_t end_ms = remote_now() + REMOTE_WAIT_MS;
    do {
        remote_figures f;
        remote_link_figures(r->link, &f);
        if (f.state == REMOTE_PROVEN) { return true; }
        const uint64_t tries = (f.addresses > 1 ? f.addresses : 1u) + r->cfg.sentinel_count;
        (void)cellar_remote_last_error(r, why);
        if (why->code != CELLAR_OK && f.state == REMOTE_DOWN &&
            f.counts[REMOTE_LINK_ATTEMPTS] > tries) {
            return false;
        }
        remote_run_link(r);
    } while (remote_now() < end_ms);
    return false;
}

static int remote_ask_all(cellar_remote *r)
{
    static remote_seen seen;
    cellar_error_info why = cellar_error_info_default();
    const int64_t begin_ms = remote_now();
    if (!remote_is_proven(r, &why)) {
        const size_t own = strncmp(why.text, "remote: ", 8) == 0 ? 8 : 0;
        remote_notes_of_sentinels(r, remote_rows_of_sentinels(r));
        cli_complain("remote", "%s", why.code != CELLAR_OK ? why.text + own
                                                           : "the server gave no proof in time");
        return CLI_FINDING;
    }
    remote_rows_of_link(r, remote_now() - begin_ms);
    remote_server_ask(r, REMOTE_WORDS({ "HELLO", 5 }), remote_hello_note, &seen);
    remote_server_ask(r, REMOTE_WORDS({ "INFO", 4 }), remote_info_note, &seen);
    if (strcmp(remote_value(seen.info, "cellar_version"), "?") != 0) {
        remote_rows_of_port(r, &seen);
        return CLI_DONE;
    }
    if (remote_is_proven(r, &why)) {
        remote_server_ask(r, REMOTE_WORDS({ "CONFIG", 6 }, { "GET", 3 },
                                          REMOTE_WORD("client-output-buffer-limit"),
                                          REMOTE_WORD("min-replicas-to-write"),
                                          REMOTE_WORD("min-replicas-max-lag")),
                          remote_config_note, &seen);
    }
    remote_sentinels_await(r);
    remote_rows_of_server(r, &seen);
    const uint32_t silent = remote_rows_of_sentinels(r);
    remote_notes(r, &seen);
    remote_notes_of_sentinels(r, silent);
    return CLI_DONE;
}

static void remote_log(cellar_log_level level, const char *module, cellar_err code,
                       const char *text, void *ctx)
{
    (void)level, (void)module, (void)code, (void)ctx;
    if (strstr(text, "tls_insecure") != NULL) { cli_complain("remote", "%s", text); }
}

static int remote_try(const char *url, bool plain)
{
    cellar *store;
    cellar_remote *r;
    cellar_host_config host = { .struct_size = sizeof host, .log = remote_log };
    cellar_remote_config o = { .struct_size = sizeof o, .host = &host, .allow_plaintext = plain,
                               .no_thread = 1 }; /* this thread runs the link, and may look at it */
    if (cellar_open(NULL, &store) != CELLAR_OK) {
        cli_complain("remote", "cannot open a store; give the program more memory");
        return CLI_NO_START;
    }
    const cellar_err err = cellar_remote_open(store, url, &o, &r);
    int code = CLI_USAGE;
    if (err == CELLAR_OK) {
        code = remote_ask_all(r);
        cellar_remote_close(r);
    } else {
        cellar_error_info why = cellar_error_info_default();
        (void)cellar_remote_last_error(NULL, &why);
        cli_complain("remote", "%s", why.text);
    }
    (void)cellar_close(store);
    return code;
}

static int remote_run_command(int argc, char **argv, const cli_terminal *term)
{
    int plain = 0;
    const struct option options[] = {
        { "allow-plaintext", no_argument, &plain, 'a' }, { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 }
    };
    (void)term;
    const int code = cli_options(&cli_remote, argc, argv, options, NULL, NULL);
    if (code != CLI_GO_ON) { return code; }
    if (argc - optind != 1) {
        cli_complain("remote", "takes one URL (got %d); write cellar remote redis://localhost",
                     argc - optind);
        return CLI_USAGE;
    }
    return remote_try(argv[optind], plain != 0);
}

const cli_command cli_remote = {
    "remote", "", "connect to a server as the remote tier does, and say what it is",
    "Usage: cellar remote [OPTION]... URL\n"
    "\n"
    "Connects to a Redis or Valkey server, alone or under Sentinel, as cellar_remote_open does\n"
    "with the same URL, waits for a proof, and prints version, role and address of the server,\n"
    "its memory, tracking, clients, replicas and limits, state of the link, age of the proof and\n"
    "clock, and what each Sentinel says. If there is no proof within 3 s, it prints the reason:\n"
    "what does not answer, the certificate that is refused, each right that the user lacks. A\n"
    "URL with rediss: needs a program built with TLS=1.\n"
    "\n"
    "  --allow-plaintext  reach another machine without TLS\n"
    "  --help             print this text\n"
    "\n"
    "Exit codes: 0 the link is proven, 1 it is not, 2 wrong usage or URL, 3 cannot start.\n"
    "\n"
    "A URL is like one of these:\n"
    "  unix:///run/redis.sock?prefix=app\n"
    "  rediss://app@cache.example.com?password_file=/etc/app/cache.key\n"
    "  redis-sentinel://127.0.0.1,127.0.0.1:26380?master=main\n",
    remote_run_command
};
