/* SPDX-License-Identifier: MIT
 *
 * script: the scripts that the server executes. They are constants, sent by digest.
 *
 * INVARIANTS Numbers stay below 2^53: microseconds since 1970, and one more for each end.
 *            The server executes a script without interruption.
 *            A server at maxmemory refuses the first write of a script if that write needs memory,
 *            and none behind it. So what must be heard on a full server begins with UNLINK.
 * NOT HERE   the script of the marker (link_inside.h). */
#include "remote/share.h"

/* Read a control key, 0: missing. A key of another program ends the script, before any write, as
 * the server ends it for a key of another type. */
#define NUMBER \
    "local function n(k) local v=redis.call('GET',k) local x=v and tonumber(v) or 0 " \
    "if v and (#v>16 or not string.find(v,'^%d+$') or x>=2^53) then " \
    "error({err='WRONGTYPE no control key of cellar'}) end return x end "

/* KEYS: the epoch, a control key. ARGV: the highest epoch that the caller knows. */
static const char REMOTE_END[] = NUMBER
    "local t=redis.call('TIME') "
    "local e=math.max(n(KEYS[1]),n(KEYS[2]),tonumber(ARGV[1]))+1 "
    "e=string.format('%.0f',math.max(e,t[1]*1000000+t[2])) "
    "redis.call('UNLINK',KEYS[2]) "
    "redis.call('SET',KEYS[1],e) "
    "redis.call('SET',KEYS[2],e) "
    "return e";

/* KEYS: the epoch, control keys. ARGV: for each key the number that the caller knows. A full server
 * takes no new tag: their number has no limit. Byte `p` of a name tells a tag from a generation. */
static const char REMOTE_KNOW[] = NUMBER
    "local function f(x) return string.format('%.0f',x) end "
    "local p=#KEYS[1] "
    "local function w(i,x) "
    "if ARGV[i]~='0' or string.sub(KEYS[i],p,p)~='t' and string.sub(KEYS[i],p,p)~='s' then "
    "redis.call('UNLINK',KEYS[i]) end "
    "redis.call('SET',KEYS[i],f(x)) end "
    "local v,e,k={},n(KEYS[1]),tonumber(ARGV[1]) "
    "k=math.max(k,e) "
    "for i=2,#KEYS do v[i]=n(KEYS[i]) k=math.max(k,v[i],tonumber(ARGV[i])) end "
    "if e==0 then local t=redis.call('TIME') k=math.max(k+1,t[1]*1000000+t[2]) end "
    "if k~=e then w(1,k) end "
    "local out={f(k)} "
    "for i=2,#KEYS do "
    "local x=math.max(v[i],tonumber(ARGV[i])) "
    "if v[i]==0 then x=k end "
    "if x~=v[i] then w(i,x) end "
    "out[i]=f(x) end "
    "return out";

#undef NUMBER

/* KEYS: the key; a key that must be missing. ARGV: the check that the envelope must have, "": no
 * key; the new envelope, "": delete; its time in ms. Returns 1, or 0: the key has another state. */
static const char REMOTE_CHANGE[] =
    "local v=redis.call('GET',KEYS[1]) "
    "if KEYS[2] and redis.call('GET',KEYS[2]) then return 0 end "
    "if ARGV[1]=='' then if v then return 0 end "
    "elseif not v or string.sub(v,49,56)~=ARGV[1] then return 0 end "
    "if ARGV[2]=='' then redis.call('UNLINK',KEYS[1]) "
    "else redis.call('SET',KEYS[1],ARGV[2],'PX',ARGV[3]) end "
    "return 1";

/* KEYS: the key. ARGV: the new value, its time in ms, 0: delete; the value that the key must have,
 * without it: none. Returns 1, or 0: the key has another value. */
static const char REMOTE_SWAP[] =
    "local v=redis.pcall('GET',KEYS[1]) "
    "if v~=(ARGV[3] or false) then return 0 end "
    "if ARGV[2]=='0' then redis.call('UNLINK',KEYS[1]) "
    "else redis.call('SET',KEYS[1],ARGV[1],'PX',ARGV[2]) end "
    "return 1";

/* KEYS: the counter. ARGV: what is added; the limit in that direction; value of a new counter, its
 * time in ms, 0: none is made. Returns the sum as text, which has more digits than a number of Lua;
 * no sum: no counter. */
static const char REMOTE_SUM[] =
    "local v=redis.pcall('GET',KEYS[1]) "
    "if not v then if ARGV[4]=='0' then return false end "
    "redis.call('SET',KEYS[1],ARGV[3],'PX',ARGV[4]) end "
    "local n=redis.pcall('INCRBY',KEYS[1],ARGV[1]) "
    "if type(n)=='number' then return redis.call('GET',KEYS[1]) end "
    "if string.find(n.err,'overflow') then redis.call('SET',KEYS[1],ARGV[2],'KEEPTTL') end "
    "return n";

/* KEYS: the key. The server reports the delete of a key only if there is one, but memory of another
 * process may have a value that it loaded without a lease. */
static const char REMOTE_DROP[] =
    "redis.call('UNLINK',KEYS[1]) "
    "redis.call('SET',KEYS[1],'','PX',1000) "
    "return redis.call('UNLINK',KEYS[1])";

CELLAR_PRIVATE const char *remote_script_text(remote_script s)
{
    static const char *const texts[REMOTE_SCRIPTS] = {
        [REMOTE_SCRIPT_END] = REMOTE_END,
        [REMOTE_SCRIPT_KNOW] = REMOTE_KNOW,
        [REMOTE_SCRIPT_CHANGE] = REMOTE_CHANGE,
        [REMOTE_SCRIPT_DROP] = REMOTE_DROP,
        [REMOTE_SCRIPT_SWAP] = REMOTE_SWAP,
        [REMOTE_SCRIPT_ADD] = REMOTE_SUM,
    };
    return texts[s] != NULL ? texts[s] : remote_share_script(s);
}
