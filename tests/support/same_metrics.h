/* SPDX-License-Identifier: MIT
 *
 * same_metrics: compare figures as Prometheus text and as JSON. */
#ifndef SUPPORT_SAME_METRICS_H
#define SUPPORT_SAME_METRICS_H

#include <stdio.h>
#include <string.h>

#include "cellar_observe.h"
#include "tests/support/t.h"

/* Rewrite a sample line, `name{a="b"} 1`, as the object that stands for it. */
T_INLINE void metrics_object(const char *line, size_t len, char *out, size_t cap)
{
    const size_t name = strcspn(line, "{"), end = (size_t)(strchr(line, '}') - line);
    size_t n = (size_t)snprintf(out, cap, "{\"name\":\"%.*s\",\"labels\":{\"", (int)name, line);
    for (size_t i = name + 1; i < end && n + 8 < cap; i++) {
        if (line[i] == '=') {
            n += (size_t)snprintf(out + n, cap - n, "\":");
        } else if (line[i] == ',') {
            n += (size_t)snprintf(out + n, cap - n, ",\"");
        } else {
            out[n++] = line[i];
        }
    }
    (void)snprintf(out + n, cap - n, "},\"value\":%.*s}", (int)(len - end - 2), line + end + 2);
}

/* Check that `json` has the samples of `text`, in their order, and nothing else. */
T_INLINE void metrics_are_the_same(const char *text, const char *json)
{
    const char *at = json;
    unsigned count = 0;
    T_REQUIRE(strncmp(at, "{\"metrics\":[", 12) == 0);
    at += 12;
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        char object[256];
        if (*line == '#') { continue; }
        metrics_object(line, strcspn(line, "\n"), object, sizeof object);
        const char *comma = count++ > 0 ? ",\n" : "\n";
        T_REQUIRE(strncmp(at, comma, strlen(comma)) == 0);
        at += strlen(comma);
        if (strncmp(at, object, strlen(object)) != 0) { T_EQ_STR(at, object); }
        T_REQUIRE(strncmp(at, object, strlen(object)) == 0);
        at += strlen(object);
    }
    T_EQ_STR(at, "]}\n");
    T_CHECK(count > 5);
}

/* Check each call that writes the figures of an object. Return them as text. */
T_INLINE const char *metrics_of(void *object)
{
    static char text[65536], json[131072];
    size_t len, json_len;
    T_EQ_I64(cellar_metrics_write(object, text, sizeof text, &len), CELLAR_OK);
    T_EQ_U64(len, strlen(text));
    T_EQ_I64(cellar_stats_json(object, json, sizeof json, &json_len), CELLAR_OK);
    T_EQ_U64(json_len, strlen(json));
    metrics_are_the_same(text, json);
    T_EQ_I64(cellar_stats_json(object, json, 10, &json_len), CELLAR_E_BUFFER);
    T_EQ_I64(cellar_stats_json(NULL, json, 10, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_metrics_write(object, NULL, 0, &len), CELLAR_E_BUFFER);
    T_EQ_U64(len, strlen(text));
    T_EQ_I64(cellar_metrics_write(NULL, text, sizeof text, NULL), CELLAR_E_INVAL);
    return text;
}

#endif
