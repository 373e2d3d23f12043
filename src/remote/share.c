/* SPDX-License-Identifier: MIT
 *
 * share: scripts for numbers that several processes share, and the part `share` of a remote.
 *
 * KEYS       prefix:~k:KEY            the token of the owner of a lock, and its lease in ms
 *            ~prefix:fence            the last fence of all locks
 *            ~prefix:limit:NAME:KEY   the state of one key of a limiter
 *            ~prefix:members:NAME     the processes that use a limiter, with times
 *            ~prefix:lease:SPACE:KEY  the lease of a refresh
 *            ~prefix:beat:OWNER       there while a process with leases lives
 *            Only the first one begins with a prefix that processes hear.
 * INVARIANTS The server executes a script without interruption. All times are of its clock.
 *            Numbers are below 2^53. Durations of buckets count 1/128 us.
 * CLOCK      A server clock that is set back keeps debts. Stamps beyond now + window are forgotten,
 *            and a lock ends a lease later. One that is set forward ends all of them earlier.
 * SEE ALSO   limit.c, lock.c, lease.c. */
#include "remote/share.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>


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

/* KEYS: the lock, the last fence. ARGV: token, lease in ms. Returns 1 and the fence, or 0 and what
 * the lease of the owner has left; -1: it has no end. More than the lease is left after a step of
 * the clock: the lease then begins again, because the owner may live. */
static const char REMOTE_LOCK[] =
    "local v=redis.call('GET',KEYS[1]) "
    "if v then local left=redis.call('PTTL',KEYS[1]) "
    "local lease=tonumber(string.match(v,'^%x+ (%d+)$') or left) "
    "if left>lease then left=lease redis.call('PEXPIRE',KEYS[1],lease) end "
    "return {0,left} end "
    "local t=redis.call('TIME') "
    "local f=math.max((tonumber(redis.call('GET',KEYS[2])) or 0)+1,t[1]*1000000+t[2]) "
    "redis.call('SET',KEYS[2],string.format('%.0f',f)) "
    "redis.call('SET',KEYS[1],ARGV[1]..' '..ARGV[2],'PX',ARGV[2]) "
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

CELLAR_PRIVATE const char *remote_share_script(remote_script s)
{
    static const char *const texts[REMOTE_SCRIPTS] = {
        [REMOTE_SCRIPT_BUCKET] = REMOTE_BUCKET,
        [REMOTE_SCRIPT_GIVE] = REMOTE_GIVE,
        [REMOTE_SCRIPT_WINDOW] = REMOTE_WINDOW,
        [REMOTE_SCRIPT_LOG] = REMOTE_LOG,
        [REMOTE_SCRIPT_LOCK] = REMOTE_LOCK,
        [REMOTE_SCRIPT_KEEP] = REMOTE_KEEP,
        [REMOTE_SCRIPT_BESIDE] = REMOTE_BESIDE,
    };
    return texts[s];
}

/* ---- Running a script ----------------------------------------------------------------------- */

CELLAR_PRIVATE cellar_err remote_error_code(const remote_reply *reply)
{
    const bool full = reply->len >= 3 && memcmp(reply->text, "OOM", 3) == 0;
    return full ? CELLAR_E_SPACE : CELLAR_E_IO;
}

CELLAR_PRIVATE cellar_err remote_ask_bytes(cellar_remote *r, remote_bytes *b, remote_request q,
                                           remote_fate *fate)
{
    cellar_err err = b->err;
    q.bytes = b->data;
    q.bytes_len = b->len;
    if (fate != NULL) { *fate = REMOTE_NOT_SENT; }
    if (err == CELLAR_OK && q.replies != 0) { err = remote_ask(r->link, &q, fate); }
    if (err == CELLAR_OK && fate != NULL) { *fate = REMOTE_NOT_SENT; } /* its answer is known */
    remote_bytes_free(b);
    return err;
}

CELLAR_PRIVATE cellar_err remote_ask_words(cellar_remote *r, const cellar_bytes *words,
                                           size_t count, remote_request q, remote_fate *fate)
{
    remote_bytes b = { .memory = &r->memory };
    remote_command(&b, words, count);
    q.replies = 1;
    return remote_ask_bytes(r, &b, q, fate);
}

CELLAR_PRIVATE void remote_post_bytes(cellar_remote *r, remote_bytes *b, remote_request q)
{
    q.bytes = b->data;
    q.bytes_len = b->len;
    q.bytes_cap = b->cap;
    q.memory = b->memory;
    if (b->err == CELLAR_OK) {
        remote_post(r->link, &q);
        return;
    }
    remote_bytes_free(b);
    if (q.done != NULL) { q.done(q.ctx, CELLAR_E_NOMEM, REMOTE_NOT_SENT); }
}

typedef struct script_reply {
    cellar_err err;
    int64_t *numbers;
} script_reply;

static void take_script_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    script_reply *to = ctx;
    (void)index;
    if (reply->type == REMOTE_ERROR) {
        to->err = remote_error_code(reply);
    } else if (reply->type == REMOTE_INTEGER) {
        to->numbers[0] = reply->number;
    } else {
        size_t i = 0;
        for (const remote_reply *e = reply->first; e != NULL && i < REMOTE_NUMBERS_MAX;
             e = e->next) {
            to->numbers[i++] = e->type == REMOTE_INTEGER ? e->number : 0;
        }
    }
}

CELLAR_PRIVATE cellar_err remote_script_run(cellar_remote *r, const cellar_bytes *words,
                                            size_t count, int64_t wait_ms, int64_t *numbers,
                                            remote_fate *fate)
{
    script_reply reply = { CELLAR_OK, numbers };
    memset(numbers, 0, REMOTE_NUMBERS_MAX * sizeof *numbers);
    const remote_request q = { .wait_ms = wait_ms, .flags = REMOTE_SCRIPTED, .ctx = &reply,
                               .fn = take_script_reply };
    const cellar_err err = remote_ask_words(r, words, count, q, fate);
    return err != CELLAR_OK ? err : reply.err;
}

CELLAR_PRIVATE void remote_script_post(cellar_remote *r, const cellar_bytes *words, size_t count)
{
    remote_bytes b = { .memory = &r->memory };
    remote_command(&b, words, count);
    remote_post_bytes(r, &b, (remote_request){ .replies = 1, .flags = REMOTE_SCRIPTED });
}

/* ---- The part ------------------------------------------------------------------------------- */

CELLAR_PRIVATE cellar_err remote_share_random(uint64_t *words, size_t count)
{
    char *to = (char *)words;
    size_t left = count * sizeof *words;
    while (left > 0) {
        const ssize_t n = getrandom(to, left, 0);
        if (n > 0) {
            to += n;
            left -= (size_t)n;
        } else if (errno != EINTR) {
            return CELLAR_E_NOMEM;
        }
    }
    return CELLAR_OK;
}

CELLAR_PRIVATE int64_t remote_share_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

CELLAR_PRIVATE void remote_share_sleep(_Atomic uint32_t *word, pthread_mutex_t *m, int64_t ms)
{
    const int64_t day_ms = 86400000;
    const uint32_t seen = atomic_fetch_or(word, 1) | 1;
    ms = ms < 0 ? 0 : ms > day_ms ? day_ms : ms;
    pthread_mutex_unlock(m);
    remote_futex_wait(word, REMOTE_ALL_BITS, seen, remote_mono_ns() + ms * 1000000);
    pthread_mutex_lock(m);
}

CELLAR_PRIVATE void remote_share_wake(_Atomic uint32_t *word)
{
    if (atomic_load(word) % 2 == 0) { return; }
    (void)atomic_fetch_add(word, 1);
    remote_futex_wake(word, REMOTE_ALL_BITS);
}

CELLAR_PRIVATE cellar_err remote_share_open(cellar_remote *r)
{
    struct remote_share *s = remote_alloc(r, sizeof *s);
    if (s == NULL) { return CELLAR_E_NOMEM; }
    memset(s, 0, sizeof *s);
    s->pid = getpid();
    if (remote_share_random(&s->seed, 1) != CELLAR_OK) {
        remote_free(r, s, sizeof *s);
        return CELLAR_E_NOMEM;
    }
    for (size_t i = 0; i < REMOTE_LOCK_ROWS; i++) { pthread_mutex_init(&s->rows[i].lock, NULL); }
    r->share = s;
    return CELLAR_OK;
}

CELLAR_PRIVATE void remote_share_close(cellar_remote *r)
{
    struct remote_share *s = r->share;
    if (s == NULL) { return; }
    for (size_t i = 0; i < REMOTE_LOCK_ROWS; i++) { pthread_mutex_destroy(&s->rows[i].lock); }
    r->share = NULL;
    remote_free(r, s, sizeof *s);
}
