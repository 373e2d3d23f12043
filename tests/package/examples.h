/* SPDX-License-Identifier: MIT
 *
 * examples: the names that the examples of the contracts take from the program around them. The
 * arguments of a call are known to its own example. NAMES_cellar_x: names in one header alone. */
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Functions of the program: those that return no int. */
#define work_a_little()  ((void)0)
#define rows_key(...)    ""
#define project_key(...) ""
enum { SENT, BUSY, DB_FOUND, DB_NONE };
struct row { const char *text; size_t len; };
int send_mail(void *server, const void *payload, size_t len);
cellar_verdict work_on(const void *payload, size_t len);

static cellar_policy_list_fn print_rule;
static cellar_write_many_fn write_rows;
static cellar_next_key_fn next_row;
static cellar_signal_fn on_cache;
static cellar_update_fn append_line, add_result;
static cellar_llm_fn ask;
static cellar_embeddings_fn embed;
static cellar_settings_note_fn print_note;
static cellar_loader_fn load_row, open_file, load_rates;
static cellar_loader_many_fn load_rows;
static cellar_lock_watch_fn on_lost;
static cellar_memo_fn ask_weather;
static cellar_namespace_fn print_name;
static cellar_listener_fn on_evicted;
static cellar_refresh_list_fn print_row;
static cellar_schedule_list_fn print_schedule;
static cellar_task_list_fn print_task;
static cellar_writer_fn write_row;
static cellar_object_free_fn close_file;

static cellar *c, *users, *store, *files;
static cellar_err err;
static cellar_config cfg;
static cellar_l2_config disk;
static char key[256], b1[64], line[256];
static const char *url, *json, *name, *ip, *path, *text, *data;
static void *buf, *db, *client, *server, *block;
static size_t len, json_len, ip_len, text_len, data_len, n;
static int fd, running, checkpointed, order;
static int64_t now_wall_ms, retry_after_ms;
static struct pollfd pfd;
static FILE *f;
static struct { int fd; } *loop;
static void wake_loop(void *ctx) { (void)ctx; }

static const cellar_rule rule;
static cellar_limiter *limiter;
static const cellar_task *taken;
static cellar_llm *llm;
static cellar_embeddings *e;
static float vectors[8];
static void free_block(void *value, void *ctx) { (void)value, (void)ctx; }
#define my_seal     NULL /* functions for a table */
#define my_open     NULL
#define my_get      NULL
#define my_put      NULL
#define on_attached NULL

#define NAMES_cellar_kit     cellar_template t; cellar_llm_request req; cellar_llm_usage usage; cellar_key_builder b;
#define NAMES_cellar_limit   cellar_limiter *users = NULL, *site = NULL; const char *id = ""; size_t id_len = 0; \
    cellar_limiter_scan_fn print_entry = NULL; cellar_limiter_result r; cellar_limiter_ticket t;
#define NAMES_cellar_load    cellar_lease lease, ticket;
#define NAMES_cellar_lock    cellar_lock lk, locks[2];
#define NAMES_cellar_object  cellar_held held, for_thread; cellar_lease lease;
#define NAMES_cellar_observe cellar_scan_fn print_entry = NULL;
#define NAMES_cellar_remote  cellar_remote_lock lk; char b[9];
#define NAMES_cellar_task    size_t len; cellar_bytes bytes;
#define NAMES_cellar_tier    cellar_tier_table t; void *my_namespace = NULL;
#define NAMES_cellar_warm    cellar_bytes keys[100];
