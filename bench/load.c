/* SPDX-License-Identifier: MIT
 *
 * load: requests to a server of RESP by the clock, and the time of each from its due time.
 *
 * PICTURE    schedule: due = start + k / rate --> free place of a connection --> out --> socket
 *                      no place: the request waits, and stays due     in --> reply --> now - due
 * INVARIANTS A reply belongs to the oldest request of its connection. Every request that was due is in
 *            the histograms, without a reply with its time until the end: coordinated omission counts.
 * LIMITS     RESP2 without TLS; one thread. SOURCE  Gray et al. 1994 (zipf). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench/harness/hist.h"
#include "cli/cli.h"

#define LOAD_MOST 1024u
#define LOAD_IN 65536u
#define LOAD_PATIENCE_NS UINT64_C(5000000000) /* for replies after the end */

enum { LOAD_GET, LOAD_SET, LOAD_DEL, LOAD_OPS };
static const char *const load_ops[] = { "get", "set", "del" };

typedef struct load_options {
    char password[128], host[256], port[16], path[108];
    uint64_t connections, pipeline, keys, key_bytes, least, most, rate, seconds, warm, requests, seed, mix[LOAD_OPS];
    double zipf;
    int fill, json, csv;
} load_options;

typedef struct load_line { /* a connection */
    int fd;
    char *in, *out;
    size_t in_n, out_n, out_at, skip; /* skip: bytes of a value that are still to come */
    uint64_t *due, sent, answered;    /* due: ring of `pipeline` requests, with `op` */
    uint8_t *op;
} load_line;

typedef struct load_run {
    const load_options *o;
    load_line line[LOAD_MOST];
    char *room, *value; /* room: of all connections, owned; value: a part of it */
    uint64_t draw, turn, start_ns, end_ns, warm_ns, next, most; /* most: requests, at most */
    double zeta, alpha, eta;
    bool filling;
    hist time[LOAD_OPS];
    uint64_t hits, errors, unanswered, counted_ns;
    char why[CLI_NOTE]; /* "": it went well */
} load_run;

/* Return a number of 53 random bits. */
static uint64_t load_draw(load_run *w)
{
    w->draw = w->draw * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return w->draw >> 11;
}

static void load_zipf_open(load_run *w, double theta, uint64_t keys)
{
    for (uint64_t i = 1; i <= keys; i++) { w->zeta += pow((double)i, -theta); }
    w->alpha = 1 / (1 - theta);
    w->eta = (1 - pow(2 / (double)keys, 1 - theta)) / (1 - (1 + pow(.5, theta)) / w->zeta);
}

static uint64_t load_key(load_run *w)
{
    const load_options *o = w->o;
    const double u = (double)load_draw(w) * 0x1p-53, z = u * w->zeta;
    if (w->filling) { return w->next; }
    if (z < 1) { return 0; }
    if (z < 1 + pow(.5, o->zipf)) { return 1; }
    const uint64_t k = (uint64_t)((double)o->keys * pow(w->eta * u - w->eta + 1, w->alpha));
    return k < o->keys ? k : o->keys - 1;
}

static bool load_connect(load_run *w, load_line *l)
{
    const load_options *o = w->o;
    const bool local = o->path[0] != '\0';
    struct sockaddr_un path = { .sun_family = AF_UNIX };
    memcpy(path.sun_path, o->path, sizeof path.sun_path);
    struct addrinfo hint = { .ai_socktype = SOCK_STREAM }, *list = NULL;
    struct addrinfo here = { .ai_family = AF_UNIX, .ai_addr = (struct sockaddr *)&path, .ai_addrlen = sizeof path };
    const int found = local ? 0 : getaddrinfo(o->host, o->port, &hint, &list), on = 1;
    bool ok = false;
    for (const struct addrinfo *at = local ? &here : list; at != NULL && !ok; at = at->ai_next) {
        l->fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ok = l->fd >= 0 && connect(l->fd, at->ai_addr, at->ai_addrlen) == 0;
        if (!ok && l->fd >= 0) { close(l->fd); }
    }
    if (list != NULL) { freeaddrinfo(list); }
    if (!ok) { snprintf(w->why, sizeof w->why, "cannot connect (%s); name a server that runs", found != 0 ? gai_strerror(found) : "refused"); }
    if (ok && !local) { (void)setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); }
    return ok && fcntl(l->fd, F_SETFL, O_NONBLOCK) == 0;
}

/* Add a word of a command to what is sent. */
static void load_word(load_line *l, const char *word, size_t n)
{
    l->out_n += (size_t)snprintf(l->out + l->out_n, 32, "$%zu\r\n", n);
    memcpy(l->out + l->out_n, word, n);
    memcpy(l->out + l->out_n + n, "\r\n", 2);
    l->out_n += n + 2;
}

/* Connect all; each has a part of one allocation. A password is a request that is not counted. */
static bool load_open(load_run *w)
{
    const load_options *o = w->o;
    const size_t out = 256 + o->pipeline * (o->key_bytes + o->most + 128);
    const size_t each = ((LOAD_IN + out + o->pipeline * 9) | 7) + 1;
    w->room = calloc(1, o->connections * each + o->most + 1);
    if (w->room == NULL) { snprintf(w->why, sizeof w->why, "out of memory; give a smaller --pipeline"); }
    for (uint64_t i = 0; i < o->connections && w->room != NULL; i++) {
        load_line *l = &w->line[i];
        l->due = (uint64_t *)(void *)(w->room + i * each);
        l->op = (uint8_t *)(l->due + o->pipeline);
        l->in = (char *)l->op + o->pipeline;
        l->out = l->in + LOAD_IN;
        if (!load_connect(w, l)) { return false; }
        if (o->password[0] == '\0') { continue; }
        l->out_n = (size_t)snprintf(l->out, 32, "*2\r\n$4\r\nAUTH\r\n");
        load_word(l, o->password, strlen(o->password));
        l->op[l->sent++] = LOAD_OPS;
    }
    w->value = w->room != NULL ? w->room + o->connections * each : NULL;
    return w->room != NULL;
}

static void load_issue(load_run *w, load_line *l, uint64_t due)
{
    const load_options *o = w->o;
    const uint64_t pick = load_draw(w) % (o->mix[0] + o->mix[1] + o->mix[2]);
    const unsigned op = w->filling ? LOAD_SET : pick < o->mix[0] ? LOAD_GET : pick < o->mix[0] + o->mix[1] ? LOAD_SET : LOAD_DEL;
    char key[256];
    snprintf(key, sizeof key, "%0*" PRIu64, (int)o->key_bytes, load_key(w));
    l->out_n += (size_t)snprintf(l->out + l->out_n, 32, "*%d\r\n", op == LOAD_SET ? 3 : 2);
    load_word(l, load_ops[op], 3);
    load_word(l, key, o->key_bytes);
    if (op == LOAD_SET) { load_word(l, w->value, o->least + load_draw(w) % (o->most - o->least + 1)); }
    l->due[l->sent % o->pipeline] = due;
    l->op[l->sent++ % o->pipeline] = (uint8_t)op;
    w->next++;
}

/* Count a request. Return false if it is not one of the figures. */
static bool load_count(load_run *w, unsigned op, uint64_t due, uint64_t now)
{
    if (op == LOAD_OPS || w->filling || due - w->start_ns < w->warm_ns) { return false; }
    hist_add(&w->time[op], now - due);
    w->counted_ns = now - w->start_ns - w->warm_ns;
    return true;
}

static void load_reply(load_run *w, load_line *l, const char *line, uint64_t now)
{
    const uint64_t at = l->answered++ % w->o->pipeline;
    const bool counts = load_count(w, l->op[at], l->due[at], now);
    if (line[0] == '-') {
        if (w->errors++ == 0) { snprintf(w->why, sizeof w->why, "the server says: %.200s", line); }
    } else if (line[0] == '$' && line[1] != '-') {
        l->skip = strtoul(line + 1, NULL, 10) + 2;
        w->hits += counts;
    }
}

/* Take what a connection has sent. Return false if it is gone. */
static bool load_take(load_run *w, load_line *l)
{
    const ssize_t n = recv(l->fd, l->in + l->in_n, LOAD_IN - l->in_n, 0);
    if (n <= 0) { return n < 0 && (errno == EAGAIN || errno == EINTR); }
    const uint64_t now = cli_clock_ns();
    size_t from = 0, end = l->in_n + (size_t)n;
    while (from < end) {
        const size_t skip = l->skip < end - from ? l->skip : end - from;
        l->skip -= skip;
        from += skip;
        char *line = l->in + from, *stop = from < end ? memchr(line, '\n', end - from) : NULL;
        if (stop == NULL) { break; }
        if (l->answered == l->sent) { return false; } /* a reply to nothing */
        *stop = '\0';
        load_reply(w, l, line, now);
        from += (size_t)(stop - line) + 1;
    }
    l->in_n = end - from;
    memmove(l->in, l->in + from, l->in_n);
    return l->in_n < LOAD_IN;
}

/* Return the time at which the next request is due; UINT64_MAX: there is none. */
static uint64_t load_due(const load_run *w, uint64_t now)
{
    const double ns = (double)w->next * 1e9 / (double)(w->o->rate != 0 ? w->o->rate : 1);
    const uint64_t due = w->o->rate != 0 && !w->filling ? w->start_ns + (uint64_t)ns : now;
    return w->next >= w->most || due >= w->end_ns ? UINT64_MAX : due;
}

/* Give every request that is due to a connection with a free place. Return whether one must wait. */
static bool load_give(load_run *w)
{
    uint64_t now = cli_clock_ns();
    for (unsigned full = 0; full < w->o->connections;) {
        const uint64_t due = load_due(w, now);
        if (due > now) { return false; }
        load_line *l = &w->line[w->turn++ % w->o->connections];
        /* Bytes that the socket did not take fill the buffer: no new request until it is empty. */
        if (l->sent - l->answered == w->o->pipeline || l->out_at != 0) { full++; continue; }
        full = 0;
        load_issue(w, l, due);
    }
    return true;
}

static void load_rest(load_run *w, uint64_t now)
{
    for (unsigned i = 0; i < w->o->connections; i++) {
        for (load_line *l = &w->line[i]; l->answered < l->sent; w->unanswered++) {
            const uint64_t at = l->answered++ % w->o->pipeline;
            load_count(w, l->op[at], l->due[at], now);
        }
    }
    for (uint64_t due; w->o->rate != 0 && (due = load_due(w, now)) < now; w->next++, w->unanswered++) {
        load_count(w, LOAD_GET, due, now);
    }
}

static bool load_step(load_run *w, struct pollfd *poll_fd, bool *open)
{
    const bool waits = load_give(w);
    *open = false;
    for (unsigned i = 0; i < w->o->connections; i++) {
        load_line *l = &w->line[i];
        const ssize_t n = l->out_n != 0 ? send(l->fd, l->out + l->out_at, l->out_n - l->out_at, MSG_NOSIGNAL) : 0;
        if (n < 0 && errno != EAGAIN && errno != EINTR) { return false; }
        l->out_at += n > 0 ? (size_t)n : 0;
        if (l->out_at == l->out_n) { l->out_at = l->out_n = 0; }
        *open = *open || l->answered < l->sent;
        poll_fd[i] = (struct pollfd){ l->fd, (short)(POLLIN | (l->out_n != 0 ? POLLOUT : 0)), 0 };
    }
    const uint64_t now = cli_clock_ns(), due = load_due(w, now);
    if (!*open && due == UINT64_MAX) { return true; }
    *open = true;
    const uint64_t wait = waits || due == UINT64_MAX ? 100000000 : due > now ? due - now : 0;
    const struct timespec t = { (time_t)(wait / 1000000000), (long)(wait % 1000000000) };
    if (ppoll(poll_fd, w->o->connections, &t, NULL) < 0 && errno != EINTR) { return false; }
    for (unsigned i = 0; i < w->o->connections; i++) {
        if ((poll_fd[i].revents & ~POLLOUT) != 0 && !load_take(w, &w->line[i])) { return false; }
    }
    return true;
}

static bool load_go(load_run *w, bool filling, uint64_t most, uint64_t ns)
{
    struct pollfd poll_fd[LOAD_MOST];
    w->filling = filling;
    w->next = 0;
    w->most = most;
    w->start_ns = cli_clock_ns();
    w->end_ns = ns != 0 ? w->start_ns + ns : UINT64_MAX;
    for (bool open = true; open;) {
        if (!load_step(w, poll_fd, &open)) {
            snprintf(w->why, sizeof w->why, "the server closed a connection, or answered what was not asked");
            return false;
        }
        if (ns != 0 && cli_clock_ns() > w->end_ns + LOAD_PATIENCE_NS) { break; }
    }
    if (!filling) { load_rest(w, cli_clock_ns()); }
    return true;
}

static void load_print(const load_run *w)
{
    static const uint32_t at[] = { 500000, 900000, 990000, 999000, 999900 };
    const load_options *o = w->o;
    const char *const form = o->json ? "{\"bench\":\"load\",\"workload\":\"%s\",\"requests\":%" PRIu64 ",\"rate\":%.1f,\"us\":["
                             : o->csv ? "%s,%" PRIu64 ",%.1f," : "%-4s %10" PRIu64 " %10.0f ";
    if (!o->json) { puts(o->csv ? "op,requests,rate,p50_us,p90_us,p99_us,p999_us,p9999_us,max_us"
                                : "op     requests   a second   p50 us      p90      p99    p99.9   p99.99      max"); }
    for (unsigned op = 0; op < LOAD_OPS; op++) {
        const hist *h = &w->time[op];
        if (h->count == 0) { continue; }
        printf(form, load_ops[op], h->count, (double)h->count * 1e9 / (double)w->counted_ns);
        for (unsigned i = 0; i < 6; i++) {
            const double us = (double)(i == 5 ? h->max : hist_percentile(h, at[i])) / 1e3;
            printf(o->json || o->csv ? "%s%.1f" : "%s%8.1f", i == 0 ? "" : o->json || o->csv ? "," : " ", us);
        }
        if (o->json) {
            printf("],\"percentiles\":[50,90,99,99.9,99.99,100],\"asked_rate\":%" PRIu64 ",\"seed\":%" PRIu64 ",\"hits\":%" PRIu64
                   ",\"errors\":%" PRIu64 ",\"unanswered\":%" PRIu64 "}", o->rate, o->seed, op == LOAD_GET ? w->hits : 0, w->errors, w->unanswered);
        }
        putchar('\n');
    }
}

/* Read redis://[:password@]host[:port] or unix:path. */
static bool load_url(const char *url, load_options *o)
{
    const char *host = url + 8;
    int used = 0;
    if (sscanf(url, "unix:%107s%n", o->path, &used) == 1) { return url[used] == '\0'; }
    if (strncmp(url, "redis://", 8) != 0) { return false; }
    if (sscanf(url, "redis://:%127[^@]@%n", o->password, &used) == 1) { host = url + used; }
    const int n = sscanf(host, "%255[^:/]%n:%15[0-9]%n", o->host, &used, o->port, &used);
    if (n == 1) { snprintf(o->port, sizeof o->port, "6379"); }
    return n > 0 && host[used] == '\0';
}

static bool load_option(int c, void *ctx)
{
    static const char letters[] = "cpntwkrqs";
    static const uint64_t least[] = { 1, 1, 1, 1, 0, 2, 0, 1, 1 }, most[] = { LOAD_MOST, LOAD_MOST, 200, 86400, 86400 };
    load_options *o = ctx;
    uint64_t *const to[] = { &o->connections, &o->pipeline, &o->key_bytes, &o->seconds, &o->warm, &o->keys, &o->rate, &o->requests, &o->seed };
    const char *at = strchr(letters, c);
    bool ok = true;
    char *end;
    if (at != NULL) {
        ok = cli_parse_count(optarg, least[at - letters], at - letters < 5 ? most[at - letters] : UINT32_MAX, to[at - letters]);
    } else if (c == 'v') {
        ok = sscanf(optarg, "%" SCNu64 "-%" SCNu64, &o->least, &o->most) > 0;
        if (strchr(optarg, '-') == NULL) { o->most = o->least; }
        ok = ok && o->least <= o->most && o->most <= UINT64_C(64) << 20;
    } else if (c == 'm') {
        ok = sscanf(optarg, "%9" SCNu64 ",%9" SCNu64 ",%9" SCNu64, &o->mix[0], &o->mix[1], &o->mix[2]) > 1 &&
             o->mix[0] + o->mix[1] + o->mix[2] != 0;
    } else {
        o->zipf = strtod(optarg, &end);
        ok = *end == '\0' && o->zipf >= 0 && o->zipf < 1;
    }
    if (!ok) { cli_complain("load", "\"%s\" is out of range; `cellar load --help` has the ranges", optarg); }
    return ok;
}

static int load_main(int argc, char **argv, const cli_terminal *term)
{
    static load_run run;
    static load_options o = { .connections = 50, .pipeline = 1, .keys = 100000, .key_bytes = 16, .least = 100,
                              .most = 100, .seconds = 10, .warm = 1, .seed = 1, .mix = { 90, 10, 0 }, .zipf = .99 };
    static const struct option known[] = {
        { "connections", 1, NULL, 'c' }, { "pipeline", 1, NULL, 'p' }, { "keys", 1, NULL, 'k' }, { "key-bytes", 1, NULL, 'n' },
        { "rate", 1, NULL, 'r' }, { "seconds", 1, NULL, 't' }, { "warm", 1, NULL, 'w' }, { "requests", 1, NULL, 'q' },
        { "seed", 1, NULL, 's' }, { "value-bytes", 1, NULL, 'v' }, { "mix", 1, NULL, 'm' }, { "zipf", 1, NULL, 'z' },
        { "fill", 0, &o.fill, 1 }, { "json", 0, &o.json, 1 }, { "csv", 0, &o.csv, 1 }, { "help", 0, NULL, 'h' }, { 0 } };
    (void)term;
    const int code = cli_options(&cli_load, argc, argv, known, load_option, &o);
    if (code != CLI_GO_ON) { return code; }
    if (optind + 1 != argc || !load_url(argv[optind], &o)) {
        cli_complain("load", "needs one URL; write redis://HOST:PORT or unix:PATH");
        return CLI_USAGE;
    }
    run.o = &o;
    run.draw = o.seed * UINT64_C(0x9e3779b97f4a7c15);
    run.warm_ns = o.requests != 0 ? 0 : o.warm * 1000000000;
    load_zipf_open(&run, o.zipf, o.keys);
    (void)prctl(PR_SET_TIMERSLACK, 1);
    const uint64_t most = o.requests != 0 ? o.requests : UINT64_MAX;
    const uint64_t ns = o.requests != 0 ? 0 : (o.warm + o.seconds) * 1000000000;
    const bool opened = load_open(&run), filled = opened && (o.fill == 0 || load_go(&run, true, o.keys, 0));
    const bool ok = filled && load_go(&run, false, most, ns);
    if (ok) { load_print(&run); }
    if (run.why[0] != '\0') { cli_complain("load", "%s", run.why); }
    free(run.room);
    return !opened ? CLI_NO_START : ok && run.errors == 0 && run.unanswered == 0 ? CLI_DONE : CLI_FINDING;
}

const cli_command cli_load = {
    "load", "", "measure a server of the Redis protocol by the clock",
    "Usage: cellar load [OPTION]... URL\n"
    "\n"
    "Sends requests at a fixed rate and prints the percentiles of the time from the instant at which\n"
    "a request was due to its reply. URL: redis://[:PASSWORD@]HOST[:PORT] or unix:PATH.\n"
    "\n"
    "  --rate=N          requests a second. Default 0: each place asks again after its reply\n"
    "  --seconds=N       Range 1..86400. Default 10; --warm=N before are not counted. Default 1.\n"
    "                    --requests=N: so many instead, all counted\n"
    "  --connections=N   Range 1..1024. Default 50\n"
    "  --pipeline=N      requests on their way, a connection. Range 1..1024. Default 1\n"
    "  --mix=G,S[,D]     weights of gets, sets, deletes. Default 90,10,0\n"
    "  --keys=N          Range 2..4294967295. Default 100000; --key-bytes=N: 1..200, default 16\n"
    "  --value-bytes=N   or N-M: a length between, at random. At most 64 MiB. Default 100\n"
    "  --zipf=X          skew of the keys. Range 0 (none) to below 1. Default .99\n"
    "  --seed=N          of the draws. Default 1; --fill: set each key once before\n"
    "  --csv, --json     print that instead of a table; --help: this text\n"
    "\n"
    "Exit codes: 0 done; 1 an error, or no reply; 2 wrong usage; 3 cannot connect; 4 internal error.\n",
    load_main
};
