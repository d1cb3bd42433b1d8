//! Fonts: widths, and the part of each that a document needs.

use std::collections::BTreeMap;

use subsetter::GlyphRemapper;
use ttf_parser::GlyphId;
use unicode_normalization::UnicodeNormalization;

/// Stands for a letter that a font does not have.
const UNKNOWN: char = '\u{25a1}';

/// The fonts of a page: DejaVu, which has all Vietnamese letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Face {
    /// For running text.
    Regular,
    /// For headings.
    Bold,
    /// For digests and identifiers.
    Mono,
}

impl Face {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Regular, Self::Bold, Self::Mono];

    /// The font file.
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::Regular => dejavu::serif_condensed::regular(),
            Self::Bold => dejavu::serif_condensed::bold(),
            Self::Mono => dejavu::sans_mono::regular(),
        }
    }

    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Regular => "TRUCAA+DejaVuSerifCondensed",
            Self::Bold => "TRUCAB+DejaVuSerifCondensed-Bold",
            Self::Mono => "TRUCAC+DejaVuSansMono",
        }
    }
}

/// A font that notes which letters were printed.
pub struct Font {
    pub face: Face,
    parsed: ttf_parser::Face<'static>,
    /// Printed letters by glyph.
    used: BTreeMap<GlyphId, char>,
}

/// The part of a font that is embedded.
pub struct Subset {
    pub bytes: Vec<u8>,
    /// New number of a glyph, its letter, its width in thousandths of the size; in the order of numbers.
    pub glyphs: Vec<(u16, char, f32)>,
}

impl Font {
    /// Opens a font of the crate; `None` if it can't be read, which a test rules out.
    pub fn open(face: Face) -> Option<Self> {
        let parsed = ttf_parser::Face::parse(face.bytes(), 0).ok()?;
        Some(Self { face, parsed, used: BTreeMap::new() })
    }

    /// Numbers that fonts are described by, in thousandths of the size: ascent, descent, height of capitals, box.
    pub fn metrics(&self) -> (f32, f32, f32, [f32; 4]) {
        let (face, scale) = (&self.parsed, self.scale());
        let bounds = face.global_bounding_box();
        let corners = [bounds.x_min, bounds.y_min, bounds.x_max, bounds.y_max];
        let capitals = face.capital_height().unwrap_or_else(|| face.ascender());
        (
            f32::from(face.ascender()) * scale,
            f32::from(face.descender()) * scale,
            f32::from(capitals) * scale,
            corners.map(|corner| f32::from(corner) * scale),
        )
    }

    /// Width of a text at a size.
    pub fn width(&self, text: &str, size: f32) -> f32 {
        letters(text).map(|letter| self.advance(self.glyph(letter).0)).sum::<f32>() * size / 1000.0
    }

    /// Glyphs of a text, as the font numbers them; they will be embedded.
    pub fn print(&mut self, text: &str) -> Vec<GlyphId> {
        let glyphs: Vec<_> = letters(text).map(|letter| self.glyph(letter)).collect();
        glyphs
            .into_iter()
            .map(|(glyph, letter)| {
                // Two letters may share a glyph; the first one is what is copied out again.
                self.used.entry(glyph).or_insert(letter);
                glyph
            })
            .collect()
    }

    /// What was printed, and the numbers that it gets.
    pub fn subset(&self) -> Option<(Subset, GlyphRemapper)> {
        let mut remapper = GlyphRemapper::new();
        let mut glyphs: Vec<_> = self
            .used
            .iter()
            .map(|(glyph, letter)| (remapper.remap(glyph.0), *letter, self.advance(*glyph)))
            .collect();
        glyphs.sort_by_key(|(number, ..)| *number);
        let bytes = subsetter::subset(self.face.bytes(), 0, &remapper).ok()?;
        Some((Subset { bytes, glyphs }, remapper))
    }

    fn scale(&self) -> f32 {
        1000.0 / f32::from(self.parsed.units_per_em())
    }

    fn advance(&self, glyph: GlyphId) -> f32 {
        f32::from(self.parsed.glyph_hor_advance(glyph).unwrap_or(0)) * self.scale()
    }

    fn glyph(&self, letter: char) -> (GlyphId, char) {
        let known = self.parsed.glyph_index(letter).map(|glyph| (glyph, letter));
        known.unwrap_or_else(|| (self.parsed.glyph_index(UNKNOWN).unwrap_or(GlyphId(0)), UNKNOWN))
    }
}

/// Letters as the fonts have them: composed, without control characters.
fn letters(text: &str) -> impl Iterator<Item = char> + '_ {
    text.nfc().filter(|letter| !letter.is_control())
}
