/* SPDX-License-Identifier: MIT
 *
 * script: the scripts that the server executes. They are constants, sent by digest. A port of
 *         cellar executes requests of the same names, and gets no text.
 *
 * KEYS       prefix:~k:KEY            the token of the owner of a lock, and its hold in ms
 *            ~prefix:fence            the last fence of all locks
 *            ~prefix:limit:NAME:KEY   the state of one key of a limiter
 *            ~prefix:members:NAME     the processes that use a limiter, with times
 *            ~prefix:lease:SPACE:KEY  the lease of a refresh
 *            ~prefix:beat:OWNER       there while a process with leases lives
 *            Only the first one begins with a prefix that processes hear.
 * INVARIANTS Numbers stay below 2^53: microseconds since 1970, and one more for each end. Durations
 *            of buckets count 1/128 us. All times are of the clock of the server.
 *            The server executes a script without interruption.
 *            A server at maxmemory refuses the first write of a script if that write needs memory,
 *            and none behind it. So what must be heard on a full server begins with UNLINK.
 * CLOCK      A server clock that is set back keeps debts. Stamps beyond now + window are forgotten,
 *            and a lock ends a hold later. One that is set forward ends all of them earlier.
 * NOT HERE   the script of the marker (link_inside.h). */
#include "remote/share.h"

/* Read a control key, 0: missing. A key of another program ends the script, before any write, as
 * the server ends it for a key of another type. */
#define NUMBER \
    "local function n(k) local v=redis.call('GET',k) local x=v and tonumber(v) or 0 " \
    "if v and (#v>16 or not string.find(v,'^%d+$') or x>=2^53) then " \
    "error({err='WRONGTYPE no control key of cellar'}) end return x end "

/* Write a number into control key `i`; that of a tag ends ARGV[ms] ms later. A lost number is made
 * again at or above the epoch, so no value lives on. Byte #KEYS[1] of a name tells a tag. */
#define WRITE(ms) \
    "local function w(i,x) local c=string.sub(KEYS[i],#KEYS[1],#KEYS[1]) " \
    "if c=='t' or c=='s' then redis.call('SET',KEYS[i],x,'PX',ARGV[" ms "]) " \
    "else redis.call('SET',KEYS[i],x) end end "

/* KEYS: the epoch, a control key. ARGV: the highest epoch that the caller knows; life of a tag. */
static const char REMOTE_END[] = NUMBER WRITE("2")
    "local t=redis.call('TIME') "
    "local e=math.max(n(KEYS[1]),n(KEYS[2]),tonumber(ARGV[1]))+1 "
    "e=string.format('%.0f',math.max(e,t[1]*1000000+t[2])) "
    "redis.call('UNLINK',KEYS[2]) "
    "w(1,e) w(2,e) return e";

/* KEYS: the epoch, control keys. ARGV: for each key the number that the caller knows; life of a
 * tag. A full server takes no new tag: their number has no limit. */
static const char REMOTE_KNOW[] = NUMBER WRITE("#KEYS+1")
    "local function f(x) return string.format('%.0f',x) end "
    "local function u(i,x) local c=string.sub(KEYS[i],#KEYS[1],#KEYS[1]) "
    "if ARGV[i]~='0' or c~='t' and c~='s' then redis.call('UNLINK',KEYS[i]) end w(i,f(x)) end "
    "local v,e,k={},n(KEYS[1]),tonumber(ARGV[1]) "
    "k=math.max(k,e) "
    "for i=2,#KEYS do v[i]=n(KEYS[i]) k=math.max(k,v[i],tonumber(ARGV[i])) end "
    "if e==0 then local t=redis.call('TIME') k=math.max(k+1,t[1]*1000000+t[2]) end "
    "if k~=e then u(1,k) end "
    "local out={f(k)} "
    "for i=2,#KEYS do "
    "local x=math.max(v[i],tonumber(ARGV[i])) "
    "if v[i]==0 then x=k end "
    "if x~=v[i] then u(i,x) end "
    "out[i]=f(x) end "
    "return out";

#undef NUMBER
#undef WRITE

/* KEYS: the key; a key that must be missing. ARGV: the check that the envelope must have, "": no
 * key; the new envelope, "": delete; its time in ms. Without a time it is a release, which leaves a
 * counter. Returns 1, or 0: the key has another state. */
static const char REMOTE_CHANGE[] =
    "local v=redis.pcall('GET',KEYS[1]) "
    "if type(v)=='table' then return 0 end "
    "if KEYS[2] and redis.call('GET',KEYS[2]) then return 0 end "
    "if ARGV[1]=='' then if v then return 0 end "
    "elseif not v or string.sub(v,49,56)~=ARGV[1] then return 0 end "
    "if ARGV[2]=='' then "
    "if v and not ARGV[3] and string.byte(v,5)==4 then return 0 end "
    "redis.call('UNLINK',KEYS[1]) "
    "else redis.call('SET',KEYS[1],ARGV[2],'PX',ARGV[3]) end "
    "return 1";

/* KEYS: the key. ARGV: the new value, its time in ms, 0: delete; the value that the key must have,
 * without it: none. Returns 1; 0: the key has another value; -1: it is no string. */
static const char REMOTE_SWAP[] =
    "local v=redis.pcall('GET',KEYS[1]) "
    "if type(v)=='table' then return -1 end "
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

/* KEYS: the counter, in an envelope. ARGV: what is added, 8 bytes; the generation, 8 bytes; a new
 * counter, "": none is made; its time in ms. Returns false: no key; or a number and the envelope: 1
 * added, 2 the limit, 3 the new counter; without an envelope: 0 no counter of this generation, or
 * an ended one, -1 a value of another program. Halves of numbers are exact in Lua. */
static const char REMOTE_COUNT[] =
    "local v=redis.call('GET',KEYS[1]) local b=4294967296 local h=b/2 "
    "if not v then if ARGV[3]=='' then return false end "
    "redis.call('SET',KEYS[1],ARGV[3],'PX',ARGV[4]) return {3,ARGV[3]} end "
    "if string.sub(v,1,4)~='\\206cl\\1' then return {-1,''} end "
    "if #v<64 or string.byte(v,5)~=4 or string.sub(v,9,16)~=ARGV[2] then return {0,''} end "
    "local function two(s,i) return struct.unpack('<I4I4',s,i) end "
    "local t=redis.call('TIME') local l,u=two(v,25) l=l+u*b "
    "if l~=0 and l<=t[1]*1000+math.floor(t[2]/1000) then return {0,''} end "
    "local vl,vh=two(v,#v-7) local cl,ch=two(v,49) local dl,dh=two(ARGV[1],1) "
    "local nl,said=vl+dl,1 local nh=(vh+dh+math.floor(nl/b))%b nl=nl%b "
    "if (vh>=h)==(dh>=h) and (nh>=h)~=(vh>=h) then said=2 "
    "if dh>=h then nl,nh=0,h else nl,nh=b-1,h-1 end end "
    "cl=cl+nl-vl ch=(ch+nh-vh+math.floor(cl/b))%b cl=cl%b "
    "v=string.sub(v,1,48)..struct.pack('<I4I4',cl,ch)..string.sub(v,57,#v-8).."
    "struct.pack('<I4I4',nl,nh) "
    "redis.call('SET',KEYS[1],v,'KEEPTTL') "
    "return {said,v}";

/* KEYS: the key. The server reports the delete of a key only if there is one, but memory of another
 * process may have a value that it loaded without a lease. */
static const char REMOTE_DROP[] =
    "redis.call('UNLINK',KEYS[1]) "
    "redis.call('SET',KEYS[1],'','PX',1000) "
    "return redis.call('UNLINK',KEYS[1])";

/* ---- limiters, locks, leases ---- */

/* KEYS[2] lists the processes that use the limiter: "id:ms;" each. ARGV[1]: the own id, or "": not
 * now. `live` is their number, 0 if not asked; a process counts for 10 s. */
#define MEMBERS \
    "local t=redis.call('TIME') local us=t[1]*1000000+t[2] local live=0 " \
    "local function f(x) return string.format('%.0f',x) end " \
    "if ARGV[1]~='' then " \
    "local ms=math.floor(us/1000) local out=ARGV[1]..':'..f(ms)..';' live=1 " \
    "for id,at in string.gmatch(redis.call('GET',KEYS[2]) or '','(%w+):(%d+);') do " \
    "if id~=ARGV[1] and live<1024 and math.abs(tonumber(at)-ms)<10000 then " \
    "live=live+1 out=out..id..':'..at..';' end end " \
    "redis.call('SET',KEYS[2],out,'PX',10000) end " \
    "local key=KEYS[1] local n=tonumber(ARGV[2]) local least=tonumber(ARGV[3]) "

/* Token bucket. ARGV: id, units wanted, least units, debt of one unit, largest debt, us within
 * which the least units must be there. Returns units; us until they may be spent or, without units,
 * until the least ones are there; processes; time in us at which the debt of the grant ends. */
static const char REMOTE_BUCKET[] = MEMBERS
    "local unit=tonumber(ARGV[4]) local top=tonumber(ARGV[5]) local debt=0 "
    "local at,d=string.match(redis.call('GET',key) or '','^(%d+) (%d+)$') "
    "if at then debt=math.max(0,tonumber(d)-math.max(0,us-tonumber(at))*128) end "
    "local function room(x) return math.min(n,math.floor((top+x*128-debt)/unit)) end "
    "local m=room(0) if m<least then m=room(tonumber(ARGV[6])) end "
    "if m<least then "
    "if at and us<tonumber(at) then "
    "redis.call('SET',key,f(us)..' '..f(debt),'PX',math.ceil(debt/128000)+1) end "
    "return {0,math.ceil((debt+least*unit-top)/128),live,0} end "
    "debt=debt+m*unit "
    "redis.call('SET',key,f(us)..' '..f(debt),'PX',math.ceil(debt/128000)+1) "
    "return {m,math.max(0,math.ceil((debt-top)/128)),live,us+math.floor(debt/128)}";

/* Give units back. ARGV: "", units, 0, debt of one unit, end of the debt after their grant. Credit
 * never exceeds what is left of that debt, so a unit that was refilled meanwhile is not added. */
static const char REMOTE_GIVE[] = MEMBERS
    "local at,d=string.match(redis.call('GET',key) or '','^(%d+) (%d+)$') "
    "if not at then return {0,0,0,0} end "
    "local debt=math.max(0,tonumber(d)-math.max(0,us-tonumber(at))*128) "
    "local back=math.min(n*tonumber(ARGV[4]),math.max(0,tonumber(ARGV[5])-us)*128,debt) "
    "debt=debt-back "
    "redis.call('SET',key,f(us)..' '..f(debt),'PX',math.ceil(debt/128000)+1) "
    "return {math.floor(back/tonumber(ARGV[4])),0,0,0}";

/* Calendar window in UTC. ARGV: id, units wanted, least, seconds of a period (0: months), limit,
 * seconds from a border of periods to 1970. A stored window that begins later than the current one
 * counts, by a period at most: the clock was set back. */
static const char REMOTE_WINDOW[] = MEMBERS
    "local function month(day) "
    "local z=day+719468 local era=math.floor(z/146097) local doe=z-era*146097 "
    "local yoe=math.floor((doe-math.floor(doe/1460)+math.floor(doe/36524)"
    "-math.floor(doe/146096))/365) "
    "local doy=doe-(365*yoe+math.floor(yoe/4)-math.floor(yoe/100)) "
    "local mp=math.floor((5*doy+2)/153) "
    "return day-(doy-math.floor((153*mp+2)/5)) end "
    "local s=math.floor(us/1000000) local w=tonumber(ARGV[4]) local from,to "
    "if w==0 then local m=month(math.floor(s/86400)) from=m*86400 to=month(m+32)*86400 "
    "else local o=tonumber(ARGV[6]) from=math.floor((s+o)/w)*w-o to=from+w end "
    "local at,c=string.match(redis.call('GET',key) or '','^(%d+) (%d+)$') local used=0 "
    "if at and tonumber(at)>=from and tonumber(at)<=s+to-from then "
    "to=to+tonumber(at)-from from=tonumber(at) used=tonumber(c) end "
    "n=math.min(n,tonumber(ARGV[5])-used) local left=to*1000000-us "
    "if n<least then return {0,left,live,0} end "
    "redis.call('SET',key,f(from)..' '..f(used+n),'PX',math.ceil(left/1000)+1) "
    "return {n,0,live,0}";

/* Sliding log. ARGV: id, units wanted, least, window in us, limit. Eight bytes for each unit; time
 * never runs backwards in it. */
static const char REMOTE_LOG[] = MEMBERS
    "local log=redis.call('GET',key) or '' local w=tonumber(ARGV[4]) local top=tonumber(ARGV[5]) "
    "local function at(i) return (struct.unpack('>d',log,i*8+1)) end "
    "local count=math.floor(#log/8) local old=0 "
    "while count>0 and at(count-1)>us+w do count=count-1 end "
    "if count>0 then us=math.max(us,at(count-1)) end "
    "while old<count and at(old)<=us-w do old=old+1 end "
    "n=math.min(n,top-(count-old)) "
    "if n<least then return {0,at(count-top+least-1)+w-us,live,0} end "
    "log=string.sub(log,old*8+1,count*8)..string.rep(struct.pack('>d',us),n) "
    "redis.call('SET',key,log,'PX',math.ceil(w/1000)+1) "
    "return {n,0,live,0}";

#undef MEMBERS

/* KEYS: the lock, the last fence. ARGV: token, hold in ms. Returns 1 and the fence, or 0 and what
 * the lease of the owner has left; -1: it has no end. More than the lease is left after a step of
 * the clock: the hold then begins again, because the owner may live. */
static const char REMOTE_LOCK[] =
    "local v=redis.call('GET',KEYS[1]) "
    "if v then local left=redis.call('PTTL',KEYS[1]) "
    "local lease=tonumber(string.match(v,'^%x+ (%d+)$') or left) "
    "if left>lease then left=lease redis.call('PEXPIRE',KEYS[1],lease) end "
    "return {0,left} end "
    "local t=redis.call('TIME') "
    "local f=math.max((tonumber(redis.call('GET',KEYS[2])) or 0)+1,t[1]*1000000+t[2]) "
    "redis.call('SET',KEYS[1],ARGV[1]..' '..ARGV[2],'PX',ARGV[2]) "
    "redis.call('SET',KEYS[2],string.format('%.0f',f)) "
    "return {1,f}";

/* KEYS: a lock, or a lease beside a value; a key that must be missing. ARGV: token; new life in ms,
 * 0: release. Returns 1, or 0: another owner. A full server refuses a SET that comes first. */
static const char REMOTE_KEEP[] =
    "local v=redis.call('GET',KEYS[1]) or '' "
    "if KEYS[2] and redis.call('GET',KEYS[2]) then return {0} end "
    "if string.match(v,'^[^ ]*')~=ARGV[1] then return {0} end "
    "if ARGV[2]=='0' then redis.call('UNLINK',KEYS[1]) "
    "else redis.call('PEXPIRE',KEYS[1],ARGV[2]) "
    "redis.call('SET',KEYS[1],ARGV[1]..' '..ARGV[2],'PX',ARGV[2]) end "
    "return {1}";

/* KEYS: the lease beside the value, the value. ARGV: number of the lease; check of the value when
 * the lease began, "*": any; the new value; its time in ms.
 * Returns 1, or 0: the lease or the value is another one. */
static const char REMOTE_BESIDE[] =
    "if redis.call('GET',KEYS[1])~=ARGV[1] then return {0} end "
    "redis.call('UNLINK',KEYS[1]) "
    "local v,c=redis.call('GET',KEYS[2]),ARGV[2] "
    "if #c>1 and string.sub(v or '',49,56)~=c then return {0} end "
    "redis.call('SET',KEYS[2],ARGV[3],'PX',ARGV[4]) "
    "return {1}";

/* Each script by the name that a port gives it (resp/shared_tier.c). */
static const struct remote_script_row {
    const char *name, *text;
} remote_scripts[REMOTE_SCRIPTS] = {
    [REMOTE_SCRIPT_END] = { "END", REMOTE_END },
    [REMOTE_SCRIPT_KNOW] = { "KNOW", REMOTE_KNOW },
    [REMOTE_SCRIPT_CHANGE] = { "CHANGE", REMOTE_CHANGE },
    [REMOTE_SCRIPT_DROP] = { "DROP", REMOTE_DROP },
    [REMOTE_SCRIPT_SWAP] = { "SWAP", REMOTE_SWAP },
    [REMOTE_SCRIPT_ADD] = { "ADD", REMOTE_SUM },
    [REMOTE_SCRIPT_COUNT] = { "COUNT", REMOTE_COUNT },
    [REMOTE_SCRIPT_BUCKET] = { "BUCKET", REMOTE_BUCKET },
    [REMOTE_SCRIPT_WINDOW] = { "WINDOW", REMOTE_WINDOW },
    [REMOTE_SCRIPT_LOG] = { "LOG", REMOTE_LOG },
    [REMOTE_SCRIPT_GIVE] = { "GIVE", REMOTE_GIVE },
    [REMOTE_SCRIPT_LOCK] = { "LOCK", REMOTE_LOCK },
    [REMOTE_SCRIPT_KEEP] = { "KEEP", REMOTE_KEEP },
    [REMOTE_SCRIPT_BESIDE] = { "BESIDE", REMOTE_BESIDE },
};

CELLAR_PRIVATE const char *remote_script_text(void *remote, size_t i)
{
    (void)remote;
    return i < REMOTE_SCRIPTS ? remote_scripts[i].text : NULL;
}

CELLAR_PRIVATE void remote_script_digest(void *remote, size_t i, const char *digest)
{
    cellar_remote *r = remote;
    if (atomic_load_explicit(&r->sha_known, memory_order_relaxed)) { return; } /* callers read */
    memcpy(r->sha[i], digest, REMOTE_SHA1_TEXT + 1);
    if (i == REMOTE_SCRIPTS - 1) { /* the link takes digests in order */
        atomic_store_explicit(&r->sha_known, true, memory_order_release);
    }
}

static bool remote_word_is(cellar_bytes word, const char *text)
{
    return word.len == strlen(text) && memcmp(word.data, text, word.len) == 0;
}

CELLAR_PRIVATE cellar_bytes remote_script_other(void *remote, cellar_bytes word)
{
    const cellar_remote *r = remote;
    const bool known = atomic_load_explicit(&r->sha_known, memory_order_acquire);
    for (size_t i = 0; known && i < REMOTE_SCRIPTS; i++) {
        const char *name = remote_scripts[i].name;
        if (remote_word_is(word, name)) { return (cellar_bytes)REMOTE_WORD(r->sha[i]); }
        if (remote_word_is(word, r->sha[i])) { return (cellar_bytes)REMOTE_WORD(name); }
    }
    return (cellar_bytes){ NULL, 0 };
}

CELLAR_PRIVATE bool remote_is_named(const cellar_remote *r)
{
    return remote_largest(r->link) != 0 ||
           !atomic_load_explicit(&r->sha_known, memory_order_acquire);
}

CELLAR_PRIVATE cellar_bytes remote_eval_name(const cellar_remote *r, bool named,
                                             remote_script script)
{
    const char *name = named ? remote_scripts[script].name : r->sha[script];
    return (cellar_bytes)REMOTE_WORD(name);
}
