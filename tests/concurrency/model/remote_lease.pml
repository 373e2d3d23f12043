/* SPDX-License-Identifier: MIT
 *
 * remote_lease: one load of a key over two processes, and changes by others meanwhile.
 *
 * PICTURE    take: SET key placeholder NX GET PX -> nil: held | a value | another lease: wait
 *            held: stamp raised; memory has a value: it goes, and the lease is released
 *            load: source read -> fill: only if the key has this placeholder -> value, reported to
 *            all, also to the process itself -> memory, if the stamp is that of the take
 *            failure: delete, only if the key has this placeholder      PX: the placeholder expires
 *            beat: a key of the process, written before its take, again while it holds a lease
 *            another lease: script: no beat of its owner -> delete, only if it is that placeholder
 * THREADS    LOADS processes that load; NGET gets of the first one; Source: CHANGES changes, each
 *            followed by DEL or SET of the key; Expiry of a placeholder, once; with DEATHS the loss
 *            of the beat of process 0, which is killed, stopped or cut off: its load may go on any
 *            time later, and beats again, or never; subscribers that
 *            handle reports late. A round of the server ends any time: it reports the key to all
 *            but the process that wrote it last. A round that a script wrote last is reported to
 *            all.
 * SHOWN      When all is quiet, the value in the server and those in memory are that of the source.
 *            A process deletes only its own placeholder. While it loads, memory has no other value
 *            than the server, unless a report is on its way. Only a lease of a process that lost its
 *            beat is ended by a waiter, and the waiter then has the key.
 * MUTANTS    in the model only: FILL_BLIND (the fill does not compare), ANY_LEASE (it compares the
 *            kind, not the 128 random bits), RELEASE_BLIND (a failed load deletes what is there),
 *            ECHO_HIDDEN (the process ignores a report behind its own fill), NO_STAMP (memory keeps
 *            the value whatever came meanwhile), NO_LOOK (a lease leaves memory as it is), NO_RAISE
 *            (a lease removes the value, but the stamp does not rise), REAP_BLIND (a waiter ends
 *            what is there), BEAT_LATE (the beat is written behind the take), NO_REAP (a waiter only
 *            asks again).
 * LIMITS     A waiter asks again; that a report wakes it is not in the model. A lease beside the
 *            value is the same with a key of its own and a comparison of the value as well. */
#ifndef CHANGES
#define CHANGES 1
#endif
#ifndef NGET
#define NGET 1
#endif
#ifndef LOADS
#define LOADS 2
#endif
#define SCRIPT 2              /* writer of a round: no process */
#define LEASE(token) (100 + (token))
#define IS_LEASE(v) ((v) >= 100)

byte source = 1, key;         /* key: 0 none, a lease, or a version of the source */
byte stamp[2], mem[2];        /* mem 0: nothing */
bool report[2], told[2];      /* told: it has the lease, and loads */
bool dirty;                   /* the key was written in this round, last by `last` */
byte last;
#ifdef ECHO_HIDDEN
bool own[2];
#endif
bool beat[2], lost[2];        /* lost: since its take no command of the process came */
bool stuck;                   /* a waiter found the lease of a lost process twice */
byte running;

#define STALE(i) (mem[i] != 0 && mem[i] != key && !report[i] && !(dirty && last != i))

inline tell(writer) { dirty = true; last = writer }

proctype load(byte i; byte token) {
    byte s, v, seen;
    bool held;
ask:
    s = stamp[i];             /* before the server is asked */
#ifndef BEAT_LATE
    d_step { beat[i] = true; lost[i] = false };
#endif
    d_step {
        if
        :: key == 0 -> key = LEASE(token); held = true; tell(i)
        :: IS_LEASE(key) && seen == 0 -> seen = key /* of another process */
        :: else -> stuck = stuck || (seen != 0 && key == seen && lost[seen - 100]); seen = 0
        fi
    };
#ifdef BEAT_LATE
    d_step { beat[i] = true; lost[i] = false };
#endif
    if
    :: !held && seen != 0 ->
        d_step {              /* the script */
#ifndef NO_REAP
            if
#ifdef REAP_BLIND
            :: !beat[seen - 100] ->
                assert(key == 0 || key == seen);
#else
            :: !beat[seen - 100] && key == seen ->
#endif
                assert(lost[seen - 100]);
                key = 0;
                tell(SCRIPT)
            :: else -> seen = 0
            fi
#endif
            skip
        };
        if :: seen != 0 -> goto ask :: else fi
    :: else
    fi;
    if :: !held -> goto out :: else fi;
    d_step {                  /* the answer */
#ifndef NO_LOOK
#ifndef NO_RAISE
        if :: stamp[i] == s -> s++ :: else fi;
        stamp[i]++;
#endif
        if
        :: mem[i] != 0 ->
            mem[i] = 0;
            held = false;
            if :: key == LEASE(token) -> key = 0; tell(SCRIPT) :: else fi
        :: else
        fi;
#endif
        told[i] = held
    };
    if :: !held -> goto out :: else fi;
    d_step { assert(!STALE(i)); v = source };
    if
    :: d_step { true ->       /* the loader fails */
#ifdef RELEASE_BLIND
            assert(key == 0 || key == LEASE(token));
            key = 0
#else
            if :: key == LEASE(token) -> key = 0; tell(SCRIPT) :: else fi
#endif
        }
    :: d_step { true ->
            if
#ifdef FILL_BLIND
            :: true ->
#else
#ifdef ANY_LEASE
            :: IS_LEASE(key) ->
#else
            :: key == LEASE(token) ->
#endif
#endif
                key = v;
                tell(SCRIPT)
#ifdef ECHO_HIDDEN
                ; own[i] = true
#endif
            :: else -> v = 0  /* the callers have it, memory does not */
            fi
        };
        d_step {
            if
#ifdef NO_STAMP
            :: v != 0 -> mem[i] = v
#else
            :: v != 0 && stamp[i] == s -> mem[i] = v
#endif
            :: else
            fi
        }
    fi;
out:
    skip;
    d_step { s = 0; v = 0; seen = 0; held = false; told[i] = false; running-- }
}

proctype get(byte i) {
    byte s, v;
    s = stamp[i];
    v = key;
    d_step {                  /* the reply */
        if
        :: v != 0 && !IS_LEASE(v) && stamp[i] == s && mem[i] == 0 -> mem[i] = v
        :: else
        fi;
        assert(!told[i] || !STALE(i));
        s = 0;
        v = 0;
        running--
    }
}

proctype round() {
end:
    do
    :: d_step {
        dirty ->
        dirty = false;
        report[0] = report[0] || last != 0;
        report[1] = LOADS == 2 && (report[1] || last != 1);
        last = 0
    }
    od
}

proctype subscriber(byte i) {
end:
    do
    :: d_step {
        report[i] ->
        report[i] = false;
#ifdef ECHO_HIDDEN
        if
        :: own[i] -> own[i] = false
        :: else -> stamp[i]++; mem[i] = 0
        fi
#else
        stamp[i]++;
        mem[i] = 0
#endif
    }
    od
}

proctype changes() {
    byte n;
    do
    :: n < CHANGES ->
        n++;
        source++;
        if
        :: d_step { true -> key = 0; tell(SCRIPT) }
        :: d_step { true -> key = source; tell(SCRIPT) }
        fi
    :: else -> break
    od;
    running--
}

proctype death() {
    d_step { beat[0] = false; lost[0] = true };
    if
    :: d_step { told[0] -> beat[0] = true; lost[0] = false } /* it wakes, and beats */
    :: true
    fi;
    running--
}

proctype expires() {
    d_step { if :: IS_LEASE(key) -> key = 0; tell(SCRIPT) :: else fi };
    running--
}

init {
    byte n;
    atomic {
#ifdef DEATHS
        running = 1;
        run death();
#endif
        running = running + 2 + LOADS + NGET;
        do :: n < LOADS -> run load(n, n); run subscriber(n); n++ :: else -> n = 0; break od;
        do :: n < NGET -> run get(0); n++ :: else -> n = 0; break od;
        run changes(); run expires(); run round()
    };
    running == 0;
    timeout;
    assert(key == 0 || IS_LEASE(key) || key == source);
    assert(!stuck);
    assert((mem[0] == 0 || mem[0] == source) && (mem[1] == 0 || mem[1] == source))
}
