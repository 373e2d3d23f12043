/* SPDX-License-Identifier: MIT
 *
 * Aim:    Patterns match the keys that the header says. Errors of a policy file have line and
 *         column, all are reported, and the present rules stay. Rules given as structs behave
 *         like those of a file. Each finding of the linter has a file that causes it.
 * Method: Rules from texts and structs, one mistake each. */
#include <sys/wait.h>

#include "tests/support/folder.h"
#include "tests/support/policy_kit.h"
#include "tests/support/struct_sizes.h"

#define STORE(fn) T_WITH(fn, cellar *c, c, api_open(4 << 20), api_shut(c))

/* ---- patterns ---- */

T_CASE_ON(placeholders_take_one_or_more_bytes_without_separator, STORE)
{
    T_EQ_I64(rules(c, "[*]\nkey a:{x}-{y}.json ttl=1s\nkey {x} ttl=2s\nkey {x}:end ttl=3s\n"
                      "key \"quoted \\\"{x}\\\"\\x21\" ttl=4s\nkey exact:key ttl=5s\n"
                      "glob g:[ab]?* ttl=6s\nkey {x}ab{y}:z ttl=7s\n", NULL), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "a:1-2.json"), 1 * S);
    T_EQ_I64(ttl_after_set(c, "a:1-2-3.json.json"), 1 * S);
    T_EQ_I64(ttl_after_set(c, "a:-2.json"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "a:1-.json"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "a:1:-2.json"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "a:1-2.jsonx"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "plain"), 2 * S);
    T_EQ_I64(ttl_after_set(c, "x"), 2 * S);
    T_EQ_I64(ttl_after_set(c, "x:end"), 3 * S);
    T_EQ_I64(ttl_after_set(c, ":end"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "x:y:end"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "exact:key"), 5 * S);
    T_EQ_I64(ttl_after_set(c, "exact:keys"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "g:a1"), 6 * S);
    T_EQ_I64(ttl_after_set(c, "g:c1"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "1ab2ab3:z"), 7 * S);
    T_EQ_I64(ttl_after_set(c, "ab2:z"), CELLAR_TTL_NONE);
    T_EQ_I64(rules(c, "[*]\nset separator=/ prefix=app\nkey a/{x} ttl=1s\nkey b:{x} ttl=2s\n",
                   NULL), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "app/a/1"), 1 * S);
    T_EQ_I64(ttl_after_set(c, "a/1"), 1 * S);
    T_EQ_I64(ttl_after_set(c, "appa/1"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "b:1:2"), 2 * S);
    T_EQ_I64(rules(c, "[*]\nkey \"quoted \\\"{x}\\\"\\x21\" ttl=4s\n", NULL), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "quoted \"7\"!"), 4 * S);
}

/* Compare the index with a plain search in file order, which the keys of one rule each allow. */
T_CASE(fifty_rules_and_more_find_the_same_rule)
{
    static char text[200000];
    size_t used = (size_t)snprintf(text, sizeof text, "[*]\n");
    cellar *c = api_open(16 << 20);
    for (unsigned i = 0; i < 1000; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "key g%u:{id}:f%u ttl=%us\n",
                                 i % 10, i / 10, i + 1);
    }
    T_EQ_I64(rules(c, text, NULL), CELLAR_OK);
    for (unsigned i = 0; i < 1000; i++) {
        char key[64];
        (void)snprintf(key, sizeof key, "g%u:some id:f%u", i % 10, i / 10);
        T_EQ_I64(ttl_after_set(c, key), (i + 1) * S);
    }
    api_shut(c);
}

T_CASE_ON(deny_ignores_case_in_keys_of_any_length, STORE)
{
    static char key[70000];
    T_EQ_I64(rules(c, "[*]\ndeny *ToKen*\ndeny A[a-c]?\nno_l2 *secret*\nglob * ttl=1s\n", NULL),
             CELLAR_OK);
    T_EQ_I64(api_put(c, "xTOKENx", "v", NULL), CELLAR_E_DENIED);
    T_EQ_I64(api_put(c, "aB1", "v", NULL), CELLAR_E_DENIED);
    T_EQ_I64(ttl_after_set(c, "aD1"), S);
    T_EQ_I64(ttl_after_set(c, "toke"), S);
    T_EQ_I64(ttl_after_set(c, "SECRET"), S);
    memset(key, 'x', sizeof key);
    for (size_t len = 200; len <= CELLAR_KEY_MAX; len = len * 3 / 2) {
        memcpy(key + len - 5, "TOKEN", 5);
        T_EQ_I64(cellar_set(c, key, len, "v", 1, NULL), CELLAR_E_DENIED);
        memcpy(key + len - 5, "xxxxx", 5);
        T_EQ_I64(cellar_set(c, key, len, "v", 1, NULL), CELLAR_OK);
    }
}

/* Only A to Z have another case; each byte stands in a word of 8 bytes and behind it. */
T_CASE_ON(deny_folds_no_byte_but_ascii_capitals, STORE)
{
    for (unsigned byte = 1; byte < 256; byte++) {
        const bool capital = byte >= 'A' && byte <= 'Z', small = byte >= 'a' && byte <= 'z';
        char text[64], key[16] = "aaa.aaaaaa.a";
        if (strchr("*?[]\\^-", (int)byte) != NULL) { continue; }
        const unsigned low = capital ? byte + 32 : byte;
        (void)snprintf(text, sizeof text, "[*]\ndeny \"aaa\\x%02Xaaaaaa\\x%02Xa\"\n", low, low);
        T_EQ_I64(rules(c, text, NULL), CELLAR_OK);
        key[3] = key[10] = (char)byte;
        T_EQ_I64(cellar_set(c, key, 12, "v", 1, NULL), CELLAR_E_DENIED);
        key[3] = (char)(byte ^ 32);
        T_EQ_I64(cellar_set(c, key, 12, "v", 1, NULL),
                 capital || small ? CELLAR_E_DENIED : CELLAR_OK);
    }
}

T_CASE_ON(globs_match_whatever_their_end_is, STORE)
{
    T_EQ_I64(rules(c, "[*]\nglob *:end ttl=1s\nglob *:verylongend ttl=2s\nglob [*z ttl=3s\n"
                      "glob \"b*\\\\*\" ttl=4s\nglob c*[xy]z ttl=5s\nglob *d?f ttl=6s\n", NULL),
             CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "a:end"), 1 * S);
    T_EQ_I64(ttl_after_set(c, ":end"), 1 * S);
    T_EQ_I64(ttl_after_set(c, "end"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "a:verylongend"), 2 * S);
    T_EQ_I64(ttl_after_set(c, "a:varylongend"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "*"), 3 * S); /* an open class of '*' and 'z' */
    T_EQ_I64(ttl_after_set(c, "z"), 3 * S);
    T_EQ_I64(ttl_after_set(c, "az"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "b1*"), 4 * S);
    T_EQ_I64(ttl_after_set(c, "b1"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "c1yz"), 5 * S);
    T_EQ_I64(ttl_after_set(c, "c1z"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "1def"), 6 * S);
    T_EQ_I64(ttl_after_set(c, "1df"), CELLAR_TTL_NONE);
}

/* ---- errors ---- */

typedef struct bad {
    const char *text, *note; /* the note behind "policy:" */
} bad;

T_CASE(errors_have_line_and_column)
{
    static const bad list[] = {
        { "key a ttl=1s\n", "1:1: error: write [name] or [*] before the first rule" },
        { "[*]\nkey a ttl=10\n", "2:7: error: ttl \"10\": a time needs a unit: ms s m h d w" },
        { "[*]\n  key a  ttl=\n", "2:10: error: ttl \"\": the option needs a value" },
        { "[*]\nkey a ttl=0s\n", "2:7: error: ttl \"0s\": must be at least 1ms" },
        { "[*]\nkey a ttl=x\n", "2:7: error: ttl \"x\": needs a number" },
        { "[*]\nkey a ttl=99999999999999999999s\n",
          "2:7: error: ttl \"99999999999999999999s\": is out of range" },
        { "[*]\nkey a ttl=999999999999w\n", NULL },
        { "[*]\nkey a idle=60d\n", "2:7: error: idle \"60d\": must be at most 2^32 - 1 ms" },
        { "[*]\nkey a ttl=1s ttl=2s\n", "2:14: error: ttl \"2s\": the option is given twice" },
        { "[*]\nkey a color=red\n", "2:7: error: option \"color\": there is no such option" },
        { "[*]\nkey a default_ttl=1s\n",
          "2:7: error: option \"default_ttl\": there is no such option" },
        { "[*]\nset ttl=1s\n", "2:5: error: option \"ttl\": there is no such option" },
        { "[*]\nset eviction_cost=5\n",
          "2:5: error: option \"eviction_cost\": there is no such option" },
        { "[*]\nset tags=x\n", "2:5: error: tags \"x\": belongs to another kind of rule" },
        { "[*]\nkey a prefix=x\n", "2:7: error: prefix \"x\": belongs to another kind of rule" },
        { "[*]\nset hidden\n", "2:5: error: option \"hidden\": there is no such option" },
        { "[*]\nset default_ttl=1s\nset default_ttl=2s\n",
          "3:1: error: an option of the section is set twice" },
        { "[*]\nkey a refresh=never\n", "2:7: error: refresh \"never\": must have an end" },
        { "[*]\nkey a jitter=101%\n", NULL }, { "[*]\nkey a jitter=-10%\n", NULL },
        { "[*]\nkey a priority=top\n", "2:7: error: priority \"top\": must be low, mid or high" },
        { "[*]\nkey a no_l2=1\n", "2:7: error: no_l2 \"1\": the option takes no value" },
        { "[*]\nset quota_max=0%\n", "2:5: error: quota_max \"0%\": must be 1%..100%" },
        { "[*]\nset quota_max=101%\n", NULL }, { "[*]\nset quota_max=10\n", NULL },
        { "[*]\nset quota_max=10%-40%\n", NULL },
        { "[*]\nset quota=10%-40%\n", "2:5: error: option \"quota\": write quota_max=40%, "
          "the greatest share; there is no least share" },
        { "[*]\nset quota=10%\n", "2:5: error: option \"quota\": write quota_max=40%, "
          "the greatest share; there is no least share" },
        { "[*]\nglob * quota\n", NULL },
        { "[*]\nkey a quota_max=10%\n",
          "2:7: error: quota_max \"10%\": belongs to a set rule, or to the glob *" },
        { "[*]\ndeny a ttl=1s\n",
          "2:8: error: ttl \"1s\": a deny or no_l2 rule has no options" },
        { "[*]\nkey a at=24:00@UTC\n", NULL },
        { "[*]\nkey a at=10:00@Nowhere/Land\n",
          "2:7: error: at \"10:00@Nowhere/Land\": unknown time zone" },
        { "[*]\nkey a tags=x,,y\n", "2:7: error: tags \"x,,y\": a tag has 1..128 bytes" },
        { "[*]\nkey a tags=1,2,3,4,5,6,7,8,9,a,b,c,d,e,f,g,h\n", NULL },
        { "[*]\nkey\n", "2:4: error: the rule has no pattern" },
        { "[*]\nkey \"\" ttl=1s\n", "2:5: error: pattern \"\": must have 1..1,024 bytes" },
        { "[*]\nkey a{b ttl=1s\n", "2:5: error: pattern \"a{b\": { without }" },
        { "[*]\nkey ab} ttl=1s\n", "2:5: error: pattern \"ab}\": } without {" },
        { "[*]\nkey a{} ttl=1s\n", "2:5: error: pattern \"a{}\": a placeholder needs a name" },
        { "[*]\nkey {a}{b} ttl=1s\n",
          "2:5: error: pattern \"{a}{b}\": two placeholders need text between them" },
        { "[*]\nkey \"a ttl=1s\n", "2:5: error: the quote has no end" },
        { "[*]\nkey \"a\\q\" ttl=1s\n", "2:7: error: unknown escape: write \\\" \\\\ \\n or \\xHH" },
        { "[*]\nkey \"a\"b ttl=1s\n", "2:8: error: a string ends with a blank or the line" },
        { "[*\nkey a\n", "1:1: error: the section has no ]" },
        { "[]\n", "1:2: error: the name of a section must have 1..64 bytes" },
        { "[a] b\n", "1:5: error: only a comment may follow here" },
        { "[*]\nkeys a\n",
          "2:1: error: word \"keys\": must be [name], set, key, glob, deny or no_l2" },
        { "[*]\nset separator=ab\n",
          "2:5: error: separator \"ab\": must be one byte, and no brace" },
        { "[*]\rkey a\n", "1:4: error: a control byte" },
        { "[*]\nkey \"a\\x00b\" ttl=1s\n", "2:7: error: a text has no NUL byte" },
    };
    cellar *c = api_open(4 << 20);
    T_EQ_I64(rules(c, "[*]\nkey kept ttl=5s\n", NULL), CELLAR_OK);
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        notes n;
        char want[256];
        T_EQ_I64(rules(c, list[i].text, &n), CELLAR_E_CONFIG);
        T_CHECK(n.count == 1 && n.warnings == 0 && n.line > 0 && n.column > 0);
        if (list[i].note == NULL) { continue; }
        (void)snprintf(want, sizeof want, "policy:%s\n", list[i].note);
        T_EQ_STR(n.text, want);
    }
    T_EQ_I64(ttl_after_set(c, "kept"), 5 * S); /* the rules before the errors are in force */
    static const char nul[] = "[*]\nkey a\0b ttl=1s\n";
    notes n = { 0 };
    T_EQ_I64(rules_set(c, nul, sizeof nul - 1, note, &n), CELLAR_E_CONFIG);
    T_EQ_STR(n.text, "policy:2:6: error: a control byte\n");
    static const char quoted[] = "[*]\nkey \"a\0b\" ttl=1s\n", remark[] = "[*] # \0\n";
    T_EQ_I64(rules_set(c, quoted, sizeof quoted - 1, NULL, NULL), CELLAR_E_CONFIG);
    T_EQ_I64(rules_set(c, remark, sizeof remark - 1, NULL, NULL), CELLAR_E_CONFIG);
    T_EQ_I64(ttl_after_set(c, "kept"), 5 * S);
    api_shut(c);
}

T_CASE_ON(all_errors_are_reported_up_to_a_hundred, STORE)
{
    static char text[8000];
    notes n;
    T_EQ_I64(rules(c, "[*]\nkey a ttl=1 idle=2 stale=3\nbad\nkey b{ ttl=4 idle=1s\n", &n),
             CELLAR_E_CONFIG);
    T_EQ_U64(n.count, 6);
    size_t used = 0;
    for (unsigned i = 0; i < 300; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "bad %u\n", i);
    }
    T_EQ_I64(rules(c, text, &n), CELLAR_E_CONFIG);
    T_EQ_U64(n.count, 100);
}

T_CASE_ON(bom_carriage_returns_and_comments_are_skipped, STORE)
{
    T_EQ_I64(rules(c, "\xef\xbb\xbf# first\r\n\r\n[*] # all\r\nkey a#b ttl=1s # text\r\n"
                      "\tkey \"c # d\"\tttl=2s\r", NULL), CELLAR_OK);
    T_EQ_I64(rules(c, "\xef\xbb\xbf# first\r\n\r\n[*] # all\r\nkey a#b ttl=1s # text\r\n"
                      "\tkey \"c # d\"\tttl=2s", NULL), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "a#b"), 1 * S);
    T_EQ_I64(ttl_after_set(c, "c # d"), 2 * S);
}

/* Return the calls that put rules into force at run time, as the metric has them. */
static unsigned long reloads(cellar *c, const char *result)
{
    static char out[65536];
    char name[64];
    (void)snprintf(name, sizeof name, "cellar_policy_reloads_total{result=\"%s\"} ", result);
    T_EQ_I64(cellar_metrics_write(c, out, sizeof out, NULL), CELLAR_OK);
    const char *at = strstr(out, name);
    return at != NULL ? strtoul(at + strlen(name), NULL, 10) : 999;
}

T_CASE(metric_counts_files_that_the_reader_refuses)
{
    char folder[T_FOLDER_MAX], path[T_FOLDER_MAX + 16];
    cellar *c = api_open(4 << 20), *v = NULL;
    cellar_policy_rule wrong = cellar_policy_rule_default();
    t_folder(folder);
    (void)snprintf(path, sizeof path, "%s/p", folder);
    T_EQ_I64(cellar_policy_reload(c, "tests/data/s4.policy", NULL, NULL), CELLAR_OK);
    T_CHECK(reloads(c, "ok") == 1 && reloads(c, "error") == 0);
    T_EQ_I64(cellar_policy_reload(c, path, NULL, NULL), CELLAR_E_IO);
    T_CHECK(reloads(c, "ok") == 1 && reloads(c, "error") == 1);
    FILE *f = fopen(path, "w");
    T_REQUIRE(f != NULL && fputs("[*]\nkey\n", f) >= 0 && fclose(f) == 0);
    T_EQ_I64(cellar_policy_reload(c, path, NULL, NULL), CELLAR_E_CONFIG);
    T_CHECK(reloads(c, "ok") == 1 && reloads(c, "error") == 2);
    T_EQ_I64(cellar_policy_set(c, &wrong, 1), CELLAR_E_CONFIG);
    T_CHECK(reloads(c, "ok") == 1 && reloads(c, "error") == 3);
    T_EQ_I64(cellar_namespace_open(c, "a", NULL, &v), CELLAR_OK);
    api_shut(c);
    T_EQ_I64(cellar_policy_reload(v, path, NULL, NULL), CELLAR_E_CONFIG); /* nothing to count in */
    T_EQ_I64(cellar_policy_reload(v, "tests/data/s4.policy", NULL, NULL), CELLAR_E_CLOSED);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    t_wipe(folder);
}

T_CASE(limits_of_a_file_hold)
{
    char folder[T_FOLDER_MAX], path[T_FOLDER_MAX + 16];
    cellar *c = api_open(32 << 20);
    notes n = { 0 };
    t_folder(folder);
    (void)snprintf(path, sizeof path, "%s/p", folder);
    T_EQ_I64(cellar_policy_reload(c, NULL, note, &n), CELLAR_E_INVAL);
    T_EQ_I64(cellar_policy_reload(NULL, path, note, &n), CELLAR_E_INVAL);
    T_EQ_U64(n.count, 0);
    T_EQ_I64(cellar_policy_reload(c, path, note, &n), CELLAR_E_IO);
    T_CHECK(n.count == 1 && n.line == 0 && strstr(n.text, "cannot be read: no such file") != NULL);
    memset(&n, 0, sizeof n);
    FILE *f = fopen(path, "w");
    T_REQUIRE(f != NULL);
    for (unsigned i = 0; i < 1 << 20; i++) { fputc('\n', f); }
    T_EQ_I64(fflush(f), 0);
    T_EQ_I64(cellar_policy_reload(c, path, note, &n), CELLAR_OK);
    fputc('\n', f);
    fclose(f);
    T_EQ_I64(cellar_policy_reload(c, path, note, &n), CELLAR_E_CONFIG);
    T_CHECK(n.count == 1 && strstr(n.text, ":1:1: error: larger than 1 MiB") != NULL);
    f = fopen(path, "w");
    T_REQUIRE(f != NULL);
    fputs("[*]\n", f);
    for (unsigned i = 0; i < 4096; i++) { fprintf(f, "key k%u:{n} ttl=%us\n", i, i + 1); }
    T_EQ_I64(fflush(f), 0);
    T_EQ_I64(cellar_policy_reload(c, path, note, &n), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "k4095:x"), 4096 * S);
    memset(&n, 0, sizeof n);
    fputs("key one:more ttl=1s\n", f);
    fclose(f);
    T_EQ_I64(cellar_policy_reload(c, path, note, &n), CELLAR_E_CONFIG);
    T_EQ_U64(n.count, 1);
    T_EQ_U64(n.line, 4098);
    T_EQ_I64(ttl_after_set(c, "k4095:x"), 4096 * S);
    static char lines[(1 << 20) + 1];
    memset(lines, '\n', sizeof lines);
    T_EQ_I64(rules_set(c, lines, sizeof lines, NULL, NULL), CELLAR_E_CONFIG);
    T_EQ_I64(ttl_after_set(c, "k4095:x"), 4096 * S);
    for (unsigned i = 0; i < 4097; i++) { memcpy(lines + 4 * (size_t)i, "[a]", 3); }
    T_EQ_I64(rules_set(c, lines, sizeof lines - 1, NULL, NULL), CELLAR_OK); /* no rules */
    T_EQ_I64(ttl_after_set(c, "k4095:x"), CELLAR_TTL_NONE);
    cellar_settings wrong = cellar_settings_default();
    cellar *none = c;
    memset(&n, 0, sizeof n);
    (void)snprintf(wrong.policy_file, sizeof wrong.policy_file, "%s", path);
    T_EQ_I64(cellar_settings_open(&wrong, note, &n, &none), CELLAR_E_CONFIG);
    T_CHECK(none == NULL && n.count == 1 && n.line == 4098);
    (void)snprintf(wrong.policy_file, sizeof wrong.policy_file, "/no/such/file");
    T_EQ_I64(cellar_settings_open(&wrong, note, &n, &none), CELLAR_E_IO);
    T_EQ_I64(cellar_settings_open(NULL, note, &n, &none), CELLAR_E_INVAL);
    api_shut(c);
    t_wipe(folder);
}

T_CASE(file_cut_at_every_byte_is_read_or_refused)
{
    static char text[4096];
    FILE *f = fopen("tests/data/s4.policy", "r");
    T_REQUIRE(f != NULL);
    const size_t len = fread(text, 1, sizeof text, f);
    fclose(f);
    T_REQUIRE(len > 500 && len < sizeof text);
    cellar *c = api_open(4 << 20);
    unsigned good = 0;
    for (size_t i = 0; i <= len; i++) {
        char *cut = malloc(i > 0 ? i : 1); /* so that a read beyond the end is found */
        T_REQUIRE(cut != NULL);
        memcpy(cut, text, i);
        notes n = { 0 };
        const cellar_err err = rules_set(c, cut, i, note, &n);
        T_CHECK(err == CELLAR_OK ? n.count == 0 : err == CELLAR_E_CONFIG && n.count > 0);
        good += err == CELLAR_OK;
        free(cut);
    }
    T_CHECK(good > 100 && good < len);
    api_shut(c);
}

/* ---- rules as structs ---- */

static cellar_policy_rule key_rule(const char *pattern, int64_t ttl_ms)
{
    cellar_policy_rule r = { .struct_size = sizeof r, .pattern = pattern, .ttl_ms = ttl_ms };
    return r;
}

T_CASE(structs_say_what_a_file_says)
{
    cellar *root = api_open(4 << 20), *c = NULL;
    const cellar_ttl_class classes[1] = { { "cold", 50 * S } };
    cellar_namespace_config o = { .struct_size = sizeof o, .ttl_classes = classes,
                                  .ttl_class_count = 1, .quota_max_pct = 1 };
    cellar_policy_rule r[10];
    for (size_t i = 0; i < 10; i++) { r[i] = key_rule(NULL, 0); }
    r[0].kind = CELLAR_POLICY_SET;
    r[0].section = "a";
    r[0].ttl_ms = 30 * S;
    r[0].negative_ttl_ms = 7 * S;
    r[0].quota_max_pct = 40;
    r[0].prefix = "app/";
    r[0].separator = "/";
    r[1] = key_rule("all/{x}", 20 * S);
    r[1].ttl_max_ms = 25 * S;
    r[1].idle_ms = 3 * S;
    r[1].max_age_ms = 10 * S;
    r[1].loader = "rows";
    r[1].priority = 3;
    r[2] = key_rule("stale/{x}", 4 * S);
    r[2].stale_ms = 2 * S;
    r[2].jitter_pct = CELLAR_OFF;
    r[2].tags = "red,blue";
    r[3] = key_rule("c*", 0);
    r[3].kind = CELLAR_POLICY_GLOB;
    r[3].ttl_class = "cold";
    r[4] = key_rule("never", CELLAR_TTL_NONE);
    r[5] = key_rule("j/{x}", 100 * S);
    r[5].jitter_pct = 50;
    r[5].jitter_mode = CELLAR_JITTER_PLUS;
    r[6] = key_rule("at/{x}", 0);
    r[6].at = "00:00@+00:00";
    r[6].refresh_ms = S;
    r[7] = key_rule("*token*", 0);
    r[7].kind = CELLAR_POLICY_DENY;
    r[8] = key_rule("*secret*", 0);
    r[8].kind = CELLAR_POLICY_NO_L2;
    r[9] = key_rule("disk", 0);
    r[9].no_l2 = 1;
    for (size_t i = 1; i < 10; i++) { r[i].section = i == 7 ? NULL : "a"; }
    T_EQ_I64(cellar_namespace_open(root, "a", &o, &c), CELLAR_OK);
    T_EQ_I64(cellar_policy_set(root, r, 10), CELLAR_OK);
    cellar_entry_info info = cellar_entry_info_default();
    T_EQ_I64(ttl_after_set(c, "app/all/1"), 3 * S);
    T_EQ_I64(ttl_after_set(c, "stale/1"), 4 * S);
    T_EQ_I64(cellar_entry_info_get(c, "stale/1", 7, 0, &info), CELLAR_OK);
    T_EQ_I64(info.stale_left_ms, 6 * S);
    T_EQ_I64(ttl_after_set(c, "c1"), 50 * S);
    T_EQ_I64(ttl_after_set(c, "never"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "free"), 30 * S);
    const int64_t spread = ttl_after_set(c, "j/1");
    T_CHECK(spread >= 100 * S && spread <= 150 * S);
    const int64_t day = ttl_after_set(c, "at/1");
    T_CHECK(day > 0 && day <= 30 * S); /* or less, before midnight */
    cellar_set_opts none = { .struct_size = sizeof none, .flags = CELLAR_NEGATIVE };
    T_EQ_I64(cellar_set(c, "neg", 3, NULL, 0, &none), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "neg"), 7 * S);
    T_EQ_I64(api_put(c, "my-token", "v", NULL), CELLAR_E_DENIED);
    cellar_error_info e = cellar_error_info_default();
    T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
    T_EQ_STR(e.text, "denied by rules[7] of the policy");
    T_EQ_I64(api_put(root, "my-token", "v", NULL), CELLAR_E_DENIED);
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_CHECK(st.quota_max_bytes > 1u << 20); /* a share of 1 % is less */
    T_EQ_I64(cellar_delete_by_tag(c, "blue", 4, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_STR(api_look(c, "stale/1"), "MISS");
    T_EQ_I64(cellar_policy_set(root, NULL, 0), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "free"), CELLAR_TTL_NONE);
    T_EQ_I64(cellar_namespace_close(c), CELLAR_OK);
    api_shut(root);
}

/* Add a rule to the text at `ctx` of 400 bytes. End the list behind a rule named "last". */
static bool add_rule(const cellar_policy_rule *r, void *ctx)
{
    char *text = ctx;
    const size_t len = strlen(text);
    T_EQ_U64(r->struct_size, sizeof *r);
    snprintf(text + len, 400 - len, "%s:%d %s ttl %lld refresh %lld jitter %d/%u by %s tags %s in %s%s;",
             r->section, (int)r->kind, r->pattern, (long long)r->ttl_ms, (long long)r->refresh_ms,
             (int)r->jitter_mode, r->jitter_pct == CELLAR_OFF ? 999 : r->jitter_pct,
             r->loader != NULL ? r->loader : "-", r->tags != NULL ? r->tags : "-",
             r->prefix != NULL ? r->prefix : "-", r->separator);
    return strcmp(r->pattern, "last") != 0;
}

T_CASE(rules_in_force_are_listed)
{
    cellar *root = api_open(4 << 20), *c = NULL;
    char text[400] = "";
    cellar_policy_rule r[] = { key_rule(NULL, 30 * S), key_rule("u:{id}", 0), key_rule("other", S),
                               key_rule("*Secret*", 0), key_rule("last", 2 * S),
                               key_rule("behind", S) };
    r[0].kind = CELLAR_POLICY_SET;
    r[0].prefix = "app";
    r[0].separator = "/";
    r[1].refresh_ms = S;
    r[1].loader = "db";
    r[1].tags = "red,blue";
    r[1].jitter_pct = CELLAR_OFF;
    r[3].kind = CELLAR_POLICY_DENY;
    r[4].jitter_pct = 20;
    r[4].jitter_mode = CELLAR_JITTER_PLUS;
    r[0].section = r[1].section = "a";
    r[2].section = "b";
    T_EQ_I64(cellar_namespace_open(root, "a", NULL, &c), CELLAR_OK);
    T_EQ_I64(cellar_policy_list(c, add_rule, text), CELLAR_OK);
    T_EQ_STR(text, "");
    T_EQ_I64(cellar_policy_set(root, r, 6), CELLAR_OK);
    T_EQ_I64(cellar_policy_list(c, add_rule, text), CELLAR_OK);
    T_EQ_STR(text, "a:0 u:{id} ttl 30000 refresh 1000 jitter 0/999 by db tags red,blue in app/;"
                   "*:2 *secret* ttl 0 refresh 0 jitter 0/0 by - tags - in -:;"
                   "*:0 last ttl 2000 refresh 0 jitter 1/20 by - tags - in -:;");
    T_EQ_I64(cellar_namespace_close(c), CELLAR_OK);
    api_shut(root);
}

#define WRONG(says, ...) { cellar_policy_rule w = key_rule("k", S); __VA_ARGS__; \
    const cellar_policy_rule two[2] = { key_rule("good", S), w }; \
    T_EQ_I64(cellar_policy_set(c, two, 2), CELLAR_E_CONFIG); \
    T_EQ_STR(last(c), "cellar_policy_set: rules[1]: " says); }

static const char *last(cellar *c)
{
    static cellar_error_info e;
    e = cellar_error_info_default();
    T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
    return e.text;
}

T_CASE(errors_of_structs_name_the_index)
{
    static cellar_policy_rule many[4097];
    cellar *c = api_open(16 << 20);
    T_EQ_I64(rules(c, "[*]\nkey kept ttl=5s\n", NULL), CELLAR_OK);
    WRONG("pattern: must not be NULL", w.pattern = NULL)
    WRONG("pattern: must have 1..1,024 bytes", w.pattern = "")
    WRONG("pattern: { without }", w.pattern = "a{b")
    WRONG("kind: must be a cellar_policy_kind", w.kind = (cellar_policy_kind)5)
    WRONG("pattern: must be NULL in a CELLAR_POLICY_SET", w.kind = CELLAR_POLICY_SET)
    WRONG("section: must have 1..64 bytes", w.section = "")
    WRONG("ttl_ms: is out of range", w.ttl_ms = -5)
    WRONG("ttl_ms: is out of range", w.ttl_ms = (INT64_C(1) << 52) + 1)
    WRONG("idle_ms: must be at most 2^32 - 1 ms", w.idle_ms = INT64_C(1) << 32)
    WRONG("refresh_ms: must have an end", w.refresh_ms = CELLAR_TTL_NONE)
    WRONG("jitter_pct: must be 1..100, or CELLAR_OFF", w.jitter_pct = 101)
    WRONG("jitter_mode: must be a cellar_jitter",
          w.jitter_pct = 5; w.jitter_mode = (cellar_jitter)9)
    WRONG("priority: is out of range", w.priority = 4)
    WRONG("quota_max_pct: belongs to a set rule, or to the glob *", w.quota_max_pct = 10)
    WRONG("quota_max_pct: must be 1..100",
          w.kind = CELLAR_POLICY_SET; w.pattern = NULL; w.quota_max_pct = 101)
    WRONG("no_l2: is out of range", w.no_l2 = 2)
    WRONG("loader: must have 1..64 bytes", w.loader = "")
    WRONG("tags: a tag has 1..128 bytes", w.tags = "x,,y")
    WRONG("at: unknown time zone", w.at = "10:00@Nowhere/Land")
    WRONG("at: no time of day: write 00:00@Asia/Shanghai", w.at = "24:00@UTC")
    WRONG("prefix: belongs to another kind of rule", w.prefix = "x")
    WRONG("separator: belongs to another kind of rule", w.separator = "/")
    WRONG("separator: must be one byte, and no brace",
          w.kind = CELLAR_POLICY_SET; w.pattern = NULL; w.separator = "{")
    WRONG("ttl_max_ms: belongs to another kind of rule", w.kind = CELLAR_POLICY_SET;
          w.pattern = NULL; w.ttl_max_ms = 5)
    WRONG("kind: a deny or no_l2 rule has no options", w.kind = CELLAR_POLICY_DENY)
    cellar_policy_rule two[2] = { key_rule(NULL, S), key_rule(NULL, S) };
    two[0].kind = two[1].kind = CELLAR_POLICY_SET;
    T_EQ_I64(cellar_policy_set(c, two, 2), CELLAR_E_CONFIG);
    T_EQ_STR(last(c), "cellar_policy_set: rules[1]: section: an option of the section is set twice");
    for (size_t i = 0; i < 4097; i++) { many[i] = key_rule("k:{x}", S); }
    T_EQ_I64(cellar_policy_set(c, many, 4097), CELLAR_E_CONFIG);
    T_EQ_STR(last(c), "cellar_policy_set: rule_count: at most 4,096 rules (got 4097)");
    T_EQ_I64(ttl_after_set(c, "kept"), 5 * S);
    T_EQ_I64(cellar_policy_set(c, many, 4096), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "k:1"), S);
    two[0] = key_rule("a", S);
    two[1] = key_rule("b", S);
    two[1].struct_size = 0;
    T_EQ_I64(cellar_policy_set(c, two, 2), CELLAR_E_INVAL);
    T_EQ_STR(last(c), "cellar_policy_set: rules[1]: struct_size: start from "
                      "cellar_policy_rule_default()");
    T_EQ_I64(cellar_policy_set(c, NULL, 1), CELLAR_E_INVAL);
    T_EQ_I64(cellar_policy_set(NULL, two, 1), CELLAR_E_INVAL);
    T_EQ_I64(ttl_after_set(c, "k:1"), S);
    api_shut(c);
}

/* The first call of the program finds the rules; an error in them refuses the open. */
T_CASE(rules_of_the_config_hold_before_the_first_call)
{
    char pattern[8] = "k:{x}";
    cellar_policy_rule r[2] = { key_rule(pattern, 3 * S), key_rule("*token*", 0) };
    settings cfg = api_config(4 << 20);
    cellar *none = NULL;
    cellar_error_info e = cellar_error_info_default();
    r[1].kind = CELLAR_POLICY_DENY;
    cfg.config.rules = r;
    cfg.config.rule_count = 2;
    cellar *c = api_open_with(&cfg);
    memset(pattern, 'z', sizeof pattern - 1); /* the store has a copy */
    T_EQ_I64(ttl_after_set(c, "k:1"), 3 * S);
    T_EQ_I64(api_put(c, "a token", "v", NULL), CELLAR_E_DENIED);
    api_shut(c);
    r[1].tags = "a";
    T_EQ_I64(settings_open(&cfg, &none), CELLAR_E_CONFIG);
    T_CHECK(none == NULL);
    T_EQ_I64(cellar_last_error(NULL, &e), CELLAR_OK);
    T_CHECK(e.code == CELLAR_E_CONFIG && strstr(e.text, "rules[1]: kind: a deny") != NULL);
    cfg.config.rules = NULL;
    T_EQ_I64(settings_open(&cfg, &none), CELLAR_E_INVAL);
}

/* A text becomes the structs that its words name, with the lines of the text. */
T_CASE(text_becomes_structs)
{
    static const char text[] = "[a]\nset quota_max=7% default_ttl=2h\n\nkey x:{y} ttl=1h30m jitter=0%"
                               " at=00:00@UTC\n[*]\nno_l2 *secret*\n";
    cellar_policy_rule *r;
    size_t count;
    cellar_policy_opts o = { .struct_size = sizeof o, .text = text, .text_len = sizeof text - 1 };
    T_REQUIRE(cellar_policy_read("t", &o, NULL, NULL, &r, &count) == CELLAR_OK);
    T_EQ_U64(count, 3);
    T_CHECK(r[0].kind == CELLAR_POLICY_SET && r[0].pattern == NULL && r[0].line == 2);
    T_CHECK(r[0].ttl_ms == 7200 * S && r[0].quota_max_pct == 7);
    T_CHECK(r[1].kind == CELLAR_POLICY_KEY && r[1].ttl_ms == 5400 * S && r[1].line == 4);
    T_CHECK(r[1].jitter_pct == CELLAR_OFF);
    T_EQ_STR(r[1].section, "a");
    T_EQ_STR(r[1].pattern, "x:{y}");
    T_EQ_STR(r[1].at, "00:00@UTC");
    T_CHECK(r[2].kind == CELLAR_POLICY_NO_L2);
    T_EQ_STR(r[2].section, "*");
    cellar_free(r);
    o.text_len = 0;
    T_EQ_I64(cellar_policy_read("t", &o, NULL, NULL, &r, &count), CELLAR_OK);
    T_CHECK(count == 0 && r != NULL);
    cellar_free(r);
    T_EQ_I64(cellar_policy_read(NULL, &o, NULL, NULL, &r, &count), CELLAR_E_INVAL);
    T_EQ_I64(cellar_policy_read("t", &o, NULL, NULL, NULL, &count), CELLAR_E_INVAL);
    T_EQ_I64(cellar_policy_read("t", &o, NULL, NULL, &r, NULL), CELLAR_E_INVAL);
    o.lint = 2;
    T_EQ_I64(cellar_policy_read("t", &o, NULL, NULL, &r, &count), CELLAR_E_INVAL);
    T_CHECK(count == 0 && r == NULL);
}

static cellar_err use_opts(void *p)
{
    cellar_policy_rule *r;
    size_t count;
    const cellar_err err = cellar_policy_read("tests/data/s4.policy", (const cellar_policy_opts *)p,
                                              NULL, NULL, &r, &count);
    cellar_free(r);
    return err;
}

T_CASE(options_of_every_struct_size_work)
{
    CHECK_IN(cellar_policy_opts, cellar_policy_opts_default(), use_opts);
}

/* ---- the linter ---- */

static cellar_err lint(const cellar_policy_space *spaces, uint32_t count, const char *text,
                       notes *n)
{
    cellar_policy_rule *rules = NULL;
    size_t rule_count;
    cellar_policy_opts o = { .struct_size = sizeof o, .text = text, .text_len = strlen(text),
                             .lint = 1, .spaces = spaces, .space_count = count };
    memset(n, 0, sizeof *n);
    const cellar_err err = cellar_policy_read("p", &o, note, n, &rules, &rule_count);
    cellar_free(rules);
    return err;
}

T_CASE(linter_has_a_finding_for_each_mistake)
{
    static const bad list[] = {
        { "[*]\nkey a ttl=1h refresh=40m loader=x\n", "2:1: warning: ttl is less than twice" },
        { "[*]\nset default_ttl=1h refresh=40m\n", "2:1: warning: ttl is less than twice" },
        { "[*]\nset default_ttl=1h\nset refresh=40m\n", "2:1: warning: ttl is less than twice" },
        { "[*]\nkey a:{x} ttl=1s\nkey a:{y} ttl=2s\n", "3:1: warning: the rule of line 2 matches" },
        { "[*]\nglob a* ttl=1s\nkey a:{y}:b ttl=2s\n", "3:1: warning: the rule of line 2 matches" },
        { "[*]\nkey a:{x} ttl=1s\nkey a:b-{x} ttl=2s\n", "3:1: warning: the rule of line 2" },
        { "[*]\nglob a?c ttl=1s\nkey abc ttl=2s\n", "3:1: warning: the rule of line 2 matches" },
        { "[*]\nglob a[bc]* ttl=1s\nglob a[bc]d* ttl=2s\n", "3:1: warning: the rule of line 2" },
        { "[*]\nglob * ttl=1s\n[a]\nkey b ttl=2s\n", "4:1: warning: the rule of line 2 matches" },
        { "[*]\ndeny *a*\ndeny *ab*\n", "3:1: warning: the rule of line 2 matches" },
        { "[*]\nkey my:TOKEN:{x} ttl=1s\ndeny *token*\n",
          "2:1: warning: the deny rule of line 3 matches every key" },
        { "[*]\nkey a ttl=1h refresh=20m\n", "2:1: warning: refresh without loader" },
        { "[*]\nkey a ttl=2h ttl_max=1h\n", "2:1: warning: ttl is longer than ttl_max" },
        { "[*]\nkey a ttl=2h idle=1m max_age=1h\n", "2:1: warning: ttl is longer than max_age" },
        { "[*]\nkey a ttl=1m negative=2m\n", "2:1: warning: negative is longer than ttl" },
        { "[*]\nkey a ttl=1h jitter=+10% at=00:00@UTC\n", "2:1: warning: jitter would pass" },
        { "[*]\nset jitter=+-10%\nkey a ttl=1h at=00:00@UTC\n", "3:1: warning: jitter would pass" },
    };
    static const char *const good[] = {
        "[*]\nkey a:{x} ttl=1s\nkey a:{y}:{z} ttl=2s\nkey {x}:b ttl=3s\n",
        "[*]\nkey a:b-{x} ttl=2s\nkey a:{x} ttl=1s\nglob * ttl=4s\n",
        "[*]\nkey {x} ttl=2s\nkey a:b ttl=1s\nglob a?? ttl=4s\nglob ab* ttl=4s\n",
        "[a]\nkey x ttl=2s\n[b]\nkey x ttl=1s\ndeny y\n",
        "[*]\nset jitter=+10%\nkey a ttl=1h jitter=0% at=00:00@UTC\n",
        "[*]\nset jitter=+10%\nkey a ttl=1h jitter=10% at=00:00@UTC\n",
        "[*]\ndeny *tokens*\nkey token:{x} ttl=1s\nno_l2 *tokens*\n",
    };
    notes n;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        T_EQ_I64(lint(NULL, 0, list[i].text, &n), CELLAR_OK);
        T_CHECK(n.count == 1 && n.warnings == 1);
        if (strstr(n.text, list[i].note) == NULL) { T_EQ_STR(n.text, list[i].note); }
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        T_EQ_I64(lint(NULL, 0, good[i], &n), CELLAR_OK);
        T_EQ_STR(n.text, "");
    }
    memset(&n, 0, sizeof n);
    cellar_policy_rule *rules = NULL;
    size_t count;
    cellar_policy_opts o = { .struct_size = sizeof o, .lint = 1 };
    T_EQ_I64(cellar_policy_read("tests/data/s4.policy", &o, note, &n, &rules, &count), CELLAR_OK);
    T_EQ_STR(n.text, "");
    cellar_free(rules);
    T_EQ_I64(cellar_policy_read("/no/such/file", &o, note, &n, &rules, &count), CELLAR_E_IO);
    T_CHECK(rules == NULL);
    T_EQ_I64(lint(NULL, 0, "bad\n", &n), CELLAR_E_CONFIG);
}

static cellar_err no_load(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len, (void)ctx;
    return cellar_load_absent(ld);
}

T_CASE(linter_compares_with_namespaces)
{
    const cellar_ttl_class classes[2] = { { "hot", 5 * S }, { "cold", 50 * S } };
    cellar_namespace_config o = { .struct_size = sizeof o, .ttl_classes = classes,
                                  .ttl_class_count = 2 };
    const cellar_policy_space spaces[2] = { { "", NULL }, { "a", &o } };
    notes n;
    T_EQ_I64(lint(spaces, 2, "[b]\nkey x ttl=1s\nkey y ttl=1s\n[*]\nkey z ttl=1s\n", &n), CELLAR_OK);
    T_EQ_STR(n.text, "p:2:1: warning: no namespace has section \"b\"\n");
    o.policy_section = "b";
    T_EQ_I64(lint(spaces, 2, "[b]\nkey x ttl=1s\n", &n), CELLAR_OK);
    T_EQ_STR(n.text, "");
    o.policy_section = NULL;
    T_EQ_I64(lint(spaces, 2, "[a]\nkey x class=warm\nkey y class=hot\n", &n), CELLAR_OK);
    T_EQ_U64(n.warnings, 2);
    T_CHECK(strstr(n.text, ":2:1: warning: the namespace has no TTL class \"warm\"") != NULL);
    T_CHECK(strstr(n.text, ":2:1: warning: no rule uses TTL class 2") != NULL);
    T_EQ_I64(lint(spaces, 2, "[a]\nkey x ttl=1s loader=rows\n", &n), CELLAR_OK);
    T_CHECK(strstr(n.text, ":2:1: warning: loader: the namespace has no loader") != NULL);
    o.loader = no_load;
    T_EQ_I64(lint(spaces, 2, "[a]\nkey x ttl=1s loader=rows\n", &n), CELLAR_OK);
    T_EQ_U64(n.count, 0);
}

T_CASE(namespaces_are_compared_without_the_linter)
{
    static const char text[] = "[a]\nkey x ttl=1s refresh=1s\n[b]\nkey x ttl=1s\n";
    const cellar_policy_space space = { "a", NULL };
    cellar_policy_opts o = { .struct_size = sizeof o, .text = text, .text_len = sizeof text - 1,
                             .spaces = &space, .space_count = 1 };
    cellar_policy_rule *rules;
    size_t count;
    notes n = { 0 };
    T_EQ_I64(cellar_policy_read("p", &o, note, &n, &rules, &count), CELLAR_OK);
    T_EQ_STR(n.text, "p:4:1: warning: no namespace has section \"b\"\n");
    cellar_free(rules);
}

T_ONE_THREAD;
T_MAIN("api_policy_text")
