/* SPDX-License-Identifier: MIT
 *
 * remote_lease: one load of a key over two processes, and changes by others meanwhile.
 *
 * PICTURE    take: SET key placeholder NX GET PX -> nil: held | a value | another lease: wait
 *            load: source read -> fill: only if the key has this placeholder -> value, reported to
 *            all, also to the process itself -> memory, if the stamp is that of the take
 *            failure: delete, only if the key has this placeholder      PX: the placeholder expires
 * THREADS    two processes that load; Source: CHANGES changes, each followed by DEL or SET of the
 *            key; Expiry of a placeholder, once; ears that handle reports late.
 * SHOWN      When all is quiet, the value in the server and those in memory are that of the source.
 *            A process deletes only its own placeholder.
 * MUTANTS    in the model only: FILL_BLIND (the fill does not compare), ANY_LEASE (it compares the
 *            kind, not the 128 random bits), RELEASE_BLIND (a failed load deletes what is there),
 *            ECHO_HIDDEN (the process ignores a report behind its own fill), NO_STAMP (memory keeps
 *            the value whatever came meanwhile).
 * LIMITS     A waiter asks again; that a report wakes it is not in the model. A lease beside the
 *            value is the same with a key of its own and a comparison of the value as well. */
#ifndef CHANGES
#define CHANGES 1
#endif
#define LEASE(token) (100 + (token))
#define IS_LEASE(v) ((v) >= 100)

byte source = 1, key;         /* key: 0 none, a lease, or a version of the source */
byte stamp[2], mem[2];        /* mem 0: nothing */
bool report[2];               /* several reports of a round are one */
#ifdef ECHO_HIDDEN
bool own[2];
#endif
byte running;

inline tell() { report[0] = true; report[1] = true }

proctype load(byte i; byte token) {
    byte s, v;
    bool held;
    s = stamp[i];             /* before the server is asked */
    d_step {
        if
        :: key == 0 -> key = LEASE(token); held = true; tell()
        :: else               /* a value, or the lease of another process */
        fi
    };
    if :: !held -> goto out :: else fi;
    v = source;
    if
    :: d_step { true ->       /* the loader fails */
#ifdef RELEASE_BLIND
            assert(key == 0 || key == LEASE(token));
            key = 0
#else
            if :: key == LEASE(token) -> key = 0; tell() :: else fi
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
                tell()
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
    d_step { s = 0; v = 0; held = false; running-- }
}

proctype ear(byte i) {
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
        d_step { if :: key = 0 :: key = source fi; tell() }
    :: else -> break
    od;
    running--
}

proctype expires() {
    d_step { if :: IS_LEASE(key) -> key = 0; tell() :: true fi };
    running--
}

init {
    atomic {
        running = 4;
        run load(0, 0); run load(1, 1); run changes(); run expires();
        run ear(0); run ear(1)
    };
    running == 0;
    timeout;
    assert(key == 0 || IS_LEASE(key) || key == source);
    assert((mem[0] == 0 || mem[0] == source) && (mem[1] == 0 || mem[1] == source))
}
