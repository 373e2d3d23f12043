#!/bin/sh
# SPDX-License-Identifier: MIT
#
# build.sh: builds the peers that are processes of their own; `make bench-drivers` calls it.
#
# USE        sh bench/peers/build.sh OUT [NAME...]     OUT: build/bench; without names all folders;
#            a name that is no such peer ends it with exit status 2
# WALK       each folder is built by the file that pins its versions: Cargo.toml by cargo with the
#            Cargo.lock of all of them here, go.sum by
#            go, pom.xml by mvn and javac, requirements.txt by pip into one venv, package-lock.json
#            by npm; a folder without one and without dependencies by its compiler alone.
#            -> OUT/peers/NAME, a program that speaks the window protocol (lib/README.md)
# SKIPS      what cannot be built is a line with the tool's own last words, kept in
#            OUT/peers/NAME.skip for the bench to print; the rest goes on. Exit status 0.
# RULES      nothing is vendored: sources come from the languages' registries into the caches of
#            their tools; a folder with dependencies and without its lock file is refused.
set -u
LC_ALL=C
export LC_ALL
out=$(mkdir -p "$1/peers" && cd "$1" && pwd) || exit 2
shift
here=$(cd "$(dirname "$0")" && pwd)
log=$out/peers/build.log

skip() { # name, words
    echo "skip: peer $1: $2"
    echo "$2" >"$out/peers/$1.skip"
    rm -f "$out/peers/$1"
}
last() { # the last line of the log with text
    sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -v '^ *$' | grep -i -E 'error|cannot|not |fail' | tail -n 1 | cut -c1-200
}
need() { # name, tool
    command -v "$2" >/dev/null 2>&1 || { skip "$1" "$2: command not found"; return 1; }
}
program() { # name, line: a script that becomes the real program
    printf '#!/bin/sh\n# made by bench/peers/build.sh\n%s\n' "$2" >"$out/peers/$1.new"
    chmod +x "$out/peers/$1.new" && mv "$out/peers/$1.new" "$out/peers/$1"
}

with_cargo() {
    need "$1" cargo || return 0
    (cd "$here/$1" && cargo build -q --release --locked --target-dir "$out/cargo") >"$log" 2>&1 ||
        { skip "$1" "$(last)"; return 0; }
    cp "$out/cargo/release/$1-driver" "$out/peers/$1.new" && mv "$out/peers/$1.new" "$out/peers/$1"
}
with_go() {
    need "$1" go || return 0
    (cd "$here/$1" && go build -mod=readonly -o "$out/peers/$1" .) >"$log" 2>&1 || skip "$1" "$(last)"
}
with_java() { # name, folder of Main.java
    need "$1" javac || return 0
    jars=$out/java/$1
    mkdir -p "$jars/lib"
    if [ -f "$here/$1/pom.xml" ]; then
        need "$1" mvn || return 0
        (cd "$here/$1" && mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
            -DoutputDirectory="$jars/lib") >"$log" 2>&1 || { skip "$1" "$(last)"; return 0; }
    fi
    javac -d "$jars/classes" -cp "$jars/lib/*" "$here/lib/java/Driver.java" "$here/$2/src/"*.java \
        >"$log" 2>&1 || { skip "$1" "$(last)"; return 0; }
    # A heap of its full size from the start, except where memory itself is measured: there the heap
    # may grow and shrink (BENCH_HEAP).
    heap='${BENCH_HEAP:--Xms3g -Xmx3g}'
    program "$1" "exec java $heap -cp '$jars/classes:$jars/lib/*' Main"
}
with_python() {
    need "$1" python3 || return 0
    if [ ! -x "$out/venv/bin/python" ]; then
        python3 -m venv "$out/venv" >"$log" 2>&1 || { skip "$1" "$(last)"; return 0; }
    fi
    # bin/pip names the folder of its venv; python -m pip also works in a copy of build/.
    "$out/venv/bin/python" -m pip -q install --disable-pip-version-check \
        -r "$here/$1/requirements.txt" >"$log" 2>&1 ||
        { skip "$1" "$(last)"; return 0; }
    program "$1" "PYTHONPATH='$here/lib/python' exec '$out/venv/bin/python' -B '$here/$1/main.py'"
}
with_node() {
    need "$1" node || return 0
    mkdir -p "$out/npm/$1"
    cp "$here/$1/main.js" "$out/npm/$1/"
    if [ -f "$here/$1/package-lock.json" ]; then
        need "$1" npm || return 0
        cp "$here/$1/package.json" "$here/$1/package-lock.json" "$out/npm/$1/"
        (cd "$out/npm/$1" && npm ci --no-audit --no-fund) >"$log" 2>&1 || { skip "$1" "$(last)"; return 0; }
    fi
    program "$1" "BENCH_LIB='$here/lib/node' exec node --expose-gc '$out/npm/$1/main.js'"
}

one() {
    rm -f "$out/peers/$1.skip"
    d=$here/$1
    if [ -f "$d/Cargo.toml" ] && [ ! -f "$here/Cargo.lock" ] || [ -f "$d/go.mod" ] && [ ! -f "$d/go.sum" ] ||
        [ -f "$d/package.json" ] && [ ! -f "$d/package-lock.json" ]; then
        skip "$1" "no lock file: versions are not pinned"
    elif [ -f "$d/Cargo.toml" ]; then with_cargo "$1"
    elif [ -f "$d/go.sum" ]; then with_go "$1"
    elif [ -f "$d/src/Main.java" ]; then with_java "$1" "$1"
    elif [ -f "$d/requirements.txt" ]; then with_python "$1"
    elif [ -f "$d/main.js" ]; then with_node "$1"
    else return 0
    fi
    # The same program with keys made for each operation is a subject of its own.
    if [ "$1" = caffeine ]; then
        rm -f "$out/peers/caffeine_fresh"
        [ ! -x "$out/peers/caffeine" ] || program caffeine_fresh "FRESH=1 exec '$out/peers/caffeine'"
    fi
    # The same program with values kept inside the entries, too.
    if grep -q run_both "$d/src/main.rs" 2>/dev/null; then
        rm -f "$out/peers/$1_value"
        [ ! -x "$out/peers/$1" ] || program "$1_value" "BY_VALUE=1 exec '$out/peers/$1'"
    fi
    [ ! -x "$out/peers/$1" ] || echo "built: peer $1"
}

for n in "$@"; do
    case $n in lib | */* | .*) known=0 ;; *) known=1 ;; esac
    [ $known = 1 ] && [ -d "$here/$n" ] && [ -n "$(find "$here/$n" -name 'main.*' -o -name 'Main.java' -o -name pom.xml)" ] ||
        { echo "build.sh: no peer that is a process of its own: $n" >&2; exit 2; }
done
if [ $# = 0 ]; then
    for d in "$here"/*/; do
        one "$(basename "$d")"
    done
else
    for n in "$@"; do
        one "$n"
    done
fi
rm -f "$log"
