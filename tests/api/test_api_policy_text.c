/* SPDX-License-Identifier: MIT
 *
 * Aim:    Patterns match the keys that the header says. Errors of a policy file have line and
 *         column, all are reported, and the present rules stay. Rules given as structs behave
 *         like those of a file. Each finding of the linter has a file that causes it.
 * Method: Rules from texts and structs, one mistake each. */
#include <sys/wait.h>

#include "tests/support/policy_kit.h"
#include "tests/support/refusals.h"
#include "tests/support/spaces.h"
#include "tests/support/struct_sizes.h"

typedef struct row { const char *key; int64_t ttl_ms; } row;

static void check_ttls(cellar *c, const row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!T_EQ_I64(ttl_after_set(c, rows[i].key), rows[i].ttl_ms)) {
            printf("# key %s\n", rows[i].key);
        }
    }
}

#define NONE CELLAR_TTL_NONE
#define STORE(fn) T_WITH(fn, cellar *c, c, api_open(4 << 20), api_shut(c))

/* ---- patterns ---- */

T_CASE_ON(placeholders_take_one_or_more_bytes_without_separator, STORE)
{
    T_EQ_I64(rules(c, "[*]\nkey a:{x}-{y}.json ttl=1s\nkey {x} ttl=2s\nkey {x}:end ttl=3s\n"
                      "key \"quoted \\\"{x}\\\"\\x21\" ttl=4s\nkey exact:key ttl=5s\n"
                      "glob g:[ab]?* ttl=6s\nkey {x}ab{y}:z ttl=7s\n", NULL), CELLAR_OK);
    static const row rows[] = {
        { "a:1-2.json", 1 * S }, { "a:1-2-3.json.json", 1 * S }, { "a:-2.json", NONE },
        { "a:1-.json", NONE }, { "a:1:-2.json", NONE }, { "a:1-2.jsonx", NONE },
        { "plain", 2 * S }, { "x", 2 * S }, { "x:end", 3 * S }, { ":end", NONE },
        { "x:y:end", NONE }, { "exact:key", 5 * S }, { "exact:keys", NONE }, { "g:a1", 6 * S },
        { "g:c1", NONE }, { "1ab2ab3:z", 7 * S }, { "ab2:z", NONE },
    };
    check_ttls(c, rows, sizeof rows / sizeof rows[0]);
    T_EQ_I64(rules(c, "[*]\nset separator=/ prefix=app\nkey a/{x} ttl=1s\nkey b:{x} ttl=2s\n",
                   NULL), CELLAR_OK);
    static const row parted[] = {
        { "app/a/1", 1 * S }, { "a/1", 1 * S }, { "appa/1", NONE }, { "b:1:2", 2 * S },
    };
    check_ttls(c, parted, sizeof parted / sizeof parted[0]);
    T_EQ_I64(rules(c, "[*]\nkey \"quoted \\\"{x}\\\"\\x21\" ttl=4s\n", NULL), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "quoted \"7\"!"), 4 * S);
}

/* Compare the index with a plain search in file order, which the keys of one rule each allow. */
T_CASE(fifty_rules_and_more_find_the_same_rule)
{
    static char text[200000];
    size_t used = (size_t)snprintf(text, sizeof text, "[*]\n");
    cellar *c = closed_later(api_open(16 << 20));
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
    static const row rows[] = {
        { "a:end", 1 * S }, { ":end", 1 * S }, { "end", NONE }, { "a:verylongend", 2 * S },
        { "a:varylongend", NONE },
        { "*", 3 * S }, { "z", 3 * S }, /* an open class of '*' and 'z' */
        { "az", NONE }, { "b1*", 4 * S }, { "b1", NONE }, { "c1yz", 5 * S }, { "c1z", NONE },
        { "1def", 6 * S }, { "1df", NONE },
    };
    check_ttls(c, rows, sizeof rows / sizeof rows[0]);
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
        { "[*]\nset quota_max=101%\n", "2:5: error: quota_max \"101%\": must be 1%..100%" },
        { "[*]\nset quota_max=10\n", NULL }, { "[*]\nset quota_max=10%-40%\n", NULL },
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
    cellar *c = closed_later(api_open(4 << 20));
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

static const char *file; /* of the case */

/* Begin a file with a text; end it by fclose. */
static FILE *begin_file(const char *text)
{
    FILE *f = fopen(file, "w");
    T_REQUIRE(f != NULL && fputs(text, f) >= 0);
    return f;
}

static void name_file(void)
{
    static char path[T_FOLDER_MAX + 16];
    (void)snprintf(path, sizeof path, "%s/p", folder_of_case());
    file = path;
}

T_CASE(metric_counts_files_that_the_reader_refuses)
{
    cellar *c = api_open(4 << 20), *v = space_of(c, "a");
    cellar_policy_rule wrong = cellar_policy_rule_default();
    name_file();
    T_EQ_I64(cellar_policy_reload(c, "tests/data/s4.policy", NULL, NULL), CELLAR_OK);
    T_CHECK(reloads(c, "ok") == 1 && reloads(c, "error") == 0);
    T_EQ_I64(cellar_policy_reload(c, file, NULL, NULL), CELLAR_E_IO);
    T_CHECK(reloads(c, "ok") == 1 && reloads(c, "error") == 1);
    T_EQ_I64(fclose(begin_file("[*]\nkey\n")), 0);
    T_EQ_I64(cellar_policy_reload(c, file, NULL, NULL), CELLAR_E_CONFIG);
    T_CHECK(reloads(c, "ok") == 1 && reloads(c, "error") == 2);
    T_EQ_I64(cellar_policy_set(c, &wrong, 1), CELLAR_E_CONFIG);
    T_CHECK(reloads(c, "ok") == 1 && reloads(c, "error") == 3);
    api_shut(c);
    T_EQ_I64(cellar_policy_reload(v, file, NULL, NULL), CELLAR_E_CONFIG); /* nothing to count in */
    T_EQ_I64(cellar_policy_reload(v, "tests/data/s4.policy", NULL, NULL), CELLAR_E_CLOSED);
}

T_CASE_ON(bytes_of_a_file_are_limited, STORE)
{
    static char lines[(1 << 20) + 1];
    notes n = { 0 };
    name_file();
    REFUSALS("reload", INVAL(cellar_policy_reload(c, NULL, note, &n)),
             INVAL(cellar_policy_reload(NULL, file, note, &n)));
    T_EQ_U64(n.count, 0);
    T_EQ_I64(cellar_policy_reload(c, file, note, &n), CELLAR_E_IO);
    T_CHECK(n.count == 1 && n.line == 0 && strstr(n.text, "cannot be read: no such file") != NULL);
    memset(&n, 0, sizeof n);
    memset(lines, '\n', sizeof lines - 1);
    FILE *f = begin_file(lines);
    T_EQ_I64(fflush(f), 0);
    T_EQ_I64(cellar_policy_reload(c, file, note, &n), CELLAR_OK);
    fputc('\n', f);
    fclose(f);
    T_EQ_I64(cellar_policy_reload(c, file, note, &n), CELLAR_E_CONFIG);
    T_CHECK(n.count == 1 && strstr(n.text, ":1:1: error: larger than 1 MiB") != NULL);
    lines[sizeof lines - 1] = '\n';
    T_EQ_I64(rules_set(c, lines, sizeof lines, NULL, NULL), CELLAR_E_CONFIG);
    for (unsigned i = 0; i < 4097; i++) { memcpy(lines + 4 * (size_t)i, "[a]", 3); }
    T_EQ_I64(rules_set(c, lines, sizeof lines - 1, NULL, NULL), CELLAR_OK); /* no rules */
}

T_CASE(rules_of_a_file_are_limited)
{
    cellar *c = closed_later(api_open(32 << 20)), *none = c;
    cellar_settings wrong = cellar_settings_default();
    notes n = { 0 };
    name_file();
    FILE *f = begin_file("[*]\n");
    for (unsigned i = 0; i < 4096; i++) { fprintf(f, "key k%u:{n} ttl=%us\n", i, i + 1); }
    T_EQ_I64(fflush(f), 0);
    T_EQ_I64(cellar_policy_reload(c, file, note, &n), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "k4095:x"), 4096 * S);
    fputs("key one:more ttl=1s\n", f);
    fclose(f);
    T_EQ_I64(cellar_policy_reload(c, file, note, &n), CELLAR_E_CONFIG);
    T_FIELDS(n, count, 1, line, 4098);
    T_EQ_I64(ttl_after_set(c, "k4095:x"), 4096 * S);
    memset(&n, 0, sizeof n);
    (void)snprintf(wrong.policy_file, sizeof wrong.policy_file, "%s", file);
    T_EQ_I64(cellar_settings_open(&wrong, note, &n, &none), CELLAR_E_CONFIG);
    T_CHECK(none == NULL && n.count == 1 && n.line == 4098);
    (void)snprintf(wrong.policy_file, sizeof wrong.policy_file, "/no/such/file");
    T_EQ_I64(cellar_settings_open(&wrong, note, &n, &none), CELLAR_E_IO);
}

T_CASE(file_cut_at_every_byte_is_read_or_refused)
{
    static char text[4096];
    FILE *f = fopen("tests/data/s4.policy", "r");
    T_REQUIRE(f != NULL);
    const size_t len = fread(text, 1, sizeof text, f);
    fclose(f);
    T_REQUIRE(len > 500 && len < sizeof text);
    cellar *c = closed_later(api_open(4 << 20));
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
}

/* ---- rules as structs ---- */

#define RULE(...) { .struct_size = sizeof(cellar_policy_rule), __VA_ARGS__ }

static cellar_policy_rule key_rule(const char *pattern, int64_t ttl_ms)
{
    cellar_policy_rule r = { .struct_size = sizeof r, .pattern = pattern, .ttl_ms = ttl_ms };
    return r;
}

T_CASE(structs_say_what_a_file_says)
{
    const cellar_ttl_class classes[1] = { { "cold", 50 * S } };
    const cellar_policy_rule r[] = {
        RULE(.section = "a", .kind = CELLAR_POLICY_SET, .ttl_ms = 30 * S, .negative_ttl_ms = 7 * S,
             .quota_max_pct = 40, .prefix = "app/", .separator = "/"),
        RULE(.section = "a", .pattern = "all/{x}", .ttl_ms = 20 * S, .ttl_max_ms = 25 * S,
             .idle_ms = 3 * S, .max_age_ms = 10 * S, .loader = "rows", .priority = 3),
        RULE(.section = "a", .pattern = "stale/{x}", .ttl_ms = 4 * S, .stale_ms = 2 * S,
             .jitter_pct = CELLAR_OFF, .tags = "red,blue"),
        RULE(.section = "a", .kind = CELLAR_POLICY_GLOB, .pattern = "c*", .ttl_class = "cold"),
        RULE(.section = "a", .pattern = "never", .ttl_ms = CELLAR_TTL_NONE),
        RULE(.section = "a", .pattern = "j/{x}", .ttl_ms = 100 * S, .jitter_pct = 50,
             .jitter_mode = CELLAR_JITTER_PLUS),
        RULE(.section = "a", .pattern = "at/{x}", .at = "00:00@+00:00", .refresh_ms = S),
        RULE(.kind = CELLAR_POLICY_DENY, .pattern = "*token*"),
        RULE(.section = "a", .kind = CELLAR_POLICY_NO_L2, .pattern = "*secret*"),
        RULE(.section = "a", .pattern = "disk", .no_l2 = 1),
    };
    cellar *root = closed_later(api_open(4 << 20));
    cellar *c = space_with(root, "a", SPACE_OPTS(.ttl_classes = classes, .ttl_class_count = 1,
                                                 .quota_max_pct = 1));
    T_EQ_I64(cellar_policy_set(root, r, 10), CELLAR_OK);
    static const row rows[] = { { "app/all/1", 3 * S }, { "stale/1", 4 * S }, { "c1", 50 * S },
                                { "never", NONE }, { "free", 30 * S } };
    check_ttls(c, rows, sizeof rows / sizeof rows[0]);
    T_EQ_I64(key_info(c, "stale/1").stale_left_ms, 6 * S);
    const int64_t spread = ttl_after_set(c, "j/1");
    T_CHECK(spread >= 100 * S && spread <= 150 * S);
    const int64_t day = ttl_after_set(c, "at/1");
    T_CHECK(day > 0 && day <= 30 * S); /* or less, before midnight */
    T_EQ_I64(cellar_set(c, "neg", 3, NULL, 0, SET_OPTS(.flags = CELLAR_NEGATIVE)), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "neg"), 7 * S);
    T_EQ_I64(api_put(c, "my-token", "v", NULL), CELLAR_E_DENIED);
    T_EQ_STR(error_text(c), "denied by rules[7] of the policy");
    T_EQ_I64(api_put(root, "my-token", "v", NULL), CELLAR_E_DENIED);
    T_CHECK(space_stats(c).quota_max_bytes > 1u << 20); /* a share of 1 % is less */
    T_EQ_I64(cellar_delete_by_tag(c, "blue", 4, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_STR(api_look(c, "stale/1"), "MISS");
    T_EQ_I64(cellar_policy_set(root, NULL, 0), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "free"), CELLAR_TTL_NONE);
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
    cellar *root = closed_later(api_open(4 << 20)), *c = space_of(root, "a");
    char text[400] = "";
    const cellar_policy_rule r[] = {
        RULE(.section = "a", .kind = CELLAR_POLICY_SET, .ttl_ms = 30 * S, .prefix = "app",
             .separator = "/"),
        RULE(.section = "a", .pattern = "u:{id}", .refresh_ms = S, .loader = "db",
             .tags = "red,blue", .jitter_pct = CELLAR_OFF),
        RULE(.section = "b", .pattern = "other", .ttl_ms = S),
        RULE(.kind = CELLAR_POLICY_DENY, .pattern = "*Secret*"),
        RULE(.pattern = "last", .ttl_ms = 2 * S, .jitter_pct = 20,
             .jitter_mode = CELLAR_JITTER_PLUS),
        RULE(.pattern = "behind", .ttl_ms = S),
    };
    T_EQ_I64(cellar_policy_list(c, add_rule, text), CELLAR_OK);
    T_EQ_STR(text, "");
    T_EQ_I64(cellar_policy_set(root, r, 6), CELLAR_OK);
    T_EQ_I64(cellar_policy_list(c, add_rule, text), CELLAR_OK);
    T_EQ_STR(text, "a:0 u:{id} ttl 30000 refresh 1000 jitter 0/999 by db tags red,blue in app/;"
                   "*:2 *secret* ttl 0 refresh 0 jitter 0/0 by - tags - in -:;"
                   "*:0 last ttl 2000 refresh 0 jitter 1/20 by - tags - in -:;");
}

#define WRONG(says, ...) { cellar_policy_rule w = key_rule("k", S); __VA_ARGS__; \
    const cellar_policy_rule two[2] = { key_rule("good", S), w }; \
    T_EQ_I64(cellar_policy_set(c, two, 2), CELLAR_E_CONFIG); \
    T_EQ_STR(error_text(c), "cellar_policy_set: rules[1]: " says); }

T_CASE(errors_of_structs_name_the_index)
{
    static cellar_policy_rule many[4097];
    cellar *c = closed_later(api_open(16 << 20));
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
    T_EQ_STR(error_text(c), "cellar_policy_set: rules[1]: section: an option of the section is set twice");
    for (size_t i = 0; i < 4097; i++) { many[i] = key_rule("k:{x}", S); }
    T_EQ_I64(cellar_policy_set(c, many, 4097), CELLAR_E_CONFIG);
    T_EQ_STR(error_text(c), "cellar_policy_set: rule_count: at most 4,096 rules (got 4097)");
    T_EQ_I64(ttl_after_set(c, "kept"), 5 * S);
    T_EQ_I64(cellar_policy_set(c, many, 4096), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "k:1"), S);
    two[0] = key_rule("a", S);
    two[1] = key_rule("b", S);
    two[1].struct_size = 0;
    T_EQ_I64(cellar_policy_set(c, two, 2), CELLAR_E_INVAL);
    T_EQ_STR(error_text(c), "cellar_policy_set: rules[1]: struct_size: start from "
                      "cellar_policy_rule_default()");
    T_EQ_I64(cellar_policy_set(c, NULL, 1), CELLAR_E_INVAL);
    T_EQ_I64(cellar_policy_set(NULL, two, 1), CELLAR_E_INVAL);
    T_EQ_I64(ttl_after_set(c, "k:1"), S);
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
        { "[*]\nglob a[^-]* ttl=1s\nglob a[^-]bc ttl=2s\n", "3:1: warning: the rule of line 2" },
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
