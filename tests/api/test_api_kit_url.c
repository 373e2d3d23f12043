/* SPDX-License-Identifier: MIT
 *
 * Aim:    cellar_url_allowed allows the addresses of its list, and denies each text that two parsers
 *         could read in different ways, even if the list names both readings.
 * Method: a table of tricks against a list with the harmless and the harmful host; every byte at
 *         every place of an address, with a plain comparison as oracle. */
#include "tests/support/t.h"

#include "cellar_kit.h"

typedef struct address {
    const char *text;
    size_t len;
} address;
#define A(text) { text, sizeof(text) - 1 }

/* The list names what a tricked parser would find. */
static const char list[] =
    "https://good.com, http://good.com https://evil.com\thttp://evil.com\n"
    "http://127.0.0.1 https://127.0.0.1\r\nhttp://127.0.0.1:8080 http://[::1] http://10.0.0.0/8 "
    "https://.wild.org https://xn--mnchen-3ya.de http://localhost http://a http://1.2.3.4.com";

static cellar_err ask(const char *rules, const address *a)
{
    const char *why = "none";
    char *url = malloc(a->len + 1); /* a read past its end is found */
    T_REQUIRE(url != NULL);
    memcpy(url, a->text, a->len);
    const cellar_err err = cellar_url_allowed(rules, url, a->len, &why);
    T_EQ_I64(cellar_url_allowed(rules, url, a->len, NULL), err);
    T_CHECK((err == CELLAR_OK) == (why == NULL));
    free(url);
    return err;
}

static void all_are(const char *rules, const address *a, size_t count, cellar_err want)
{
    for (size_t i = 0; i < count; i++) {
        if (!T_EQ_I64(ask(rules, &a[i]), want)) { printf("# %s\n", a[i].text); }
    }
}
#define ALL_ARE(rules, table, want) all_are(rules, table, sizeof(table) / sizeof(table)[0], want)

T_CASE(addresses_of_the_list_are_allowed)
{
    static const address good[] = {
        A("https://good.com"), A("https://good.com/"), A("https://good.com:443"),
        A("https://good.com/a/b?c=d&e=%20f"), A("HTTPS://Good.COM/A"), A("http://good.com:80/"),
        A("https://good.com/@evil.com"), A("https://good.com/?x@evil.com"),
        A("https://good.com//evil.com"), A("https://good.com/a:b;c,d!$&'()*+=~_-."),
        A("https://good.com/%e4%BD%a0"), A("https://a.wild.org"), A("https://A.b.Wild.org/x"),
        A("https://xn--mnchen-3ya.de/"), A("https://XN--mnchen-3ya.de/"), A("http://localhost/"),
        A("http://127.0.0.1/"), A("http://127.0.0.1:8080/"), A("http://[::1]/"),
        A("http://[0:0:0:0:0:0:0:1]:80/"), A("http://10.0.0.0/"), A("http://10.255.255.255"),
        A("http://a"), A("http://1.2.3.4.com/"), A("https://1.wild.org"), A("https://0.wild.org"),
    };
    ALL_ARE(list, good, CELLAR_OK);
}

T_CASE(addresses_outside_the_list_are_denied)
{
    static const address other[] = {
        A("https://good.com:8443/"), A("https://good.com:80/"), A("http://good.com:443"),
        A("ftp://good.com/"), A("file:///etc/passwd"), A("gopher://good.com/"), A("data:,x"),
        A("javascript:alert(1)"), A("ws://good.com/"), A("https://good.co"), A("https://ood.com"),
        A("https://good.com.evil.net"), A("https://xgood.com"), A("https://x.good.com"),
        A("https://wild.org"), A("https://xwild.org"), A("https://a.wild.org.net"),
        A("http://a.wild.org"), A("https://a.wild.org:8443"), A("https://a-wild.org"),
        A("http://11.0.0.1/"), A("http://9.255.255.255"), A("https://10.0.0.1/"),
        A("http://127.0.0.2/"), A("http://127.0.0.1:8081"), A("http://0.0.0.0/"),
        A("http://169.254.169.254/latest/meta-data/"), A("http://192.168.1.1/"),
        A("http://172.16.0.1/"), A("http://100.64.0.1/"), A("http://224.0.0.1/"),
        A("http://255.255.255.255/"), A("http://8.8.8.8/"), A("http://[::]/"), A("http://[::2]/"),
        A("http://[fd00::1]/"), A("http://[fe80::1]/"), A("http://[2001:db8::1]/"),
        A("http://[64:ff9b::7f00:1]/"), A("http://[2002:7f00:1::]/"), A("http://[::7f00:1]/"),
        A("https://localhost/"), A("http://localhost.localdomain/"), A("https://xn--mnchen-3ya.com"),
    };
    ALL_ARE(list, other, CELLAR_E_DENIED);
}

T_CASE(tricks_with_addresses_are_denied)
{
    static const address tricks[] = {
        /* user and password */
        A("https://good.com@evil.com/"), A("https://evil.com@good.com/"), A("https://@good.com/"),
        A("https://good.com:443@evil.com"), A("https://:@good.com/"), A("https://u:p@good.com/"),
        A("https://good.com%40evil.com/"), A("https://good.com%2540evil.com/"),
        A("https://evil.com%00@good.com"), A("https://good.com&@evil.com#@good.com/"),
        A("https://good.com:x@evil.com/"), A("https://u@v@good.com/"), A("http://127.0.0.1@good.com"),
        /* backslashes */
        A("https://good.com\\@evil.com/"), A("https://evil.com\\@good.com/"),
        A("https:\\\\good.com/"), A("https:/\\good.com/"), A("https:\\/good.com/"),
        A("\\\\good.com/"), A("https://good.com\\.evil.com"), A("https://good.com\\"),
        A("https://good.com/\\evil.com"), A("https://good.com/a\\..\\b"), A("https://evil.com\\good.com"),
        A("https://good.com%5c@evil.com/"), A("https://good.com%5Cevil.com"),
        /* control bytes and blanks */
        A("https://good.com\0.evil.com/"), A("https://good.com\0"), A("https://good.com/\0"),
        A("https://good.com\t/"), A("https://go\tod.com/"), A("https://good.com\n"),
        A("https://good.com\r\n/"), A("https://good.com/\r\nHost: evil.com"), A("\thttps://good.com"),
        A(" https://good.com"), A("https://good.com "), A("https:// good.com"), A("https://good .com"),
        A("https://good.com /"), A("https://good.com/a b"), A("\x01https://good.com"),
        A("https://good.com\x7f/"), A("ht\ntps://good.com/"), A("https\t://good.com"),
        A("https:/\t/good.com"), A("https://good.com\v/"), A("https://good.com\f/"),
        A("https://good.com/%00"), A("https://good.com/%0d%0aHost:evil.com"), A("https://good.com/%0A"),
        A("https://good.com/?a=%1f"), A("https://good.com/%7f"), A("\xef\xbb\xbfhttps://good.com/"),
        /* %XX in the host, and broken ones */
        A("https://%67ood.com/"), A("https://good%2ecom/"), A("https://good%2Ecom"),
        A("https://good.com%2f@evil.com/"), A("https://good.com%2fevil.com"), A("https://good.com%2f"),
        A("https://good.com%3a443/"), A("https://good.com%23.evil.com"), A("https://good.com%3f.evil.com"),
        A("https://good.com%20"), A("https://good.com%00/"), A("https://good.com%0a/"),
        A("https://%31%32%37.0.0.1/"), A("https://127%2e0%2e0%2e1"), A("https://good.com/%"),
        A("https://good.com/%4"), A("https://good.com/%zz"), A("https://good.com/%u0041"),
        A("https://good.com/%%30%30"), A("https%3a//good.com/"), A("https:%2f%2fgood.com"),
        A("https://%E3%80%82good.com"), A("https://good.com%252fevil.com"),
        /* other forms of IPv4 numbers */
        A("http://127.1/"), A("http://127.0.1/"), A("http://2130706433/"), A("http://127.0.0.01/"),
        A("http://0177.0.0.1/"), A("http://0177.0000.0000.0001"), A("http://017700000001/"),
        A("http://0x7f.0.0.1/"), A("http://0x7f000001/"), A("http://0X7F000001"), A("http://0x7f.1/"),
        A("http://127.0.0.0x1/"), A("http://127.0.0.1./"), A("http://.127.0.0.1"), A("http://0/"),
        A("http://127.0.0.1.0/"), A("http://127.0.0.256/"), A("http://127.0.0.257"), A("http://383.0.0.1/"),
        A("http://127.0.0/"), A("http://127..0.1/"), A("http://127.0.0.1 /"), A("http://127.0.0.+1/"),
        A("http://127.0.0.-1/"), A("http://4294967297/"), A("http://10.1/"), A("http://10.0x1"),
        A("http://0x0a.0.0.1/"), A("http://012.0.0.1/"), A("http://0x/"), A("http://0x./"),
        A("http://1e9/"), A("http://127.0.0.1e0/"), A("http://[127.0.0.1]/"), A("http://00000127.0.0.1"),
        A("http://a.1/"), A("http://a.0x7f/"), A("http://good.com.0/"), A("http://127_0_0_1/"),
        /* IPv6 numbers with IPv4 numbers, zones, brackets */
        A("http://[::ffff:127.0.0.1]/"), A("http://[::ffff:7f00:1]/"), A("http://[::FFFF:7F00:0001]/"),
        A("http://[0:0:0:0:0:ffff:7f00:1]/"), A("http://[::127.0.0.1]/"), A("http://[64:ff9b::127.0.0.1]/"),
        A("http://[::ffff:0:127.0.0.1]/"), A("http://[::1%25lo]/"), A("http://[::1%lo]/"),
        A("http://[::1%251]/"), A("http://[::1/"), A("http://::1/"), A("http://::1]/"), A("http://[]/"),
        A("http://[::1]x/"), A("http://[::1].good.com/"), A("http://[::1]@good.com/"), A("http://[[::1]]/"),
        A("http://x[::1]/"), A("http://[::1]:/"), A("http://[:::1]/"), A("http://[::1::]/"),
        A("http://[0:0:0:0:0:0:0:0:1]/"), A("http://[0:0:0:0:0:0:1]/"), A("http://[00001::1]/"),
        A("http://[::g]/"), A("http://[v1.a]/"), A("http://[ ::1]/"), A("http://[good.com]/"),
        A("http://[::1]]/"), A("http://[::1]8080/"), A("http://[::\xef\xbc\x91]/"),
        /* dots and labels */
        A("https://good.com./"), A("https://good.com."), A("https://good.com.:443/"), A("https://.good.com/"),
        A("https://good..com/"), A("https://good.com../"), A("https://./"), A("https://../"),
        A("https://-good.com/"), A("https://good-.com/"), A("https://good.com-/"), A("https://good_.com/"),
        A("https://go_od.com"), A("https://a..wild.org"), A("https://.wild.org"), A("https://-.wild.org"),
        A("https://*.wild.org/"), A("https://a_b.wild.org"), A("https://*/"), A("https://a.wild.org."),
        /* bytes outside ASCII, xn-- forms */
        A("https://g\xc3\xb6od.com/"), A("https://m\xc3\xbcnchen.de/"), A("https://good\xe3\x80\x82" "com/"),
        A("https://good\xef\xbc\x8e" "com"), A("https://good\xef\xbd\xa1" "com/"),
        A("https://good.com\xef\xbc\x8f.evil.com"), A("https://good.com\xe2\x84\x80.evil.com"),
        A("https://\xef\xbd\x87ood.com/"), A("http://\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1/"),
        A("http://127\xef\xbc\x8e" "0.0.1/"), A("http://\xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa6.0.0.1/"),
        A("https://good.com\xef\xbc\x9a" "443/"), A("https\xef\xbc\x9a//good.com/"),
        A("https:\xef\xbc\x8f\xef\xbc\x8fgood.com"), A("https://good.com\xef\xbc\xa0" "evil.com"),
        A("https://go\xc2\xadod.com/"), A("https://good.com\xe2\x80\x8b/"), A("https://good.com\xc2\xa0"),
        A("https://good.com/\xc3\xa9"), A("https://good.com/\x80"), A("https://g\xf6od.com"),
        A("https://xn--/"), A("https://xn--a.wild.org"), A("https://XN--80ak6aa92e.wild.org/"),
        A("https://b.xn--a.wild.org"), A("https://xn--a-.wild.org"), A("https://xn--mnchen-3ya.de."),
        A("https://xn--mnchen-3ya.de%2e"), A("https://\xd0\xb0.wild.org"),
        /* ports */
        A("https://good.com:/"), A("https://good.com:"), A("https://good.com:0/"), A("https://good.com:00/"),
        A("https://good.com:0443/"), A("https://good.com:65536/"), A("https://good.com:65979/"),
        A("https://good.com:4294967739"), A("https://good.com:18446744073709552059/"),
        A("https://good.com:+443/"), A("https://good.com:-443/"), A("https://good.com: 443/"),
        A("https://good.com:443a/"), A("https://good.com:443:443/"), A("https://good.com:0x1bb/"),
        A("https://good.com:443.0"), A("https://good.com:https/"), A("https://good.com:443@evil.com/"),
        A("https://good.com::443/"), A("https://good.com:\xef\xbc\x94\xef\xbc\x94\xef\xbc\x93/"),
        A("http://127.0.0.1:65616/"), A("https://good.com:443%2f"), A("https://good.com:4 43/"),
        /* no authority, other schemes */
        A(""), A("/"), A("//good.com/"), A("good.com"), A("good.com:443"), A("https"), A("https:"),
        A("https:good.com"), A("https:/good.com/"), A("https://"), A("https:///good.com/"), A("https:////good.com"),
        A("https:///"), A("https://?"), A("https://#"), A("https://:443/"), A("https://:443"),
        A("https//good.com"), A("http+https://good.com"), A("https://https://good.com"), A("xhttps://good.com"),
        A("https;//good.com"), A("url:https://good.com/"), A("view-source:https://good.com"),
        A("httpss://good.com"), A("http.s://good.com"), A("://good.com"),
        /* what stands behind the authority */
        A("https://good.com?@evil.com/"), A("https://good.com#@evil.com/"), A("https://good.com?x"),
        A("https://good.com#x"), A("https://good.com/#x"), A("https://good.com;evil.com"),
        A("https://good.com,evil.com"), A("https://good.com|evil.com"), A("https://good.com^evil.com"),
        A("https://good.com`evil.com"), A("https://good.com{evil.com}"), A("https://good.com\"evil.com"),
        A("https://good.com<evil.com>"), A("https://good.com'evil.com"), A("https://good.com=evil.com"),
        A("https://good.com~evil.com"), A("https://good.com!evil.com"), A("https://good.com$evil.com"),
        A("https://good.com(evil.com)"), A("https://good.com+evil.com"), A("https://good.com&evil.com"),
        A("https://good.com*evil.com"), A("https://good.com/[a]"), A("https://good.com/a|b"),
        A("https://good.com/a\"b"), A("https://good.com/<b>"), A("https://good.com/a`b"),
        A("https://good.com/{a}"), A("https://good.com/a^b"), A("https://good.com/#"), A("https://good.com/a#b"),
        A("[https://good.com]"), A("<https://good.com>"), A("'https://good.com'"), A("https://good.com]"),
    };
    const size_t count = sizeof tricks / sizeof tricks[0];
    T_CHECK(count >= 200);
    all_are(list, tricks, count, CELLAR_E_DENIED);
}

static bool is_good(const char *url, size_t len)
{
    static const char *const heads[] = { "https://good.com:443", "https://good.com" };
    for (size_t h = 0; h < 2; h++) {
        const size_t n = strlen(heads[h]);
        if (len < n) { continue; }
        bool equal = true;
        for (size_t i = 0; i < n; i++) {
            const char c = url[i] >= 'A' && url[i] <= 'Z' ? (char)(url[i] + 32) : url[i];
            equal &= c == heads[h][i];
        }
        if (equal && (len == n || url[n] == '/')) { return true; }
    }
    return false;
}

T_CASE(any_byte_at_any_place_leads_to_the_named_host_or_is_denied)
{
    static const char base[] = "https://good.com:443/p";
    const size_t len = sizeof base - 1;
    uint64_t allowed = 0;
    for (size_t at = 0; at <= len; at++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            for (int form = 0; form < 3; form++) { /* replaced, inserted, inserted twice */
                char url[64];
                size_t n = at;
                memcpy(url, base, at);
                for (int i = 0; i < (form == 0 ? 1 : form); i++) { url[n++] = (char)byte; }
                const size_t from = form == 0 && at < len ? at + 1 : at;
                memcpy(url + n, base + from, len - from);
                n += len - from;
                const address a = { url, n };
                if (ask("https://good.com", &a) == CELLAR_OK) {
                    allowed++;
                    T_CHECK(is_good(url, n));
                }
            }
        }
    }
    T_CHECK(allowed > 100); /* upper case, bytes of the path */
}

T_CASE(wrong_rule_refuses_every_address)
{
    static const struct { const char *rules; size_t at; } bad[] = {
        { "good.com", 0 }, { "https://", 8 }, { "https://good.com/", 16 }, { "https://*", 8 },
        { "https://.", 9 }, { "https://good.com ftp://good.com", 17 }, { "https://good.com:", 17 },
        { "https://good.com:*", 17 }, { "https://good.com:0", 18 }, { "http://10.0.0.0/33", 18 }, { "http://10.0.0.0/", 16 },
        { "http://10.0.0.0/08", 18 }, { "http://[::1]/129", 16 }, { "http://[::ffff:10.0.0.1]", 17 },
        { "http://[::ffff:a00:1]", 21 }, { "https://u@good.com", 9 }, { "https://good.com,,*", 18 },
        { "https://good.com\vhttps://evil.com", 16 }, { "https://.1.2.3.4", 16 }, { "https://*.good.com", 8 },
    };
    static const address a = A("https://good.com");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *why = NULL;
        T_EQ_I64(cellar_url_allowed(bad[i].rules, a.text, a.len, &why), CELLAR_E_CONFIG);
        if (!T_EQ_U64((uint64_t)(why - bad[i].rules), bad[i].at)) { printf("# %s\n", bad[i].rules); }
    }
    T_EQ_I64(ask("", &a), CELLAR_E_DENIED);
    T_EQ_I64(ask(" ,\n", &a), CELLAR_E_DENIED);
    T_EQ_I64(cellar_url_allowed(NULL, a.text, a.len, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_url_allowed(list, NULL, 0, NULL), CELLAR_E_INVAL);
}

T_CASE(ranges_and_lengths_end_where_they_say)
{
    static const address in[] = { A("http://172.16.0.0"), A("http://172.31.255.255"),
                                  A("http://[fd00::]:81"), A("http://[FDFF::1]:81/") };
    static const address out[] = { A("http://172.15.255.255"), A("http://172.32.0.0"),
                                   A("http://[fe00::]:81"), A("http://[fd00::1]") };
    static const char rules[] = "http://172.16.0.0/12 http://[fd00::]/8:81";
    ALL_ARE(rules, in, CELLAR_OK);
    ALL_ARE(rules, out, CELLAR_E_DENIED);
    static const address mapped[] = { A("http://[::ffff:a00:1]"), A("http://[::ffff:10.0.0.1]") };
    ALL_ARE("http://[::]/0", mapped, CELLAR_E_DENIED);
    static const address any[] = { A("http://1.2.3.4"), A("http://255.0.0.0") };
    ALL_ARE("http://0.0.0.0/0", any, CELLAR_OK);
    char url[2100] = "https://a.wild.org/", host[300] = "https://";
    for (size_t n = strlen(url); n < sizeof url; n++) { url[n] = 'p'; }
    for (size_t n = 2048; n <= 2049; n++) {
        const address a = { url, n };
        T_EQ_I64(ask("https://.wild.org", &a), n == 2048 ? CELLAR_OK : CELLAR_E_DENIED);
    }
    for (size_t n = 63; n <= 64; n++) { /* of a label */
        memset(host + 8, 'l', n);
        strcpy(host + 8 + n, ".wild.org");
        const address a = { host, strlen(host) };
        T_EQ_I64(ask("https://.wild.org", &a), n == 63 ? CELLAR_OK : CELLAR_E_DENIED);
    }
    for (size_t n = 253; n <= 254; n++) { /* of a name */
        for (size_t i = 0; i < n - 9; i++) { host[8 + i] = i % 60 == 59 ? '.' : 'l'; }
        strcpy(host + 8 + n - 9, ".wild.org");
        const address a = { host, strlen(host) };
        T_EQ_I64(ask("https://.wild.org", &a), n == 253 ? CELLAR_OK : CELLAR_E_DENIED);
    }
}

T_MAIN("api_kit_url")
