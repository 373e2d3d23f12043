#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the units for systemd and the dashboard for Grafana are right for their programs.
# Method: systemd-analyze reads the units with the built program in them; the metrics of the
#         dashboard are compared with the pages of two servers; promtool reads its queries.
. tests/support/t.sh
. tests/support/serve.sh
unset $(env | sed -n 's/^\(CELLAR_[A-Z_]*\)=.*/\1/p') # those of the runner are no settings
package=src/tools/package board=src/tools/package/grafana.json
mkdir "$t_tmp/u" "$t_tmp/bin" && ln -s "$(realpath "$bin")" "$t_tmp/bin/cellar"
for unit in cellar.service cellar.socket; do
    sed "s|@BINDIR@|$t_tmp/bin|" $package/$unit >"$t_tmp/u/$unit"
done

verify() { # it says nothing of these units; it may of those of the machine
    systemd-analyze verify --man=no "$t_tmp/u/cellar.service" "$t_tmp/u/cellar.socket" >"$t_tmp/said" 2>&1
    ! grep 'cellar\.' "$t_tmp/said"
}
wrong_unit_is_named() { # the case above can fail
    sed 's/^Type=notify/Typ=notify/' "$t_tmp/u/cellar.service" >"$t_tmp/cellar.service"
    systemd-analyze verify --man=no "$t_tmp/cellar.service" 2>&1 | grep 'cellar\.service.*Typ'
}
exposure() { # of systemd 252 and later, 0 is best
    systemd-analyze security --offline=true "$t_tmp/u/cellar.service" >"$t_tmp/said" &&
        awk '/Overall exposure level/ { print; n = $(NF - 2) + 0; seen = 1 }
            END { exit !(seen && n > 0 && n <= 2.0) }' "$t_tmp/said"
}
if t_have systemd-analyze; then
    if [ -x /bin/kill ]; then t_case systemd_accepts_the_units verify
    else t_skip systemd_accepts_the_units "no /bin/kill (package procps)"; fi
    t_case wrong_word_of_a_unit_is_named wrong_unit_is_named
    if systemd-analyze security --help 2>&1 | grep -q -- --offline; then
        t_case exposure_of_the_service_is_at_most_2 exposure
    else
        t_skip exposure_of_the_service_is_at_most_2 "systemd-analyze knows no --offline"
    fi
else
    for fact in systemd_accepts_the_units wrong_word_of_a_unit_is_named \
        exposure_of_the_service_is_at_most_2; do
        t_skip $fact "no systemd-analyze (package systemd)"
    done
fi

queries() { sed -n 's/^ *{"refId": "[A-Z]", "expr": "\(.*\)", "legendFormat".*/\1/p' $board | sed 's/\\"/"/g'; }
used() { queries | grep -o 'cellar_[a-z0-9_]*' | sort -u; }
page() { # OPTION...: metrics of a server
    serve --admin="$t_tmp/admin" "$@" && curl -s --unix-socket "$t_tmp/admin" http://localhost/metrics &&
        stop
}
metrics() {
    [ "$(used | wc -l)" -gt 30 ] && [ "$(queries | wc -l)" -eq "$(grep -c '"expr"' $board)" ] || return 1
    page --l2="$t_tmp/l2" --l2-bytes=16M >"$t_tmp/page" && page --shared=8M >>"$t_tmp/page" || return 1
    for name in $(used); do
        grep -q "^$name[{ ]" "$t_tmp/page" || { echo "no metric $name"; return 1; }
    done
}
json() { jq -e '.panels | length > 10' $board; }
promtool=$(command -v promtool || echo build/peers/usr/bin/promtool)
parsed() {
    { printf 'groups:\n- name: cellar\n  rules:\n'
        queries | sed "s/\$__rate_interval/5m/; s/.*/  - {record: 'cellar:q', expr: '&'}/"; } |
        sed 's/\$__rate_interval/5m/g; s/\$instance/.*/g' |
        awk '/record/ { sub(/cellar:q/, "cellar:q" ++n) } { print }' >"$t_tmp/rules.yml"
    "$promtool" check rules "$t_tmp/rules.yml" | grep -q " $(queries | wc -l) rules found"
}
if t_have curl; then t_case each_metric_of_the_dashboard_is_on_the_page metrics
else t_skip each_metric_of_the_dashboard_is_on_the_page "no curl"; fi
if t_have jq; then t_case dashboard_is_json json; else t_skip dashboard_is_json "no jq"; fi
if [ -x "$promtool" ]; then t_case promtool_parses_each_query parsed
else t_skip promtool_parses_each_query "no promtool (package prometheus)"; fi
t_end packaging_service
