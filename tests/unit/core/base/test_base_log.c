/* SPDX-License-Identifier: MIT
 *
 * Aim:    lines reach the callback by level, equal lines once a second with a count, never under a
 *         lock, and never longer than their bound.
 * Method: a clock that the test sets; a callback that records lines and logs again. */
#include "tests/support/t.h"

#include "base/log.h"

static int64_t now_ms;
static int64_t clock_read(void *ctx) { (void)ctx; return now_ms; }
static const base_clock clock_ = { clock_read, clock_read, NULL };

static struct { int lines, level, code; char module[16], text[600]; base_log *again; } seen;

static void on_line(cellar_log_level level, const char *module, cellar_err code, const char *text,
                    void *ctx)
{
    T_CHECK(ctx == &seen);
    T_EQ_U64(base_thread_self()->held_count, 0);
    seen.lines++;
    seen.level = level;
    seen.code = code;
    snprintf(seen.module, sizeof seen.module, "%s", module);
    snprintf(seen.text, sizeof seen.text, "%s", text);
    if (seen.again != NULL) {
        base_log *l = seen.again;
        seen.again = NULL;
        base_log(l, BASE_LOG_ERROR, "inner", 2, "from the callback");
    }
}

static base_log lines;

static void start(int level)
{
    memset(&seen, 0, sizeof seen);
    now_ms = 1000000;
    base_log_init(&lines, &clock_, on_line, &seen, level);
}

T_CASE(line_above_the_level_is_dropped)
{
    start(BASE_LOG_WARNING);
    base_log(&lines, BASE_LOG_INFO, "m", 1, "not this");
    T_EQ_I64(seen.lines, 0);
    base_log(&lines, BASE_LOG_WARNING, "m", 1, "value %d", 7);
    T_EQ_I64(seen.lines, 1);
    T_EQ_STR(seen.text, "value 7");
    T_EQ_STR(seen.module, "m");
    T_EQ_I64(seen.level, BASE_LOG_WARNING);
    base_store_rlx(&lines.level, BASE_LOG_OFF);
    base_log(&lines, BASE_LOG_ERROR, "m", 2, "nor this");
    T_EQ_I64(seen.lines, 1);
}

T_CASE(log_without_callback_is_silent)
{
    base_log_init(&lines, &clock_, NULL, NULL, BASE_LOG_DEBUG);
    base_log(&lines, BASE_LOG_ERROR, "m", 1, "no callback");
    T_EQ_I64(base_load_rlx(&lines.level), BASE_LOG_OFF);
}

T_CASE(equal_lines_pass_once_a_second)
{
    start(BASE_LOG_DEBUG);
    for (int i = 0; i < 5; i++) { base_log(&lines, BASE_LOG_ERROR, "m", 1, "bad"); }
    T_EQ_I64(seen.lines, 1);
    base_log(&lines, BASE_LOG_ERROR, "m", 2, "other code");
    base_log(&lines, BASE_LOG_ERROR, "n", 1, "other module");
    T_EQ_I64(seen.lines, 3);
    now_ms += 999;
    base_log(&lines, BASE_LOG_ERROR, "m", 1, "bad");
    T_EQ_I64(seen.lines, 3);
    now_ms += 1;
    base_log(&lines, BASE_LOG_ERROR, "m", 1, "bad");
    T_EQ_I64(seen.lines, 4);
    T_EQ_STR(seen.text, "bad (and 5 more)");
    now_ms += 1000;
    base_log(&lines, BASE_LOG_ERROR, "m", 1, "bad");
    T_EQ_STR(seen.text, "bad");
}

/* With more pairs than slots the longest silent pair loses its slot; first lines always pass. */
T_CASE(more_pairs_than_slots_keep_first_lines)
{
    start(BASE_LOG_DEBUG);
    for (int i = 0; i < 3 * BASE_LOG_SLOTS; i++) {
        now_ms++;
        base_log(&lines, BASE_LOG_ERROR, "m", i, "line");
    }
    T_EQ_I64(seen.lines, 3 * BASE_LOG_SLOTS);
    base_log(&lines, BASE_LOG_ERROR, "m", 3 * BASE_LOG_SLOTS - 1, "line");
    T_EQ_I64(seen.lines, 3 * BASE_LOG_SLOTS);
    base_log(&lines, BASE_LOG_ERROR, "m", 0, "line");
    T_EQ_I64(seen.lines, 3 * BASE_LOG_SLOTS + 1);
}

T_CASE(long_line_is_cut_at_511_bytes)
{
    start(BASE_LOG_DEBUG);
    char big[2000];
    memset(big, 'x', sizeof big);
    big[sizeof big - 1] = '\0';
    base_log(&lines, BASE_LOG_ERROR, "m", 1, "%s", big);
    T_EQ_U64(strlen(seen.text), 511);
    base_log(&lines, BASE_LOG_ERROR, "m", 1, "%s", big);
    now_ms += 1000;
    base_log(&lines, BASE_LOG_ERROR, "m", 1, "%s", big);
    T_CHECK(strstr(seen.text, "x (and 1 more)") != NULL);
    T_CHECK(strlen(seen.text) <= 511);
}

T_CASE(callback_may_log_again)
{
    start(BASE_LOG_DEBUG);
    seen.again = &lines;
    base_log(&lines, BASE_LOG_ERROR, "outer", 1, "first");
    T_EQ_I64(seen.lines, 2);
    T_EQ_STR(seen.module, "inner");
}

T_MAIN("base_log")
