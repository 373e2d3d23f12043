/* SPDX-License-Identifier: MIT
 *
 * serve: a store behind a port for clients of Redis, in one process.
 *
 * WALK       settings (file, environment), then options -> open the store -> open the port -> steps
 *            until a signal -> cellar_resp_finish and cellar_close, together up to --drain.
 *            A signal during the open does the same behind it.
 * LOCKING    The main thread runs the steps. Threads of the library block all signals. A handler
 *            sets a flag; then SIGTERM and SIGINT have their default action again.
 * SEE ALSO   cellar_resp.h, SETTINGS in cellar_kit.h. */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_kit.h"
#include "cellar_l2.h"
#include "cellar_resp.h"
#include "cli/cli.h"
#include "cli/directory.h"
#include "cli/systemd.h"

#define SERVE_PORT        6379u
#define SERVE_CLIENTS     1024u
#define SERVE_L2_BYTES    (UINT64_C(1) << 30)
#define SERVE_NOT_SET     UINT32_MAX
#define SERVE_WAIT_MS     200  /* longest delay of a signal that comes between two steps */
#define SERVE_TICK_US     1000 /* longest tick between two steps, with the setting threads=0 */
#define SERVE_SECRET_MAX  256u /* bytes of a password file */
#define SERVE_DATABASES   16u
#define SERVE_READY       "READY=1\nSTATUS=serving clients"

static volatile sig_atomic_t serve_stop, serve_reload;

typedef struct serve_run {
    cellar_settings settings;
    cellar_resp_config port;
    const char *settings_file, *l2_path, *l2_write, *policy_file, *password_file;
    uint64_t memory_bytes, l2_bytes; /* 0: as in the settings */
    uint64_t drain_ms;
    int sockets[SYSTEMD_SOCKETS + 1]; /* of LISTEN_FDS */
    char secret[SERVE_SECRET_MAX + 3]; /* with the end of its line */
} serve_run;

/* ---- signals ---- */

static void serve_handle(int number, void (*handler)(int))
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART; /* for reads of the open */
    (void)sigaction(number, &action, NULL);
}

static void serve_on_hangup(int number)
{
    (void)number;
    serve_reload = 1;
}

static void serve_on_end(int number)
{
    (void)number;
    serve_stop = 1;
    serve_handle(SIGTERM, SIG_DFL); /* a second signal ends the program at once */
    serve_handle(SIGINT, SIG_DFL);
}

/* ---- texts ---- */

static void serve_log(cellar_log_level level, const char *module, cellar_err code,
                      const char *text, void *ctx)
{
    (void)level, (void)code, (void)ctx;
    cli_complain("serve", "%s: %s", module, text);
}

static void serve_policy_note(const cellar_settings_note *note, void *ctx)
{
    (void)ctx;
    cli_complain("serve", "%s", note->text);
}

/* Print why the last open failed. */
static int serve_refused(const char *what, cellar_err err)
{
    cellar_error_info e = cellar_error_info_default();
    (void)cellar_last_error(NULL, &e);
    const bool sys = e.sys_errno != 0 && err == CELLAR_E_IO; /* other codes say it all */
    if (e.code == err && e.text[0] != '\0') {
        cli_complain("serve", "cannot open the %s: %s%s%s", what, e.text, sys ? ": " : "",
                     sys ? cli_errno_text(e.sys_errno) : "");
    } else {
        cli_complain("serve", "cannot open the %s: %s", what, cellar_strerror(err));
    }
    return CLI_NO_START;
}

/* ---- options ---- */

/* Read "10s", "500ms" or "2m". */
static bool serve_parse_time(const char *text, uint64_t *ms)
{
    static const struct { const char *unit; uint64_t ms; } units[] = {
        { "ms", 1 }, { "s", 1000 }, { "m", 60000 },
    };
    char digits[16];
    const size_t len = strspn(text, "0123456789");
    if (len == 0 || len >= sizeof digits) { return false; }
    memcpy(digits, text, len);
    digits[len] = '\0';
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(text + len, units[i].unit) != 0) { continue; }
        if (!cli_parse_count(digits, 0, 3600000, ms)) { return false; }
        *ms *= units[i].ms;
        return true;
    }
    return false;
}

static bool serve_wrong(const char *option, const char *text, const char *rule)
{
    cli_complain("serve", "--%s must be %s (got \"%s\")", option, rule, text);
    return false;
}

/* Take a number of an option. */
static bool serve_count(const char *option, uint64_t least, uint64_t most, uint32_t *out)
{
    uint64_t n;
    char rule[64];
    if (cli_parse_count(optarg, least, most, &n)) {
        *out = (uint32_t)n; /* most is a uint32_t */
        return true;
    }
    (void)snprintf(rule, sizeof rule, "%llu..%llu", (unsigned long long)least,
                   (unsigned long long)most);
    return serve_wrong(option, optarg, rule);
}

/* Read a share of the memory of the container or machine, which the settings know. */
static bool serve_share(const char *share, uint64_t *bytes)
{
    cellar_settings s = cellar_settings_default();
    char line[32];
    const int len = snprintf(line, sizeof line, "memory=%s", share);
    if (strchr(share, '%') == NULL || (size_t)len >= sizeof line ||
        cellar_settings_read(&s, "", line, (size_t)len, NULL, NULL) != CELLAR_OK) {
        return false;
    }
    *bytes = s.config.memory_bytes;
    return true;
}

/* Take a size, or a share of the memory. */
static bool serve_size(const char *option, uint64_t *bytes, const char *rule)
{
    return (cli_parse_bytes(optarg, bytes) && *bytes != 0) || serve_share(optarg, bytes) ||
           serve_wrong(option, optarg, rule);
}

/* Check that the shared store goes with the other options. */
static bool serve_shared_fits(const serve_run *r)
{
    if (r->port.shared_bytes == 0 || r->settings.config.l2_path == NULL) { return true; }
    cli_complain("serve", "--shared does not go with --l2 or the setting l2_path: the shared store "
                 "has no disk tier and begins empty");
    return false;
}

/* Check that the budget fits into the memory. */
static bool serve_memory_fits(uint64_t bytes)
{
    uint64_t all;
    char budget[CLI_TEXT], text[CLI_TEXT];
    if (!serve_share("100%", &all) || bytes <= all) { return true; }
    cli_complain("serve", "--memory or the setting memory, with --shared, must be at most the "
                 "memory of this container or machine, %s (got %s)", cli_bytes(text, all),
                 cli_bytes(budget, bytes));
    return false;
}

/* Take the write mode after the settings, which know its words. */
static bool serve_write(serve_run *r)
{
    char line[32];
    if (r->l2_write == NULL) { return true; }
    const int len = snprintf(line, sizeof line, "l2_write=%s", r->l2_write);
    return ((size_t)len < sizeof line &&
            cellar_settings_read(&r->settings, "", line, (size_t)len, NULL, NULL) == CELLAR_OK) ||
           serve_wrong("l2-write", r->l2_write, "eviction, set or through");
}

static bool serve_option(int c, void *ctx)
{
    serve_run *const r = ctx;
    switch (c) {
    case 's': r->settings_file = optarg; return true;
    case 'e':
        r->settings.env_redis = 1;
        return strcmp(optarg, "redis") == 0 || serve_wrong("env", optarg, "redis");
    case 'm':
        return serve_size("memory", &r->memory_bytes,
                          "a size such as 256M, or a share such as 50%");
    case 'd': r->l2_path = optarg; return true;
    case 'b':
        return (cli_parse_bytes(optarg, &r->l2_bytes) && r->l2_bytes >= CELLAR_L2_BYTES_MIN &&
                r->l2_bytes <= CELLAR_L2_BYTES_MAX) ||
               serve_wrong("l2-bytes", optarg, "a size such as 4G, from 16M to 4T");
    case 'W': r->l2_write = optarg; return true;
    case 'p': r->policy_file = optarg; return true;
    case 'n': r->port.namespaces = optarg; return true;
    case 'l': r->port.listen = optarg; return true;
    case 'L': r->port.listen_public = 1; return true;
    case 'P': return serve_count("port", 0, 65535, &r->port.port);
    case 'u': r->port.unix_path = optarg; return true;
    case 'G': r->port.unix_group = optarg; return true;
    case 'S':
        return serve_size("shared", &r->port.shared_bytes,
                          "a size such as 256M, or a share such as 25%");
    case 'a': r->port.admin = optarg; return true;
    case 'w': r->password_file = optarg; return true;
    case 'C': r->port.tls_cert_file = optarg; return true;
    case 'K': r->port.tls_key_file = optarg; return true;
    case 'A': r->port.tls_ca_file = optarg; return true;
    case 'c': return serve_count("max-clients", 1, 65536, &r->port.max_clients);
    case 'r': r->port.writable = 0; return true;
    case 'D': r->port.danger = 1; return true;
    case 't':
        return serve_parse_time(optarg, &r->drain_ms) ||
               serve_wrong("drain", optarg, "a time such as 10s");
    default: return false; /* no option of the table is left */
    }
}

/* Warn of a file with a secret that other users of the machine may read or write. */
static void serve_secret_check(const char *option, const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || (st.st_mode & S_IRWXO) == 0) { return; }
    cli_complain("serve", "warning: each user may open the %s file \"%s\" (mode %04o); "
                 "chmod o= \"%s\"", option, path, (unsigned)(st.st_mode & 07777), path);
}

/* Warn of a settings file with a password that other users of the machine may read. */
static void serve_settings_check(const char *path)
{
    cellar_settings s = cellar_settings_default();
    if (path != NULL && cellar_settings_read(&s, path, NULL, 0, NULL, NULL) == CELLAR_OK &&
        s.resp.password[0] != '\0') {
        serve_secret_check("settings", path);
    }
}

/* Read the password: the first line of its file. */
static bool serve_password(serve_run *r)
{
    FILE *f = fopen(r->password_file, "r");
    if (f == NULL) {
        cli_complain("serve", "cannot read the password file \"%s\"; name a file with one line",
                     r->password_file);
        return false;
    }
    const bool read = fgets(r->secret, sizeof r->secret, f) != NULL;
    (void)fclose(f);
    r->secret[strcspn(r->secret, "\r\n")] = '\0';
    if (strlen(r->secret) > SERVE_SECRET_MAX) {
        cli_complain("serve", "the first line of the password file \"%s\" is longer than 256 "
                     "bytes; write a shorter password", r->password_file);
        return false;
    }
    if (!read || r->secret[0] == '\0') {
        cli_complain("serve", "the password file \"%s\" is empty; write the password into it",
                     r->password_file);
        return false;
    }
    r->port.password = r->secret;
    serve_secret_check("password", r->password_file);
    return true;
}

/* Return half of the free space at a path that need not exist, at most 1 GiB. */
static uint64_t serve_half_free(const char *path)
{
    char folder[CELLAR_SETTINGS_PATH_MAX + 1];
    struct statvfs fs;
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/') { len--; }
    const char *slash = memrchr(path, '/', len);
    (void)snprintf(folder, sizeof folder, "%.*s", slash != NULL ? (int)(slash - path) + 1 : 1,
                   slash != NULL ? path : ".");
    if (statvfs(path, &fs) != 0 && statvfs(folder, &fs) != 0) { return SERVE_L2_BYTES; }
    const uint64_t mib = (uint64_t)fs.f_bavail * fs.f_frsize / (2 << 20) << 20;
    return mib < CELLAR_L2_BYTES_MIN ? CELLAR_L2_BYTES_MIN
                                     : mib < SERVE_L2_BYTES ? mib : SERVE_L2_BYTES;
}

/* Return the size of a disk tier without --l2-bytes: that of the tier which is there, else the size
 * of a new one. */
static uint64_t serve_l2_bytes(const char *path)
{
    const directory_how how = { .path = path, .force = true, .head = true };
    directory_report found;
    int sys_errno;
    const cellar_err err = directory_inspect(&how, &found, &sys_errno);
    return err == CELLAR_OK ? found.l2_bytes : serve_half_free(path);
}

/* Take what the settings say of the port and no option has said. */
static void serve_port_settings(serve_run *r)
{
    const cellar_resp_settings *s = &r->settings.resp;
    cellar_resp_config *o = &r->port;
    if (o->port == SERVE_NOT_SET) { o->port = s->port != 0 ? s->port : SERVE_PORT; }
    if (o->listen == NULL && o->port != 0 && s->listen[0] != '\0') { o->listen = s->listen; }
    if (systemd_sockets(r->sockets) > 0) {
        o->listen_fds = r->sockets;
        o->unix_path = o->listen = NULL;
        o->port = 0;
    }
    if (o->max_clients == 0) { o->max_clients = s->max_clients; }
    if (o->max_clients == 0) { o->max_clients = SERVE_CLIENTS; }
    if (s->idle_timeout_ms != 0) { o->idle_timeout_ms = s->idle_timeout_ms; }
    if (s->buffer_bytes != 0) { o->resp_buffer_bytes = s->buffer_bytes; }
    if (s->password[0] != '\0') { o->password = s->password; }
    o->admin_head_bytes = s->admin_head_bytes;
    o->admin_body_bytes = s->admin_body_bytes;
}

/* Put --policy over the settings. */
static bool serve_policy_file(serve_run *r)
{
    const size_t len = strlen(r->policy_file);
    if (len == 0 || len > CELLAR_SETTINGS_PATH_MAX) {
        return serve_wrong("policy", r->policy_file, "a path of 1..1,023 bytes");
    }
    memcpy(r->settings.policy_file, r->policy_file, len + 1);
    return true;
}

/* Put the options over the settings. Return CLI_DONE or the exit code. */
static int serve_settings(serve_run *r)
{
    const int code = cli_settings("serve", r->settings_file, &r->settings);
    if (code != CLI_DONE) { return code; }
    cellar_config *cfg = &r->settings.config;
    if (r->memory_bytes != 0) { cfg->memory_bytes = r->memory_bytes; }
    const uint64_t both = cfg->memory_bytes + r->port.shared_bytes;
    if (!serve_memory_fits(both < cfg->memory_bytes ? UINT64_MAX : both)) { return CLI_USAGE; }
    if (r->l2_path != NULL) { cfg->l2_path = r->l2_path; }
    if (!serve_shared_fits(r)) { return CLI_USAGE; }
    if (r->l2_bytes != 0) { cfg->l2_bytes = r->l2_bytes; }
    if (cfg->l2_path != NULL && cfg->l2_bytes == 0) {
        cfg->l2_bytes = serve_l2_bytes(cfg->l2_path);
    }
    if (r->policy_file != NULL && !serve_policy_file(r)) { return CLI_USAGE; }
    if (r->settings.policy_file[0] != '\0') { r->port.policy_file = r->settings.policy_file; }
    r->settings.host.log = serve_log;
    r->port.host = &r->settings.host;
    serve_port_settings(r);
    serve_settings_check(r->settings_file);
    if (!serve_write(r)) { return CLI_USAGE; }
    if (r->port.tls_cert_file != NULL) {
        serve_secret_check("TLS key", r->port.tls_key_file != NULL ? r->port.tls_key_file
                                                                   : r->port.tls_cert_file);
    }
    return r->password_file == NULL || serve_password(r) ? CLI_DONE : CLI_USAGE;
}

/* ---- run ---- */

static int64_t serve_now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t serve_now_ms(void) { return serve_now_us() / 1000; }

typedef char serve_names[SERVE_DATABASES][CELLAR_NAME_MAX + 1];

/* Write the namespaces of all databases. The port has checked --namespaces. */
static void serve_names_write(const serve_run *r, serve_names name)
{
    for (uint32_t i = 0; i < SERVE_DATABASES; i++) {
        (void)snprintf(name[i], sizeof name[i], "db%u", (unsigned)i);
    }
    for (const char *p = r->port.namespaces; p != NULL && *p != '\0';) {
        char *at;
        const unsigned long n = strtoul(p, &at, 10);
        const size_t len = strcspn(++at, " ,");
        (void)snprintf(name[n], sizeof name[n], "%.*s", (int)len, at);
        p = at + len + strspn(at + len, " ,");
    }
}

/* Switch the namespaces of all databases off. The empty name is that of the store itself. */
static cellar_err serve_switch_off(const serve_run *r, cellar *store)
{
    serve_names name;
    cellar_err err = cellar_option_set(store, CELLAR_OPT_ENABLED, 0);
    serve_names_write(r, name);
    for (uint32_t i = 0; i < SERVE_DATABASES && err == CELLAR_OK; i++) {
        cellar *ns;
        if (name[i][0] == '\0') { continue; }
        err = cellar_namespace_open(store, name[i], NULL, &ns);
        if (err != CELLAR_OK) { break; }
        err = cellar_option_set(ns, CELLAR_OPT_ENABLED, 0);
        (void)cellar_namespace_close(ns);
    }
    return err;
}

/* Warn of what the policies name and no database has. */
static void serve_policies_check(const serve_run *r)
{
    serve_names name;
    cellar_policy_space spaces[SERVE_DATABASES];
    const uint32_t shared = r->port.shared_bytes != 0; /* then database 0 is no namespace */
    cellar_policy_opts o = cellar_policy_opts_default();
    cellar_policy_rule *rules;
    size_t count;
    if (r->settings.policy_file[0] == '\0') { return; }
    serve_names_write(r, name);
    for (uint32_t i = 0; i < SERVE_DATABASES; i++) {
        spaces[i] = (cellar_policy_space){ name[i], NULL };
    }
    o.spaces = spaces + shared;
    o.space_count = SERVE_DATABASES - shared;
    (void)cellar_policy_read(r->settings.policy_file, &o, serve_policy_note, NULL, &rules, &count);
    cellar_free(rules);
}

/* Read the policies again and tell the manager. If they are faulty, the present ones stay. */
static void serve_policies(const serve_run *r, cellar *store)
{
    char text[96];
    cellar_err err = CELLAR_OK;
    (void)snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=reading policies",
                   (long long)serve_now_us());
    systemd_tell(text);
    if (r->settings.policy_file[0] != '\0') {
        err = cellar_policy_reload(store, r->settings.policy_file, serve_policy_note, NULL);
    }
    if (err == CELLAR_OK) {
        serve_policies_check(r);
        systemd_tell(SERVE_READY);
    } else {
        cli_complain("serve", "the present policies stay: %s", cellar_strerror(err));
        systemd_tell(SERVE_READY " by the former policies: the file is faulty");
    }
}

/* Close the port after what clients have sent, then the store, both within --drain. */
static void serve_end(const serve_run *r, cellar *store, cellar_resp *port)
{
    const int64_t end_ms = serve_now_ms() + (int64_t)r->drain_ms;
    if (cellar_resp_finish(port, (int64_t)r->drain_ms) == CELLAR_E_TIMEOUT) {
        cli_complain("serve", "--drain was too short: clients lost requests or replies");
    }
    cellar_resp_close(port);
    const int64_t left_ms = end_ms - serve_now_ms();
    int64_t limit_ms = left_ms > 1 ? left_ms : 1;
    const int64_t own_ms = r->settings.l2.close_ms;
    if (own_ms != 0 && own_ms < limit_ms) { limit_ms = own_ms; }
    (void)cellar_option_set(store, CELLAR_OPT_L2_CLOSE_MS, limit_ms); /* no disk: no effect */
    (void)cellar_close(store);
}

static void serve_loop(const serve_run *r, cellar *store, cellar_resp *port)
{
    const int64_t beat_ms = systemd_watchdog_ms();
    for (int64_t sent_ms = serve_now_ms(); serve_stop == 0;) {
        int64_t wait_ms = beat_ms != 0 ? sent_ms + beat_ms - serve_now_ms() : SERVE_WAIT_MS;
        if (wait_ms <= 0) {
            systemd_tell("WATCHDOG=1");
            sent_ms = serve_now_ms();
            wait_ms = beat_ms;
        }
        (void)cellar_resp_step(port, (int)(wait_ms < SERVE_WAIT_MS ? wait_ms : SERVE_WAIT_MS));
        if (r->settings.host.no_threads != 0) { (void)cellar_tick(store, SERVE_TICK_US, NULL); }
        if (serve_reload != 0) {
            serve_reload = 0;
            serve_policies(r, store);
        }
    }
}

/* Print where the port is. A script may wait for this line. */
static void serve_ready(const serve_run *r, const cellar_resp *port)
{
    cellar_resp_stats st = cellar_resp_stats_default();
    (void)cellar_resp_stats_get(port, &st);
    printf("ready:");
    if (st.port != 0) { printf(" port %llu", (unsigned long long)st.port); }
    if (r->port.unix_path != NULL) {
        printf(" socket ");
        cli_plain(stdout, r->port.unix_path);
    }
    if (r->port.listen_fds != NULL) { printf(" sockets of LISTEN_FDS"); }
    if (st.admin_port != 0) { printf(" admin %llu", (unsigned long long)st.admin_port); }
    putchar('\n');
    (void)fflush(stdout);
    systemd_tell(SERVE_READY);
}

static int serve_open_and_run(serve_run *r)
{
    cellar *store;
    cellar_resp *port;
    serve_handle(SIGTERM, serve_on_end);
    serve_handle(SIGINT, serve_on_end);
    serve_handle(SIGHUP, serve_on_hangup);
    serve_handle(SIGUSR1, SIG_IGN); /* the default action would end the program without a close */
    serve_handle(SIGUSR2, SIG_IGN);
    cellar_err err = cellar_settings_open(&r->settings, serve_policy_note, NULL, &store);
    if (err != CELLAR_OK) { return serve_refused("store", err); }
    err = cellar_resp_open(store, &r->port, &port);
    if (err != CELLAR_OK) {
        const int code = serve_refused("port", err);
        (void)cellar_close(store);
        return code;
    }
    err = r->settings.disabled != 0 ? serve_switch_off(r, store) : CELLAR_OK;
    if (err != CELLAR_OK) {
        const int code = serve_refused("databases", err);
        cellar_resp_close(port);
        (void)cellar_close(store);
        return code;
    }
    serve_policies_check(r);
    if (serve_stop == 0) {
        serve_ready(r, port);
        serve_loop(r, store, port);
    }
    systemd_tell("STOPPING=1\nSTATUS=ending clients and writing memory to the disk tier");
    serve_end(r, store, port);
    return CLI_DONE;
}

static int serve_run_command(int argc, char **argv, const cli_terminal *term)
{
    static const struct option options[] = {
        { "settings", required_argument, NULL, 's' }, { "env", required_argument, NULL, 'e' },
        { "memory", required_argument, NULL, 'm' },
        { "l2", required_argument, NULL, 'd' }, { "l2-bytes", required_argument, NULL, 'b' },
        { "l2-write", required_argument, NULL, 'W' },
        { "policy", required_argument, NULL, 'p' }, { "port", required_argument, NULL, 'P' },
        { "listen", required_argument, NULL, 'l' }, { "listen-public", no_argument, NULL, 'L' },
        { "unix", required_argument, NULL, 'u' }, { "unix-group", required_argument, NULL, 'G' },
        { "shared", required_argument, NULL, 'S' }, { "admin", required_argument, NULL, 'a' },
        { "password-file", required_argument, NULL, 'w' },
        { "tls-cert", required_argument, NULL, 'C' }, { "tls-key", required_argument, NULL, 'K' },
        { "tls-ca", required_argument, NULL, 'A' },
        { "namespaces", required_argument, NULL, 'n' },
        { "max-clients", required_argument, NULL, 'c' }, { "read-only", no_argument, NULL, 'r' },
        { "danger", no_argument, NULL, 'D' }, { "drain", required_argument, NULL, 't' },
        { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 }
    };
    static serve_run r; /* 10 KiB */
    (void)term;
    r.settings = cellar_settings_default();
    r.settings.l2.write = CELLAR_L2_WRITE_ON_SET; /* unless the settings name a mode */
    r.port = cellar_resp_config_default();
    r.port.port = SERVE_NOT_SET;
    r.port.writable = 1;
    r.drain_ms = 10000;
    int code = cli_options(&cli_serve, argc, argv, options, serve_option, &r);
    if (code == CLI_GO_ON) { code = cli_no_arguments(&cli_serve, argc, argv); }
    if (code != CLI_GO_ON) { return code; }
    code = serve_settings(&r);
    return code != CLI_DONE ? code : serve_open_and_run(&r);
}

const cli_command cli_serve = {
    "serve", "", "run a store behind a port for clients of Redis",
    "Usage: cellar serve [OPTION]...\n"
    "\n"
    "Opens a store and serves clients of Redis (cellar_resp.h) on 127.0.0.1 and ::1, until\n"
    "SIGTERM or SIGINT. Prints one line when clients can connect. Settings come from --settings,\n"
    "then from the environment (SETTINGS in cellar_kit.h), then from the options. Sockets of\n"
    "systemd (LISTEN_FDS) stand in place of --port, --listen and --unix; NOTIFY_SOCKET and\n"
    "WATCHDOG_USEC have the meaning that sd_notify(3) gives them. The setting enabled=0 switches\n"
    "all databases off, but for that of --shared.\n"
    "\n"
    "  --settings=FILE       settings of the store\n"
    "  --env=redis           REDIS_HOST, REDIS_PORT, REDIS_PASSWORD, REDIS_MAX_CONNECTIONS and\n"
    "                        REDIS_SOCKET_TIMEOUT of the environment are settings, too\n"
    "  --memory=SIZE         budget, 64M by default; or a share of the memory: 50%\n"
    "  --l2=DIR              directory of the disk tier; created\n"
    "  --l2-bytes=SIZE       size of its files, from 16M; without it they keep their size; of new\n"
    "                        ones it is half of the free space, 1G at most\n"
    "  --l2-write=MODE       eviction, set or through: when keys go to disk. set by default: kill\n"
    "                        -9 loses no key of more than a second ago that has 10 s left, and\n"
    "                        that the disk tier does not refuse (INFO persistence)\n"
    "  --policy=FILE         policies of keys; SIGHUP reads them again\n"
    "  --port=N              TCP port, 6379 by default; 0: none\n"
    "  --listen=ADDRESS      numeric address in place of 127.0.0.1 and ::1\n"
    "  --listen-public       the address may be one that other machines reach; needs a password\n"
    "  --unix=PATH           socket file; its folder must not be writable by others\n"
    "  --unix-group=NAME     the socket file serves this group as well: mode 0660\n"
    "  --shared=SIZE         database 0 is a store of so many bytes that processes share through\n"
    "                        the remote tier (cellar_remote.h); it begins empty\n"
    "  --admin=ADDRESS       dashboard, metrics and health over HTTP: \"9180\" for 127.0.0.1 and\n"
    "                        ::1, \"ADDRESS:9180\", or the path of a socket file\n"
    "  --password-file=FILE  its first line is the password for AUTH\n"
    "  --tls-cert=FILE       port and page over TCP speak TLS with this certificate, in PEM; read\n"
    "                        again when it changes; needs a build with TLS=1\n"
    "  --tls-key=FILE        its key; without it the key is in the file of --tls-cert\n"
    "  --tls-ca=FILE         each client needs a certificate of these\n"
    "  --namespaces=LIST     namespaces of databases: \"0=image_task 3=users\"\n"
    "  --max-clients=N       1,024 by default\n"
    "  --read-only           refuse commands that change the store\n"
    "  --danger              allow FLUSHALL, SHUTDOWN and DEBUG\n"
    "  --drain=TIME          longest time from the signal to the end, 10s by default: requests\n"
    "                        that have arrived run, then memory is written to the disk tier;\n"
    "                        a second signal ends the program at once\n"
    "  --help                print this text\n"
    "\n"
    "Exit codes: 0 ended by a signal, 2 wrong usage or settings, 3 cannot start: address in use,\n"
    "            public address without password, directory of --l2 in use, wrong or full (with\n"
    "            the setting l2_optional=1 it starts without the disk then).\n",
    serve_run_command
};
