/* SPDX-License-Identifier: MIT
 *
 * settings_list: every setting, once. settings.c reads it; src/tools/settings.awk makes the tables
 * of include/cellar_kit.h and settings.md from it.
 *
 * FORMAT     X(name, kind, field of cellar_settings, least, most, "values", "documents' name",
 *              "default", "help")
 *            name: as in a file; CELLAR_NAME is the variable. Names of the documents are read in
 *            files and in the environment; their times have no unit: seconds.
 *            MEMORY: a size, or n% of the memory of the container or machine; SIZE: not.
 *            CHOICE: "values" are the words, in the order of the numbers from `least`. OFF: a flag
 *            that is stored inverted. TIME: also "never"; WINDOW: not. HOST: "localhost" is "".
 *            ROUTES: a dictionary as JSON or Python write it, stored as pairs of texts. */
#ifndef KIT_SETTINGS_LIST_H
#define KIT_SETTINGS_LIST_H

#define KIT_SETTINGS(X) \
    X(memory, MEMORY, config.memory_bytes, CELLAR_MEMORY_MIN, INT64_MAX, "from 1M", "", "64M", \
      "budget of the store") \
    X(max_entries, COUNT, config.max_entries, 0, INT64_MAX, "number, 0: none", "", "0", \
      "second bound of the store") \
    X(max_value, MEMORY, tuning.max_value_bytes, 1, CELLAR_VALUE_MAX, "1..2^30 - 1", "", "64M", \
      "largest value; unset: <= memory / 2") \
    X(eviction, CHOICE, config.eviction, CELLAR_EVICT_ADAPTIVE, CELLAR_EVICT_FIFO, \
      "adaptive s3fifo lru fifo", "", "adaptive", "eviction policy") \
    X(default_ttl, TIME, config.default_ttl_ms, 1, INT64_MAX, "time", "CACHE_DEFAULT_TIMEOUT", \
      "never", "TTL of entries without one") \
    X(negative_ttl, TIME, config.negative_ttl_ms, 1, INT64_MAX, "time", "", "60s", \
      "TTL of negative entries") \
    X(jitter, JITTER, tuning.jitter_pct, 0, 100, "0%..100%, +n%, +-n%", "", "10%", \
      "loads: less TTL; +: more; +-: both") \
    X(idle, TIME, config.idle_ms, 0, UINT32_MAX, "to 49d, or never", "", "0s", \
      "maximum time without use; 0s: none") \
    X(max_age, TIME, config.max_age_ms, 0, INT64_MAX, "time", "", "0s", \
      "maximum age with idle; 0s: none") \
    X(stale, WINDOW, config.stale_ms, 0, UINT32_MAX, "to 49d", "", "0s", \
      "stale window after the TTL") \
    X(key_prefix, LABEL, key_prefix, 1, CELLAR_NAME_MAX, "1..64 bytes", "CACHE_KEY_PREFIX", "", \
      "label in metrics, not in keys") \
    X(key_version, COUNT, root.version, 1, UINT32_MAX, "from 1", "CACHE_VERSION", "", \
      "version of the root namespace") \
    X(policy, PATH, policy_file, 1, CELLAR_SETTINGS_PATH_MAX, "1..1,023 bytes", "", "", \
      "policy file: see POLICY FILES") \
    X(l2_path, PATH, l2_path, 1, CELLAR_SETTINGS_PATH_MAX, "1..1,023 bytes", "", "", \
      "directory of the disk tier") \
    X(l2_bytes, SIZE, config.l2_bytes, CELLAR_L2_BYTES_MIN, CELLAR_L2_BYTES_MAX, "16M..4T", "", \
      "", "size of its files") \
    X(l2_sync, CHOICE, l2.sync, CELLAR_L2_SYNC_MANUAL, CELLAR_L2_SYNC_ALWAYS, \
      "manual periodic always", "", "manual", "what a power cut may take") \
    X(l2_write, CHOICE, l2.write, CELLAR_L2_WRITE_ON_EVICTION, CELLAR_L2_WRITE_THROUGH, \
      "eviction set through", "", "eviction", "when entries go to disk") \
    X(l2_close, TIME, l2.close_ms, 1, INT64_MAX, "time", "", "5s", \
      "limit of writing memory at close") \
    X(l2_optional, FLAG, l2.optional, 0, 1, "0 or 1", "", "0", "1: open in memory without it") \
    X(enabled, OFF, disabled, 0, 1, "0 or 1", "", "1", "0: the program turns the cache off") \
    X(threads, OFF, host.no_threads, 0, 1, "0 or 1", "", "1", "0: the program calls cellar_tick") \
    X(load_threads, COUNT, host.load_threads, 1, 64, "1..64", "", "2", \
      "threads for background loads") \
    X(load_queue, COUNT, host.load_queue, 1, 65536, "1..65,536", "", "256", \
      "background loads that wait") \
    X(log, CHOICE, host.log_level, CELLAR_LOG_ERROR, CELLAR_LOG_OFF, \
      "error warning info debug off", "", "warning", "least level that is logged") \
    X(log_keys, CHOICE, host.log_keys, CELLAR_LOG_KEYS_NONE, CELLAR_LOG_KEYS_FULL, \
      "none hash prefix full", "", "hash", "how log lines name keys") \
    X(workers, COUNT, work.workers, 1, 64, "1..64", "CELERY_WORKER_CONCURRENCY", "4", \
      "threads of a pool: work.workers") \
    X(tz, PATH, work.zone, 1, CELLAR_NAME_MAX, "1..64 bytes", "CELERY_TIMEZONE", "UTC", \
      "zone of schedules: work.zone") \
    X(refresh, WINDOW, work.refresh_ms, 1, INT64_C(366) * 86400000, "1ms..366d", "interval", "", \
      "refresh interval: work.refresh_ms") \
    X(task_routes, ROUTES, work.routes, 1, CELLAR_SETTINGS_PATH_MAX, "{pattern: queue}", \
      "CELERY_TASK_ROUTES", "", "queues of tasks: work.routes") \
    X(resp_listen, HOST, resp.listen, 1, CELLAR_NAME_MAX, "address, or localhost", \
      "REDIS_HOST", "", "address of a port: resp.listen") \
    X(resp_port, COUNT, resp.port, 1, 65535, "1..65,535", "REDIS_PORT", "", "TCP port: resp.port") \
    X(resp_password, PATH, resp.password, 1, CELLAR_RESP_PASSWORD_MAX, "1..256 bytes", \
      "REDIS_PASSWORD", "", "password: resp.password") \
    X(resp_max_clients, COUNT, resp.max_clients, 1, 65536, "1..65,536", \
      "REDIS_MAX_CONNECTIONS", "", "most clients: resp.max_clients") \
    X(resp_buffer_bytes, MEMORY, resp.buffer_bytes, 1048576, INT64_MAX, "from 1M", "", "", \
      "client memory: resp.buffer_bytes") \
    X(resp_timeout, TIME, resp.idle_timeout_ms, 1, INT64_MAX, "time", "REDIS_SOCKET_TIMEOUT", \
      "", "idle limit: resp.idle_timeout_ms") \
    X(resp_admin_head, SIZE, resp.admin_head_bytes, 1024, 1 << 20, "1k..1M", "", "16k", \
      "head of a request for admin pages") \
    X(resp_admin_body, SIZE, resp.admin_body_bytes, 0, 1 << 20, "0..1M", "", "0", \
      "body of a request, read and dropped")

/* Other names of the documents: no effect, one INFO note each. */
#define KIT_SETTINGS_SEEDS(X) \
    X(REDIS_DB) X(REDIS_CONNECTION_TIMEOUT) X(CELERY_BROKER_URL) X(CELERY_RESULT_BACKEND) \
    X(CELERY_TASK_SERIALIZER) X(CELERY_RESULT_SERIALIZER) X(CELERY_ACCEPT_CONTENT) \
    X(CELERY_ENABLE_UTC)

#endif
