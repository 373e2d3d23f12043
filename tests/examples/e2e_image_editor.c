/* SPDX-License-Identifier: MIT
 *
 * e2e_image_editor: a service that edits images. A request is limited, validated, stored and
 * cached; then its id is queued. Workers edit the images. Each end is an event on the bus and a
 * callback to the client; callbacks to one address go out in batches. The receiver refuses each
 * third batch; the callbacks of that batch are then sent one by one.
 *
 *     cc -O2 e2e_image_editor.c -lcellar -pthread
 *     drop-in: cc e2e_image_editor.c dist/cellar_all.c -Idist -Idist/include -pthread */
#include <stdio.h>
#include <string.h>

#include "cellar.h"
#include "cellar_batch.h"
#include "cellar_bus.h"
#include "cellar_kit.h"
#include "cellar_limit.h"
#include "cellar_task.h"

#define IMAGES 1000
#define SINGLES 600 /* the others come in batches */
#define BATCH 10

typedef struct request {
    const char *user, *prompt, *image, *callback; /* callback "": none */
} request;

/* ---- the database: one row an image ---- */

typedef struct row {
    request req;
    const char *status; /* processing, success, failed */
    char path[32];      /* of the result; its bytes stay in a file */
    int64_t begin_ms, took_ms;
    cellar_task_id task;
} row;

static row rows[IMAGES];
static int row_count, database_reads;

/* ---- what an application writes ---- */

typedef struct editor {
    cellar *store, *results;
    cellar_status *cache;
    cellar_limiter *images, *batches; /* of a user: 20 images a second; 1 batch a second */
    cellar_pool *pool;
    cellar_batcher *callbacks;
} editor;

static editor ed;
static int64_t now_ms = 1000000; /* a clock that this example turns; programs leave it out */

/* Return 202, or 429 with the time to wait. Either all images of a request count, or none. */
static int limit(const char *user, uint32_t count, uint64_t *wait_ns)
{
    const size_t len = strlen(user);
    const cellar_limiter_link links[2] = { { ed.images, user, len, count },
                                           { ed.batches, user, len, 1 } };
    cellar_limiter_result r = { .retry_after_ns = 0 };
    const cellar_err err = cellar_limiter_check_chain(links, count > 1 ? 2 : 1, &r, NULL);
    *wait_ns = r.retry_after_ns;
    return err == CELLAR_OK ? 202 : 429;
}

static int valid(const request *r)
{
    return r->prompt[0] != '\0' && strlen(r->prompt) <= 200 &&
           strncmp(r->image, "https://", 8) == 0 &&
           (r->callback[0] == '\0' || strncmp(r->callback, "https://client.example/", 23) == 0);
}

/* Store and cache a row; return its number. */
static int store(const request *r)
{
    const int n = row_count++;
    rows[n] = (row){ .req = *r, .status = "processing", .begin_ms = now_ms };
    cellar_status_set(ed.cache, &n, sizeof n, "", 0, rows[n].status);
    return n;
}

/* Handle a request for 1..BATCH images; return 202, 400, 429 or 503. */
static int submit(const request *r, uint32_t count, uint64_t *wait_ns)
{
    int n[BATCH];
    cellar_task_item items[BATCH];
    cellar_task_id ids[BATCH];
    const int code = limit(r[0].user, count, wait_ns);
    if (code != 202) { return code; }
    for (uint32_t i = 0; i < count; i++) {
        if (!valid(&r[i])) { return 400; }
    }
    for (uint32_t i = 0; i < count; i++) {
        n[i] = store(&r[i]);
        items[i] = (cellar_task_item){ "image.edit", &n[i], sizeof n[i], NULL };
    }
    if (cellar_task_submit_many(ed.pool, items, count, CELLAR_LINKS_NONE, ids) != CELLAR_OK) {
        for (uint32_t i = 0; i < count; i++) { rows[n[i]].status = "failed"; }
        return 503;
    }
    for (uint32_t i = 0; i < count; i++) { rows[n[i]].task = ids[i]; }
    return 202;
}

/* Return the status of an image: from the cache, else from the database. */
static const char *image_status(int n)
{
    char path[sizeof rows[n].path];
    const char *state;
    if (cellar_status_get(ed.cache, &n, sizeof n, path, sizeof path, NULL, &state) == CELLAR_OK) {
        return state;
    }
    database_reads++;
    return rows[n].status;
}

static void called_back(const cellar_batch_result *result, void *ctx);

/* Store the end of an image in database and cache, announce it, queue its callback. */
static void finish(int n, const char *status)
{
    row *w = &rows[n];
    char key[64];
    w->status = status;
    w->took_ms = now_ms - w->begin_ms;
    cellar_status_set(ed.cache, &n, sizeof n, w->path, strlen(w->path), status);
    snprintf(key, sizeof key, "image.%s.%s", status, w->req.user);
    cellar_bus_publish(ed.pool, key, &n, sizeof n, NULL);
    if (w->req.callback[0] != '\0') {
        cellar_batch_add_opts o = cellar_batch_add_opts_default();
        o.done = called_back;
        cellar_batch_add(ed.callbacks, w->req.callback, &n, sizeof n, &o);
    }
}

static int upstream_edit(const row *w, uint32_t attempt);

/* Edit one image. A refused prompt is final; a busy upstream is tried again. */
static cellar_verdict edit(const cellar_task *t, void *ctx)
{
    int n;
    (void)ctx;
    memcpy(&n, t->payload, sizeof n);
    if (strstr(rows[n].req.prompt, "weapon") != NULL) {
        cellar_task_error(t, "prompt refused");
        finish(n, "failed");
        return cellar_verdict_fail();
    }
    cellar_task_progress(t, 1, 3, "editing");
    if (!upstream_edit(&rows[n], t->attempt)) {
        cellar_task_error(t, "upstream busy");
        if (t->attempt == t->max_attempts) {
            finish(n, "failed");
            cellar_bus_publish(ed.pool, "admin.alert", &n, sizeof n, NULL);
        }
        return cellar_verdict_retry();
    }
    snprintf(rows[n].path, sizeof rows[n].path, "/media/%06d.png", n);
    cellar_task_result_set(t, rows[n].path, strlen(rows[n].path));
    finish(n, "success");
    return cellar_verdict_ok();
}

/* ---- the world around it ---- */

static int posts, delivered[IMAGES], ended[IMAGES], ended_well;
static int events[2], alerts; /* events: success, failed */

/* Images 4, 9, 14.. find the upstream busy once, images 100, 500 and 900 always. */
static int upstream_edit(const row *w, uint32_t attempt)
{
    const int n = (int)(w - rows);
    return !(n % 5 == 4 && attempt == 1) && n % 400 != 100;
}

/* Receive callbacks for one address; refuse each third batch. */
static cellar_err post(const cellar_batch *b, void *ctx)
{
    (void)ctx;
    if (b->item_count > 1 && ++posts % 3 == 0) { return CELLAR_E_IO; }
    for (size_t i = 0; i < b->item_count; i++) {
        int n;
        memcpy(&n, b->items[i].data, sizeof n);
        delivered[n] += strcmp(b->group, rows[n].req.callback) == 0;
    }
    return CELLAR_OK;
}

static void called_back(const cellar_batch_result *result, void *ctx)
{
    int n;
    (void)ctx;
    memcpy(&n, result->data, sizeof n);
    ended[n]++;
    ended_well += result->verdict == CELLAR_BATCH_OK;
}

static cellar_verdict on_image(const cellar_task *t, void *ctx)
{
    cellar_bus_message m = cellar_bus_message_default();
    (void)ctx;
    if (cellar_bus_message_of(t, &m) != CELLAR_OK) { return cellar_verdict_fail(); }
    events[strncmp(m.key, "image.success.", 14) == 0 ? 0 : 1]++;
    return cellar_verdict_ok();
}

static cellar_verdict on_alert(const cellar_task *t, void *ctx)
{
    (void)t;
    (void)ctx;
    alerts++;
    return cellar_verdict_ok();
}

static int64_t clock_read(void *ctx)
{
    (void)ctx;
    return now_ms;
}

static uint64_t clock_ns(void *ctx)
{
    (void)ctx;
    return (uint64_t)now_ms * 1000000u;
}

/* Run what is due; return the time until more is. */
static int64_t run_due(void)
{
    int64_t wait[2];
    int again;
    do {
        again = cellar_tick(ed.pool, 1000000, &wait[0]) == CELLAR_PENDING;
        again |= cellar_tick(ed.callbacks, 1000000, &wait[1]) == CELLAR_PENDING;
    } while (again || wait[0] == 0 || wait[1] == 0);
    return wait[0] < wait[1] ? wait[0] : wait[1];
}

/* Let time pass. */
static void pass(int64_t ms)
{
    const int64_t end_ms = now_ms + ms;
    for (int64_t wait = run_due(); now_ms < end_ms; wait = run_due()) {
        now_ms = wait < end_ms - now_ms ? now_ms + wait : end_ms;
    }
}

/* ---- the example checks itself ---- */

static int passed, failed, refused;

static void check(int ok, const char *what)
{
    printf("%s - %s\n", ok ? "ok" : "not ok", what);
    *(ok ? &passed : &failed) += 1;
}

/* Send a request; after a 429 wait as long as it says, and send it again. */
static int send(const request *r, uint32_t count)
{
    uint64_t wait_ns;
    int code;
    while ((code = submit(r, count, &wait_ns)) == 429 && wait_ns < CELLAR_MINUTE_NS) {
        refused++;
        pass((int64_t)((wait_ns + 999999) / 1000000));
    }
    return code;
}

static request request_of(int n)
{
    static const char *const users[3] = { "ann", "bo", "cy" };
    return (request){ users[n % 3], n % 100 == 50 ? "a weapon" : "as an oil painting",
                      "https://images.example/1.png",
                      n % 2 == 0 ? "https://client.example/done" : "https://client.example/other" };
}

static void clients_send(void)
{
    int accepted = 0;
    for (int n = 0; n < SINGLES; n++) {
        const request r = request_of(n);
        accepted += send(&r, 1) == 202;
    }
    check(accepted == SINGLES && refused > 0, "single images wait for the limit of their user");
    refused = accepted = 0;
    const int64_t begin_ms = now_ms;
    for (int n = SINGLES; n < IMAGES; n += BATCH) {
        request r[BATCH];
        for (int i = 0; i < BATCH; i++) {
            r[i] = request_of(n + i);
            r[i].user = "dee";
        }
        accepted += send(r, BATCH) == 202;
    }
    check(accepted == (IMAGES - SINGLES) / BATCH && refused > 0 &&
              now_ms - begin_ms >= (accepted - 1) * 1000,
          "batches have a limit of their own, one a second");
}

static void bad_requests_leave_nothing(void)
{
    request bad[3] = { request_of(0), request_of(0), request_of(0) };
    uint64_t wait_ns;
    const request many[2] = { request_of(0), { "bo", "", "https://images.example/1.png", "" } };
    const int before = row_count;
    bad[0].prompt = "";
    bad[1].image = "file:///etc/passwd";
    bad[2].callback = "https://elsewhere.example/";
    int codes = 0;
    for (int i = 0; i < 3; i++) { codes += submit(&bad[i], 1, &wait_ns); }
    check(codes == 3 * 400 && submit(many, 2, &wait_ns) == 400 && row_count == before,
          "a bad request is refused, a batch with one as a whole");
}

static void every_image_is_final(void)
{
    int agree = 0, well = 0, right_state = 0, timed = 0, ill = 0;
    char path[32];
    size_t len;
    for (int n = 0; n < IMAGES; n++) {
        const int good = n % 100 != 50 && n % 400 != 100;
        const char *want = good ? "success" : "failed";
        cellar_task_status st = cellar_task_status_default();
        agree += strcmp(rows[n].status, want) == 0 && strcmp(image_status(n), want) == 0;
        right_state += cellar_task_wait(ed.pool, rows[n].task, 0, &st) == CELLAR_OK &&
                       st.state == (good ? CELLAR_TASK_SUCCEEDED : CELLAR_TASK_FAILED);
        timed += good && rows[n].took_ms == st.ended_wall_ms - st.submitted_wall_ms;
        well += good && cellar_task_result_get(ed.pool, rows[n].task, path, sizeof path, &len) ==
                            CELLAR_OK && len == strlen(rows[n].path) &&
                memcmp(path, rows[n].path, len) == 0;
        ill += !good;
    }
    check(row_count == IMAGES && agree == IMAGES && database_reads == 0,
          "1,000 images have a final status, in the database and in the cache");
    check(right_state == IMAGES, "and so have their tasks");
    check(well == IMAGES - ill && timed == well, "each edited image has its path and its time");
    cellar_pool_stats s = cellar_pool_stats_default();
    check(cellar_pool_stats_get(ed.pool, "image.edit", &s) == CELLAR_OK && s.submitted == IMAGES &&
              s.ok == (uint64_t)well && s.failed == (uint64_t)ill && s.dead == s.failed &&
              s.retried == IMAGES / 5 + 3 * 3 && s.live == 0,
          "figures: busy attempts were repeated, refused prompts were not");
}

static void every_callback_came_once(void)
{
    int once = 0, done_once = 0;
    cellar_batcher_stats s = cellar_batcher_stats_default();
    for (int n = 0; n < IMAGES; n++) {
        once += delivered[n] == 1;
        done_once += ended[n] == 1;
    }
    check(once == IMAGES && done_once == IMAGES && ended_well == IMAGES,
          "each callback was delivered exactly once");
    check(cellar_batcher_stats_get(ed.callbacks, &s) == CELLAR_OK && posts >= 9 &&
              s.calls_failed == (uint64_t)posts / 3 && s.splits == s.calls_failed && s.failed == 0,
          "each third batch was refused, and its callbacks were sent singly");
}

static void bus_saw_it(void)
{
    cellar_pool_stats s = cellar_pool_stats_default();
    check(events[0] + events[1] == IMAGES && events[1] == 10 + 3 && alerts == 3,
          "each end is an event; what the upstream never did is an alert");
    check(cellar_bus_publish(ed.pool, "imgae.success.ann", "", 0, NULL) == CELLAR_UNROUTED &&
              cellar_pool_stats_get(ed.pool, "images", &s) == CELLAR_OK && s.ok == IMAGES && s.live == 0,
          "a mistyped key is seen");
}

/* ---- open and close ---- */

static int open_queues(const cellar_host_config *host)
{
    cellar_pool_config pool = cellar_pool_config_default();
    cellar_batcher_config callbacks = cellar_batcher_config_default();
    pool.host = callbacks.host = host;
    pool.wall_clock = clock_read;
    pool.results = ed.results;
    callbacks.max_items = 20;
    callbacks.linger_ms = 500;
    int bad = cellar_pool_open(&pool, &ed.pool) != CELLAR_OK;
    bad += cellar_task_register(ed.pool, "image.edit", edit, NULL, NULL) != CELLAR_OK;
    bad += cellar_batcher_open(&callbacks, post, NULL, &ed.callbacks) != CELLAR_OK;
    bad += cellar_bus_group_add(ed.pool, "images", NULL, on_image, NULL, NULL) != CELLAR_OK;
    bad += cellar_bus_group_add(ed.pool, "admin", NULL, on_alert, NULL, NULL) != CELLAR_OK;
    bad += cellar_bus_route(ed.pool, "image.*.*", "images", CELLAR_BUS_AMQP, true) != CELLAR_OK;
    bad += cellar_bus_route(ed.pool, "admin.alert", "admin", CELLAR_BUS_AMQP, true) != CELLAR_OK;
    return bad;
}

static int open_all(void)
{
    cellar_host_config host = cellar_host_config_default();
    cellar_config cfg = cellar_config_default();
    cellar_limiter_config limits = cellar_limiter_config_default();
    const cellar_rule images = cellar_rule_token_bucket(20, CELLAR_SECOND_NS, 20);
    const cellar_rule batches = cellar_rule_token_bucket(1, CELLAR_SECOND_NS, 1);
    host.clock = clock_read;
    host.no_threads = 1;
    cfg.host = &host;
    limits.clock_ns = clock_ns;
    int bad = cellar_open(&cfg, &ed.store) != CELLAR_OK;
    bad += cellar_namespace_open(ed.store, "results", NULL, &ed.results) != CELLAR_OK;
    bad += cellar_status_open(ed.store, "image_task", NULL, &ed.cache) != CELLAR_OK;
    bad += cellar_limiter_open(&limits, &images, 1, &ed.images) != CELLAR_OK;
    bad += cellar_limiter_open(&limits, &batches, 1, &ed.batches) != CELLAR_OK;
    return bad == 0 ? open_queues(&host) : bad;
}

static void close_all(void)
{
    cellar_batcher_close(ed.callbacks, NULL);
    cellar_pool_close(ed.pool);
    cellar_limiter_close(ed.batches);
    cellar_limiter_close(ed.images);
    cellar_status_close(ed.cache);
    cellar_namespace_close(ed.results);
    cellar_close(ed.store);
}

int main(void)
{
    if (open_all() != 0) { return 1; }
    clients_send();
    pass(2000);
    bad_requests_leave_nothing();
    pass(60000);
    every_image_is_final();
    every_callback_came_once();
    bus_saw_it();
    close_all();
    printf("e2e_image_editor: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
