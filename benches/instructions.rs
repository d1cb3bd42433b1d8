//! Does one piece of work a few times, for a tool that counts instructions: see `.ci/instructions`.

mod work;

use work::{PIECES, Piece};

/// How often; the first round is not counted.
const ROUNDS: usize = 20;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (name, make) in PIECES {
        match asked.first() {
            None => println!("{name}"),
            Some(asked) if asked == name => {
                let mut piece = make();
                piece();
                counted_work(&mut piece);
            }
            Some(_) => {}
        }
    }
}

/// The tool counts from the entry of this function to its end. It holds no closure: that would bear the same name.
#[inline(never)]
fn counted_work(piece: &mut Piece) {
    for _ in 0..ROUNDS {
        piece();
    }
}
