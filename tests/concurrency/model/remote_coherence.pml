/* SPDX-License-Identifier: MIT
 *
 * remote_coherence: one key of a shared namespace in one process, and the server.
 *
 * PICTURE    get: stamp, pending, life noted -> GET -> window: kept if the stamp is the same
 *            own: stamp raised, pending -> SET, which is not reported -> window -> pending ends
 *            stranger: SET -> reported to the subscriber, if tracking is on and the subscriber
 *            lives
 *            subscriber: report -> stamp raised, entry removed
 *            cut -> gap: tracking on, THEN new life
 * THREADS    NGET gets, NFOR strangers, NOWN own sets, NBREAK cuts of the subscriber with all in
 *            it; Subscriber.
 * SHOWN      When all is quiet, an entry of the current life is what the server has. Without a cut
 *            no get that begins after a report was handled returns an older value. With PASS a get
 *            may pass by memory, and no get returns an older version than one that ended before.
 * MUTANTS    in the model only: NO_STAMP (a reply is kept as it comes), STAMP_AT_REPLY, OWN_NO_STAMP
 *            (an own value is kept whatever came meanwhile), NO_PENDING (a GET beside an own change
 *            is kept), FLUSH_FIRST (the life ends before tracking is on), NO_FLUSH, LIFE_AT_STORE
 *            (an entry gets the life of the moment when it is stored). With PASS: PASS_KEEPS (the
 *            entry stays beside another reply), PASS_REPLACES (the reply takes its place),
 *            PASS_LATE (a reply is kept although a newer one was returned), PASS_PUBLISH (so is a
 *            loaded value), PASS_KEPT (a reply that memory keeps is not noted), PASS_REFUSED (a
 *            loaded value that is refused ends no entry).
 * LIMITS     The server executes a command and notes its report in one step. Markers:
 *            remote_proof. PASS: `own` is a load. */
#ifndef NGET
#define NGET 2
#endif
#ifndef NFOR
#define NFOR 1
#endif
#ifndef NOWN
#define NOWN 1
#endif
#ifndef NBREAK
#define NBREAK 1
#endif
#define QMAX 3

byte db = 1;                  /* version in the server; each change makes a new one */
bool tracking = true, broken; /* broken: the connection is gone, the process does not know yet */
byte queue;                   /* reports on their way to the subscriber */
bool has;
byte val, entry_life, life, stamp, pending, heard_version, running;
#ifdef PASS
byte newest;                  /* version that a get has returned */
byte replies, returned;       /* numbers of replies; newest one that was noted */
#endif

#define LIVE (has && entry_life == life)

/* Return v: no get that begins later may return an older version. */
inline returns() {
#ifdef PASS
    assert(v >= least);
    if :: v > newest -> newest = v :: else fi
#else
    skip
#endif
}

/* Note the number of a reply before memory may keep it. */
inline notes() { d_step { if :: o > returned -> returned = o :: else fi } }

/* Memory has an entry, and the reply is not stored: it is equal, older than a change that was heard
 * since the look, or one of the two is older. */
inline meets() {
    if
    :: val == v
    :: val != v && stamp != s -> v = val
    :: val != v && stamp == s ->
#ifndef PASS_KEEPS
        has = false;
        stamp++
#else
        skip
#endif
    fi
}

proctype get() {
    byte s, v, l;
    bool quiet;
#ifdef PASS
    byte least, o;
#endif
    atomic {
#ifdef PASS
        least = newest;
        if
        :: true               /* past memory: without a proof, or for a version */
#else
        if
#endif
        :: LIVE ->
            assert(NBREAK > 0 || val >= heard_version);
            v = val;
            returns();
            goto out
        :: !LIVE
        fi;
        s = stamp;
        l = life;
        quiet = pending == 0
    };
#ifdef PASS
    d_step { v = db; replies++; o = replies };
#ifndef PASS_KEPT
    notes();
#endif
#else
    v = db;                   /* the server executes GET; the reply travels */
#endif
#ifdef STAMP_AT_REPLY
    s = stamp;
#endif
    atomic {                  /* the window of the bucket */
#ifdef LIFE_AT_STORE
        l = life;
#endif
        if
#ifdef NO_STAMP
        :: true -> has = true; val = v; entry_life = l
#else
#ifdef PASS
#ifdef PASS_REPLACES
        :: stamp == s && quiet ->
#else
#ifdef PASS_LATE
        :: !LIVE && stamp == s && quiet ->
#else
        :: !LIVE && stamp == s && quiet && returned <= o ->
#endif
#endif
            has = true; val = v; entry_life = l;
            returns();
            goto out
        :: true               /* memory does not keep it, or another reply is there */
#else
#ifdef NO_PENDING
        :: stamp == s -> has = true; val = v; entry_life = l
#else
        :: stamp == s && quiet -> has = true; val = v; entry_life = l
#endif
        :: else
#endif
#endif
        fi;
#ifndef PASS
        returns()
#endif
    };
#ifdef PASS
#ifdef PASS_KEPT
    notes();
#endif
    atomic {                  /* looks at memory */
        if :: LIVE -> meets() :: else fi;
        returns()
    };
#endif
out:
    running--
}

#ifdef PASS
/* A load: its lease is the state of the server, its fill stores over no other one. */
proctype own() {
    byte s, v, o, least, seen;
    atomic { least = newest; s = stamp };
    seen = db;
    atomic {
        if
        :: db == seen -> db++; v = db; replies++; o = replies
        :: else -> goto out
        fi
    };
    atomic {                  /* the window: a change that was heard has ended the load */
        if
#ifdef PASS_PUBLISH
        :: stamp == s ->
#else
        :: stamp == s && returned <= o ->
#endif
            has = true; val = v; entry_life = life; stamp++
        :: else ->
#ifndef PASS_REFUSED
            has = false; stamp++
#endif
        fi
    };
    atomic { returns() };
out:
    running--
}
#else
proctype own() {
    byte s, v, l;
    d_step { stamp++; pending++; has = false; s = stamp; l = life };
    d_step { db++; v = db };  /* NOLOOP: no report */
    d_step {
        if
#ifdef OWN_NO_STAMP
        :: true -> has = true; val = v; entry_life = l
#else
        :: stamp == s -> has = true; val = v; entry_life = l
        :: else
#endif
        fi;
        pending--
    };
    running--
}
#endif

proctype stranger() {
    d_step {
        db++;
        if :: tracking && !broken -> queue++; assert(queue <= QMAX) :: else fi
    };
    running--
}

active proctype subscriber() {
end:
    do
    :: d_step {
        queue > 0 && !broken ->
        queue--;
        has = false;
        stamp++;
        if :: queue == 0 -> heard_version = db :: else fi
    }
    :: broken ->              /* the process notices and connects again */
#ifdef FLUSH_FIRST
        life++;
#endif
        d_step { queue = 0; tracking = true; broken = false };
#ifndef FLUSH_FIRST
#ifndef NO_FLUSH
        life++
#endif
#endif
    od
}

#ifdef PASS
proctype evict() { has = false; running-- } /* no stamp rises */
#endif

proctype cut() { d_step { broken = true; tracking = false; queue = 0 }; running-- }

init {
    byte i;
    atomic {
        do :: i < NGET -> running++; run get(); i++ :: else -> i = 0; break od;
        do :: i < NFOR -> running++; run stranger(); i++ :: else -> i = 0; break od;
        do :: i < NOWN -> running++; run own(); i++ :: else -> i = 0; break od;
        do :: i < NBREAK -> running++; run cut(); i++ :: else -> i = 0; break od
    };
#ifdef PASS
    atomic { running++; run evict() };
#endif
    running == 0;
    timeout;
    assert(!LIVE || val == db)
}
