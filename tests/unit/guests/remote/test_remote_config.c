/* SPDX-License-Identifier: MIT
 *
 * URL and options of a remote: what is read, and the code and sentence of each refusal. */
#include <sys/stat.h>

#include "remote/config.h"
#include "tests/support/folder.h"
#include "tls/tls.h"

static remote_config c;
static char text[sizeof ((cellar_error_info *)NULL)->text];

static cellar_err url(const char *u)
{
    text[0] = '\0';
    return remote_config_read(u, NULL, &c, text, sizeof text);
}

T_CASE(url_of_a_unix_socket_is_read)
{
    T_EQ_I64(url("unix:///run/r%20s.sock?prefix=app&io_ms=70&proof_ms=400"), CELLAR_OK);
    T_EQ_STR(c.server.host, "/run/r s.sock");
    T_EQ_U64(c.server.port, 0);
    T_EQ_STR(c.prefix, "app");
    T_EQ_I64(c.io_ms, 70);
    T_EQ_I64(c.proof_ms, 400);
    T_EQ_I64(c.lease_ms, 1000); /* at least 1 s */
    T_EQ_I64(c.max_ttl_ms, 3600000);
    T_EQ_U64(strlen(c.uuid), REMOTE_UUID_TEXT);
}

T_CASE(url_of_a_host_is_read)
{
    T_EQ_I64(url("redis://me:p%40ss@127.0.0.1:7000/0?close_ms=5"), CELLAR_OK);
    T_EQ_STR(c.user, "me");
    T_EQ_STR(c.password, "p@ss");
    T_EQ_STR(c.server.host, "127.0.0.1");
    T_EQ_U64(c.server.port, 7000);
    T_EQ_STR(c.prefix, "cellar");
    T_EQ_I64(c.close_ms, 5);
    T_EQ_I64(c.lease_ms, 4000);
    T_EQ_I64(url("redis://localhost?sentinel_user=me&sentinel_password=p%3F"), CELLAR_OK);
    T_EQ_STR(c.sentinel_user, "me");
    T_EQ_STR(c.sentinel_password, "p?");
    T_EQ_I64(url("redis://localhost?proof_ms=3000&lease_ms=3000"), CELLAR_OK);
    T_EQ_I64(c.lease_ms, 3000);
    T_EQ_I64(url("redis://localhost"), CELLAR_OK);
    T_EQ_U64(c.server.port, 6379);
    T_EQ_I64(url("redis://[::1]:7001"), CELLAR_OK);
    T_EQ_STR(c.server.host, "::1");
    T_EQ_U64(c.server.port, 7001);
}

T_CASE(url_of_sentinels_is_read)
{
    T_EQ_I64(url("redis-sentinel://me@127.0.0.1:7000,[::1],localhost:7002/0?master=main"), CELLAR_OK);
    T_EQ_U64(c.sentinel_count, 3);
    T_EQ_U64(c.sentinel[0].port, 7000);
    T_EQ_STR(c.sentinel[1].host, "::1");
    T_EQ_U64(c.sentinel[1].port, 26379);
    T_EQ_U64(c.sentinel[2].port, 7002);
    T_EQ_STR(c.master, "main");
    T_EQ_STR(c.user, "me");
    T_CHECK(!c.tls);
}

T_CASE(url_with_tls_is_read_by_a_build_with_tls)
{
    const cellar_err want = tls_is_built() ? CELLAR_OK : CELLAR_E_UNSUPPORTED;
    T_EQ_I64(url("rediss://db.example.com?tls_ca_file=/a%20b&tls_ca_dir=/d&tls_cert_file=/c&"
                 "tls_key_file=/k&tls_server_name=db&tls_insecure&io_ms=7"), want);
    T_EQ_STR(c.tls_ca_file, "/a b");
    T_EQ_STR(c.tls_ca_dir, "/d");
    T_EQ_STR(c.tls_cert_file, "/c");
    T_EQ_STR(c.tls_key_file, "/k");
    T_EQ_STR(c.tls_server_name, "db");
    T_EQ_I64(c.io_ms, 7);
    T_CHECK(c.tls && c.tls_insecure);
    if (want != CELLAR_OK) { T_CHECK(strstr(text, "built without TLS (make TLS=1)") != NULL); }
    T_EQ_I64(url("rediss-sentinel://db.example.com,b"), want);
    T_CHECK(c.tls && !c.tls_insecure && c.sentinel_count == 2);
    T_EQ_I64(url("redis://localhost"), CELLAR_OK);
    T_CHECK(!c.tls);
}

T_CASE(refused_urls_have_a_code_and_a_sentence)
{
    static const struct { const char *url; cellar_err code; const char *part; } cases[] = {
        { "", CELLAR_E_INVAL, "must begin with" },
        { "127.0.0.1:6379", CELLAR_E_INVAL, "must begin with" },
        { "http://localhost", CELLAR_E_INVAL, "or unix:/// (got http://)" },
        { "valkeys://u:p@localhost", CELLAR_E_INVAL, "redis-sentinel://, rediss-sentinel:// or "
          "unix:/// (got valkeys://)" },
        { "redis:localhost", CELLAR_E_INVAL, "(got redis:)" },
        { "?prefix=a", CELLAR_E_INVAL, "(got no scheme)" },
        { "unix://relative", CELLAR_E_INVAL, "must begin with" },
        { "unix:///", CELLAR_E_INVAL, "must begin with" },
        { "unix:///a%0", CELLAR_E_INVAL, "must begin with" },
        { "unix:///a%00b", CELLAR_E_INVAL, "must begin with" },
        { "redis://localhost/1", CELLAR_E_UNSUPPORTED, "database number" },
        { "redis://localhost/00", CELLAR_E_UNSUPPORTED, "database number" },
        { "redis://", CELLAR_E_INVAL, "must be redis://" },
        { "redis://:6379", CELLAR_E_INVAL, "must be redis://" },
        { "redis://localhost:0", CELLAR_E_INVAL, "must be redis://" },
        { "redis://localhost:65536", CELLAR_E_INVAL, "must be redis://" },
        { "redis://localhost:6x", CELLAR_E_INVAL, "must be redis://" },
        { "redis://[::1", CELLAR_E_INVAL, "must be redis://" },
        { "redis://[::1]x", CELLAR_E_INVAL, "must be redis://" },
        { "redis://db.example.com", CELLAR_E_DENIED, "allow_plaintext" },
        { "redis://127.0.0.1.example.com", CELLAR_E_DENIED, "allow_plaintext" },
        { "redis://localhost?tls_insecure", CELLAR_E_INVAL, "words of TLS need" },
        { "redis://localhost?tls_ca_file=/ca.pem", CELLAR_E_INVAL, "words of TLS need" },
        { "unix:///a?tls_server_name=b", CELLAR_E_INVAL, "words of TLS need" },
        { "redis://localhost?prefix=", CELLAR_E_INVAL, "prefix must be" },
        { "redis://localhost?prefix=a:b", CELLAR_E_INVAL, "prefix must be" },
        { "redis://localhost?prefix=~a", CELLAR_E_INVAL, "prefix must be" },
        { "redis://localhost?prefix=a*", CELLAR_E_INVAL, "prefix must be" },
        { "redis://localhost?prefix=123456789012345678901234567890123", CELLAR_E_INVAL, "prefix" },
        { "redis://localhost?proof_ms=199", CELLAR_E_RANGE, "proof_ms must be 200..60000" },
        { "redis://localhost?proof_ms=60001", CELLAR_E_RANGE, "proof_ms must be 200..60000" },
        { "redis://localhost?lease_ms=999", CELLAR_E_RANGE, "lease_ms must be 2000..600000" },
        { "redis://localhost?lease_ms=999&proof_ms=200", CELLAR_E_RANGE, "must be 1000..600000" },
        { "redis://localhost?io_ms=10001", CELLAR_E_RANGE, "io_ms must be 1..10000" },
        { "redis://localhost?io_ms=-1", CELLAR_E_INVAL, "io_ms" },
        { "redis://localhost?io_ms=1&what=1&io_ms=2", CELLAR_E_INVAL,
          "unknown key, or one without a value: what" },
        { "redis://localhost?prefix", CELLAR_E_INVAL, "without a value: prefix" },
        { "redis://localhost?my\nkey=1", CELLAR_E_INVAL, "unknown key, or one without a value: my" },
        { "rediss://localhost?tls_insecure=1", CELLAR_E_INVAL, "unknown key" },
        { "rediss://localhost?tls_ca_file", CELLAR_E_INVAL, "without a value: tls_ca_file" },
        { "redis-sentinel://a,,b", CELLAR_E_INVAL, "must be redis://" },
        { "redis-sentinel://", CELLAR_E_INVAL, "must be redis://" },
        { "redis-sentinel://localhost,[::1],localhost:26379", CELLAR_E_INVAL, "must be redis://" },
        { "redis-sentinel://db.example.com", CELLAR_E_DENIED, "rediss-sentinel://" },
        { "redis://localhost?password_file=/nowhere", CELLAR_E_NOT_FOUND, "password_file" },
        { NULL, CELLAR_E_INVAL, "a URL or sentinels" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        T_EQ_I64(url(cases[i].url), cases[i].code);
        T_CHECK(strstr(text, cases[i].part) != NULL);
        T_CHECK(strncmp(text, "cellar_remote_open: ", 20) == 0);
        T_CHECK(strpbrk(text, "=\n") == NULL); /* no byte behind the name */
        T_CHECK(strlen(text) < sizeof text - 1); /* not cut */
    }
}

T_CASE(options_are_checked_like_the_url)
{
    char many[600];
    cellar_remote_config o = { .struct_size = sizeof o, .sentinels = "127.0.0.1:26379,localhost" };
    T_EQ_I64(remote_config_read(NULL, &o, &c, text, sizeof text), CELLAR_OK);
    T_EQ_U64(c.sentinel_count, 2);
    T_EQ_U64(c.sentinel[1].port, 26379);
    T_EQ_STR(c.master, "mymaster");
    T_EQ_STR(c.sentinel_password, "");
    o.sentinel_user = "me";
    o.sentinel_password = "secret";
    T_EQ_I64(remote_config_read(NULL, &o, &c, text, sizeof text), CELLAR_OK);
    T_EQ_STR(c.sentinel_user, "me");
    T_EQ_STR(c.sentinel_password, "secret");
    T_EQ_I64(remote_config_read("unix:///a", &o, &c, text, sizeof text), CELLAR_E_INVAL);
    o.sentinels = "10.0.0.1:26379";
    T_EQ_I64(remote_config_read(NULL, &o, &c, text, sizeof text), CELLAR_E_DENIED);
    o.allow_plaintext = 1;
    T_EQ_I64(remote_config_read(NULL, &o, &c, text, sizeof text), CELLAR_OK);
    o.sentinels = "a:b";
    T_EQ_I64(remote_config_read(NULL, &o, &c, text, sizeof text), CELLAR_E_INVAL);
    o = cellar_remote_config_default();
    memset(many, 'x', sizeof many - 1);
    many[sizeof many - 1] = '\0';
    o.password = many;
    T_EQ_I64(remote_config_read("unix:///a", &o, &c, text, sizeof text), CELLAR_E_TOOBIG);
    T_CHECK(strstr(text, "xxx") == NULL);
    o = cellar_remote_config_default();
    o.proof_ms = 100;
    T_EQ_I64(remote_config_read("unix:///a", &o, &c, text, sizeof text), CELLAR_E_RANGE);
    o.proof_ms = 0;
    o.journal_keys = (1u << 20) + 1;
    T_EQ_I64(remote_config_read("unix:///a", &o, &c, text, sizeof text), CELLAR_E_RANGE);
}

T_CASE(option_of_a_newer_header_is_refused)
{
    struct { cellar_remote_config o; uint64_t newer; } wide =
        { .o = cellar_remote_config_default() };
    wide.o.struct_size = sizeof wide;
    T_EQ_I64(remote_config_read("unix:///a", &wide.o, &c, text, sizeof text), CELLAR_OK);
    wide.newer = 1;
    T_EQ_I64(remote_config_read("unix:///a", &wide.o, &c, text, sizeof text), CELLAR_E_UNSUPPORTED);
    wide.o.struct_size = offsetof(cellar_remote_config, io_ms); /* an older header */
    wide.o.io_ms = 99999;
    T_EQ_I64(remote_config_read("unix:///a", &wide.o, &c, text, sizeof text), CELLAR_OK);
    wide.o.struct_size = 0;
    T_EQ_I64(remote_config_read("unix:///a", &wide.o, &c, text, sizeof text), CELLAR_E_INVAL);
}

T_CASE(password_file_must_be_private)
{
    char dir[T_FOLDER_MAX], path[T_FOLDER_MAX + 8], u[T_FOLDER_MAX + 60];
    t_folder(dir);
    snprintf(path, sizeof path, "%s/p", dir);
    snprintf(u, sizeof u, "unix:///a?password_file=%s", path);
    FILE *f = fopen(path, "w");
    T_REQUIRE(f != NULL);
    fputs("secret\n", f);
    fclose(f);
    T_EQ_I64(chmod(path, 0644), 0);
    T_EQ_I64(url(u), CELLAR_E_DENIED);
    T_CHECK(strstr(text, "0600") != NULL);
    T_EQ_I64(chmod(path, 0600), 0);
    T_EQ_I64(url(u), CELLAR_OK);
    t_wipe(dir);
}

T_MAIN("remote_config")
