/* SPDX-License-Identifier: MIT
 *
 * same_metrics: compare figures as Prometheus text and as JSON. */
#ifndef SUPPORT_SAME_METRICS_H
#define SUPPORT_SAME_METRICS_H

#include <stdio.h>
#include <string.h>

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

#endif
