#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    real clients get the admin pages: curl, promtool, and a browser that shows the dashboard
#         without errors and without a request to another host, wide and narrow, light and dark, by
#         keyboard.
# Method: `cellar serve --admin`, filled through its socket. The browser runs without a window and
#         is asked through its debugging port. A client that is not installed is a skip.
#         PICTURES=folder keeps the pictures.
. tests/support/t.sh
. tests/support/serve.sh
: "${CELLAR_BUILD:=$($MAKE --no-print-directory -s where)}"
$MAKE --no-print-directory all NOLINK=1 >/dev/null || exit 2
bin=$CELLAR_BUILD/cellar

pages() { # OPTION...: serve with admin pages; $at is their address
    serve --admin=0 "$@" && at=http://127.0.0.1:$(sed -n 's/^ready:.* admin //p' "$t_tmp/ready")
}

# ---- curl ----
status() { # WANTED WORD...
    wanted=$1
    shift
    [ "$(curl -s -o "$t_tmp/body" -w '%{http_code}' "$@")" = "$wanted" ]
}
curls() { # each form of an answer: a page, one without a body, an error, a question
    echo "a password of some length" >"$t_tmp/password"
    pages && status 200 "$at/" && status 200 "$at/_cellar/metrics" && status 404 "$at/other" && status 200 -I "$at/metrics" &&
        ! grep -q ^cellar_ "$t_tmp/body" && status 405 -d a=b "$at/" && stop &&
        pages --password-file="$t_tmp/password" && status 401 -u me:other "$at/" &&
        status 200 -u "me:a password of some length" "$at/" && stop
}
socket_file() {
    serve --admin="$t_tmp/admin" && status 200 --unix-socket "$t_tmp/admin" http://x/metrics &&
        stop && [ ! -e "$t_tmp/admin" ]
}
refuses() { # ADDRESS
    timeout 20 "$bin" serve --port=0 --admin="$1" 2>"$t_tmp/err"
    [ $? -eq 3 ] && grep 'cannot open the port' "$t_tmp/err"
}
if t_have curl; then
    t_case curl_gets_pages_and_errors curls
    t_case curl_gets_pages_of_a_socket_file socket_file
else
    t_skip curl_gets_pages_and_errors "no curl (package curl)"
    t_skip curl_gets_pages_of_a_socket_file "no curl"
fi
t_case public_address_without_password_exits_3 refuses 0.0.0.0:0
t_case no_address_exits_3 refuses nowhere

# ---- promtool ----
promtool=$(command -v promtool || echo build/peers/usr/bin/promtool)
checked() {
    pages --l2="$t_tmp/store" --l2-bytes=32M && status 200 "$at/metrics" &&
        "$promtool" check metrics <"$t_tmp/body" && stop
}
rules() { # those to copy from include/watch.md
    sed -n '/^```yaml/,/^```/{/^```/d;p;}' include/watch.md >"$t_tmp/rules.yml"
    "$promtool" check rules "$t_tmp/rules.yml" | grep -q ' 8 rules found'
}
if [ -x "$promtool" ] && t_have curl; then
    t_case promtool_accepts_the_page checked
    t_case promtool_accepts_the_rules rules
else
    t_skip promtool_accepts_the_page "no promtool or no curl (packages prometheus, curl)"
fi

# ---- a browser ----
cat >"$t_tmp/browse.py" <<'P'
import base64, itertools, json, os, socket, struct, subprocess, sys, time

at, tmp, pictures = sys.argv[1:4]
chromium = subprocess.Popen(
    ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
     "--no-first-run", "--hide-scrollbars", "--remote-debugging-port=0",
     "--user-data-dir=" + tmp + "/profile"],
    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
place = tmp + "/profile/DevToolsActivePort"
while not os.path.exists(place) or open(place).read().count("\n") < 1:
    assert chromium.poll() is None, "the browser ended"
    time.sleep(0.05)
port, path = open(place).read().split("\n")[:2]
s = socket.create_connection(("127.0.0.1", int(port)))
s.sendall(("GET %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n"
           % (path, port, base64.b64encode(bytes(16)).decode())).encode())
f = s.makefile("rb")
while f.readline() != b"\r\n":
    pass
events, last = [], [0]

def hear():
    whole = b""
    while True:
        first, size = f.read(2)
        if size == 126:
            size, = struct.unpack(">H", f.read(2))
        elif size == 127:
            size, = struct.unpack(">Q", f.read(8))
        whole += f.read(size)
        if first & 0x80:
            return json.loads(whole)

def send(method, session, params):
    last[0] += 1
    m = {"id": last[0], "method": method, "params": params}
    if session:
        m["sessionId"] = session
    text = json.dumps(m).encode()
    s.sendall(b"\x81\xff" + struct.pack(">Q", len(text)) + bytes(4) + text)
    return last[0]

def note(e):
    events.append(e)
    if e.get("method") == "Fetch.requestPaused": # the figures of show()
        send("Fetch.fulfillRequest", e["sessionId"],
             {"requestId": e["params"]["requestId"], "responseCode": 200,
              "body": base64.b64encode(json.dumps(next(figures)).encode()).decode()})

def ask(method, session=None, **params):
    number = send(method, session, params)
    while True:
        r = hear()
        if r.get("id") == number:
            assert "error" not in r, (method, r)
            return r["result"]
        if "method" in r:
            note(r)

def until(method, session):
    while not any(e["method"] == method and e.get("sessionId") == session for e in events):
        e = hear()
        if "method" in e:
            note(e)

def busy():
    """Yield figures of a program that has limiters and pools."""
    for n in itertools.count(1):
        def m(name, value, **labels):
            return {"name": "cellar_" + name, "labels": labels, "value": value}

        store = [m("namespace_entries", 7, namespace="db0"),
                 m("namespace_entries", 0, namespace="left"), m("sets_total", 1, namespace="left"),
                 m("namespace_entries", 0, namespace="new"), m("sets_total", 0, namespace="new"),
                 m("sets_total", n * n, namespace="db0"),
                 m("bytes", n << 20), m("budget_bytes", 64 << 20), m("entries", 7)]
        parts = [m("limiter_decisions_total", 90 * n, limiter="api", result="allowed"),
                 m("limiter_decisions_total", 10 * n, limiter="api", result="denied"),
                 m("limiter_keys", 5, limiter="api"), m("tasks_live", 12, pool="images"),
                 m("queue_tasks", 9, pool="images", queue="slow"),
                 m("queue_oldest_seconds", 75, pool="images", queue="slow"),
                 m("schedule_schedules", 3, pool="nightly"),
                 m("refresh_rows", 4, pool="prices"),
                 m("bus_published_total", 2 * n, pool="events")]
        yield [{"metrics": store, "hot_keys": [
            {"namespace": "db0", "key": "<b>bold</b>", "gets_per_s": 8, "share": 0.5}]},
            {"metrics": parts}]

def edges(tab, value):
    """Yield the right edges of the tables that scroll, without words: at the start and the end."""
    for i in range(value("document.querySelectorAll('[role=region]').length")):
        e = "document.querySelectorAll('[role=region]')[%d]" % i
        if not value("%s.checkVisibility() && %s.scrollWidth > %s.clientWidth" % (e, e, e)):
            continue
        value(e + ".firstChild.style.visibility = 'hidden'")
        seen = []
        for left in 0, 9999:
            value("%s.scrollLeft = %d" % (e, left))
            box = value("(b => ({ x: b.right + scrollX - 8, y: b.y + scrollY, width: 8,"
                        " height: b.height, scale: 1 }))(%s.getBoundingClientRect())" % e)
            seen.append(ask("Page.captureScreenshot", tab, clip=box,
                            captureBeyondViewport=True)["data"])
        value(e + ".scrollLeft = 0")
        value(e + ".firstChild.style.visibility = ''")
        yield seen

def show(name, width, scheme, shown=(), fetch=False):
    """Show the page for a minute of virtual time, and check it."""
    del events[:]
    target = ask("Target.createTarget", url="about:blank")["targetId"]
    tab = ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    codes = {"Tab": 9, "ArrowLeft": 37, "Escape": 27}

    def value(code):
        r = ask("Runtime.evaluate", tab, expression=code, returnByValue=True)
        return r["result"].get("value")

    def key(name):
        for kind in "rawKeyDown", "keyUp":
            ask("Input.dispatchKeyEvent", tab, type=kind, key=name, code=name,
                windowsVirtualKeyCode=codes[name])

    for domain in "Page", "Runtime", "Log", "Network":
        ask(domain + ".enable", tab)
    ask("Emulation.setDeviceMetricsOverride", tab, width=width, height=900, deviceScaleFactor=1,
        mobile=False)
    ask("Emulation.setEmulatedMedia", tab,
        features=[{"name": "prefers-color-scheme", "value": scheme}])
    if fetch:
        ask("Fetch.enable", tab, patterns=[{"urlPattern": "*stats.json"}])
    ask("Page.navigate", tab, url=at + "/_cellar/")
    until("Page.loadEventFired", tab)
    ask("Emulation.setVirtualTimePolicy", tab, policy="pauseIfNetworkFetchesPending",
        budget=60000)
    until("Emulation.virtualTimeBudgetExpired", tab)
    assert value("document.getElementById('state').textContent") == "live"
    line = value("[...document.querySelectorAll('figure')]"
                 ".find(f => f.innerText.startsWith('Writes'))"
                 ".querySelector('path').getAttribute('d')")
    heights = {p.split()[1] for p in line.replace("M", "L").replace("h0", "").split("L")[1:]}
    assert line.count("L") > 10 and len(heights) > 1, line
    assert value("document.documentElement.scrollWidth") <= width
    tables = value("document.getElementById('tables').innerText")
    for words in ("db0",) + shown:
        assert words in tables, (words, tables)
    back = value("getComputedStyle(document.documentElement).backgroundColor")
    assert (int(back.split("(")[1].split(",")[0]) < 128) == (scheme == "dark"), back
    names = value("[...document.querySelectorAll('#tables th[scope=row]')].map(e => e.innerText)")
    assert ("left" in names) == fetch and "new" not in names, names
    assert not fetch or "1 never used" in tables, tables
    assert ("new" in value("document.querySelector('details').textContent")) == fetch
    for edge in edges(tab, value):
        assert width > 360 or edge[0] != edge[1], "a table does not show that it scrolls"
    picture = ask("Page.captureScreenshot", tab, captureBeyondViewport=True)["data"]
    if pictures:
        open("%s/%s.png" % (pictures, name), "wb").write(base64.b64decode(picture))
    reached = []
    for _ in range(40):
        key("Tab")
        reached.append(value("document.activeElement.id ||"
                             "document.activeElement.getAttribute('aria-label')"))
    want = value("['range', 'pause',"
                 "...[...document.querySelectorAll('[role=slider], [role=region]')]"
                 ".filter(e => e.checkVisibility()).map(e => e.getAttribute('aria-label'))]")
    assert set(want) <= set(reached), (want, reached)
    value("document.querySelector('[role=slider]').focus()")
    said = "document.activeElement.getAttribute('aria-valuetext')"
    assert value(said).startswith("now: ")
    key("ArrowLeft")
    assert not value(said).startswith("now: "), value(said)
    key("Escape")
    assert value(said).startswith("now: ")
    for e in events:
        p = e.get("params", {})
        if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
            raise SystemExit("console: " + json.dumps(p))
        if e["method"] == "Network.requestWillBeSent":
            url = p["request"]["url"]
            assert url.startswith(at + "/_cellar/") or url.startswith("data:"), url
    assert any(e["method"] == "Network.requestWillBeSent" for e in events)
    ask("Target.closeTarget", targetId=target)

try:
    show("wide-light", 1280, "light")
    show("wide-dark", 1280, "dark")
    show("narrow-light", 360, "light")
    show("narrow-dark", 360, "dark")
    figures = busy()
    show("busy", 1280, "light", ("api", "images / slow", "1.25 min", "nightly", "prices", "events",
                                 "<b>bold</b>"), True)
finally:
    chromium.terminate()
    chromium.wait()
P
browses() {
    pages --l2="$t_tmp/disk" --l2-bytes=32M || return 1
    awk 'BEGIN { for (i = 0; i < 3000; i++) { k = int(rand() * rand() * 300)
        print rand() < .8 ? "GET key:" k : "SETEX key:" k " 60 value" } }' >"$t_tmp/requests"
    fill() { while redis-cli -s "$t_tmp/s" <"$t_tmp/requests" >/dev/null; do :; done; }
    fill &
    filler=$!
    trap 'kill -KILL $serve_pid $filler 2>/dev/null' EXIT
    timeout 300 python3 "$t_tmp/browse.py" "$at" "$t_tmp" "${PICTURES-}" || return 1
    kill $filler
    stop
}
if t_have chromium && t_have python3 && t_have redis-cli; then
    t_case dashboard_works_in_a_browser browses
else
    t_skip dashboard_works_in_a_browser "no chromium, python3 or redis-cli (chromium, redis-tools)"
fi
t_end resp_admin_clients
