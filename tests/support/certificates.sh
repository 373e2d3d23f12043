#!/bin/sh
# SPDX-License-Identifier: MIT
#
# certificates.sh: certificates of two CAs of the test, made by the program openssl.
#
# USE        sh tests/support/certificates.sh FOLDER
# FILES      ca.pem, foreign.pem: the CAs. Each other .pem has its certificate and its key: server
#            (localhost, 127.0.0.1), wrong (another name), expired, client: of ca; other: as
#            server, of foreign; self: as server, signed by itself.
cd "$1" || exit 1
new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
here=DNS:localhost,IP:127.0.0.1

ca() { # Python 3.13 refuses a CA without this use of its key.
    openssl req -x509 $new -keyout "$1.key" -out "$1.pem" -days 30 -subj "/CN=$1" -addext keyUsage=critical,keyCertSign
}
sign() { # NAME CA WORD..: its time
    name=$1 by=$2
    shift 2
    openssl x509 -req -in "$name.csr" -CA "$by.pem" -CAkey "$by.key" "$@" -extfile "$name.ext" -out "$name.crt"
}
make_one() { # NAME CA DAYS NAMES. From OpenSSL 3.4 on less than no days are refused, and times can be given.
    printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\nauthorityKeyIdentifier=keyid\n' "$4" >"$1.ext" &&
        openssl req -new $new -keyout "$1.key" -out "$1.csr" -subj "/CN=$1" &&
        { sign "$1" "$2" -days "$3" || { [ "$3" -lt 0 ] &&
            sign "$1" "$2" -not_before 20200101000000Z -not_after 20200102000000Z; }; } &&
        cat "$1.crt" "$1.key" >"$1.pem"
}

{
    ca ca && ca foreign && make_one server ca 30 $here &&
        make_one wrong ca 30 DNS:other.example && make_one expired ca -1 $here &&
        make_one client ca 30 DNS:client && make_one other foreign 30 $here &&
        openssl req -x509 $new -keyout self.key -out self.crt -days 30 -subj /CN=self \
            -addext subjectAltName=$here && cat self.crt self.key >self.pem
} >log 2>&1 || { cat log >&2; exit 1; }
