#!/bin/sh
# SPDX-License-Identifier: MIT
#
# apply.sh: puts the driver into a checkout of mokabench (a0d61f6) and prints how to build it.
#
# USE        sh bench/adapters/mokabench/apply.sh CHECKOUT FOLDER-OF-LIBCELLAR
set -eu
here=$(cd "$(dirname "$0")" && pwd) to=$1 lib=$(cd "$2" && pwd)
cp "$here/cellar.rs" "$to/src/cache/cellar.rs"
grep -q 'mod cellar;' "$to/src/cache.rs" || {
    sed -i 's/^pub(crate) mod moka_driver;/&\npub(crate) mod cellar;/' "$to/src/cache.rs"
    cat >>"$to/src/lib.rs" <<'R'

pub fn run_multi_threads_cellar(config: &Config, capacity: usize, num_clients: u16) -> anyhow::Result<Report> {
    let driver = crate::cache::cellar::Cellar::new(config, capacity);
    run_multi_threads(config, num_clients, driver, ReportBuilder::new("cellar", capacity as _, Some(num_clients)))
}
R
    # before the first cache of the list
    sed -i '0,/^    #\[cfg(feature = "quick_cache")\]/s//    for n in num_clients_slice {\n        println!("{}", mokabench::run_multi_threads_cellar(config, capacity, *n)?.to_csv_record());\n    }\n\n&/' \
        "$to/src/main.rs"
}
echo "cd $to && RUSTFLAGS='-L native=$lib' LD_LIBRARY_PATH=$lib cargo run --release --features quick_cache"
