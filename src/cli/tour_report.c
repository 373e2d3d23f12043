/* SPDX-License-Identifier: MIT
 *
 * tour_report: print the figures and findings of an act; folders and values of the acts. */
#include <dirent.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/tour_report.h"

void tour_say(tour_report *r, const char *format, ...)
{
    const tour_act *act = r->act;
    va_list args;
    if (r->json) { return; }
    if (act != NULL) {
        printf("%s%s%s\n%s\n\n", r->color ? "\033[1m" : "", act->name,
               r->color ? "\033[0m" : "", act->sentences);
    }
    r->act = NULL;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
}

void tour_bar(tour_report *r, const char *label, uint64_t part, uint64_t whole)
{
    static const char full[] = "########################################";
    const uint64_t most = sizeof full - 1;
    const uint64_t n = whole == 0 ? 0 : (part * most + whole - 1) / whole;
    tour_say(r, "  %-9s |%-*.*s| ", label, (int)most, (int)(n < most ? n : most), full);
}

void tour_figure(tour_report *r, const char *name, uint64_t value, uint64_t whole,
                 const char *words)
{
    char label[16], text[CLI_TEXT];
    const bool bytes = strstr(name, "_bytes") != NULL, ns = strstr(name, "_ns") != NULL;
    (void)snprintf(label, sizeof label, "%.*s", (int)strcspn(name, "_"), name);
    if (r->facts < TOUR_FACTS) {
        r->fact[r->facts].name = name;
        r->fact[r->facts++].value = value;
    }
    if (words == NULL) { return; }
    if (whole != 0) { tour_bar(r, label, value, whole); } else { tour_say(r, "  %-9s ", label); }
    tour_say(r, "%s%s%s\n", bytes ? cli_bytes(text, value) :
             ns ? cli_duration(text, value) : cli_count(text, value), *words != '\0' ? " " : "",
             words);
}

void tour_check(tour_report *r, bool holds, const char *finding)
{
    if (holds) { return; }
    r->findings++;
    tour_say(r, "FINDING %s\n", finding);
}

bool tour_threads(void *(*fn)(void *), void *arg, uint32_t count)
{
    pthread_t thread[TOUR_CROWD];
    uint32_t started = 0;
    while (started < count && pthread_create(&thread[started], NULL, fn, arg) == 0) { started++; }
    for (uint32_t i = 0; i < started; i++) { (void)pthread_join(thread[i], NULL); }
    return started == count;
}

void tour_pause_us(unsigned us)
{
    const struct timespec t = { us / 1000000u, (long)(us % 1000000u) * 1000 };
    (void)nanosleep(&t, NULL);
}

bool tour_folder_make(tour_report *r, char *folder, size_t cap)
{
    const char *tmp = getenv("TMPDIR");
    const int n = snprintf(folder, cap, "%s/cellar-tour-XXXXXX",
                           tmp != NULL && tmp[0] == '/' ? tmp : "/tmp");
    if (n > 0 && (size_t)n < cap && mkdtemp(folder) != NULL) { return true; }
    r->skipped = "no temporary folder can be made; set TMPDIR";
    return false;
}

void tour_folder_remove(const char *folder)
{
    char path[600];
    DIR *d = opendir(folder);
    for (const struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL; e = readdir(d)) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.') { (void)unlink(path); }
    }
    if (d != NULL) { (void)closedir(d); }
    (void)rmdir(folder);
}

void tour_fill(unsigned char value[TOUR_VALUE], uint32_t n)
{
    memset(value, (int)(n * 31 & 255), TOUR_VALUE);
    memcpy(value, &n, sizeof n);
}
