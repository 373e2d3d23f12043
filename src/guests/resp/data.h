/* SPDX-License-Identifier: MIT
 *
 * data: the commands on keys, the figures and the settings. Each has the form of resp_fn. */
#ifndef RESP_DATA_H
#define RESP_DATA_H

#include "resp/calls.h"

/* cmd_read.c */
RESP_CALL(resp_cmd_get);
RESP_CALL(resp_cmd_mget);
RESP_CALL(resp_cmd_strlen);
RESP_CALL(resp_cmd_getrange);
RESP_CALL(resp_cmd_exists);
RESP_CALL(resp_cmd_type);
RESP_CALL(resp_cmd_touch);
/* cmd_write.c */
RESP_CALL(resp_cmd_set);
RESP_CALL(resp_cmd_setex);
RESP_CALL(resp_cmd_psetex);
RESP_CALL(resp_cmd_setnx);
RESP_CALL(resp_cmd_getset);
RESP_CALL(resp_cmd_getdel);
RESP_CALL(resp_cmd_getex);
RESP_CALL(resp_cmd_mset);
RESP_CALL(resp_cmd_msetnx);
RESP_CALL(resp_cmd_del);
/* cmd_number.c */
RESP_CALL(resp_cmd_incr);
RESP_CALL(resp_cmd_decr);
RESP_CALL(resp_cmd_incrby);
RESP_CALL(resp_cmd_decrby);
RESP_CALL(resp_cmd_incrbyfloat);
RESP_CALL(resp_cmd_append);
RESP_CALL(resp_cmd_setrange);
/* Add to the decimal text of a key, and send the new value. only_present: send nil for a missing
 * key, which else counts as 0. */
CELLAR_PRIVATE void resp_increment_key(resp_client *c, cellar *ns, cellar_bytes key,
                                       int64_t delta, bool only_present);
/* cmd_expire.c */
RESP_CALL(resp_cmd_ttl);
RESP_CALL(resp_cmd_pttl);
RESP_CALL(resp_cmd_expiretime);
RESP_CALL(resp_cmd_pexpiretime);
RESP_CALL(resp_cmd_expire);
RESP_CALL(resp_cmd_pexpire);
RESP_CALL(resp_cmd_expireat);
RESP_CALL(resp_cmd_pexpireat);
RESP_CALL(resp_cmd_persist);
/* cmd_keys.c */
RESP_CALL(resp_cmd_keys);
RESP_CALL(resp_cmd_scan);
RESP_CALL(resp_cmd_randomkey);
RESP_CALL(resp_cmd_dbsize);
RESP_CALL(resp_cmd_rename);
RESP_CALL(resp_cmd_renamenx);
RESP_CALL(resp_cmd_copy);
RESP_CALL(resp_cmd_flushdb);
RESP_CALL(resp_cmd_flushall);
/* Run the next slice of the scan of a client, unless one has run in this round. */
CELLAR_PRIVATE void resp_walk_continue(resp_client *c);
/* cmd_observe.c */
RESP_CALL(resp_cmd_info);
RESP_CALL(resp_cmd_object);
RESP_CALL(resp_cmd_memory);
RESP_CALL(resp_cmd_time);
RESP_CALL(resp_cmd_save);
RESP_CALL(resp_cmd_bgsave);
RESP_CALL(resp_cmd_lastsave);
RESP_CALL(resp_cmd_latency);
RESP_CALL(resp_cmd_shutdown);
RESP_CALL(resp_cmd_debug);
/* cmd_config.c */
RESP_CALL(resp_cmd_config);
/* cmd_own.c */
RESP_CALL(resp_cmd_why);
RESP_CALL(resp_cmd_topk);
RESP_CALL(resp_cmd_namespaces);
RESP_CALL(resp_cmd_meta);
RESP_CALL(resp_cmd_tagdel);
RESP_CALL(resp_cmd_bump);
RESP_CALL(resp_cmd_metrics);
RESP_CALL(resp_cmd_policy);
/* cmd_work.c */
RESP_CALL(resp_cmd_tasks);
RESP_CALL(resp_cmd_sched);
RESP_CALL(resp_cmd_refresh);
/* cmd_channel.c */
RESP_CALL(resp_cmd_publish);
RESP_CALL(resp_cmd_subscribe);
RESP_CALL(resp_cmd_unsubscribe);
RESP_CALL(resp_cmd_psubscribe);
RESP_CALL(resp_cmd_punsubscribe);
RESP_CALL(resp_cmd_pubsub);
/* cmd_limit.c */
RESP_CALL(resp_cmd_throttle);
/* cmd_bloom.c */
RESP_CALL(resp_cmd_bf_add);
RESP_CALL(resp_cmd_bf_madd);
RESP_CALL(resp_cmd_bf_exists);
RESP_CALL(resp_cmd_bf_mexists);
RESP_CALL(resp_cmd_bf_info);
/* cmd_script.c */
RESP_CALL(resp_cmd_eval);
RESP_CALL(resp_cmd_evalsha);
RESP_CALL(resp_cmd_script);
/* shared_tier.c */
RESP_CALL(resp_cmd_tier);

#endif
