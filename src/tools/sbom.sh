#!/bin/sh
# SPDX-License-Identifier: MIT
#
# sbom: prints the bill of materials of a release, SPDX 2.3 as JSON.
#
# USE        sh src/tools/sbom.sh VERSION COMMIT EPOCH UTHASH.H ARCHIVE.tar.gz
# CONTENT    cellar; uthash, which the drop-in contains; the four libraries that a build links
#            on request. A build takes the versions of its machine: the bill names none.
set -eu
version=$1 commit=$2 epoch=$3 uthash=$4 archive=$5
sum=$(sha256sum "$archive" | cut -d ' ' -f 1)
uthash_version=$(sed -n 's/^#define UTHASH_VERSION *//p' "$uthash")

package() { # NAME VERSION LICENSE WHERE [MORE FIELDS]
    cat <<END
    {
      "SPDXID": "SPDXRef-$1",
      "name": "$1",
      "versionInfo": "$2",
      "licenseDeclared": "$3",
      "licenseConcluded": "$3",
      "copyrightText": "NOASSERTION",
      "downloadLocation": "$4",
      "filesAnalyzed": false${5-}
    }
END
}
relation() { # FROM KIND TO
    printf '    {"spdxElementId": "SPDXRef-%s", "relationshipType": "%s", "relatedSpdxElement": "SPDXRef-%s"}' "$@"
}
cat <<END
{
  "spdxVersion": "SPDX-2.3",
  "dataLicense": "CC0-1.0",
  "SPDXID": "SPDXRef-DOCUMENT",
  "name": "cellar-$version",
  "documentNamespace": "https://spdx.org/spdxdocs/cellar-$version-$sum",
  "creationInfo": {
    "created": "$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)",
    "creators": ["Tool: cellar-make-dist"]
  },
  "packages": [
END
package cellar "$version" MIT NOASSERTION ",
      \"packageFileName\": \"${archive##*/}\",
      \"checksums\": [{\"algorithm\": \"SHA256\", \"checksumValue\": \"$sum\"}],
      \"sourceInfo\": \"commit $commit\"" && echo ,
package uthash "$uthash_version" BSD-1-Clause https://github.com/troydhanson/uthash && echo ,
package lz4 NOASSERTION BSD-2-Clause https://github.com/lz4/lz4 && echo ,
package sqlite NOASSERTION blessing https://sqlite.org && echo ,
package openssl NOASSERTION Apache-2.0 https://openssl.org && echo ,
package mimalloc NOASSERTION MIT https://github.com/microsoft/mimalloc
printf '  ],\n  "relationships": [\n'
relation DOCUMENT DESCRIBES cellar
printf ',\n' && relation cellar CONTAINS uthash
for library in lz4 sqlite openssl mimalloc; do
    printf ',\n' && relation $library OPTIONAL_DEPENDENCY_OF cellar
done
printf '\n  ]\n}\n'
