/* SPDX-License-Identifier: MIT
 *
 * task_status: a service for images. The status of each task is cached; the state of the task
 * decides how long. Workers add their results to one task at the same time, and none is lost.
 *
 *     cc -O2 task_status.c -lcellar -pthread
 *     drop-in: cc task_status.c dist/cellar_all.c -Idist -Idist/include -pthread */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "cellar.h"
#include "cellar_kit.h"
#include "cellar_observe.h"

/* ---- the database behind the cache ---- */

static int database_calls;

static int database_task(const char *id, char *buf, size_t cap, const char **state)
{
    database_calls++;
    if (strcmp(id, "t1") != 0) { return -1; }
    *state = "processing";
    return snprintf(buf, cap, "{\"id\":\"t1\"}");
}

/* ---- what an application writes ---- */

/* Return the length of the task and its state: from the cache, else from the database. */
static int task_get(cellar_status *tasks, const char *id, char *buf, size_t cap,
                    const char **state)
{
    size_t len;
    if (cellar_status_get(tasks, id, strlen(id), buf, cap - 1, &len, state) == CELLAR_OK) {
        buf[len] = '\0';
        return (int)len;
    }
    const int found = database_task(id, buf, cap, state);
    if (found >= 0) { cellar_status_set(tasks, id, strlen(id), buf, (size_t)found, *state); }
    return found;
}

/* Add a field to the JSON object of a task. May run more than once. */
static cellar_err add_field(const void *old, size_t old_len, cellar_buf *out, void *field)
{
    if (old_len < 2) { return CELLAR_E_TYPE; }
    cellar_buf_append(out, old, old_len - 1);
    cellar_buf_append(out, ",", 1);
    cellar_buf_append(out, field, strlen(field));
    return cellar_buf_append(out, "}", 1);
}

typedef struct job {
    cellar_status *tasks;
    int first, failures;
} job;

static void *worker(void *arg)
{
    job *j = arg;
    for (int i = j->first; i < j->first + 50; i++) {
        char field[32];
        snprintf(field, sizeof field, "\"part%03d\":1", i);
        j->failures +=
            cellar_status_update(j->tasks, "t1", 2, "processing", add_field, field) != CELLAR_OK;
    }
    return NULL;
}

/* ---- the example checks itself ---- */

static int passed, failed;

static void check(int ok, const char *what)
{
    printf("%s - %s\n", ok ? "ok" : "not ok", what);
    *(ok ? &passed : &failed) += 1;
}

static int64_t clock_ms = 1000000; /* a clock that this example turns; programs leave it out */

static int64_t clock_read(void *ctx)
{
    (void)ctx;
    return clock_ms;
}

static void workers_meet(cellar_status *tasks)
{
    pthread_t t[4];
    job j[4];
    static char text[8192];
    const char *state = "";
    int started = 0, trouble = 0;
    while (started < 4) {
        j[started] = (job){ tasks, 50 * started, 0 };
        if (pthread_create(&t[started], NULL, worker, &j[started]) != 0) { break; }
        started++;
    }
    for (int i = 0; i < started; i++) {
        pthread_join(t[i], NULL);
        trouble += j[i].failures;
    }
    check(started == 4 && trouble == 0, "four workers add 200 parts, none is refused");
    int parts = 0;
    if (task_get(tasks, "t1", text, sizeof text, &state) > 0) {
        for (int i = 0; i < 200; i++) {
            char field[32];
            snprintf(field, sizeof field, "\"part%03d\":1", i);
            parts += strstr(text, field) != NULL;
        }
    }
    check(parts == 200, "and the task has all of them");
    char url[] = "\"url\":\"a.png\"";
    check(cellar_status_update(tasks, "t1", 2, "success", add_field, url) == CELLAR_OK,
          "the task succeeds");
    check(task_get(tasks, "t1", text, sizeof text, &state) > 0 && strcmp(state, "success") == 0 &&
              strstr(text, "a.png") != NULL && strstr(text, "part123") != NULL,
          "its new state stands beside the merged value");
}

static void many_tasks(cellar_status *tasks)
{
    cellar_status_set_item set[3] = {
        { "a", 1, "{}", 2, "batch", CELLAR_OK, 0 },
        { "b", 1, "{}", 2, "failed", CELLAR_OK, 0 },
        { "", 0, "{}", 2, "batch", CELLAR_OK, 0 } /* refused; the others are stored */
    };
    char buf[3][64];
    cellar_status_get_item get[3] = {
        { "b", 1, buf[0], 64, 0, NULL, CELLAR_OK, 0 },
        { "unknown", 7, buf[1], 64, 0, NULL, CELLAR_OK, 0 },
        { "a", 1, buf[2], 64, 0, NULL, CELLAR_OK, 0 }
    };
    size_t stored, hits;
    check(cellar_status_set_many(tasks, set, 3, &stored) == CELLAR_OK && stored == 2 &&
              set[2].status == CELLAR_E_INVAL,
          "a batch says which item failed");
    check(cellar_status_get_many(tasks, get, 3, &hits) == CELLAR_OK && hits == 2 &&
              get[1].status == CELLAR_MISS && strcmp(get[0].state, "failed") == 0 &&
              strcmp(get[2].state, "batch") == 0,
          "and is read in the order of the caller");
}

static void states_expire(cellar *store, cellar_status *tasks)
{
    char text[64];
    const char *state = "";
    clock_ms += 600000; /* ten minutes: batch ends, failed has 20 more */
    size_t len;
    check(cellar_status_get(tasks, "a", 1, text, sizeof text, &len, &state) == CELLAR_MISS,
          "a batch is kept for ten minutes");
    check(cellar_status_get(tasks, "b", 1, text, sizeof text, &len, &state) == CELLAR_OK,
          "a failed task for longer");
    cellar_stats st = cellar_stats_default();
    check(cellar_tick(store, 100000, NULL) == CELLAR_OK &&
              cellar_stats_get(store, CELLAR_SCOPE_STORE, &st) == CELLAR_OK &&
              st.ended[CELLAR_CAUSE_EXPIRED] == 1,
          "a tick frees what has expired");
}

int main(void)
{
    cellar_host_config host = cellar_host_config_default();
    cellar_config cfg = cellar_config_default();
    host.clock = clock_read;
    host.no_threads = 1;
    cfg.host = &host;
    cfg.memory_bytes = 16u << 20;
    cellar *store;
    cellar_status *tasks;
    if (cellar_open(&cfg, &store) != CELLAR_OK) { return 1; }
    if (cellar_status_open(store, "image_task", NULL, &tasks) != CELLAR_OK) { return 1; }

    char text[64];
    const char *state = "";
    check(task_get(tasks, "t1", text, sizeof text, &state) > 0 && database_calls == 1,
          "the first request asks the database");
    check(task_get(tasks, "t1", text, sizeof text, &state) > 0 && database_calls == 1 &&
              strcmp(state, "processing") == 0,
          "the second does not");
    check(task_get(tasks, "t2", text, sizeof text, &state) < 0, "an unknown task is not stored");
    workers_meet(tasks);
    many_tasks(tasks);
    states_expire(store, tasks);

    cellar_status_hot_id most;
    uint32_t n = 0;
    for (int i = 0; i < 5000; i++) { task_get(tasks, "t1", text, sizeof text, &state); }
    check(cellar_status_hot(tasks, &most, 1, &n) == CELLAR_OK && n == 1 && most.id_len == 2 &&
              memcmp(most.id, "t1", 2) == 0,
          "the task that is read most is known");
    cellar_status_close(tasks);
    cellar_close(store);
    printf("task_status: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
