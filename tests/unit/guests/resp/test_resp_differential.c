/* SPDX-License-Identifier: MIT
 *
 * Aim:    for the commands of the groups read and write the port gives the replies and the errors
 *         of redis-server 7.0, and TTLs within one second.
 * Method: random commands with right and wrong words go to both, in batches, then the same by three
 *         clients in turn, with transactions, WATCH and RESP3: the replies are compared byte by byte,
 *         those inside a reply of EXEC one by one. Lists of keys are compared as sets, times within a
 *         second. No entry expires during the run: a TTL is long, or in the past.
 *         Channels: three clients of each send random commands. After each one all clients send a
 *         PING with a number, and what a client heard up to its answer is compared.
 * NEEDS   redis-check-rdb of the package redis-tools, which is redis-server under another name.
 *         Without it, or with one of another version than 7, each case is skipped. */
#include "base/clock.h"
#include "base/num.h"
#include "tests/support/folder.h"
#include "tests/support/resp_client.h"
#include "tests/support/t.h"

#include "cellar.h"
#include "cellar_resp.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#define SERVER "/usr/bin/redis-check-rdb"
#define BATCH 50u
#define WORDS_MAX 12u
#define CLIENTS 3u
#define TURN 8u      /* commands of a client before the next one comes */
#define QUEUED 256u  /* commands of a transaction */

static struct pair {
    char folder[T_FOLDER_MAX], server_path[T_FOLDER_MAX + 16], port_path[T_FOLDER_MAX + 16];
    pid_t pid;
    cellar *store;
    cellar_resp *port;
    resp_client_kit server[CLIENTS], ours[CLIENTS];
} pair;

static uint64_t state;

static uint32_t draw(uint32_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((state >> 33) % below);
}

static void start_server(void)
{
    snprintf(pair.server_path, sizeof pair.server_path, "%s/server", pair.folder);
    pair.pid = fork();
    T_REQUIRE(pair.pid >= 0);
    if (pair.pid == 0) {
        const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        (void)dup2(null, 0), (void)dup2(null, 1), (void)dup2(null, 2);
        execl(SERVER, "redis-server", "--port", "0", "--unixsocket", pair.server_path, "--save", "",
              "--appendonly", "no", "--dir", pair.folder, "--daemonize", "no", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; !rc_connect(&pair.server[0], pair.server_path); i++) {
        T_REQUIRE(i < 2000 * (int)t_patience());
        (void)poll(NULL, 0, 10);
    }
    for (size_t i = 1; i < CLIENTS; i++) {
        T_REQUIRE(rc_connect(&pair.server[i], pair.server_path));
    }
}

static void start_port(void)
{
    snprintf(pair.port_path, sizeof pair.port_path, "%s/port", pair.folder);
    T_REQUIRE(cellar_open(NULL, &pair.store) == CELLAR_OK);
    cellar_resp_config o = { .struct_size = sizeof o, .unix_path = pair.port_path, .writable = 1 };
    T_REQUIRE(cellar_resp_open(pair.store, &o, &pair.port) == CELLAR_OK);
    T_REQUIRE(cellar_resp_start(pair.port) == CELLAR_OK);
    for (size_t i = 0; i < CLIENTS; i++) { T_REQUIRE(rc_connect(&pair.ours[i], pair.port_path)); }
}

/* Return whether the server is 7: 8 takes a blank before a cursor, and answers PUBLISH first. */
static bool server_fits(void)
{
    char line[3 * T_FOLDER_MAX];
    (void)snprintf(line, sizeof line, "ln -s " SERVER
                   " %s/redis-server && %s/redis-server --version |"
                   " grep -q ' v=7[.]'", pair.folder, pair.folder);
    return system(line) == 0;
}

static bool start(void)
{
    if (access(SERVER, X_OK) != 0) {
        T_SKIP("no " SERVER " (package redis-tools)");
        return false;
    }
    state = t_seed();
    t_folder(pair.folder);
    if (!server_fits()) {
        t_wipe(pair.folder);
        T_SKIP(SERVER " is not that of Redis 7");
        return false;
    }
    start_server();
    start_port();
    return true;
}

static void stop(void)
{
    for (size_t i = 0; i < CLIENTS; i++) {
        rc_close(&pair.server[i]);
        rc_close(&pair.ours[i]);
    }
    cellar_resp_close(pair.port);
    T_EQ_I64(cellar_close(pair.store), CELLAR_OK);
    T_EQ_I64(kill(pair.pid, SIGKILL), 0);
    T_EQ_I64(waitpid(pair.pid, NULL, 0), pair.pid);
    (void)unlink(pair.port_path);
    t_wipe(pair.folder);
}

/* ---- Random commands ------------------------------------------------------------------------- */

typedef struct command {
    rc_word word[WORDS_MAX];
    size_t count;
    char text[WORDS_MAX][320];
} command;

static void put(command *c, const char *text, size_t len)
{
    T_REQUIRE(c->count < WORDS_MAX && len <= sizeof c->text[0]);
    memcpy(c->text[c->count], text, len);
    c->word[c->count] = (rc_word){ c->text[c->count], len };
    c->count++;
}

static void put_str(command *c, const char *text) { put(c, text, strlen(text)); }

#define PICK(list) (list)[draw((uint32_t)(sizeof(list) / sizeof((list)[0])))]

/* Lists of words, right and wrong ones. A word with bars is several words. */
static const struct list {
    char letter;
    const char *word[28]; /* up to NULL */
} lists[] = {
    { 'k', { "a", "b", "ab", "key:1", "key:2", "key:10", "k[x]", "n1" } }, /* keys */
    { 'v', { "", "0", "1", "10", "-1", "05", "+5", " 5", "-0", "abc", "1.5", "-2.25", "3.0e3", "0x10",
             "9223372036854775807", "-9223372036854775808", "9223372036854775808",
             "12345678901234567890", "nan", "inf", "a longer value with blanks", "1e-20",
             "9223372036854775800" } }, /* values */
    { 'n', { "0", "1", "-1", "2", "3", "-3", "5", "100", "-100", "9223372036854775807",
             "-9223372036854775808", "9223372036854775808", "abc", "", "1.5", " 1", "01", "-0" } },
    { 'i', { "0", "1", "-1", "2", "7", "-3", "50", "-100", "abc", "", "-9223372036854775808",
             "9223372036854775807" } }, /* indexes; offsets: a large one would make a large value */
    { 'o', { "0", "1", "5", "40", "abc", "-1", "-5", "-5", "536870912", "536870912" } },
    { 'f', { "0", "1", "-1", "0.1", "1.5", "-2.75", "3.0e3", "1e17", "abc", "", "nan", "inf", "-inf",
             " 1", "1 ", "0x1p4", "1e-18", "1e5000", "5e-324" } }, /* floats */
    { 'p', { "*", "a*", "key:?", "key:[12]", "key:[^1]*", "k\\[x\\]", "k[[]x]", "", "a", "zz*", "[a-b]",
             "[b-a]*", "*[", "key*\\", "?", "**", "*:*", "[^a]*", "[a-", "k[" } }, /* patterns */
    { 'b', { "NX", "XX", "GET", "KEEPTTL", "PERSIST", "nx", "FOO", "get" } }, /* options of SET */
    { 'x', { "NX", "XX" } },
    { 'c', { "NX", "XX", "GT", "LT", "nx", "FOO", "lt" } }, /* of EXPIRE, of COPY */
    { 'd', { "REPLACE", "replace", "DB", "FOO", "0", "DB|0", "DB|1", "DB|99", "DB|x" } },
    { 'u', { "abc", "+", " 0", "99999999999999999999", "0x", "1a", "0|COUNT|0", "0|COUNT|abc" } },
    { 'y', { "COUNT", "MATCH", "FOO", "TYPE", "0", "abc" } }, /* of SCAN, behind a wrong cursor */
    { 'e', { "return 1|-1", "return 1|abc", "return 1|9", "return 1|", "return 1|1.5" } },
    /* None is empty: the port refuses an empty key, the server does not. No number is a short TTL:
     * DBSIZE of the server counts an expired key for up to 100 ms. */
    { 'a', { "0", "1000", "-1", "abc", "1.5", "100000", "9223372036854775808", "a", "b", "ab", "key:1" } },
    /* Watched keys are there from the first command on, and stay: a key that is missing, set and
     * deleted again is a known difference. */
    { 'w', { "w1", "w2", "w3" } },
    { 'h', { "2", "3", "3", "4", "x" } }, /* versions of HELLO */
};

static void put_listed(command *c, char letter)
{
    const struct list *l = lists;
    uint32_t count = 0;
    while (l->letter != letter) { l++; }
    while (l->word[count] != NULL) { count++; }
    const char *word = l->word[draw(count)], *bar;
    for (; (bar = strchr(word, '|')) != NULL; word = bar + 1) { put(c, word, (size_t)(bar - word)); }
    put_str(c, word);
}

static void put_value(command *c)
{
    char bytes[300];
    if (draw(20) != 0) {
        put_listed(c, 'v');
        return;
    }
    const size_t len = draw(sizeof bytes);
    for (size_t i = 0; i < len; i++) { bytes[i] = (char)draw(256); }
    put(c, bytes, len);
}

/* A long time from now, or a wrong word. at: since 1970. */
static void put_time(command *c, bool ms, bool at)
{
    static const char *const wrong[] = { "0", "-1", "abc", "", "1.5", "9223372036854775807",
                                         "-9223372036854775808" };
    char text[32];
    if (draw(4) == 0) { /* no two of the largest times are equal: GT and LT have a slack */
        snprintf(text, sizeof text, "9223372%09u", draw(1000000000));
        put_str(c, draw(8) == 0 ? text : PICK(wrong));
        return;
    }
    int64_t v = 1000 + (int64_t)draw(100000);
    if (at) { v += draw(6) == 0 ? -(int64_t)time(NULL) / 2 : (int64_t)time(NULL); }
    snprintf(text, sizeof text, "%" PRId64, ms ? v * 1000 : v);
    put_str(c, text);
}

static void put_set_options(command *c, bool getex)
{
    static const char *const timed[] = { "EX", "PX", "EXAT", "PXAT" };
    for (uint32_t n = draw(3); n > 0; n--) {
        if (draw(2) != 0) {
            const uint32_t unit = draw(4);
            put_str(c, timed[unit]);
            if (draw(12) != 0) { put_time(c, (unit & 1) != 0, unit > 1); }
        } else if (getex && draw(2) == 0) {
            put_str(c, "PERSIST");
        } else {
            put_listed(c, 'b');
        }
    }
}

/* No two times are equal: a deadline that stays the same is no change to the port. */
static void put_own_time(command *c)
{
    char text[32];
    put(c, text, (size_t)snprintf(text, sizeof text, "%u", 10000000u + draw(1u << 30)));
}

/* How the two replies are compared. */
typedef enum compare {
    SAME,
    WITHIN_1,    /* integers that differ by 1 at most */
    WITHIN_1000,
    AS_SET,      /* a list of keys, then sorted */
    ANY_KEY,     /* both nil, or none */
    SAME_KIND,   /* versions and ids differ */
    BEGIN,       /* OK begins a transaction */
    TRANSACTION  /* the replies to the queued commands */
} compare;

/* The words behind the name have letters: those of the lists; s m: a time in seconds, in ms; S M:
 * since 1970; O G: options of SET, of GETEX; t: a time of its own. The word behind ? may be missing. */
static const struct row {
    const char *name, *letters;
    compare how;
    uint32_t weight;
} rows[] = {
    { "GET", "k", SAME, 10 }, { "MGET", "k?k?k?k", SAME, 4 }, { "STRLEN", "k", SAME, 2 },
    { "GETRANGE", "kii", SAME, 5 }, { "SUBSTR", "kii", SAME, 1 }, { "EXISTS", "k?k?k?k", SAME, 3 },
    { "TYPE", "k", SAME, 2 }, { "TTL", "k", WITHIN_1, 4 }, { "PTTL", "k", WITHIN_1000, 4 },
    { "EXPIRETIME", "k", WITHIN_1, 2 }, { "PEXPIRETIME", "k", WITHIN_1000, 2 },
    { "KEYS", "p", AS_SET, 4 }, { "DBSIZE", "", SAME, 2 }, { "RANDOMKEY", "", ANY_KEY, 2 },
    { "SET", "kvO", SAME, 20 }, { "SETEX", "ksv", SAME, 4 }, { "PSETEX", "kmv", SAME, 3 },
    { "SETNX", "kv", SAME, 3 }, { "GETSET", "kv", SAME, 3 }, { "GETDEL", "k", SAME, 3 },
    { "GETEX", "kG", SAME, 8 }, { "MSET", "kv", SAME, 1 }, { "MSET", "kvkvkv", SAME, 1 },
    { "MSET", "kvk?v", SAME, 1 }, { "MSETNX", "kv", SAME, 1 }, { "MSETNX", "kvkv", SAME, 1 },
    { "MSETNX", "kvkvk?v", SAME, 1 }, { "APPEND", "kv", SAME, 4 }, { "SETRANGE", "kov", SAME, 4 },
    { "INCR", "k", SAME, 4 }, { "DECR", "k", SAME, 3 }, { "INCRBY", "kn", SAME, 5 },
    { "DECRBY", "kn", SAME, 4 }, { "INCRBYFLOAT", "kf", SAME, 6 }, { "DEL", "k?k?k?k", SAME, 3 },
    { "UNLINK", "k?k?k?k", SAME, 1 }, { "EXPIRE", "ks?c?c", SAME, 6 },
    { "PEXPIRE", "km?c?c", SAME, 5 }, { "EXPIREAT", "kS?c?c", SAME, 4 },
    { "PEXPIREAT", "kM?c?c", SAME, 4 }, { "PERSIST", "k", SAME, 3 }, { "RENAME", "kk", SAME, 4 },
    { "RENAMENX", "kk", SAME, 4 }, { "TOUCH", "k?k?k?k", SAME, 1 }, { "COPY", "kk?d?d", SAME, 5 },
    { "SCAN", "u?y?y", SAME, 3 }, { "EVAL", "e?k", SAME, 1 }, { "OBJECT REFCOUNT", "", SAME, 1 },
    { "OBJECT FOO", "?a?a?a", SAME, 1 }, { "MEMORY FOO", "k", SAME, 1 },
    { "CONFIG FOO", "k", SAME, 1 }, { "GET", "?a?a?a", SAME, 1 }, { "SETEX", "?a?a?a?a", SAME, 1 },
    { "EXPIRE", "?a?a?a?a", SAME, 1 }, { "RENAME", "?a?a?a", SAME, 1 },
    { "nosuch", "?a?a?a?a?a", SAME, 1 }, { "DBSIZE", "?a?a?a", SAME, 1 },
};
#define ROWS (sizeof rows / sizeof rows[0])

static const struct row transaction_rows[] = {
    { "MULTI", "", BEGIN, 20 }, { "EXEC", "", TRANSACTION, 20 }, { "DISCARD", "", SAME, 3 },
    { "WATCH", "w?w", SAME, 12 }, { "UNWATCH", "", SAME, 2 }, { "HELLO", "h", SAME_KIND, 4 },
    { "MULTI", "?a?a", BEGIN, 1 }, { "EXEC", "k", SAME, 1 }, { "SET", "wv?x", SAME, 6 },
    { "APPEND", "wv", SAME, 1 }, { "INCR", "w", SAME, 4 }, { "GET", "w", SAME, 6 },
    { "PEXPIRE", "wt", SAME, 2 },
};
#define TRANSACTION_ROWS (sizeof transaction_rows / sizeof transaction_rows[0])

static const struct row *pick_row(const struct row *from, size_t count)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < count; i++) { sum += from[i].weight; }
    uint32_t at = draw(sum);
    size_t i = 0;
    while (at >= from[i].weight) { at -= from[i++].weight; }
    return &from[i];
}

static void put_letter(command *c, char letter)
{
    switch (letter) {
    case 'v': put_value(c); break;
    case 's': case 'm': put_time(c, letter == 'm', false); break;
    case 'S': case 'M': put_time(c, letter == 'M', true); break;
    case 'O': case 'G': put_set_options(c, letter == 'G'); break;
    case 't': put_own_time(c); break;
    default: put_listed(c, letter);
    }
}

static compare make(command *c, const struct row *r)
{
    const char *second = strchr(r->name, ' ');
    c->count = 0;
    put(c, r->name, second != NULL ? (size_t)(second - r->name) : strlen(r->name));
    if (second != NULL) { put_str(c, second + 1); }
    for (const char *l = r->letters; *l != '\0'; l++) {
        if (*l == '?' && draw(2) == 0) {
            l++;
        } else if (*l != '?') {
            put_letter(c, *l);
        }
    }
    return r->how;
}

/* ---- Comparison ------------------------------------------------------------------------------ */

static void print_bytes(const char *what, const char *p, size_t len)
{
    char text[1024] = "";
    rc_text t = { text, 0, sizeof text };
    rc_say(&t, p, len < 200 ? len : 200);
    printf("# %s: %s\n", what, text);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Copy the strings of a flat list in sorted order. A list of the test has few short keys. */
static size_t sorted(const char *p, size_t len, char *out, size_t cap)
{
    char text[4096];
    char *item[64];
    size_t count = 0, at = 0;
    T_REQUIRE(len < sizeof text);
    memcpy(text, p, len);
    text[len] = '\0';
    char *rest = NULL;
    for (char *line = strtok_r(text, "\r\n", &rest); line != NULL;
         line = strtok_r(NULL, "\r\n", &rest)) {
        if (line[0] != '$' && line[0] != '*' && count < 64) { item[count++] = line; }
    }
    qsort(item, count, sizeof item[0], by_text);
    for (size_t i = 0; i < count; i++) {
        at += (size_t)snprintf(out + at, cap - at, "%s ", item[i]);
    }
    return at;
}

static bool close_numbers(const char *a, const char *b, int64_t within)
{
    if (a[0] != ':' || b[0] != ':') { return false; }
    const int64_t x = strtoll(a + 1, NULL, 10), y = strtoll(b + 1, NULL, 10);
    const uint64_t apart = x > y ? (uint64_t)x - (uint64_t)y : (uint64_t)y - (uint64_t)x;
    return x < 0 || y < 0 ? x == y : apart <= (uint64_t)within;
}

static uint64_t longest_ns; /* of a batch: a TTL is set, and read, so far apart at most */

static bool equal(compare how, const char *a, size_t a_len, const char *b, size_t b_len)
{
    if (a_len == b_len && memcmp(a, b, a_len) == 0) { return true; }
    char x[4096], y[4096];
    const int64_t apart_ms = (int64_t)(2 * longest_ns / 1000000);
    switch (how) {
    case SAME: return false;
    case WITHIN_1: return close_numbers(a, b, 1 + apart_ms / 1000);
    case WITHIN_1000: return close_numbers(a, b, 1000 + apart_ms);
    case AS_SET:
        if (a[0] != '*' || b[0] != '*') { return false; }
        a_len = sorted(a, a_len, x, sizeof x);
        b_len = sorted(b, b_len, y, sizeof y);
        return a_len == b_len && memcmp(x, y, a_len) == 0;
    case ANY_KEY: return a[0] == '$' && b[0] == '$' && a[1] != '-' && b[1] != '-';
    case SAME_KIND: return a[0] == b[0];
    case BEGIN:
    case TRANSACTION: return false;
    }
    return false;
}

/* The commands that a client has queued. */
static struct transaction {
    compare how[QUEUED];
    size_t count;
} open_transaction[CLIENTS];

/* Compare the replies inside two replies of EXEC. */
static bool equal_transactions(const struct transaction *t, const char *a, size_t a_len,
                               const char *b, size_t b_len)
{
    char head[32];
    const size_t head_len = (size_t)snprintf(head, sizeof head, "*%zu\r\n", t->count);
    if (a_len < head_len || b_len < head_len || memcmp(a, head, head_len) != 0 ||
        memcmp(b, head, head_len) != 0) {
        return a_len == b_len && memcmp(a, b, a_len) == 0;
    }
    size_t a_at = head_len, b_at = head_len;
    for (size_t i = 0; i < t->count; i++) {
        const size_t x = rc_length(a + a_at, a_len - a_at), y = rc_length(b + b_at, b_len - b_at);
        if (x == 0 || y == 0 || !equal(t->how[i], a + a_at, x, b + b_at, y)) { return false; }
        a_at += x;
        b_at += y;
    }
    return a_at == a_len && b_at == b_len;
}

/* Compare two replies of a client, and note what it queues. */
static bool equal_for(size_t client, compare how, const char *a, size_t a_len, const char *b,
                      size_t b_len)
{
    static const char queued[] = "+QUEUED\r\n";
    struct transaction *t = &open_transaction[client];
    if (how == TRANSACTION) {
        const bool same = equal_transactions(t, a, a_len, b, b_len);
        t->count = 0;
        return same;
    }
    if (how == BEGIN && a[0] == '+') { t->count = 0; }
    if (a_len == sizeof queued - 1 && memcmp(a, queued, a_len) == 0) {
        T_REQUIRE(t->count < QUEUED);
        t->how[t->count++] = how;
        how = SAME;
    }
    return equal(how, a, a_len, b, b_len);
}

static void print_command(const command *c)
{
    printf("#");
    for (size_t i = 0; i < c->count; i++) {
        printf(" \"%.*s\"", (int)c->word[i].len, c->word[i].text);
    }
    printf("\n");
}

/* Send the batch of a client to both, and compare. Return the number of differences. */
static size_t run_batch(size_t client, const command *c, const compare *how, size_t count)
{
    resp_client_kit *server = &pair.server[client], *ours = &pair.ours[client];
    for (size_t i = 0; i < count; i++) {
        rc_queue_words(server, c[i].word, c[i].count);
        rc_queue_words(ours, c[i].word, c[i].count);
    }
    const uint64_t begun_ns = base_now_ns();
    rc_flush(server);
    rc_flush(ours);
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) {
        size_t a_len, b_len;
        const char *a = rc_reply(server, &a_len), *b = rc_reply(ours, &b_len);
        T_REQUIRE(a_len > 0 && b_len > 0);
        longest_ns = BASE_MAX(longest_ns, base_now_ns() - begun_ns);
        if (equal_for(client, how[i], a, a_len, b, b_len)) { continue; }
        wrong++;
        T_CHECK(!"equal replies");
        print_command(&c[i]);
        print_bytes("server", a, a_len);
        print_bytes("port", b, b_len);
    }
    return wrong;
}

/* Batches of any commands by one client, then few commands by each client in turn. */
T_CASE(random_commands_get_the_replies_of_the_server)
{
    static const rc_word watched[] = { { "MSET", 4 }, { "w1", 2 }, { "1", 1 }, { "w2", 2 }, { "1", 1 },
                                       { "w3", 2 }, { "1", 1 } };
    static command batch[BATCH];
    compare how[BATCH];
    size_t wrong = 0;
    if (!start()) { return; }
    const uint64_t most = t_share(100000) / T_COST;
    memset(open_transaction, 0, sizeof open_transaction);
    for (uint64_t done = 0; done < most && wrong < 20; done += BATCH) {
        for (size_t i = 0; i < BATCH; i++) { how[i] = make(&batch[i], pick_row(rows, ROWS)); }
        wrong += run_batch(0, batch, how, BATCH);
    }
    how[0] = SAME;
    batch[0].count = sizeof watched / sizeof *watched;
    memcpy(batch[0].word, watched, sizeof watched);
    wrong += run_batch(0, batch, how, 1);
    for (uint64_t done = 0; done < most && wrong < 20;) {
        const size_t count = 1 + draw(TURN);
        for (size_t i = 0; i < count; i++) {
            const struct row *r = draw(2) == 0 ? pick_row(rows, ROWS)
                                               : pick_row(transaction_rows, TRANSACTION_ROWS);
            how[i] = make(&batch[i], strchr(r->name, ' ') == NULL ? r : &transaction_rows[0]);
        }
        wrong += run_batch(draw(CLIENTS), batch, how, count);
        done += count;
    }
    stop();
}

/* ---- Channels -------------------------------------------------------------------------------- */

#define TALKERS 3

/* No two patterns match the same channel: the server sends such messages in any order. */
static const char *const channels[] = { "a1", "a2", "b1", "", "c*" };
static const char *const globs[] = { "a*", "b?", "c\\*", "[", "d*" };

/* Write a command, or a transaction. sorted: names come in any order. */
static size_t channel_command(char *out, size_t cap, bool *any_order)
{
    static const char *const odd[] = {
        "GET k", "PING", "PING x y", "PUBSUB", "PUBSUB FOO", "PUBSUB NUMSUB", "PUBSUB NUMPAT x",
        "PUBSUB CHANNELS a b", "SUBSCRIBE", "PSUBSCRIBE", "PUBLISH a1", "PUBLISH a1 x y", "nosuch x",
        "CLIENT REPLY SKIP\r\nSUBSCRIBE a1", "DISCARD", "RESET", "RESET\r\nMULTI\r\nMULTI\r\nDISCARD",
        "CLIENT REPLY OFF\r\nSUBSCRIBE a1\r\nPUBLISH a1 x\r\nGET k\r\nCLIENT REPLY ON",
        "RESET\r\nMULTI\r\nSUBSCRIBE a1 b1\r\nPUBLISH b2 x\r\nGET k\r\nUNSUBSCRIBE a1\r\nEXEC",
        "RESET\r\nMULTI\r\nPUBLISH a1 x\r\nPUBSUB NUMSUB a1\r\nEXEC",
        "RESET\r\nMULTI\r\nSUBSCRIBE\r\nEXEC",
    };
    const char *one = PICK(channels), *two = PICK(channels), *glob = PICK(globs);
    const uint32_t kind = draw(16);
    *any_order = kind > 12;
    switch (kind) {
    case 0: case 1: return (size_t)snprintf(out, cap, "SUBSCRIBE \"%s\" \"%s\"\r\n", one, two);
    case 2: case 3: return (size_t)snprintf(out, cap, "PSUBSCRIBE %s %s\r\n", glob, PICK(globs));
    case 4: return (size_t)snprintf(out, cap, "UNSUBSCRIBE \"%s\" \"%s\"\r\n", one, two);
    case 5: return (size_t)snprintf(out, cap, "PUNSUBSCRIBE %s\r\n", glob);
    case 6: case 7: case 8: case 9:
        return (size_t)snprintf(out, cap, "PUBLISH \"%s\" \"%s\"\r\n", one, two);
    case 10: return (size_t)snprintf(out, cap, "PUBSUB NUMSUB \"%s\" \"%s\" q\r\n", one, two);
    case 11: return (size_t)snprintf(out, cap, "PUBSUB NUMPAT\r\n");
    case 12: return (size_t)snprintf(out, cap, "%s\r\n", PICK(odd));
    case 13: return (size_t)snprintf(out, cap, "UNSUBSCRIBE\r\n");
    case 14: return (size_t)snprintf(out, cap, "PUNSUBSCRIBE\r\n");
    default: return (size_t)snprintf(out, cap, "PUBSUB CHANNELS %s\r\n", glob);
    }
}

/* Read all replies up to the answer to PING with `mark`. */
static size_t read_to(resp_client_kit *c, const char *mark, char *out, size_t cap)
{
    size_t at = 0;
    for (;;) {
        size_t len;
        const char *p = rc_reply(c, &len);
        T_REQUIRE(len > 0 && at + len < cap);
        memcpy(out + at, p, len);
        at += len;
        out[at] = '\0';
        if (strstr(out, mark) != NULL) { return at; }
    }
}

/* Begin again in RESP3. The two replies have another version and another id. */
static void speak_resp3(resp_client_kit *c)
{
    size_t len;
    rc_queue(c, "RESET\r\nHELLO 3\r\n", 16);
    rc_flush(c);
    do { (void)rc_reply(c, &len); } while (c->in[0] != '%' && len > 0);
}

static size_t lines_sorted(char *text, char *out, size_t cap)
{
    char *item[512], *rest = NULL;
    size_t count = 0, at = 0;
    for (char *l = strtok_r(text, "\r\n", &rest); l != NULL && count < 512;
         l = strtok_r(NULL, "\r\n", &rest)) {
        item[count++] = l;
    }
    qsort(item, count, sizeof item[0], by_text);
    for (size_t i = 0; i < count; i++) {
        at += (size_t)snprintf(out + at, cap - at, "%s\n", item[i]);
    }
    return at;
}

/* Send a PING to each client, the one that sent the command first. Compare what each heard. */
static bool heard_the_same(resp_client_kit *server, resp_client_kit *ours, uint32_t from,
                           uint64_t number, bool any_order)
{
    static char a[1 << 16], b[1 << 16], x[1 << 16], y[1 << 16];
    char ping[64], mark[32];
    bool same = true;
    const int len = snprintf(ping, sizeof ping, "PING mark%" PRIu64 "\r\n", number);
    (void)snprintf(mark, sizeof mark, "mark%" PRIu64 "\r\n", number);
    for (uint32_t i = 0; i < TALKERS; i++) {
        const uint32_t k = (from + i) % TALKERS;
        rc_queue(&server[k], ping, (size_t)len);
        rc_queue(&ours[k], ping, (size_t)len);
        rc_flush(&server[k]);
        rc_flush(&ours[k]);
        size_t a_len = read_to(&server[k], mark, a, sizeof a);
        size_t b_len = read_to(&ours[k], mark, b, sizeof b);
        const char *p = a, *q = b;
        if (any_order) {
            a_len = lines_sorted(a, x, sizeof x), p = x;
            b_len = lines_sorted(b, y, sizeof y), q = y;
        }
        if (a_len == b_len && memcmp(p, q, a_len) == 0) { continue; }
        same = false;
        printf("# client %u of %u\n", (unsigned)k, (unsigned)from);
        print_bytes("server", p, a_len);
        print_bytes("port", q, b_len);
    }
    return same;
}

T_CASE(channels_get_the_replies_and_messages_of_the_server)
{
    resp_client_kit server[TALKERS], ours[TALKERS];
    char text[512];
    if (!start()) { return; }
    for (int i = 0; i < TALKERS; i++) {
        T_REQUIRE(rc_connect(&server[i], pair.server_path) && rc_connect(&ours[i], pair.port_path));
        rc_queue(&server[i], "PING\r\n", 6); /* a connection cannot begin with GET */
        rc_queue(&ours[i], "PING\r\n", 6);
    }
    const uint64_t most = t_share(8000) / T_COST;
    bool same = true;
    for (uint64_t n = 0; n < most && same; n++) {
        bool any_order;
        const size_t len = channel_command(text, sizeof text, &any_order);
        /* The last client has no subscriptions: the server names a subcommand that it refuses. */
        const bool asks = strncmp(text, "PUBSUB", 6) == 0;
        const uint32_t from = asks ? TALKERS - 1 : draw(TALKERS - 1);
        if (strncmp(text, "CLIENT", 6) == 0 || (!asks && draw(20) == 0)) {
            speak_resp3(&server[from]);
            speak_resp3(&ours[from]);
        }
        rc_queue(&server[from], text, len);
        rc_queue(&ours[from], text, len);
        same = heard_the_same(server, ours, from, n, any_order);
        T_CHECK(same);
        if (!same) { print_bytes("command", text, len); }
    }
    for (int i = 0; i < TALKERS; i++) { rc_close(&server[i]), rc_close(&ours[i]); }
    stop();
}

T_MAIN("resp_differential")
