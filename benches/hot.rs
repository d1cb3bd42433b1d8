//! How long each piece of work takes: `cargo bench --bench hot`.

mod work;

use work::PIECES;

fn main() {
    divan::main();
}

#[divan::bench(args = PIECES.iter().map(|(name, _)| *name))]
fn piece(bencher: divan::Bencher<'_, '_>, name: &str) {
    let (_, make) = PIECES.iter().find(|(known, _)| *known == name).expect("one of the list");
    bencher.bench_local(make());
}
