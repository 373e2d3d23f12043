/* SPDX-License-Identifier: MIT
 *
 * Aim:    A call that computes a value from the old one gives the result of its last round, if
 *         another writer was faster in the round before: cellar_update of the kit and of the port.
 * Method: A shared tier replaces the value in the middle of each change, so that each function runs
 *         twice. The oracle is the same call in a plain namespace that has the second value. */
#include "tests/support/port_kit.h"
#include "tests/support/shared_kit.h"

#include "cellar_kit.h"

static resp_kit kit;
static shared_server server;
static shared_client client;
static cellar *plain, *shared;      /* databases 0 and 1 */
static cellar_status *statuses[2];  /* in these namespaces */
static char next[64];               /* what the other writer leaves */
static size_t next_len;
static bool next_there, armed;

static void write_first(shared_client *m, const char *call)
{
    if (!armed || (strcmp(call, "put") != 0 && strcmp(call, "remove") != 0)) { return; }
    armed = false;
    shared_row *r = shared_find(m->server, "k", 1, true);
    T_REQUIRE(r != NULL);
    r->there = next_there;
    r->deadline_ms = INT64_MAX;
    r->value_len = next_len;
    memcpy(r->value, next, next_len);
    r->check = ++m->server->next_check;
    shared_report(m->server, NULL, "k", 1);
}

static void databases(cellar_resp_config *o) { o->namespaces = "0=plain 1=shared"; }

static void begin(void)
{
    static const char *const names[] = { "plain", "shared" };
    cellar *store = api_open(8 << 20), *ns[2];
    for (int i = 0; i < 2; i++) {
        cellar_namespace_config o = { .struct_size = sizeof o, .tier = CELLAR_TIER_L1 };
        cellar_status_config s = { .struct_size = sizeof s, .ns = &o, .clock = api_clock };
        T_REQUIRE(cellar_status_open(store, names[i], &s, &statuses[i]) == CELLAR_OK);
        T_REQUIRE(cellar_namespace_open(store, names[i], NULL, &ns[i]) == CELLAR_OK);
    }
    plain = ns[0], shared = ns[1];
    shared_server_init(&server);
    shared_client_init(&client, &server);
    client.inside = write_first;
    T_REQUIRE(cellar_tier_attach(shared, &client.table) == CELLAR_OK);
    rk_open_on(&kit, store, databases);
}

static void end(void)
{
    for (int i = 0; i < 2; i++) { cellar_status_close(statuses[i]); }
    T_EQ_I64(cellar_namespace_close(plain), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(shared), CELLAR_OK);
    rk_close(&kit);
}

/* Run a step in one namespace and write what it returned to `said`. */
typedef void (*step)(cellar *ns, char said[128]);

/* Write the value of the key after what a call returned. */
static void add_value(cellar *ns, char said[128])
{
    char value[64];
    size_t len = 0;
    cellar_entry_info info = cellar_entry_info_default();
    const cellar_err err = cellar_get(ns, "k", 1, value, sizeof value, &len);
    char *p = said + strlen(said);
    p += snprintf(p, 32, " = %s ", cellar_code_name(err));
    if (err != CELLAR_OK) { return; }
    for (size_t i = 0; i < len && i < 24; i++) { p += snprintf(p, 3, "%02x", (uint8_t)value[i]); }
    T_EQ_I64(cellar_entry_info_get(ns, "k", 1, 0, &info), CELLAR_OK);
    (void)snprintf(p, 24, " flags %x", info.user_flags);
}

static void compare(const char *name, step first, step second, step call)
{
    char got[128] = "", want[128] = "", ignored[128];
    T_EQ_I64(cellar_clear(plain), CELLAR_OK);
    T_EQ_I64(cellar_clear(shared), CELLAR_OK);
    second(plain, ignored);
    const cellar_err err = cellar_get(plain, "k", 1, next, sizeof next, &next_len);
    next_there = err == CELLAR_OK;
    if (!next_there) { next_len = 0; }
    first(shared, ignored);
    armed = true;
    call(shared, got);
    T_CHECK(!armed); /* there were two rounds */
    armed = false;
    call(plain, want);
    add_value(shared, got);
    add_value(plain, want);
    if (!T_EQ_STR(got, want)) { printf("# %s\n", name); }
}

/* ---- The kit --------------------------------------------------------------------------------- */

static void nothing(cellar *ns, char said[128]) { (void)ns, said[0] = '\0'; }

static void task(cellar *ns, char said[128])
{
    cellar_status *s = statuses[ns == shared];
    T_EQ_I64(cellar_status_set(s, "k", 1, "old", 3, "success"), CELLAR_OK);
    said[0] = '\0';
}
static void other_task(cellar *ns, char said[128])
{
    cellar_status *s = statuses[ns == shared];
    T_EQ_I64(cellar_status_set(s, "k", 1, "other", 5, "success"), CELLAR_OK);
    said[0] = '\0';
}
static cellar_err append_text(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    cellar_buf_append(out, old, old_len);
    return cellar_buf_append(out, ctx, strlen(ctx));
}
static void merge(cellar *ns, char said[128])
{
    char text[] = "+new";
    snprintf(said, 128, "%d", cellar_status_update(statuses[ns == shared], "k", 1, "batch",
                                                   append_text, text));
}

T_CASE(call_of_the_kit_keeps_nothing_of_a_lost_round)
{
    begin();
    compare("status_update", task, task, merge);
    compare("status_update", task, other_task, merge);
    compare("status_update", task, nothing, merge);
    end();
}

/* ---- The port -------------------------------------------------------------------------------- */

static const char *line, *values[2]; /* of the command; NULL: no entry */

static void value(cellar *ns, const char *text)
{
    if (text != NULL) { T_EQ_I64(api_put(ns, "k", text, NULL), CELLAR_OK); }
}
static void first_value(cellar *ns, char said[128]) { value(ns, values[0]), said[0] = '\0'; }
static void second_value(cellar *ns, char said[128]) { value(ns, values[1]), said[0] = '\0'; }
static void command(cellar *ns, char said[128])
{
    T_EQ_STR(rk_line(&kit, ns == shared ? "SELECT 1" : "SELECT 0"), "+OK");
    snprintf(said, 64, "%s", rk_line(&kit, line));
}

#define RELEASE   "c3f8721cbb97f72bc19e972846bd7aaf91901658"
#define REACQUIRE "1cac51482acf5858da00f6d685d68f886cd6b6b2"
#define INCR_OLD  "f4a7da3e5d8ea3b46642af08427151cae0190400"

T_CASE(command_of_the_port_keeps_nothing_of_a_lost_round)
{
    static const struct { const char *first, *second, *line; } cases[] = {
        { NULL, "7", "INCR k" }, { "7", NULL, "INCR k" }, { "7", "8", "DECRBY k 3" },
        { "7", "x", "INCR k" }, { NULL, "1.5", "INCRBYFLOAT k 0.25" },
        { "2", "1.5", "INCRBYFLOAT k 0.25" }, { "1.5", "x", "INCRBYFLOAT k 0.25" },
        { "long text", "ab", "APPEND k cd" }, { NULL, "ab", "APPEND k cd" },
        { "long text", "ab", "SETRANGE k 4 cd" }, { "ab", NULL, "SETRANGE k 2 cd" },
        { "long text", "ab", "GETSET k cd" }, { "long text", NULL, "SET k cd GET" },
        { NULL, "ab", "SET k cd GET" }, { NULL, "ab", "SET k cd NX GET" },
        { "ab", NULL, "SET k cd XX GET" }, { "ab", "abc", "GETEX k PX 1000" },
        { "ab", NULL, "GETEX k PX 1000" }, { "ab", "abc", "SET k x PXAT 1 GET" },
        { "ab", NULL, "SET k x PXAT 1" }, { "t", "t", "EVALSHA " RELEASE " 1 k t" },
        { "t", "u", "EVALSHA " RELEASE " 1 k t" }, { "t", NULL, "EVALSHA " RELEASE " 1 k t" },
        { "t", "t", "EVALSHA " REACQUIRE " 1 k t 7000" },
        { "t", "u", "EVALSHA " REACQUIRE " 1 k t 7000" },
        { "7", NULL, "EVALSHA " INCR_OLD " 1 k 2" }, { "7", "9", "EVALSHA " INCR_OLD " 1 k 2" },
    };
    begin();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        values[0] = cases[i].first;
        values[1] = cases[i].second;
        line = cases[i].line;
        compare(line, first_value, second_value, command);
    }
    end();
}

T_MAIN("api_update_again")
