/* SPDX-License-Identifier: MIT
 *
 * Aim:    names in the server are injective and readable; an envelope that is foreign, newer,
 *         damaged, too large or copied to another name is a miss of its own kind.
 * Method: names of all short keys are compared; each bit of an envelope is flipped; envelopes are
 *         cut at each length. */
#include "remote/form.h"
#include "remote/key.h"
#include "tests/support/t.h"

T_ONE_THREAD;

static bool same(const void *got, size_t got_len, const void *want, size_t len)
{
    return got_len == len && memcmp(got, want, len) == 0;
}

static const remote_names NAMES = { "app", "users" };

T_CASE(readable_key_is_named_by_itself)
{
    remote_name n;
    remote_key_name(&NAMES, "42", 2, &n);
    T_CHECK(same(n.text, n.len, "app:users:42", 12));
    T_CHECK(!n.digest);
    remote_key_name(&NAMES, "a:b", 3, &n);
    T_CHECK(same(n.text, n.len, "app:users:a:b", 13));
    remote_key_name(&NAMES, "#x61", 4, &n);
    T_CHECK(same(n.text, n.len, "app:users:#x23783631", 20));
    remote_key_name(&NAMES, "a b", 3, &n);
    T_CHECK(same(n.text, n.len, "app:users:#x612062", 18));
}

T_CASE(name_of_each_short_key_leads_back_to_it)
{
    for (unsigned i = 0; i < 65536 + 256; i++) {
        const uint8_t key[2] = { (uint8_t)i, (uint8_t)(i >> 8) };
        const size_t len = i < 65536 ? 2 : 1;
        uint8_t back[CELLAR_REMOTE_KEY_TEXT_MAX];
        remote_name n;
        remote_key_name(&NAMES, key, len, &n);
        const remote_parts p = remote_name_parts("app", n.text, n.len);
        T_REQUIRE(p.kind == REMOTE_KIND_VALUE);
        T_REQUIRE(p.space_len == 5 && memcmp(p.space, "users", 5) == 0);
        T_REQUIRE(remote_key_of(p.text, p.text_len, back) == len);
        T_REQUIRE(memcmp(back, key, len) == 0);
    }
}

T_CASE(foreign_spelling_of_a_key_names_no_key)
{
    static const char *const texts[] = { "#", "#x", "#x6", "#x61", "#x0G", "#xFF", "#h00", "#y00",
                                         "a b" };
    uint8_t back[CELLAR_REMOTE_KEY_TEXT_MAX];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        T_EQ_U64(remote_key_of(texts[i], strlen(texts[i]), back), 0);
    }
}

T_CASE(long_keys_are_named_by_digest)
{
    static uint8_t key[CELLAR_KEY_MAX];
    remote_name a, b;
    memset(key, 'k', sizeof key);
    remote_key_name(&NAMES, key, CELLAR_REMOTE_KEY_TEXT_MAX, &a);
    T_CHECK(!a.digest);
    remote_key_name(&NAMES, key, CELLAR_REMOTE_KEY_TEXT_MAX + 1, &a);
    T_CHECK(a.digest);
    T_EQ_U64(a.len, strlen("app:users:#h") + 32);
    remote_key_name(&NAMES, key, 600, &b); /* its SHA-256: processes of all versions agree on it */
    T_REQUIRE(b.len > 34);
    T_EQ_MEM(b.text + b.len - 34, "#h2d330bc98435ecd7cb32a036c14399b2", 34);
    remote_key_name(&NAMES, key, sizeof key, &b);
    T_CHECK(a.len == b.len && memcmp(a.text, b.text, a.len) != 0);
    memset(key, 1, CELLAR_REMOTE_KEY_TEXT_MAX);
    remote_key_name(&NAMES, key, CELLAR_REMOTE_KEY_TEXT_MAX, &a);
    T_CHECK(a.len <= REMOTE_NAME_MAX);
}

T_CASE(control_names_are_no_names_of_values)
{
    static const remote_kind kinds[] = { REMOTE_KIND_EPOCH, REMOTE_KIND_GENERATION,
                                         REMOTE_KIND_TAG, REMOTE_KIND_SOFT_TAG,
                                         REMOTE_KIND_PATTERN };
    for (size_t i = 0; i < 4; i++) {
        remote_name n;
        remote_control_name("app", kinds[i], "u:17", kinds[i] == REMOTE_KIND_EPOCH ? 0 : 4, &n);
        const remote_parts p = remote_name_parts("app", n.text, n.len);
        T_EQ_U64(p.kind, kinds[i]);
        T_CHECK(same(p.text, p.text_len, "u:17", kinds[i] == REMOTE_KIND_EPOCH ? 0 : 4));
    }
    remote_name n;
    remote_control_name("app", REMOTE_KIND_GENERATION, "", 0, &n);
    T_EQ_U64(remote_name_parts("app", n.text, n.len).text_len, 0);
    remote_control_name("app", REMOTE_KIND_GENERATION, "u", 1, &n); /* one byte is not the root */
    T_CHECK(same(n.text, n.len, "app:~g:u", 8));
    static const char *const bad[] = { "", "app", "app:", "apq:users:1", "app:users", "app::1",
                                       "app:users:", "app:~", "app:~x:1", "app:~tx", "app:~x",
                                       "app:~ex" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        T_EQ_U64(remote_name_parts("app", bad[i], strlen(bad[i])).kind, REMOTE_KIND_OTHER);
    }
}

T_CASE(names_of_namespaces_are_checked)
{
    T_CHECK(remote_space_valid("") && remote_space_valid("users") && remote_space_valid("a~b"));
    T_CHECK(!remote_space_valid("~e") && !remote_space_valid("a:b") && !remote_space_valid("+"));
    T_CHECK(!remote_space_valid("a b") && !remote_space_valid("\xC3\xA4"));
}

static const cellar_bytes KEY = { "42", 2 };

static size_t form_make(uint8_t *out, const char *name)
{
    const remote_form f = { .kind = REMOTE_FORM_VALUE, .cost = 7, .tag_count = 2, .stale_ms = 9,
                            .user_flags = 11, .generation = 13, .born = UINT64_C(1) << 50,
                            .deadline_ms = 15, .tags = { { "a", 1 }, { "", 0 } },
                            .value = { "value", 5 } };
    (void)remote_form_write(&f, name, strlen(name), out);
    return remote_form_size(&f);
}

static remote_form_verdict form_read(const uint8_t *p, size_t len, const char *name, remote_form *f)
{
    return remote_form_read(p, len, name, strlen(name), KEY, 100, f);
}

T_CASE(envelope_returns_every_field)
{
    uint8_t buf[128];
    remote_form f;
    const size_t len = form_make(buf, "n");
    T_REQUIRE(form_read(buf, len, "n", &f) == REMOTE_FORM_OK);
    T_CHECK(f.kind == REMOTE_FORM_VALUE && f.cost == 7 && f.stale_ms == 9 && f.user_flags == 11);
    T_CHECK(f.generation == 13 && f.born == UINT64_C(1) << 50 && f.deadline_ms == 15);
    T_CHECK(f.tag_count == 2 && f.tags[0].len == 1 && f.tags[1].len == 0 && f.check != 0);
    T_CHECK(same(f.value.data, f.value.len, "value", 5));
}

T_CASE(each_flipped_bit_is_a_miss)
{
    uint8_t buf[128];
    remote_form f;
    const size_t len = form_make(buf, "n");
    for (size_t bit = 0; bit < 8 * len; bit++) {
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
        T_CHECK(form_read(buf, len, "n", &f) != REMOTE_FORM_OK);
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    T_EQ_U64(form_read(buf, len, "n", &f), REMOTE_FORM_OK);
}

T_CASE(envelope_cut_anywhere_is_a_miss)
{
    uint8_t buf[129];
    remote_form f;
    const size_t len = form_make(buf, "n");
    for (size_t n = 0; n < len; n++) {
        uint8_t *const exact = malloc(n + 1);
        T_REQUIRE(exact != NULL);
        memcpy(exact, buf, n);
        T_CHECK(form_read(exact, n, "n", &f) != REMOTE_FORM_OK);
        free(exact);
    }
    buf[len] = 0;
    T_EQ_U64(form_read(buf, len + 1, "n", &f), REMOTE_FORM_DAMAGED);
}

T_CASE(verdicts_name_the_reason)
{
    uint8_t buf[128];
    remote_form f;
    const size_t len = form_make(buf, "n");
    T_EQ_U64(remote_form_read(buf, len, "n", 1, KEY, 4, &f), REMOTE_FORM_TOO_BIG);
    T_EQ_U64(form_read(buf, len, "m", &f), REMOTE_FORM_DAMAGED); /* under another name */
    buf[3] = 2;
    T_EQ_U64(form_read(buf, len, "n", &f), REMOTE_FORM_NEWER);
    T_EQ_U64(form_read((const uint8_t *)"{\"a\":1}", 7, "n", &f), REMOTE_FORM_FOREIGN);
    T_EQ_U64(form_read((const uint8_t *)"", 0, "n", &f), REMOTE_FORM_FOREIGN);
    (void)form_make(buf, "n");
    memset(buf + 40, 0xFF, 4);
    T_EQ_U64(remote_form_read(buf, len, "n", 1, KEY, UINT64_MAX, &f), REMOTE_FORM_DAMAGED);
    const remote_form other = { .kind = REMOTE_FORM_VALUE, .key = { "43", 2 } };
    (void)remote_form_write(&other, "n", 1, buf);
    T_EQ_U64(form_read(buf, remote_form_size(&other), "n", &f), REMOTE_FORM_OTHER_KEY);
    const remote_form kind = { .kind = 9 };
    (void)remote_form_write(&kind, "n", 1, buf);
    T_EQ_U64(form_read(buf, remote_form_size(&kind), "n", &f), REMOTE_FORM_NEWER);
}

T_MAIN("cellar_remote_form")
